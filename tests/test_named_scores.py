"""Spurious brightness, target retention, identity error and Pascal VOC files: values by hand, identities, errors."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from tiny import texture, write_ivf, write_weights

from adasffuse.classical.baselines import BASELINES
from adasffuse.cli import score as score_command
from adasffuse.cli import task_script as cli
from adasffuse.data.synthesis import exposure_pair
from adasffuse.images.boxes import MAX_BYTES, Annotation, Box, find_boxes, of_classes, read_boxes
from adasffuse.images.image import ImageError
from adasffuse.images.write import quantise, write_image
from adasffuse.metrics import METRICS, MetricWarning, ScoreTable, evaluate, explain, identity_error
from adasffuse.metrics.brightness import spurious_brightness
from adasffuse.metrics.conventions import find_metric, scores_beside
from adasffuse.metrics.targets import target_retention

A, B = (texture(96, 128, seed).astype(np.float64) for seed in (0, 1))
RAMP = np.tile(np.arange(128.0), (128, 1))  # one gray level per pixel; s is 128 / 64 = 2 pixels


# spurious brightness


def test_no_source_and_no_fixed_mean_of_sources_has_spurious_brightness():
    for fused in (A, B, 0.3 * A + 0.5 * B + 40, 0.6 * A + 0.4 * 200, np.full_like(A, 90)):
        assert spurious_brightness(A, B, fused) == pytest.approx(0, abs=1e-9)
    assert spurious_brightness(A, B, A) == spurious_brightness(A, B, B) == 0


def test_spurious_brightness_of_a_ramp_that_no_source_has():
    flat = np.full_like(RAMP, 128)
    # One level per pixel is 2 per s inside, less at the borders: central differences of a row, whose ends are repeated,
    # sum up to the last value less the first, here of the blurred ramp.
    taps = np.exp(-(np.arange(-8, 9) ** 2) / 8)
    blurred = np.convolve(np.pad(np.arange(128.0), 8, "edge"), taps / taps.sum(), "valid")
    rise = (blurred[-1] - blurred[0]) / 128
    assert spurious_brightness(flat, flat, RAMP) == pytest.approx(2 * rise)
    assert 1.9 < 2 * rise < 2
    assert spurious_brightness(flat, RAMP / 2, RAMP) == pytest.approx(rise)  # what the source has is not counted
    assert spurious_brightness(RAMP, flat, 255 - RAMP) == pytest.approx(0)  # blind to the direction


def test_a_glow_that_no_source_has_counts_by_its_strength():
    y, x = np.mgrid[:96, :128]
    glow = 60 * np.exp(-((x - 64) ** 2 + (y - 48) ** 2) / (2 * 15**2))
    flat = np.full((96, 128), 50.0)
    scores = [spurious_brightness(flat, flat, flat + strength * glow) for strength in (0.5, 1, 2)]
    assert scores[0] > 0 and scores == pytest.approx([scores[0], 2 * scores[0], 4 * scores[0]])


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2)])
def test_spurious_brightness_of_tiny_images_is_a_number(shape):
    rng = np.random.default_rng(0)
    assert spurious_brightness(*rng.uniform(0, 255, (3, *shape))) >= 0


# target retention


TARGET = Box("person", 8, 8, 16, 16)
INFRARED = np.full((32, 32), 20.0)
INFRARED[8:16, 8:16] = 120


def test_retention_by_hand():
    def retention(fused, infrared=INFRARED):
        return target_retention(infrared, fused, [TARGET])

    assert retention(INFRARED) == 1 and retention(0.5 * INFRARED + 77) == 0.5 and retention(255 - INFRARED) == -1
    fused = np.zeros((32, 32))
    fused[8:16, 8:16] = 30
    fused[:, 24:] = 255  # beyond the ring, which ends 4 pixels around the box
    assert retention(fused) == pytest.approx(0.3)
    fused[4:8, 4:20] = 12  # 64 of the ring's 16 * 16 - 64 = 192 pixels
    assert retention(fused) == pytest.approx((30 - 12 * 64 / 192) / 100)
    faint = 20 + (INFRARED - 20) / 10  # a contrast of 10 levels is the least that counts
    assert retention(faint, faint) == 1 and math.isnan(retention(faint, 0.99 * faint))
    assert math.isnan(target_retention(INFRARED, fused, []))


def test_retention_sums_contrasts_and_cuts_rings_at_the_border_and_at_other_boxes():
    infrared, fused = np.full((20, 40), 10.0), np.full((20, 40), 10.0)
    infrared[0:8, 0:8], fused[0:8, 0:8] = 110, 60  # contrasts 100 and 50
    infrared[0:8, 20:28], fused[0:8, 20:28] = 60, 60  # 50 and 50
    infrared[0:8, 30:38], fused[0:8, 30:38] = 255, 255  # a car beside it, not in its ring
    boxes = [Box("Person", 0, 0, 8, 8), Box("pedestrian", 20, 0, 28, 8), Box("car", 30, 0, 38, 8)]
    assert target_retention(infrared, fused, boxes) == pytest.approx((50 + 50) / (100 + 50))
    assert target_retention(infrared, fused, boxes, ["CAR"]) == 1
    assert target_retention(infrared, fused, boxes, ["all"]) == pytest.approx((50 + 50 + 245) / (100 + 50 + 245))
    assert math.isnan(target_retention(infrared, fused, boxes, ["bicycle"]))
    assert [box.name for box in of_classes(boxes, ["person", "Pedestrian"])] == ["Person", "pedestrian"]


def test_a_box_without_a_ring_and_one_in_the_dark_do_not_count():
    whole = [Box("person", 0, 0, 32, 32)]
    assert math.isnan(target_retention(INFRARED, INFRARED, whole))
    assert math.isnan(target_retention(255 - INFRARED, INFRARED, [TARGET]))  # a cold target


def test_evaluate_takes_boxes():
    images = [image.astype(np.uint8) for image in (INFRARED, INFRARED // 2, INFRARED // 2 + 50)]
    assert evaluate(*images, ["Retention"], boxes=[TARGET]) == {"Retention": 0.5}
    with pytest.warns(MetricWarning, match=r"Retention: undefined .*without targets"):
        assert math.isnan(evaluate(*images, ["Retention"], boxes=[TARGET], classes=["car"])["Retention"])
    with pytest.raises(ValueError, match="Retention looks at boxes around targets: give boxes"):
        evaluate(*images, ["Retention"])
    with pytest.raises(ValueError, match=r"a box of 'person', x 8 to 33, .* reaches beyond the image of 32x32"):
        evaluate(*images, ["Retention"], boxes=[Box("person", 8, 8, 33, 16)])


# identity error


def test_identity_error_by_hand():
    image = np.array([[0.0, 0.5], [0.5, 1.0]])
    largest, mean = identity_error(lambda a, b: a * 0.8 + (b * 0.2) ** 2, image)
    errors = [0, 0.1 - 0.01, 0.1 - 0.01, 0.2 - 0.04]
    assert (largest, mean) == pytest.approx((255 * 0.16, 255 * sum(errors) / 4))
    for name in ("average", "max"):
        assert identity_error(BASELINES[name], A / 255) == (0, 0)
    assert "of a fuser" in explain("Identity").lower() and find_metric("identity") == "Identity"


def test_identity_error_refuses_what_is_no_luminance():
    with pytest.raises(ValueError, match=r"needs luminance \(H, W\), got \(2, 2, 3\)"):
        identity_error(BASELINES["max"], np.zeros((2, 2, 3)))
    with pytest.raises(ValueError, match=r"fusing \(2, 2\) with itself returned \(1, 2\)"):
        identity_error(lambda a, b: a[:1], np.zeros((2, 2)))


# Pascal VOC files


def voc(path: Path, *boxes: tuple, size: tuple[int, int] | None = (48, 40), head: str = "") -> Path:
    """A file of boxes (name, xmin, ymin, xmax, ymax); size is width, height."""
    objects = "".join(
        f"<object><name>{name}</name><bndbox>"
        + "".join(f"<{edge}>{value}</{edge}>" for edge, value in zip(("xmin", "ymin", "xmax", "ymax"), edges))
        + "</bndbox></object>"
        for name, *edges in boxes
    )
    stated = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>1</depth></size>" if size else ""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{head}<annotation>{stated}{objects}</annotation>")
    return path


def test_boxes_count_pixels_from_one(tmp_path):
    found = read_boxes(voc(tmp_path / "1.xml", ("person", 1, 2, 48, 40), ("car", 0, "3.5", 4, 5)))
    assert found.size == (40, 48)
    assert found.boxes == (Box("person", 0, 1, 48, 40), Box("car", 0, 2.5, 4, 5))
    assert read_boxes(voc(tmp_path / "2.xml", size=(0, 0))) == Annotation(tmp_path / "2.xml", None, ())
    assert read_boxes(voc(tmp_path / "3.xml", size=None)).size is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not a readable XML file"),
        ("<annotation><object></annotation>", "not a readable XML file"),
        ("<html/>", "expected a Pascal VOC file, <annotation>, got <html>"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "has a DOCTYPE"),
        ("<annotation><object><bndbox/></object></annotation>", "an <object> has no <name>"),
        ("<annotation><object><name>car</name></object></annotation>", "needs the numbers xmin"),
        ("<annotation><size><width>a</width><height>1</height></size></annotation>", "<size> needs whole numbers"),
        ('<?xml version="1.0" encoding="nonsense"?><annotation/>', "not a readable XML file"),
        ("<annotation>" + " " * MAX_BYTES + "</annotation>", "too large"),
    ],
)
def test_malformed_files_are_named(content, message, tmp_path):
    (tmp_path / "1.xml").write_text(content)
    with pytest.raises(ImageError, match=f"1.xml: .*{message}"):
        read_boxes(tmp_path / "1.xml")


def test_a_document_type_is_found_in_any_encoding(tmp_path):
    text = '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>'
    (tmp_path / "1.xml").write_bytes(text.encode("utf-16"))
    with pytest.raises(ImageError, match="has a DOCTYPE"):
        read_boxes(tmp_path / "1.xml")


@pytest.mark.parametrize(
    ("box", "message"),
    [
        (("car", 5, 5, 49, 9), r"x 4 to 49, y 4 to 9 reaches beyond the image of 48x40 pixels"),
        (("car", -1, 5, 9, 9), "reaches beyond"),
        (("car", 9, 5, 8, 9), "has no area"),
        (("car", 5, 5, "nan", 9), "needs the numbers"),
    ],
)
def test_impossible_boxes_are_named(box, message, tmp_path):
    with pytest.raises(ImageError, match=f"1.xml: .*'car'.*{message}"):
        read_boxes(voc(tmp_path / "1.xml", box))


def test_folders_of_boxes(tmp_path):
    voc(tmp_path / "a.xml", ("car", 1, 1, 9, 9))
    voc(tmp_path / "b.XML")
    assert list(find_boxes(tmp_path, ["a", "b", "c"])) == ["a", "b"]
    with pytest.raises(ImageError, match="holds boxes of no scene: 2 XML files"):
        find_boxes(tmp_path, ["c"])
    with pytest.raises(ImageError, match=r"no folder .*expected a folder of Pascal VOC files"):
        find_boxes(tmp_path / "absent", ["a"])
    (tmp_path / "yolo").mkdir()
    (tmp_path / "yolo/a.txt").write_text("0 0.5 0.5 0.1 0.1")
    with pytest.raises(
        ImageError, match=r"0 XML files.*YOLO and COCO labels: python scripts/convert_labels.py DATA --to"
    ):
        find_boxes(tmp_path / "yolo", ["a"])
    with pytest.raises(ImageError, match="no such file"):
        read_boxes(tmp_path / "absent.xml")


# tables and commands


def test_scores_beside_the_mean_rank_never_change_it():
    table = ScoreTable(("EN", "Spurious"), beside=("MEF_SSIM",))
    plain = ScoreTable(("EN",))
    for method, en, other in (("x", 2.0, 0.1), ("y", 1.0, 0.9), ("z", 0.0, math.nan)):
        table.add(method, "p", (8, 8), {"EN": en, "Spurious": -other, "MEF_SSIM": other})
        plain.add(method, "p", (8, 8), {"EN": en})
    assert table.ranked == ("EN",) and table.beside == ("Spurious", "MEF_SSIM")
    assert table.mean_ranks() == plain.mean_ranks() == {"x": 1, "y": 2, "z": 3}
    text = table.text().splitlines()
    assert text[1].split() == ["method", "EN↑", "mean", "rank", "Spurious↓", "MEF_SSIM↑"]
    assert text[3].split() == ["x", "2.000*", "1.00", "-0.1000", "0.1000"]
    assert "not ranked: Spurious, MEF_SSIM" in table.text() and "not ranked: Spurious" in table.markdown()
    assert json.loads(table.json())["ranked"] == ["EN"] and table.csv().splitlines()[0].endswith("EN,Spurious,MEF_SSIM")
    assert not METRICS["Retention"].ranked and METRICS["Spurious"].better == "lower"


def test_a_table_of_unranked_metrics_alone_has_no_mean_rank():
    table = ScoreTable(("Spurious",))
    table.add("x", "p", (8, 8), {"Spurious": 1.0})
    assert math.isnan(table.mean_ranks()["x"]) and "n/a" in table.text()


def test_which_scores_stand_beside_the_default():
    assert scores_beside("ivf") == ["Spurious"] and scores_beside("mef") == ["Spurious", "MEF_SSIM"]
    assert scores_beside("mff", reference=True) == ["Spurious", "PSNR_GT", "SSIM_GT"]
    assert scores_beside("ivf", boxes=True) == ["Spurious", "Retention"]
    assert scores_beside("mef", "mefb") == ["MEF_SSIM"] and scores_beside("ivf", "vifb", reference=True) == []


@pytest.fixture
def streets(tmp_path, monkeypatch):
    """Three pairs with a bright person each, and boxes of the first two."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = write_ivf(tmp_path / "data")
    for stem in "123":
        infrared = np.full((40, 48), 20, np.uint8)
        infrared[10:20, 10:20] = 120
        write_image(root / f"IVF/infrared/{stem}.png", infrared)
        write_image(root / f"IVF/visible/{stem}.png", np.full((40, 48), 60, np.uint8))
    for stem in "12":
        voc(root / f"IVF/Annotations/{stem}.xml", ("person", 11, 11, 20, 20), ("car", 30, 30, 48, 40))
    return tmp_path


