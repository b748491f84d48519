"""scripts/score_weights.py and scripts/score_focus.py, on pairs and photographs made here with a tiny network."""

import json

import cv2
import numpy as np
import pytest
import score_focus
import score_weights
import scoring
from skimage import data as photographs
from tiny import rendered_samples, texture, write_ivf, write_weights

from adasffuse.classical.baselines import BASELINES
from adasffuse.cli import task_script as cli
from adasffuse.images.color import luminance, rgb_to_ycbcr
from adasffuse.images.read import read_image
from adasffuse.images.write import write_image
from adasffuse.inference import load_fuser
from adasffuse.metrics import ScoreTable, evaluate
from adasffuse.metrics.color import chroma_fidelity
from adasffuse.metrics.folder import score_folders
from adasffuse.metrics.job import Settings
from adasffuse.metrics.tones import TONES, lost_tone
from adasffuse.models.weights import file_sha256
from adasffuse.scenes.head import head

pytestmark = pytest.mark.filterwarnings("ignore:.*undefined for these")


@pytest.fixture
def run(tmp_path, capsys):
    """Call score_weights.py with a tiny general network; its output and the two files it writes."""
    weights = write_weights(tmp_path / "tiny.safetensors", "general")

    def call(*arguments) -> tuple[str, dict, str]:
        common = ["--weights", weights, "--workers", 1, "--cache", tmp_path / "cache"]
        files = ["--json", tmp_path / "s/s.json", "--markdown", tmp_path / "s/s.md"]
        assert score_weights.main([str(a) for a in (*common, *files, *arguments)]) == 0, capsys.readouterr().err
        text = (tmp_path / "s/s.md").read_text()
        assert str(tmp_path) not in text  # no machine paths
        return capsys.readouterr().out, json.loads((tmp_path / "s/s.json").read_text()), text

    return call


def test_images_and_scores_are_those_of_the_fusion_scripts(run, tmp_path):
    root = write_ivf(tmp_path / "data", size=(72, 80))
    out, content, markdown = run("--root_path", root, "--datasets", "IVF", "--out", tmp_path / "fused")
    script = ["--root_path", root, "--model_path", tmp_path / "tiny.safetensors", "--save_dir", tmp_path / "script"]
    assert cli.run("ivf", [*map(str, script), "--no_scores"]) == 0
    for name in ("1.png", "2.png", "3.png"):
        assert (tmp_path / "fused/IVF" / name).read_bytes() == (tmp_path / "script/IVF" / name).read_bytes()
    sources = root / "IVF/infrared", root / "IVF/visible"
    settings = Settings(beside=("Spurious",))
    fused = {"AdaSFFuse": tmp_path / "script/IVF"}
    expected = score_folders(*sources, fused, list(BASELINES), settings=settings, workers=1)
    scores = content["sets"]["IVF"]
    for method in expected.methods:
        assert scores[method] == pytest.approx(expected.means(method), abs=6e-5)
    assert scores["pairs"] == 3 and set(scores["mean_rank"]) == set(expected.methods)
    assert content["weights"] == {"tiny.safetensors": file_sha256(tmp_path / "tiny.safetensors")}
    assert f"place {scores['place']} of 6" in out or "first" in out
    assert markdown.count("\n### ") == 1 and "| mean rank | EN↑ | SD↑ | SF↑ | Spurious↓ |" in markdown
    identity = scores["identity_error"]
    assert identity["images"] == 4 and 0 <= identity["mean"] <= identity["largest"] < 1
    assert "Identity error of AdaSFFuse: largest" in out and "(4 images, each fused with itself)" in markdown


def test_the_released_general_weights(run, tmp_path, monkeypatch):
    names = []
    tiny = tmp_path / "tiny.safetensors"
    monkeypatch.setattr(score_weights, "find_weights", lambda *asked: names.append(asked) or tiny)
    _, content, _ = run("--weights", "general", "--root_path", write_ivf(tmp_path / "data"), "--datasets", "IVF")
    assert names == [("general", "ivf", None)] and list(content["weights"]) == [tiny.name]


