"""`adasffuse fuse`: what is fused, what is refused, plans, resuming, reports, and several processes."""

import errno
import functools
import json
import os
import shlex
import shutil
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch.distributed as dist
from PIL import Image
from tiny import Mean, texture, write_ivf, write_weights, writing

from adasffuse.cli.main import main
from adasffuse.files import keeping_others_out
from adasffuse.images.pairs import SceneFolder
from adasffuse.images.read import read_image
from adasffuse.images.write import write_image
from adasffuse.inference import Fuser, load_fuser
from adasffuse.inference import ranks as ranks_module
from adasffuse.inference import results as results_module
from adasffuse.inference.folder import fuse_scenes
from adasffuse.inference.journal import Journal
from adasffuse.inference.ranks import Ranks
from adasffuse.inference.work import find_work
from adasffuse.scenes.street import NightCase, night_scene
from adasffuse.tasks import TASKS, guess_task

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """Weights of a tiny network for all tasks."""
    return write_weights(tmp_path_factory.mktemp("weights") / "w.safetensors", "general")


@pytest.fixture
def run(weights, capsys):
    """Call the command with a tiny network; status, standard output and errors."""

    def call(*arguments) -> tuple[int, str, str]:
        status = main(["fuse", *map(str, arguments), "--weights", str(weights)])
        return status, *capsys.readouterr()

    return call


@pytest.fixture
def pairs(tmp_path) -> Path:
    """Folder with infrared/ and visible/ of three pairs."""
    return write_ivf(tmp_path / "data") / "IVF"