def run_scores(folder: Path, *arguments) -> tuple[int, dict]:
    common = ["--root_path", folder / "data", "--dataset", "IVF", "--workers", 1, "--json", folder / "s.json"]
    status = score_command.run([*map(str, (*common, *arguments))])
    return status, json.loads((folder / "s.json").read_text()) if status == 0 else {}


def test_boxes_add_retention(streets, capsys):
    boxes = ["--baselines", "average,max", "--boxes", streets / "data/IVF/Annotations"]
    status, content = run_scores(streets, *boxes)
    shown = capsys.readouterr()
    assert status == 0 and content["methods"]["average"]["mean"]["Retention"] == 0.5
    assert content["methods"]["max"]["mean"]["Retention"] == pytest.approx(0.6)  # 120 over 60 where it was 20
    assert content["methods"]["max"]["skipped"]["Retention"] == 1
    assert "notice: " in shown.err and "lacks 3.xml: these images have no Retention" in shown.err
    ranks = {method: scores["mean_rank"] for method, scores in content["methods"].items()}
    _, without = run_scores(streets, "--baselines", "average,max")
    assert ranks == {method: scores["mean_rank"] for method, scores in without["methods"].items()}


def test_the_cache_knows_which_boxes_it_scored(streets, capsys):
    def retention(*arguments):
        words = ["--metrics", "EN,Retention", "--boxes", streets / "data/IVF/Annotations", *arguments]
        return run_scores(streets, "--baselines", "max", *words)[1]["methods"]["max"]["mean"]["Retention"]

    visible = np.full((40, 48), 60, np.uint8)
    visible[10:20, 22:40] = 90
    write_image(streets / "data/IVF/visible/1.png", visible)
    first = retention()
    assert first < 0.6 and retention() == first  # the ring of the first target is brighter
    assert retention("--classes", "car,bicycle") is None
    capsys.readouterr()
    assert retention("--classes", "bicycle") is None
    assert "holds no box of bicycle; its classes: car, person" in capsys.readouterr().err
    voc(streets / "data/IVF/Annotations/1.xml", ("person", 11, 11, 30, 20))
    other = retention()
    assert other != first and retention("--classes", "All") == other  # the car is as warm as the street