def test_en_sd_and_sf_do_not_count_in_the_rank():
    table = ScoreTable(scoring.RANKED, beside=scoring.REPORTED)
    good = dict.fromkeys(scoring.RANKED, 1.0) | dict.fromkeys(scoring.REPORTED, 0.0)
    table.add("AdaSFFuse", "1", (8, 8), good)
    table.add("max", "1", (8, 8), {name: 1 - value for name, value in good.items()})
    scored = scoring.Scored("x", table)
    assert scored.table.mean_ranks() == {"AdaSFFuse": 1, "max": 2} and scored.place() == 1
    assert scored.verdict() == "mean rank 1.00, first; best other: max 2.00"
    scored.table.add("gff", "1", (8, 8), good)
    assert scored.place() == 1 and scored.verdict() == "mean rank 1.50, first, shared with gff; best other: gff 1.50"


def test_sets_with_annotations_get_target_retention(run, tmp_path):
    root = write_ivf(tmp_path)
    (root / "IVF/Annotations").mkdir()
    box = "<xmin>9</xmin><ymin>9</ymin><xmax>16</xmax><ymax>16</ymax>"
    content = f"<annotation><object><name>person</name><bndbox>{box}</bndbox></object></annotation>"
    (root / "IVF/Annotations/2.xml").write_text(content)
    infrared = np.full((40, 48), 20, np.uint8)
    infrared[8:16, 8:16] = 200
    write_image(root / "IVF/infrared/2.png", infrared)
    write_image(root / "IVF/visible/2.png", np.full((40, 48), 90, np.uint8))
    out, content, _ = run("--root_path", root, "--datasets", "IVF")
    scores = content["sets"]["IVF"]
    assert "Retention↑" in out and scores["average"]["Retention"] == pytest.approx(0.5)
    assert scores["max"]["Retention"] == pytest.approx((200 - 90) / (200 - 20), abs=1e-4)
    (root / "IVF/Annotations/2.xml").rename(root / "IVF/Annotations/other.xml")
    assert "Retention" not in run("--root_path", root, "--datasets", "IVF")[0]


def test_sets_outside_the_layout_and_a_choice_of_pairs(run, tmp_path):
    write_ivf(tmp_path, stems=tuple("12345")).joinpath("IVF").rename(tmp_path / "streets")
    _, content, _ = run("--extra", tmp_path / "streets", "--pairs", 3, "--out", tmp_path / "fused")
    assert content["sets"]["streets"]["pairs"] == 3
    assert sorted(p.stem for p in (tmp_path / "fused/streets").iterdir()) == ["1", "3", "5"]


def test_every_second_pair_of_one_set(run, tmp_path):
    write_ivf(tmp_path / "data", stems=tuple("12345"))
    (tmp_path / "data/IVF").rename(tmp_path / "data/IVF_A")
    write_ivf(tmp_path / "data", stems=tuple("123"))
    sets = ["--root_path", tmp_path / "data", "--datasets", "IVF_A", "IVF", "--out", tmp_path / "fused"]
    _, content, _ = run(*sets, "--every", "IVF_A=2")
    assert [content["sets"][name]["pairs"] for name in ("IVF_A", "IVF")] == [3, 3]
    assert sorted(p.stem for p in (tmp_path / "fused/IVF_A").iterdir()) == ["1", "3", "5"]


def test_exposures_get_mef_ssim_and_colour_mertens(run, tmp_path):
    cat = rendered_samples("mef")[0]
    a, b = (cv2.resize(image, (120, 80), interpolation=cv2.INTER_AREA) for image in (cat.a, cat.b))
    for folder, image in (("low", a), ("over", b)):
        write_image(tmp_path / "data/MEF" / folder / "cat.png", image)
    _, content, markdown = run("--root_path", tmp_path / "data", "--datasets", "MEF", "--pairs", 1)
    scores = content["sets"]["MEF"]["MEF_SSIM"]
    assert set(scores) == {"AdaSFFuse", *BASELINES, *scoring.COLOR_MERTENS}
    fused = cv2.createMergeMertens(1, 1, 1).process([a, b])
    expected = evaluate(a, b, np.rint(fused.clip(0, 1) * 255).astype(np.uint8), ["MEF_SSIM"])
    assert scores["mertens colour"] == pytest.approx(expected["MEF_SSIM"], abs=1e-6)
    assert "MEF-SSIM: AdaSFFuse" in markdown
    assert "254..255 where a source is within 20..235" in markdown and "0..24 where a source is" in markdown


