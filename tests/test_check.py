"""`adasffuse check`: facts about folders made here."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import tifffile
from special_files import radiometric_jpeg
from tiny import texture, write_ivf

from adasffuse.cli import check, fuse
from adasffuse.data.survey import data_sets, facts_of, infrared_source, near_duplicates, survey_folders, table
from adasffuse.images.image import Image
from adasffuse.images.write import write_image
from adasffuse.tasks import TASKS


def gray(seed, height=40, width=48):
    return texture(height, width, seed)


def colour(seed, height=40, width=48):
    return np.stack([gray(seed, height, width), gray(seed + 50, height, width), gray(seed + 90, height, width)], 2)


def write_pairs(root, dataset="IVF", seeds=(1, 2, 3), a=gray, b=colour):
    for seed in seeds:
        write_image(root / dataset / "infrared" / f"{seed}.png", a(seed))
        write_image(root / dataset / "visible" / f"{seed}.png", b(seed + 20))
    return root / dataset


def cells(survey):
    return {row[0]: row[1:] for row in table(survey)}


def test_facts_of_a_data_set(tmp_path):
    folder = write_pairs(tmp_path)
    survey = survey_folders([folder / "infrared", folder / "visible"], "IVF", TASKS["ivf"])
    assert cells(survey)["files"] == ("3", "3")
    assert cells(survey)["width x height"] == ("48x40", "48x40")
    assert cells(survey)["colour"] == ("gray 3", "colour 3")
    assert infrared_source(survey) == 0 and len(survey.pairs) == 3 and not survey.problems
    black = np.zeros((8, 8), np.uint8)
    black[:2] = 255
    write_image(tmp_path / "one" / "x.png", black)
    (facts,) = survey_folders([tmp_path / "one"], "one").sources[0].facts
    assert (facts.mean, facts.black, facts.white) == (pytest.approx(255 / 4), 0.75, 0.25)


def test_swapped_folders_and_missing_partners_are_problems(tmp_path, capsys):
    folder = write_pairs(tmp_path, a=colour, b=gray)
    write_image(folder / "infrared" / "lonely.png", colour(7))
    assert check.run([str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "swap the folders" in said and "lonely.png has no partner" in said
    assert "files" in said and "4" in said  # the lonely one counts as a file


def test_names_tell_the_task_of_two_folders_and_their_order(tmp_path, capsys):
    folder = write_pairs(tmp_path)
    infrared, visible = str(folder / "infrared"), str(folder / "visible")
    facts = tmp_path / "facts.json"
    assert check.run([infrared, visible, "--json", str(facts)]) == 0
    assert (
        "(infrared + visible)" in capsys.readouterr().out
        and json.loads(facts.read_text())["data_sets"][0]["task"] == "ivf"
    )
    swapped = "problem: adasffuse fuse refuses this order: source A is called 'visible' and source B 'infrared': for"
    assert check.run([visible, infrared]) == 1
    assert capsys.readouterr().out.count(swapped) == 1
    write_image(tmp_path / "cam" / "VIS_1.png", colour(1))
    write_image(tmp_path / "cam" / "IR_1.png", gray(2))
    for first, second, status in (("IR_*", "VIS_*", 0), ("VIS_*", "IR_*", 1)):
        assert check.run([str(tmp_path / "cam"), "--pattern_a", first, "--pattern_b", second]) == status
        assert ("source A is called 'vis' and source B 'ir'" in capsys.readouterr().out) == bool(status)


@pytest.mark.parametrize(
    "name_a, name_b, options, told",
    [
        ("{}_T", "{}_V", "--pattern_a '*_T' --pattern_b '*_V' --task ivf", True),
        ("{}_V", "{}_T", "--pattern_a '*_V' --pattern_b '*_T' --task ivf", True),  # the gray one comes first
        ("IR_{}", "VIS_{}", "--pattern_a 'IR_*' --pattern_b 'VIS_*'", False),
    ],
)
def test_how_to_fuse_one_folder_of_two_sources(tmp_path, capsys, name_a, name_b, options, told):
    for number in range(2):
        write_image(tmp_path / f"{name_a.format(number)}.png", gray(number))
        write_image(tmp_path / f"{name_b.format(number)}.png", colour(number + 9))
    assert check.run([str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert f"  to fuse them: adasffuse fuse {tmp_path} {options} -o fused\n" in said
    assert "  pairs by names: 2, if " in said and ("infrared, if one is" in said) == told


@pytest.mark.parametrize("step, options", [(4, " --range_a folder"), (257, "")])
def test_the_command_for_a_camera_s_counts_gives_them_a_range(tmp_path, capsys, step, options):
    """Counts use a small part of 16 bits; without a range the thermal image hardly shows."""
    for number in range(2):
        write_image(tmp_path / f"{number}_T.png", gray(number).astype(np.uint16) * step)
        write_image(tmp_path / f"{number}_V.png", colour(number + 9))
    assert check.run([str(tmp_path)]) == 0
    assert f"--pattern_b '*_V'{options} --task ivf -o fused\n" in capsys.readouterr().out


def test_the_command_for_sources_of_other_sizes_registers_them(tmp_path, capsys):
    for number in range(2):
        write_image(tmp_path / f"{number}_T.png", gray(number))
        write_image(tmp_path / f"{number}_V.png", np.repeat(colour(number + 9), 2, axis=0))
    assert check.run([str(tmp_path)]) == 0
    assert "--task ivf --align affine -o fused\n" in capsys.readouterr().out


def test_the_command_for_one_folder_of_two_sources_works(tmp_path, capsys):
    """Temperatures need a range; files of one stem are told apart by their suffixes."""
    for number in range(2):
        tifffile.imwrite(tmp_path / f"{number}.tif", gray(number) / np.float32(9), photometric="minisblack")
        write_image(tmp_path / f"{number}.png", colour(number + 9))
    assert check.run([str(tmp_path)]) == 1  # one stem, twice
    command = next(line for line in capsys.readouterr().out.splitlines() if "to fuse them: " in line)
    words = shlex.split(command.split("adasffuse fuse ")[1])
    assert words[:5] == [str(tmp_path), "--pattern_a", "*.tif", "--pattern_b", "*.png"]
    assert fuse.run([*words[:-1], str(tmp_path / "out"), "--dry_run", "--size", "tiny"]) == 0


def test_a_folder_for_each_scene_is_told_how_to_be_looked_at(tmp_path, capsys):
    for name in ("p1/pet", "p1/mri", "p2/pet", "p2/mri"):
        write_image(tmp_path / name / "1.png", gray(1))
    assert check.run([str(tmp_path)]) == 1
    assert f'fuse "{tmp_path}/*/pet" "{tmp_path}/*/mri" -o OUT --dry_run' in capsys.readouterr().err


def test_radiometric_files_are_pairs_by_themselves(tmp_path, capsys):
    for number in range(2):
        counts = 18000 + 8 * gray(number).astype(np.uint16)
        (tmp_path / f"{'xy'[number]}_1.jpg").write_bytes(radiometric_jpeg(counts))
    assert check.run([str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert f"  to fuse them: adasffuse fuse {tmp_path} -o fused --range_a folder\n" in said and "pattern" not in said


def test_two_folders_whose_names_tell_the_order_and_whose_images_do_not_fit_it(tmp_path, capsys):
    folder = write_pairs(tmp_path, a=colour, b=gray)
    assert check.run([str(folder / "infrared"), str(folder / "visible")]) == 1
    assert "swap the folders" in capsys.readouterr().out


def test_where_names_tell_no_task_nothing_is_said_to_be_infrared(tmp_path, capsys):
    """It may as well be the MRI beside a scan in false colours."""
    folder = write_pairs(tmp_path)
    (folder / "infrared").rename(folder / "mri")
    (folder / "visible").rename(folder / "hot")
    assert check.run([str(folder / "hot"), str(folder / "mri")]) == 0
    assert "  infrared, if one is: mri, by its lack of colour" in capsys.readouterr().out


def test_sizes_that_differ(tmp_path):
    folder = write_pairs(tmp_path)
    write_image(folder / "visible" / "2.png", colour(2, 40, 50))
    survey = survey_folders([folder / "infrared", folder / "visible"], "IVF", TASKS["ivf"])
    assert any("2.png 48x40 and 2.png 50x40" in problem for problem in survey.problems)


def test_many_problems_of_one_kind_do_not_hide_another(tmp_path, capsys):
    folder = write_pairs(tmp_path, seeds=range(9), a=colour, b=gray)
    for seed in range(9):
        write_image(folder / "visible" / f"{seed}.png", gray(seed, 40, 50))
    assert check.run([str(folder)]) == 1
    said = capsys.readouterr().out
    assert said.count("problem: sizes differ") == 3 and "problem: and 6 more that" in said and "swap the" in said


def test_facts_do_not_count_what_holds_no_data():
    ramp = np.tile(np.linspace(0.2, 0.8, 96, dtype=np.float32), (64, 1))
    valid = np.random.default_rng(0).random(ramp.shape) < 0.5
    whole = facts_of(Path("x"), Image(ramp))
    part = facts_of(Path("x"), Image(np.where(valid, ramp, np.float32(0)), valid=valid))
    assert part.mean == pytest.approx(whole.mean, abs=2) and part.contrast == pytest.approx(whole.contrast, abs=2)
    assert part.sharpness < 1 and part.black == 0 and part.missing == pytest.approx(0.5, abs=0.05)
    assert part.thumbnail @ whole.thumbnail > 0.98


def test_noise_is_told(tmp_path, capsys):
    """Of half an image that holds data, too; of known standard deviation."""
    ramp = np.tile(np.linspace(0.2, 0.8, 256, dtype=np.float32), (256, 1))
    noisy = ramp + np.random.default_rng(0).normal(0, 5 / 255, ramp.shape).astype(np.float32)
    valid = np.arange(256) >= np.full((256, 1), 128)
    for image in (Image(noisy), Image(np.where(valid, noisy, np.float32(0)), valid=valid)):
        assert facts_of(Path("x"), image).noise == pytest.approx(5, rel=0.2)
    assert facts_of(Path("x"), Image(ramp)).noise < 0.1
    write_image(tmp_path / "1.png", np.rint(noisy * 255).astype(np.uint8))
    assert check.run([str(tmp_path)]) == 0 and "noise                   4." in capsys.readouterr().out


def test_an_unreadable_file_is_named(tmp_path, capsys):
    folder = write_pairs(tmp_path)
    (folder / "visible" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing more")
    assert check.run([str(folder)]) == 1
    assert "1.png: damaged or truncated" in capsys.readouterr().out


def test_near_duplicates_across_splits_even_mirrored(tmp_path, capsys):
    write_pairs(tmp_path / "train", seeds=(1, 2, 3))
    write_pairs(tmp_path / "test", seeds=(4, 5))
    assert check.run([str(tmp_path)]) == 0
    assert "near-duplicates between train and test: none" in capsys.readouterr().out
    write_image(tmp_path / "test/IVF/infrared/6.png", np.ascontiguousarray(gray(2)[:, ::-1]))
    write_image(tmp_path / "test/IVF/visible/6.png", colour(77))
    assert check.run([str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert said.count("near-duplicate across splits") == 1 and "infrared/6.png" in said and "infrared/2.png" in said


def test_flat_images_are_no_duplicates(tmp_path):
    for level in (30, 200):
        write_image(tmp_path / f"{level}.png", np.full((20, 20), level, np.uint8))
    assert near_duplicates(survey_folders([tmp_path], "flat").sources[0].facts) == []


def test_deep_files_are_seen_in_their_own_window(tmp_path):
    values = (7000 + 4 * gray(1).astype(np.uint16)).astype(np.uint16)
    write_image(tmp_path / "1.png", values)
    survey = survey_folders([tmp_path], "counts")
    low, high = survey.sources[0].window
    assert values.min() <= low < high <= values.max()
    assert cells(survey)["depth"] == ("16 bits 1",)
    assert survey.sources[0].facts[0].contrast > 20


def test_json_and_sheet(tmp_path):
    folder = write_pairs(tmp_path)
    sheet, facts = tmp_path / "sheet.png", tmp_path / "facts.json"
    arguments = [str(folder / "infrared"), str(folder / "visible"), "--sheet", str(sheet), "--json", str(facts)]
    assert check.run(arguments) == 0
    (plain,) = json.loads(facts.read_text())["data_sets"]
    assert plain["pairs"] == 3 and [s["files"][0]["width"] for s in plain["sources"]] == [48, 48]
    assert sheet.is_file()


def test_a_sheet_of_nothing_is_refused(tmp_path, capsys):
    (tmp_path / "1.png").write_bytes(b"no image")
    assert check.run([str(tmp_path), "--sheet", str(tmp_path / "out/sheet.png")]) == 1
    assert "--sheet: no image can be read" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_reports_take_the_place_of_no_image(tmp_path, capsys):
    folder = write_pairs(tmp_path)
    image = next((folder / "infrared").iterdir())
    before = image.read_bytes()
    for words, said in (
        (["--sheet", image], f"--sheet {image}: would overwrite an input"),
        (["--json", image], f"--json {image}: this file is written as .json"),
        (["--sheet", image.parent / "x.png"], "x.png: would lie among the inputs in"),
        (["--json", folder], f"--json {folder}: is a folder, and a file is written here"),
        (["--sheet", tmp_path / "x.png", "--json", image / "x"], f"--json {image / 'x'}: {image} is no folder"),
        (["--sheet", tmp_path / "x.jpg"], "x.jpg: uint8 pixels are written to files ending in .png or .tif"),
    ):
        assert check.run([str(folder / "infrared"), *map(str, words)]) == (
            2 if any(word in said for word in ("x.jpg", "written as")) else 1
        )
        out, err = capsys.readouterr()
        assert said in err and not out and image.read_bytes() == before and not list(tmp_path.glob("x.*"))


def test_data_sets_are_found_two_levels_deep(tmp_path):
    write_ivf(tmp_path / "train")
    write_pairs(tmp_path / "test", "IVF_OTHER")
    for folder in ("PET", "MRI"):
        write_image(tmp_path / "test/MIF/PET-MRI" / folder / "1.png", gray(1))
    names = [(name, task.id) for name, task, _ in data_sets(tmp_path / "test")]
    assert names == [("IVF_OTHER", "ivf"), ("MIF/PET-MRI", "mif")]
    assert "train/IVF" in [name for name, _, _ in data_sets(tmp_path)]


def test_a_missing_folder_is_an_error(tmp_path, capsys):
    assert check.run([str(tmp_path / "nowhere")]) == 1
    assert "nowhere: no such folder" in capsys.readouterr().err
    (tmp_path / "ir.mp4").touch()
    assert check.run([str(tmp_path / "ir.mp4"), str(tmp_path)]) == 1
    assert "ir.mp4 is a file; folders are checked" in capsys.readouterr().err