def files(folder: Path) -> list[str]:
    """All files below a folder but the journal; half-written ones would be among them."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in found if not name.startswith(".adasffuse/"))


def test_two_files(run, pairs, tmp_path, weights):
    a, b = pairs / "infrared/1.png", pairs / "visible/1.png"
    status, out, err = run(a, b, "-o", tmp_path / "fused.png")
    assert (status, err) == (0, "") and "task ivf, infrared + visible (the names say infrared and visible" in out
    expected = load_fuser("ivf", weights=weights, device="cpu").fuse(a, b)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "fused.png")), expected)
    (tmp_path / "there").mkdir()
    assert run(a, b, "-o", tmp_path / "there")[0] == 0 and files(tmp_path / "there") == ["1.png"]
    assert run(a, b, "-o", tmp_path / "new/deep.tif", "--depth", "16", "--panel")[0] == 0
    assert files(tmp_path / "new") == ["deep.tif", "deep_panel.png"] and not (tmp_path / "new/.adasffuse").exists()
    assert read_image(tmp_path / "new/deep.tif").depth == "16"
    assert files(pairs) == sorted(f"{folder}/{n}.png" for folder in ("infrared", "visible") for n in "123")


def test_folders_patterns_and_data_sets_give_the_same_files(run, pairs, tmp_path):
    assert run(pairs / "infrared", pairs / "visible", "-o", tmp_path / "folders")[0] == 0
    assert run(pairs, "-o", tmp_path / "set")[0] == 0
    assert run(pairs / "infrared/*.png", pairs / "visible/*", "-o", tmp_path / "globs")[0] == 0
    (tmp_path / "cam").mkdir()
    for folder, word in (("infrared", "IR"), ("visible", "VIS")):
        for path in (pairs / folder).iterdir():
            shutil.copy(path, tmp_path / "cam" / f"{word}_{path.name}")
    cam = tmp_path / "cam"
    assert run(cam, "--pattern_a", "IR_*", "--pattern-b", "VIS_*", "-o", tmp_path / "one")[0] == 0
    assert run(cam / "IR_*", cam / "VIS_*.png", "-o", tmp_path / "both")[0] == 0
    status, _, err = run(cam, "-o", tmp_path / "advised")
    assert status == 1 and run(cam, *shlex.split(err.partition("; try ")[2]), "-o", tmp_path / "advised")[0] == 0
    results = [
        {name: (tmp_path / place / name).read_bytes() for name in files(tmp_path / place)}
        for place in ("folders", "set", "globs", "one", "both", "advised")
    ]
    assert list(results[0]) == ["1.png", "2.png", "3.png"] and all(other == results[0] for other in results)


def test_a_pattern_in_a_folder_whose_name_has_brackets(run, pairs, tmp_path):
    for name in ("infrared", "visible"):
        shutil.copytree(pairs / name, tmp_path / "day [1]" / name)
    sources = (tmp_path / "day [1]" / name / "*.png" for name in ("infrared", "visible"))
    assert run(*sources, "-o", tmp_path / "out")[0] == 0 and files(tmp_path / "out") == ["1.png", "2.png", "3.png"]


def test_a_source_without_content_is_told(run, tmp_path):
    for number in (1, 2):
        write_image(tmp_path / "ir" / f"{number}.png", np.full((40, 48), 90, np.uint8))
        write_image(tmp_path / "vis" / f"{number}.png", texture(40, 48, number))
    status, out, _ = run(tmp_path / "ir", tmp_path / "vis", "-o", tmp_path / "out")
    assert status == 0 and f"{tmp_path / 'ir' / '1.png'}: has no content, a flat frame" in out
    assert "(and 1 more file)" in out
    write_image(tmp_path / "vis" / "1.png", np.full((40, 48), 20, np.uint8))
    out = run(tmp_path / "ir", tmp_path / "vis", "-o", tmp_path / "out")[1]
    assert "a flat frame; it adds nothing to the result (and 2 more files)" in out


def test_a_source_whose_missing_pixels_are_scattered_is_told(run, tmp_path):
    temperatures = texture(40, 48, 1).astype(np.float32)
    temperatures[np.kron(np.indices((8, 12)).sum(axis=0) % 2, np.ones((5, 4))) > 0] = np.nan  # every second field
    write_image(tmp_path / "vis" / "1.png", texture(40, 48, 2))
    (tmp_path / "ir").mkdir()
    tifffile.imwrite(tmp_path / "ir" / "1.tif", temperatures)
    status, out, _ = run(tmp_path / "ir", tmp_path / "vis", "-o", tmp_path / "out", "--range_a", 0, 255)
    assert status == 0 and "flat frame" not in out
    assert f"{tmp_path / 'ir' / '1.tif'}: holds data mostly beside pixels without any" in out


@pytest.mark.skipif(os.name != "posix", reason="files are not locked on Windows")
def test_what_a_run_that_was_killed_left_is_removed_by_the_next(run, pairs, tmp_path):
    (tmp_path / "out/panels").mkdir(parents=True)
    for name in ("1.png", "2.tif", "panels/3.png", "other.png"):
        with writing(tmp_path / "out" / name, "die") as process:
            process.communicate(timeout=60)
    assert run(pairs, "-o", tmp_path / "out", "--resume")[0] == 0
    left = [path.parent.name for path in (tmp_path / "out").rglob(".part-*")]
    assert left == ["out"]  # of other.png, which is no result of this run


def test_stacks_of_more_than_two_folders(run, tmp_path):
    for number, name in enumerate(("under", "over", "more")):
        write_image(tmp_path / name / "1.png", texture(40, 48, number))
    folders = [tmp_path / name for name in ("under", "over", "more")]
    assert run(*folders, "-o", tmp_path / "out")[0] == 0 and files(tmp_path / "out") == ["1.png"]
    status, _, err = run(*folders, "-o", tmp_path / "ivf", "--task", "ivf")
    assert status == 2 and "infrared + visible takes two sources, got 3" in err


def test_all_sets_of_a_folder_of_data_sets_are_named(run, tmp_path):
    for name in ("IVF/infrared", "IVF/visible", "MIF/CT-MRI/CT", "MIF/CT-MRI/MRI"):
        write_image(tmp_path / name / "1.png", texture(40, 48, seed=1))
    status, _, err = run(tmp_path, "-o", tmp_path / "out")
    assert status == 1 and f"{tmp_path} is a folder of data sets (IVF, MIF/CT-MRI); give one of them" in err
    for name in ("cam1/infrared", "cam1/visible", "cam2/infrared", "cam2/visible"):
        write_image(tmp_path / "rig" / name / "1.png", texture(40, 48, seed=1))
    rig = tmp_path / "rig"
    status, _, err = run(rig, "-o", tmp_path / "out")
    assert status == 1 and f'such as {rig}/cam1, or their sources by patterns: "{rig}/*/infrared" "{rig}/*/vis' in err


def test_a_folder_for_each_scene(run, tmp_path):
    for number in (1, 2):
        for side in ("ir", "vis"):
            write_image(tmp_path / f"in/p{number}/{side}.png", texture(40, 48, seed=number))
    status, _, err = run(tmp_path / "in", "-o", tmp_path / "out")
    words = [tmp_path / "in/*/ir.png", tmp_path / "in/*/vis.png"]
    assert status == 1 and err.endswith('name both sources by patterns in quotes, in order: "{}" "{}"\n'.format(*words))
    status, out, _ = run(*words, "-o", tmp_path / "out")
    assert status == 0 and "the names say ir and vis" in out and files(tmp_path / "out") == ["p1.png", "p2.png"]
    assert "2 finished before" in run(*words, "-o", tmp_path / "out", "--resume")[1]
    status, _, err = run(*words, "-o", tmp_path / "in/p1")
    assert status == 1 and f"results would lie among the sources in {tmp_path}/in/p1" in err
    status, _, err = run(tmp_path / "in/p1", "-o", tmp_path / "out")
    assert (
        status == 1
        and "holds two images; name them, in order: {0}/ir.png {0}/vis.png".format(tmp_path / "in/p1") in err
    )
    (tmp_path / "scans").mkdir()
    for name in ("b_pet.nii.gz", "a_mri.nii.gz"):
        (tmp_path / "scans" / name).touch()
    status, _, err = run(tmp_path / "scans", "-o", tmp_path / "out")
    assert status == 1
    assert "holds two volumes; name them, in order: {0}/b_pet.nii.gz {0}/a_mri.nii.gz".format(tmp_path / "scans") in err


@pytest.mark.parametrize(
    "expected, arguments, message",
    [
        (
            1,
            "{d}/infrared/1.png {d}/visible -o {t}/o",
            "1.png is a file and {d}/visible a folder; give two files or two fold",
        ),
        (
            1,
            "{d}/infrared/1.png {d}/infrared/2.png {d}/infrared/3.png -o {t}/o",
            'got 3 files; quote patterns ("cam/*.png")',
        ),
        (1, "{d}/infrared/1.png -o {t}/o", "is one file; give two files, two folders, or a folder and two patterns"),
        (1, "{d}/infrared/1.png {d}/infrared/1.png -o {t}/o.png", "two sources are one and the same file"),
        (1, "{d}/.. -o {t}/o", "is a folder of data sets"),
        (1, "{d}/infrared {d}/infrared -o {t}/o", "two sources are one and the same folder"),
        (1, "{t}/x -o {t}/o", "exposures or focus settings of one scene are a stack: adasffuse stack {t}/x"),
        (1, "{t}/rig -o {t}/o", "name the folders of the sources, in order: {t}/rig/r {t}/rig/t"),
        (1, "{d}/infrared {d}/nowhere -o {t}/o", "{d}/nowhere: no such file or folder"),
        (1, "{t}/x.MP4 {d}/visible/1.png -o {t}/o.mp4", "{t}/x.MP4 is a video: adasffuse video A B -o OUT.mp4"),
        (1, "{d}/inf*/1.png {d}/visible/*.png -o {t}/o", "no path has a partner in which '*' stands for the same"),
        (1, "{d}/infrared {d}/visible -o {d}/visible", "results would lie among the sources in {d}/visible"),
        (
            1,
            "{d}/infrared/1.png {d}/visible/1.png -o {d}/visible/1.png",
            "would overwrite a source; choose another file",
        ),
        (1, "{d}/infrared {d}/visible -o {t}/file/o", "-o {t}/file/o: {t}/file is no folder; choose another place"),
        (2, "{d}/*/1.png -o {t}/o", "{d}/*/1.png is a pattern; give one for each source, and no other"),
        (2, "{d}/*/1.png {d}/*/2.png -o {t}/o --pattern_a x*", "is a pattern; give one for each source, and no other"),
        (2, "{d}/infrared {d}/visible/[12].png -o {t}/o", "a pattern has one '*', in the name of the files"),
        (
            2,
            "{d}/infrared/1.png {d}/visible/1.png -o {t}/o.jpg",
            "o.jpg: results are written to files ending in .png, .tif, .tiff, or to a folder that exists",
        ),
        (2, "{d}/infrared/1.png {d}/visible/1.png -o {t}/o.png --resume", "--resume is for folders"),
        (2, "{d}/infrared/1.png {d}/visible/1.png -o {t}/o.png --pattern_a *", "is for folders; files belong together"),
        (
            2,
            "{d}/visible {d}/infrared -o {t}/o",
            "source A is called 'visible' and source B 'infrared': for infrared + visi",
        ),
        (
            2,
            "{t}/x {t}/y -o {t}/o",
            "the names do not tell what is fused; say --task with one of ivf (infrared + visible), m",
        ),
        (
            2,
            "{d}/infrared {d}/visible -o {t}/o --grid a",
            "--grid a is about alignment; give --align METHOD or --calib",
        ),
        (2, "{d}/infrared {d}/visible -o {t}/o --range_a 9 3", "--range_a: a value range needs LOW < HIGH"),
        (2, "{d}/infrared {d}/visible -o {t}/o --device gpu", "unknown device 'gpu'"),
        (2, "{d}/infrared {d}/visible -o {t}/o --tile 100", "tile and tile_overlap must be multiples of 16"),
    ],
)
def test_mistakes_are_refused_with_one_line(run, pairs, tmp_path, expected, arguments, message):
    for seed, name in enumerate(("x", "y", "rig/r", "rig/t")):
        write_image(tmp_path / name / "1.png", texture(40, 48, seed))
    for name in ("file", "x.MP4"):
        (tmp_path / name).touch()
    before = files(tmp_path)
    status, out, err = run(*arguments.format(d=pairs, t=tmp_path).split())
    assert status == expected and err.startswith("error: ") and err.count("\n") == 1
    assert message.format(d=pairs, t=tmp_path) in err
    assert "fused" not in out and files(tmp_path) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["-o", "x"],
        ["a", "b"],
        ["a", "b", "-o", ""],
        ["a", "b", "-o", "x", "--scores", "--dry_run"],
        ["a", "b", "c", "-o", "x", "--scores"],
        ["a", "b", "c", "-o", "x", "--pattern_a", "*"],
    ],
)
def test_impossible_arguments_end_with_2(run, arguments):
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    assert caught.value.code == 2


def damage(pairs: Path) -> None:
    """Of five pairs: one of two sizes, one truncated, one alone, one of floats without a range; one is whole."""
    write_image(pairs / "visible/1.png", texture(9, 14, seed=1))
    data = (pairs / "infrared/2.png").read_bytes()
    (pairs / "infrared/2.png").write_bytes(data[: len(data) // 2])
    write_image(pairs / "infrared/alone.png", texture(40, 48, seed=1))
    cv2.imwrite(str(pairs / "infrared/real.tiff"), np.full((40, 48), 300.5, np.float32))
    write_image(pairs / "visible/real.png", texture(40, 48, seed=2))


def test_a_plan_names_every_failure_that_the_run_then_has_and_writes_nothing(run, pairs, tmp_path):
    damage(pairs)
    status, out, _ = run(pairs, "-o", tmp_path / "out", "--dry-run")
    assert status == 1 and "1 would be fused, 4 would fail; nothing was written" in out
    assert f"  3: 48x40, 3.png (8 bits, 0 to 255) + 3.png (8 bits, 0 to 255) -> {tmp_path}/out/3.png" in out
    assert not (tmp_path / "out").exists()
    planned = json.loads(run(pairs, "-o", tmp_path / "out", "--dry_run", "--json")[1])
    status, out, _ = run(pairs, "-o", tmp_path / "out", "--json")
    report = json.loads(out)
    assert status == 1 and planned["ok"] is report["ok"] is False
    assert report["failed"] == sorted(planned["failed"], key=lambda one: one["name"] != "alone")
    assert [one["name"] for one in report["failed"]] == ["alone", "1", "2", "real"]
    assert [one["result"] for one in planned["planned"]] == [one["result"] for one in report["fused"]]
    assert planned["planned"][0]["replaces"] is False and files(tmp_path / "out") == ["3.png"]
    assert json.loads(run(pairs, "-o", tmp_path / "out", "--dry_run", "--json")[1])["planned"][0]["replaces"] is True


def test_a_plan_sees_results_in_the_way_and_folders_that_cannot_be_written(run, pairs, tmp_path):
    (tmp_path / "out/2.png").mkdir(parents=True)
    status, out, _ = run(pairs, "-o", tmp_path / "out", "--dry_run")
    assert status == 1 and f"would fail: 2: cannot write {tmp_path}/out/2.png: it is there and no regular file" in out
    (tmp_path / "file").touch()
    status, out, _ = run(pairs, "-o", tmp_path / "file/out", "--dry_run")
    assert status == 1 and f"cannot write results there: {tmp_path}/file is no folder that is writable" in out


def test_a_result_that_its_file_cannot_hold_is_seen_before_the_network_runs(run, pairs, tmp_path, monkeypatch):
    sources = pairs / "infrared/1.png", pairs / "visible/1.png"
    arguments = [*sources, "-o", tmp_path / "f.png", "--task", "ivf", "--depth", "float"]
    monkeypatch.setattr(Fuser, "fuse_prepared", None)
    for extra in (["--dry_run"], []):
        status, out, _ = run(*arguments, *extra)
        assert status == 1 and "f.png: float32 pixels are written to files ending in .tif" in out
    assert not (tmp_path / "f.png").exists()


def test_a_folder_of_results_is_not_called_like_a_file(run, pairs, tmp_path):
    for name in ("fused.png", "fused.JPG", "fused.txt", "fused.mp3", "fused.nii.gz"):
        status, _, errors = run(pairs, "-o", tmp_path / name)
        assert status in (1, 2) and not (tmp_path / name).exists()
        assert "a folder is written here, and " in errors or "volumes" in errors
    (tmp_path / "there.txt").mkdir()
    for name in ("there.txt", "run.v2", "fused_1.0", "29.11.2026", "fused.tiny"):
        assert run(pairs, "-o", tmp_path / name)[0] == 0


def test_a_run_of_which_everything_fails_leaves_no_folder(run, pairs, tmp_path):
    for path in (pairs / "visible").iterdir():
        path.write_bytes(b"no image")
    for sources, out in (
        (["data/IVF"], "new/out"),
        (["data/IVF/infrared/1.png", "data/IVF/visible/1.png"], "new/1.png"),
    ):
        status, told, _ = run(*(tmp_path / source for source in sources), "-o", tmp_path / out, "--task", "ivf")
        assert status == 1 and not (tmp_path / "new").exists()
        assert "0 pairs fused, " in told and "->" not in told


def test_resuming_skips_exactly_what_is_finished(run, pairs, tmp_path):
    """Same sources, same settings, and the file that was written then."""

    def fused(*options) -> list[str]:
        status, out, _ = run(pairs, "-o", tmp_path / "out", "--resume", "--json", *options)
        report = json.loads(out)
        assert status == 0 and len(report["fused"]) + len(report["skipped"]) == 3
        assert all(Path(one["result"]).is_file() for one in report["fused"] + report["skipped"])
        return [one["name"] for one in report["fused"]]

    assert fused() == ["1", "2", "3"]
    assert fused() == []
    (tmp_path / "out/2.png").unlink()
    assert fused() == ["2"]
    write_image(pairs / "visible/3.png", texture(40, 48, seed=9))
    assert fused() == ["3"]
    (tmp_path / "out/1.png").write_bytes((tmp_path / "out/2.png").read_bytes())  # whole, but another's
    assert fused() == ["1"]
    assert fused("--depth", "16") == ["1", "2", "3"] and fused("--depth", "16") == []
    assert fused("--depth", "16", "--panel") == ["1", "2", "3"]
    (tmp_path / "out/panels/2.png").unlink()
    assert fused("--depth", "16") == []
    assert fused("--depth", "16", "--panel") == ["2"]
    journal = tmp_path / "out/.adasffuse/rank0.jsonl"
    journal.write_text(journal.read_text()[:-20])  # a run that was killed while it wrote
    assert fused("--depth", "16", "--panel") == ["2"] and fused("--depth", "16", "--panel") == []


def test_results_that_are_reached_by_a_link_are_finished(run, pairs, tmp_path):
    run(pairs, "-o", tmp_path / "out")
    (tmp_path / "link").symlink_to(tmp_path / "out", target_is_directory=True)
    assert "0 pairs fused, 3 finished before" in run(pairs, "-o", tmp_path / "link", "--resume")[1]


def test_a_journal_that_was_edited_or_copied_calls_nothing_finished(run, pairs, tmp_path):
    run(pairs, "-o", tmp_path / "out")
    journal = tmp_path / "out/.adasffuse/rank0.jsonl"
    first, *others = journal.read_text().strip().splitlines()
    edits = ('"stem": [1]', '"results": 5', '"results": [["a\\u0000b", 1, 2]]', '"x": ' + "[" * 9999)
    journal.write_text("\n".join([*(f"{first[:-1]}, {edit}}}" for edit in edits), *others]))
    assert "1 pair fused" in run(pairs, "-o", tmp_path / "out", "--resume")[1]
    shutil.copytree(tmp_path / "out", tmp_path / "copy", copy_function=shutil.copy2)
    for path in (tmp_path / "copy").glob("*.png"):
        path.unlink()
    assert "3 pairs fused" in run(pairs, "-o", tmp_path / "copy", "--resume")[1]
    assert len(list((tmp_path / "copy").glob("*.png"))) == 3


def test_a_result_that_is_a_link_to_itself_is_replaced(run, pairs, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/1.png").symlink_to("1.png")
    assert run(pairs, "-o", tmp_path / "out")[0] == 0
    assert not (tmp_path / "out/1.png").is_symlink() and read_image(tmp_path / "out/1.png").depth == "8"


def test_an_unfinished_pair_is_finished_by_the_next_run(run, pairs, tmp_path):
    whole = (pairs / "infrared/2.png").read_bytes()
    (pairs / "infrared/2.png").write_bytes(whole[:50])
    assert run(pairs, "-o", tmp_path / "out")[0] == 1
    (pairs / "infrared/2.png").write_bytes(whole)
    status, out, _ = run(pairs, "-o", tmp_path / "out", "--resume")
    assert status == 0 and "1 pair fused" in out and "2 finished before, 0 failed" in out
    status, out, _ = run(pairs, "-o", tmp_path / "out", "--resume", "--dry_run")
    assert status == 0 and "0 would be fused, 3 finished before, 0 would fail" in out


def test_panels_show_sources_and_result_side_by_side(run, pairs, tmp_path):
    assert run(pairs, "-o", tmp_path / "out", "--panel")[0] == 0
    assert files(tmp_path / "out") == [f"{n}.png" for n in "123"] + [f"panels/{n}.png" for n in "123"]
    panel = np.asarray(Image.open(tmp_path / "out/panels/1.png"))
    images = [pairs / "infrared/1.png", pairs / "visible/1.png", tmp_path / "out/1.png"]
    for number, path in enumerate(images):
        shown = panel[26:66, 54 * number : 54 * number + 48]  # below a caption, six pixels apart
        assert np.array_equal(shown[..., 0], np.asarray(Image.open(path)))


@pytest.mark.filterwarnings("ignore:.*undefined for these")
def test_scores_of_the_report_are_those_of_all_finished_pairs(run, pairs, tmp_path):
    first = json.loads(run(pairs, "-o", tmp_path / "out", "--scores", "--json")[1])["scores"]
    again = json.loads(run(pairs, "-o", tmp_path / "out", "--scores", "--json", "--resume")[1])
    assert again["scores"] == first and len(again["skipped"]) == 3
    assert "convention adasffuse, n = 3" in run(pairs, "-o", tmp_path / "out", "--scores")[1]


def test_a_full_disk_is_one_error_and_leaves_whole_files(run, pairs, tmp_path, monkeypatch):
    write = results_module.write_image

    def full_after_one(path, *rest):
        if list((tmp_path / "out").glob("*.png")):
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, *rest)

    monkeypatch.setattr(results_module, "write_image", full_after_one)
    status, out, err = run(pairs, "-o", tmp_path / "out")
    assert status == 1 and err.count("\n") == 1 and "No space left on device; results written before are whole" in err
    assert "pairs fused" not in out and len(files(tmp_path / "out")) == 1
    monkeypatch.undo()
    status, out, _ = run(pairs, "-o", tmp_path / "out", "--resume")
    assert status == 0 and "2 pairs fused" in out and "1 finished before" in out


def test_json_holds_the_error_too(run, tmp_path):
    status, out, err = run(tmp_path / "a", tmp_path / "b", "-o", tmp_path / "o", "--json")
    assert status == 1 and json.loads(out) == {"ok": False, "error": f"{tmp_path}/a: no such file or folder"}
    assert err.startswith("error: ")


def test_names_tell_the_task():
    def task(a: str, b: str) -> str | None:
        guess = guess_task([a], [b])
        return guess[0].id if guess else None

    assert [task("IR_12", "VIS_12"), task("thermal", "rgb"), task("FLIR_1_ir", "FLIR_1_vis")] == ["ivf"] * 3
    assert [task("low", "over"), task("far_2", "near_2"), task("SPECT", "MRI")] == ["mef", "mff", "mif"]
    assert [task("PT", "MR"), task("NM", "MR")] == ["mif"] * 2  # DICOM's words
    assert [task("a", "b"), task("ir", "ir"), task("irish", "visit"), task("ir_low", "vis_over")] == [None] * 4
    with pytest.raises(ValueError, match=r"source A is called 'mri' and source B 'ct': .* or say --task mif"):
        task("MRI", "CT")


def test_processes_share_the_scenes_and_all_get_the_whole_report(pairs, tmp_path):
    """Two threads in place of processes, over the store that processes have."""
    write_image(pairs / "infrared/alone.png", texture(40, 48, seed=1))
    (pairs / "visible/2.png").write_bytes(b"no image")
    store, reports = dist.HashStore(), {}
    work = find_work(SceneFolder("IVF", (pairs / "infrared", pairs / "visible")), tmp_path / "out")

    def process(rank: int) -> None:
        ranks = Ranks(rank, 2, store)
        fuser = Fuser(Mean(), TASKS["ivf"], precision="float32")
        reports[rank] = fuse_scenes(fuser, work, resume=False, ranks=ranks)
        ranks.leave(False)

    threads = [threading.Thread(target=process, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(reports) == 2
    for report in reports.values():
        assert [scene.stem for scene in report.fused] == ["1", "3"] and sorted(report.files) == ["1", "3"]
        assert [name for name, _ in report.failed] == ["alone", "2"]
    noted = {path.name: path.read_text().count('"stem"') for path in (tmp_path / "out/.adasffuse").iterdir()}
    assert noted == {"rank0.jsonl": 2}  # the other one's only scene failed
    single = fuse_scenes(Fuser(Mean(), TASKS["ivf"], precision="float32"), work, resume=True)
    assert [scene.stem for scene in single.skipped] == ["1", "3"] and not single.fused


def test_a_journal_whose_folder_another_process_is_just_making(monkeypatch, tmp_path):
    is_dir = Path.is_dir

    def is_dir_until_now(path: Path) -> bool:
        found = is_dir(path)
        path.mkdir(exist_ok=True)
        return found

    monkeypatch.setattr(Path, "is_dir", is_dir_until_now)
    Journal(tmp_path, "settings", resume=False)


def test_a_process_that_failed_does_not_wait_for_a_main_one_that_waits_for_it(monkeypatch):
    monkeypatch.setattr(ranks_module, "_PATIENCE", 0.3)
    store = dist.HashStore()
    failed, main_one = Ranks(1, 2, store), Ranks(0, 2, store)
    failed.leave(failed=True)
    main_one.leave()
    Ranks(1, 2, store).leave()  # the main one has left: no wait
    assert failed.gather(5) == [5]


@pytest.mark.slow
def test_two_real_processes(run, pairs, tmp_path, weights, torchrun):
    done = torchrun("-m", "adasffuse", "fuse", pairs, "-o", tmp_path / "two", "--weights", weights, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)  # one report, of all
    assert [one["name"] for one in report["fused"]] == ["1", "2", "3"]
    assert sorted(os.listdir(tmp_path / "two/.adasffuse")) == ["rank0.jsonl", "rank1.jsonl"]
    assert run(pairs, "-o", tmp_path / "one")[0] == 0
    for name in files(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert json.loads(run(pairs, "-o", tmp_path / "two", "--resume", "--json")[1])["fused"] == []


@pytest.mark.slow
def test_a_fusion_script_in_two_real_processes(pairs, tmp_path, weights, torchrun):
    (pairs / "visible/2.png").write_bytes(b"no image")
    folders = ["--A_dir", pairs / "infrared", "--B_dir", pairs / "visible", "--save_dir", tmp_path, "--no_scores"]
    done = torchrun(ROOT / "test_IVF_RGB.py", *folders, "--weights", weights)
    assert done.returncode != 0 and done.stdout.count("IVF: 2 pairs fused") == done.stdout.count("failed: 2: ") == 1
    assert files(tmp_path / "IVF") == ["1.png", "3.png"]


@pytest.mark.slow
def test_the_share_of_a_process_that_died_is_finished_by_resuming(run, pairs, tmp_path, weights, torchrun, dying):
    done = torchrun(
        dying("adasffuse.inference.results", "write_image"), "fuse", pairs, "-o", tmp_path / "out", "--weights", weights
    )
    assert done.returncode != 0 and "pairs fused" not in done.stdout
    status, out, _ = run(pairs, "-o", tmp_path / "out", "--resume", "--json")
    report = json.loads(out)
    assert status == 0 and "2" in [one["name"] for one in report["fused"]]
    assert files(tmp_path / "out") == ["1.png", "2.png", "3.png"]


def test_results_of_one_name_in_two_formats_are_said(run, pairs, tmp_path):
    out = tmp_path / "out"
    assert run(pairs, "-o", out, "--panel")[0] == 0
    for extra in ([], ["--resume"]):  # fused, and found finished
        status, text, _ = run(pairs, "-o", out, "--depth", "float", *extra)
        assert status == 0 and f"{out}: 3 files of an earlier run, such as 1.png, have the names of results" in text
    assert f"{out}/panels: shows results of an earlier run" in run(pairs, "-o", out)[1]
    for path in out.glob("*.tif"):
        path.unlink()
    status, text, _ = run(pairs, "-o", out, "--panel")
    assert status == 0 and "earlier run" not in text


def test_resuming_with_other_settings_makes_results_anew_and_says_so(run, pairs, tmp_path):
    out = tmp_path / "out"
    run(pairs, "-o", out)
    before = (out / "1.png").read_bytes()
    status, text, _ = run(pairs, "-o", out, "--resume", "--strength", "0.3")
    assert status == 0 and "3 results of an earlier run had other settings, weights or another version" in text
    assert (out / "1.png").read_bytes() != before
    status, text, _ = run(pairs, "-o", out, "--resume", "--strength", "0.3")
    assert "3 finished before" in text and "other settings" not in text


@pytest.mark.parametrize("place", [".adasffuse", ".adasffuse/rank0.jsonl"])
def test_what_lies_in_the_place_of_the_journal_is_named(run, pairs, tmp_path, place):
    """Before any work: results that cannot be noted would count as failed."""
    out = tmp_path / "out"
    out.mkdir()
    if "/" in place:
        (out / place).mkdir(parents=True)
    else:
        (out / place).write_text("")
    for extra in ([], ["--resume"]):
        status, _, err = run(pairs, "-o", out, *extra)
        said = f"cannot keep a journal in {out / place}: something else lies there; remove it"
        assert status == 1 and said in err and "Errno" not in err
    assert not list(out.glob("*.png"))


def test_a_second_run_into_one_folder_is_refused_while_the_first_one_works(run, pairs, tmp_path):
    """Results of two settings would mix; single results beside them do not."""
    out = tmp_path / "out"
    run(pairs, "-o", out)
    before = (out / "1.png").read_bytes()
    with keeping_others_out(out):
        status, _, err = run(pairs, "-o", out, "--strength", "0.3")
        assert status == 1 and f"another run is writing results to {out}; wait for it, or choose another" in err
        assert run(pairs / "infrared/1.png", pairs / "visible/1.png", "-o", out / "x.png", "--task", "ivf")[0] == 0
    assert (out / "1.png").read_bytes() == before
    assert run(pairs, "-o", out, "--strength", "0.3")[0] == 0 and (out / "1.png").read_bytes() != before


def test_results_of_an_earlier_run_where_scenes_fail_now_are_said(run, pairs, tmp_path):
    out = tmp_path / "out"
    run(pairs, "-o", out)
    (pairs / "infrared/2.png").write_bytes(b"")
    status, text, _ = run(pairs, "-o", out)
    assert status == 1 and f"{out}/2.png is of an earlier run; its scene has failed now" in text
    (out / "2.png").unlink()
    assert "earlier run" not in run(pairs, "-o", out)[1]


@functools.cache
def rendered_street(seed: int) -> NightCase:
    return night_scene(np.random.default_rng(seed), (120, 160))


@pytest.mark.parametrize("kind", ["black-hot", "not raised", "inverted back", "white-hot", "few"])
def test_people_who_are_dark_in_infrared_images_are_a_notice(tmp_path, capsys, kind):
    """Rendered streets: said where it seems so of one image, or of more than a tenth of those of a folder.

    A dry run says it, too.
    """
    for number in range(12 if kind == "few" else 1):
        scene = rendered_street(min(number, 1))
        black_hot = kind != "white-hot" and not number
        images = {"infrared": 1 - scene.infrared if black_hot else scene.infrared, "visible": scene.visible}
        for name, image in images.items():
            write_image(tmp_path / name / f"{number}.png", np.rint(255 * image).astype(np.uint8))
    extra = {"inverted back": ["--range_a", "inverted"], "not raised": ["--no_people"]}.get(kind, [])
    words = ["fuse", tmp_path / "infrared", tmp_path / "visible", "-o", tmp_path / "out", "--size", "tiny", *extra]
    said = f"{tmp_path}/infrared/0.png: people seem to be dark in it; if hot things are dark"
    for last in (["--dry_run"], []):
        assert main([*map(str, [*words, *last])]) == 0
        assert (said in capsys.readouterr().out) == (kind in ("black-hot", "not raised"))