@pytest.mark.parametrize(("tone", "lost", "maximum"), [("clipped_highlights", 255, 1), ("lost_shadows", 9, 0)])
def test_lost_tones_count_what_a_source_holds(tone, lost, maximum):
    """Left half: A holds it, B is lost; right half: both are lost."""
    a, b = np.full((4, 8), lost, np.uint8), np.full((4, 8), lost, np.uint8)
    a[:, :4] = 100
    results = (np.where(np.arange(8) < 1, b, a), a // 2 + b // 2, np.maximum(a, b))
    assert [lost_tone(a, b, fused, TONES[tone]) for fused in results] == [0.25, 0.0, maximum]
    assert lost_tone(b, b, a, TONES[tone]) == 0  # no source shows anything


def test_medical_results_keep_the_chroma(run, tmp_path):
    for seed, name in ((4, "CT"), (5, "PET"), (6, "SPECT")):
        images = head(seed, 96)
        for folder in (name, "MRI"):
            write_image(tmp_path / f"data/MIF/{name}-MRI/{folder}/{seed}.png", images[folder])
    _, content, markdown = run("--root_path", tmp_path / "data", "--datasets", "MIF", "--out", tmp_path / "fused")
    assert list(content["sets"]) == ["MIF/CT-MRI", "MIF/PET-MRI", "MIF/SPECT-MRI"]
    assert "chroma" not in content["sets"]["MIF/CT-MRI"]
    for subset in ("PET-MRI", "SPECT-MRI"):
        chroma = content["sets"][f"MIF/{subset}"]["chroma"]
        assert chroma["max_angle_degrees"] < 0.01 and 0 < chroma["gamut_forced"] < 1
        assert chroma["within_levels"] == 1 and chroma["max_levels"] <= 1 and chroma["forced_within_levels"] == 1
    assert "Chroma: largest turn before rounding" in markdown


def test_chroma_fidelity_sees_a_change_of_colour():
    source = np.full((8, 8, 3), (120, 90, 80), np.float32) / 255
    gray = np.full((8, 8), 96 / 255, np.float32)
    dark = np.full((8, 8, 3), (3, 0, 0), np.float32) / 255  # all the colour that Y = 1 allows
    kept, lost, forced = (chroma_fidelity([(source, saved)]) for saved in (source + np.float32(20 / 255), gray, dark))
    assert kept["within_levels"] == 1 and kept["gamut_forced"] == 0
    assert lost["within_levels"] == 0
    _, cb, cr = rgb_to_ycbcr(source)
    assert lost["max_levels"] == pytest.approx(255 * max(abs(cb[0, 0]), abs(cr[0, 0])), abs=0.01)
    assert forced["gamut_forced"] == 1 and forced["forced_within_levels"] == 1
    assert chroma_fidelity([(gray, dark)]) == {}


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--extra", "{tmp}"], "holds the two folders of no task; expected infrared/ and visible/, low/ and over/"),
        (["--root_path", "{tmp}", "--datasets", "IVF"], "no source folders for IVF"),
        (["--root_path", "{tmp}", "--datasets", "DOGS"], "unknown task 'DOGS'"),
    ],
)
def test_mistakes_are_one_line(arguments, message, tmp_path, capsys):
    assert score_weights.main([a.format(tmp=tmp_path) for a in arguments]) == (2 if "DOGS" in message else 1)
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error


def test_a_pair_that_cannot_be_fused_is_no_table(tmp_path, capsys):
    root = write_ivf(tmp_path / "data")
    write_image(root / "IVF/visible/2.png", texture(40, 40, 0))
    weights = write_weights(tmp_path / "w.safetensors", "ivf")
    assert score_weights.main(["--weights", str(weights), "--root_path", str(root), "--datasets", "IVF"]) == 1
    assert "error: IVF: 1 pairs not fused, the first: 2: sizes differ" in capsys.readouterr().err


def test_an_image_that_cannot_be_scored_is_no_table(tmp_path, capsys, monkeypatch):
    root, weights = write_ivf(tmp_path / "data"), write_weights(tmp_path / "w.safetensors", "ivf")

    def damaged(*_, **__):
        table = ScoreTable(("EN",))
        table.add_unscored("max", "2", "2.png: damaged")
        return table

    monkeypatch.setattr(scoring, "score_pairs", damaged)
    assert score_weights.main(["--weights", str(weights), "--root_path", str(root), "--datasets", "IVF"]) == 1
    assert "error: IVF: not scored: 2 of max: 2.png: damaged" in capsys.readouterr().err


@pytest.fixture
def photos(tmp_path):
    for name in ("camera", "coffee", "chelsea"):
        write_image(tmp_path / "photos" / f"urban_{name}.png", getattr(photographs, name)()[:200, :180])
    write_image(tmp_path / "photos/bsd.png", texture(160, 160, 0))
    return tmp_path / "photos"