def test_boxes_that_cannot_be_used_are_an_error_that_names_the_file(streets, capsys):
    boxes = ["--baselines", "max", "--boxes", streets / "data/IVF/Annotations"]
    (streets / "data/IVF/Annotations/2.xml").write_text("<annotation>")
    assert run_scores(streets, *boxes)[0] == 1
    assert "error: " in (error := capsys.readouterr().err) and "Annotations/2.xml: not a readable XML" in error
    voc(streets / "data/IVF/Annotations/2.xml", ("person", 11, 11, 60, 20), size=None)
    assert run_scores(streets, *boxes)[0] == 0  # as with any image that cannot be scored, the others are
    assert "not scored: 2 of max" in (out := capsys.readouterr().out) and "2.xml: a box of 'person'" in out
    voc(streets / "data/IVF/Annotations/2.xml", ("person", 11, 11, 20, 20), size=(96, 80))
    assert run_scores(streets, *boxes)[0] == 0
    assert "its boxes are of an image of 96x80 pixels, this one has 48x40" in capsys.readouterr().out
    assert run_scores(streets, *boxes, "--convention", "vifb")[0] == 2
    assert "'vifb' does not define Retention; these do: adasffuse" in capsys.readouterr().err


def test_boxes_with_the_sources_in_the_other_order_are_refused(streets, capsys):
    """Retention would be judged by the visible image, in which targets are something else."""
    root = streets / "data/IVF"
    arguments = [root / "visible", root / "infrared", "--baselines", "average", "--boxes", root / "Annotations"]
    assert score_command.run([*map(str, arguments)]) == 2
    assert "by source A, the infrared image" in capsys.readouterr().err
    assert score_command.run([*map(str, (arguments[1], arguments[0], *arguments[2:]))]) == 0


def test_exposures_get_mef_ssim_and_psnr_and_ssim_against_the_truth(tmp_path, monkeypatch, capsys):
    """The pair is made from a known image, which is the best result by PSNR and SSIM."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    truth = texture(96, 128, 3).astype(np.float32) / 255
    low, over, _ = exposure_pair(truth, np.random.default_rng(0))
    for name, image in (("MEF/low", low), ("MEF/over", over), ("truth", truth)):
        write_image(tmp_path / "data" / name / "1.png", quantise(image, "8"))
    common = ["--root_path", tmp_path / "data", "--reference", tmp_path / "data/truth"]
    scored = ["--dataset", "MEF", "--fused", f"truth={tmp_path / 'data/truth'}", "--baselines", "average,mertens"]
    report = ["--json", tmp_path / "s.json", "--workers", 1]
    assert score_command.run([*map(str, (*common, *scored, *report))]) == 0
    means = {m: v["mean"] for m, v in json.loads((tmp_path / "s.json").read_text())["methods"].items()}
    assert means["truth"]["PSNR_GT"] == "inf" and means["truth"]["SSIM_GT"] == pytest.approx(1)
    average = quantise((quantise(low, "8") / 255 + quantise(over, "8") / 255) / 2, "8").astype(float)
    error = np.square(average - quantise(truth, "8")).mean()
    assert means["average"]["PSNR_GT"] == pytest.approx(10 * np.log10(255**2 / error), abs=0.05)
    assert means["average"]["SSIM_GT"] < 1 and 0 < means["average"]["MEF_SSIM"] < 1
    named = [tmp_path / "data/MEF/low", tmp_path / "data/MEF/over", "--reference", tmp_path / "data/truth"]
    capsys.readouterr()
    assert score_command.run([*map(str, (*named, *scored[2:], *report))]) == 0  # the folders' names tell the task
    assert {m: v["mean"] for m, v in json.loads((tmp_path / "s.json").read_text())["methods"].items()} == means
    capsys.readouterr()
    weights = write_weights(tmp_path / "w.safetensors", "mef")
    arguments = [*common, "--weights", weights, "--save_dir", tmp_path / "out", "--device", "cpu"]
    assert cli.run("mef", [*map(str, arguments)]) == 0
    head = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("method"))
    assert head.split()[-5:] == ["rank", "Spurious↓", "MEF_SSIM↑", "PSNR_GT↑", "SSIM_GT↑"]


def test_fusion_scripts_print_the_scores_beside_and_the_identity_error(streets, capsys):
    weights = write_weights(streets / "w.safetensors", "ivf")
    arguments = ["--root_path", streets / "data", "--weights", weights, "--save_dir", streets / "out"]
    arguments += ["--device", "cpu"]
    boxes = ["--boxes", streets / "data/IVF/Annotations", "--classes", "person"]
    assert cli.run("ivf", [*map(str, (*arguments, *boxes))]) == 0
    out = capsys.readouterr().out
    assert "mean rank  Spurious↓" in out and "Retention↑" in out and "lacks 3.xml" in out
    assert "Identity error of AdaSFFuse: largest " in out and "gray levels (2 images, each fused with itself)" in out
    for words, said in (
        (["--boxes", streets / "absent"], "absent; --boxes is the folder of Pascal VOC files"),
        (["--classes", "person,car"], "give --boxes DIR as well"),
        ([*boxes[:2], "--no_scores"], "--boxes is for scores; leave out --no_scores"),
    ):
        assert cli.run("ivf", [*map(str, (*arguments[:-4], "--save_dir", streets / "none", *words))]) == (
            1 if "absent" in said else 2
        )
        assert said in capsys.readouterr().err and not (streets / "none").exists()  # before any work