def test_focus_pairs(photos):
    files = score_focus.photographs(photos, "urban_*", None)
    assert [f.stem for f in files] == ["urban_camera", "urban_chelsea", "urban_coffee"]
    made = {name: images for name, *images in score_focus.pairs(files, edge=4.0, seed=0)}
    again = {name: images for name, *images in score_focus.pairs(files[::-1], edge=4.0, seed=0)}
    other = {name: images for name, *images in score_focus.pairs(files, edge=4.0, seed=1)}
    for file in files:
        a, b, truth = made[file.stem]
        assert a.shape == b.shape == truth.shape == (168, 148) and a.dtype == truth.dtype == np.uint8
        whole = np.rint(luminance(read_image(file).pixels) * 255)
        assert np.array_equal(truth, whole[16:-16, 16:-16])
        exact = [(x == truth).mean() for x in (a, b)]
        assert all(0.1 < share < 0.95 for share in exact)  # each is sharp somewhere, neither everywhere
        assert all(np.array_equal(x, y) for x, y in zip(made[file.stem], again[file.stem]))
        assert not np.array_equal(a, other[file.stem][0])


def test_focus_scores(photos, tmp_path, capsys):
    weights = write_weights(tmp_path / "tiny.safetensors", "mff")
    files = ["--json", tmp_path / "f.json", "--markdown", tmp_path / "f.md"]
    arguments = ["--photographs", photos, "--pattern", "urban_*", "--count", 2, "--weights", weights, *files]
    assert score_focus.main([str(a) for a in arguments]) == 0
    assert "n = 2" in capsys.readouterr().out and "| laplacian |" in (tmp_path / "f.md").read_text()
    content = json.loads((tmp_path / "f.json").read_text())
    assert list(content["methods"]) == ["AdaSFFuse", "laplacian", "gff", "average", "max"]
    name, a, b, truth = next(score_focus.pairs([photos / "urban_camera.png"], 4.0, 0))
    scores = {p["method"]: p["scores"] for p in content["images"] if p["name"] == name}
    fused = load_fuser("mff", weights=weights, device="cpu").fuse(a, b)
    error = np.square(fused.astype(float) - truth).mean()
    assert scores["AdaSFFuse"]["PSNR_GT"] == pytest.approx(10 * np.log10(255**2 / error))
    assert scores["gff"]["PSNR_GT"] > scores["average"]["PSNR_GT"] + 3  # focus fusion beats the mean by far


def test_no_photograph(photos, tmp_path, capsys):
    weights = write_weights(tmp_path / "tiny.safetensors", "mff")
    arguments = ["--weights", weights, "--photographs", photos, "--pattern", "cat_*"]
    assert score_focus.main([str(a) for a in arguments]) == 1
    assert "no photograph 'cat_*'" in capsys.readouterr().err


def test_gray_photographs_have_no_error_of_chroma(tmp_path, capsys):
    weights = write_weights(tmp_path / "tiny.safetensors", "mff")
    write_image(tmp_path / "photos" / "camera.png", photographs.camera()[:100, :90])
    arguments = ["--weights", weights, "--photographs", tmp_path / "photos", "--colour"]
    assert score_focus.main([str(a) for a in arguments]) == 1
    assert f"--colour: all photographs in {tmp_path / 'photos'} are gray" in capsys.readouterr().err


def test_two_sets_of_one_name_are_refused(tmp_path, capsys):
    """The results of the second would replace those of the first."""
    weights = write_weights(tmp_path / "w.safetensors", "ivf")
    sets = [str(write_ivf(tmp_path / camera) / "IVF") for camera in "ab"]
    assert score_weights.main(["--weights", str(weights), "--extra", *sets]) == 2
    assert "error: two sets are called IVF, which names their results" in capsys.readouterr().err


def test_every_of_a_set_that_is_not_scored(tmp_path, capsys):
    arguments = ["--root_path", str(write_ivf(tmp_path)), "--datasets", "IVF", "--every", "IVF_X=2"]
    weights = write_weights(tmp_path / "w.safetensors", "ivf")
    assert score_weights.main(["--weights", str(weights), *arguments]) == 2
    assert "error: --every IVF_X: no such set; expected one of IVF" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        score_weights.main([*arguments[:-1], "IVF"])
    assert "IVF: expected NAME=N, e.g. IVF_LLVIP=2" in capsys.readouterr().err
