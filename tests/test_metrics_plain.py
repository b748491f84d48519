"""Every convention on small images of our own, against the authors' evaluator and against plain restatements.

`reference/values.json` says how its values were obtained; `plain_metrics.py` holds the restatements.  Neither uses the
code under test, so a clone without any data proves the metrics.
"""

import json
import math
import warnings
from pathlib import Path

import cv2
import numpy as np
import plain_metrics
import pytest
from plain_metrics import PLAIN, TARGETS
from reference.render import render

from adasffuse.images.boxes import Box
from adasffuse.metrics import CONVENTIONS, evaluate
from adasffuse.metrics.features import _wavelet

FOLDER = Path(__file__).parent / "reference"
CONTENT = json.loads((FOLDER / "values.json").read_text(encoding="utf-8"))
VALUES, DEGENERATE = CONTENT["authors_evaluator"], CONTENT["degenerate"]
# Without a second form: QP (phase congruency) agrees with public code where the data are, CIEDE2000 is computed by
# scikit-image; test_metrics.py has what is known of them by hand.  Of FMI_wavelet the transform is compared below.
WITHOUT = {"QP", "CIEDE2000", "FMI_wavelet"}
SLOW = {"FMI_pixel", "FMI_gradient", "FMI_dct", "FMI_edge"}  # every window is looped over: a part is enough


def read_case(name: str) -> dict[str, np.ndarray]:
    files = {"a": "A", "b": "B", "fused": "F"}
    return {
        key: cv2.imread(str(FOLDER / f"{name}_{letter}.png"), cv2.IMREAD_GRAYSCALE) for key, letter in files.items()
    }


def distinct_definitions() -> list[tuple[str, str]]:
    """Convention and metric of every definition that has a restatement; those that conventions share come once."""
    found = {}
    for convention, table in PLAIN.items():
        for metric, plain in table.items():
            found.setdefault((id(CONVENTIONS[convention].metrics[metric]), plain), (convention, metric))
    return list(found.values())


@pytest.mark.parametrize("name", VALUES)
def test_the_default_convention_agrees_with_the_authors_evaluator(name):
    scores = evaluate(**read_case(name), metrics=tuple(VALUES[name]))
    assert scores == pytest.approx(VALUES[name], rel=1e-9)
    assert len(scores) == 12


@pytest.mark.filterwarnings("ignore::adasffuse.metrics.MetricWarning")
@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_images_score_as_the_authors_evaluator_says(name):
    """But for VIFF: theirs counts a flat source (0/0) as perfectly kept, ours is undefined."""
    a, b, fused = read_case("street").values()
    flat, black = np.full_like(a, 128), np.zeros_like(a)
    images = {
        "flat_fused": (a, b, flat),
        "copies": (a, a, a),
        "flat_a": (flat, b, fused),
        "all_black": (black, black, black),
        "black_sources": (black, black, fused),
    }[name]
    expected = {metric: float(value) for metric, value in DEGENERATE[name].items()}
    if name in ("flat_a", "all_black", "black_sources"):
        expected["VIFF"] = math.nan
    scores = evaluate(*images, metrics=tuple(expected))
    assert scores == pytest.approx(expected, rel=1e-9, abs=1e-9, nan_ok=True)


@pytest.mark.filterwarnings("ignore::adasffuse.metrics.MetricWarning")
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_no_metric_raises_on_degenerate_images(convention):
    a, b, fused = (image[30:78, 40:100] for image in read_case("street").values())
    flat, black = np.full_like(a, 128), np.zeros_like(a)
    for images in ((a, b, flat), (a, a, a), (flat, b, fused), (black, black, black), (black, black, fused)):
        scores = evaluate(*images, tuple(CONVENTIONS[convention].metrics), convention, reference=images[1], boxes=())
        assert all(isinstance(score, float) for score in scores.values())


def test_the_authors_evaluator_or_a_restatement_stands_behind_every_definition():
    for name, convention in CONVENTIONS.items():
        for metric, definition in convention.metrics.items():
            by_authors = any(definition is CONVENTIONS["adasffuse"].metrics[m] for m in VALUES["street"])
            assert by_authors or metric in PLAIN[name] or metric in WITHOUT, (name, metric)


@pytest.mark.parametrize("name", ["odd", "head"])  # of odd sizes, and with a black border
@pytest.mark.parametrize(("convention", "metric"), distinct_definitions())
def test_definitions_agree_with_plain_restatements(convention, metric, name):
    images = read_case(name)
    if metric in SLOW or (convention, metric) == ("tang", "FMI_pixel"):
        images = {key: image[30:60, 30:66] for key, image in images.items()}
    if metric == "MS_SSIM" and convention != "tang":
        images = {key: np.tile(image, (3, 3))[:177, :190] for key, image in images.items()}  # its least size is 176
    known = {"reference": images["b"], "boxes": [Box(*target) for target in TARGETS]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # an undefined score proves nothing
        score = evaluate(**images, **known, metrics=(metric,), convention=convention)[metric]
    floats = (image.astype(np.float64) for image in images.values())
    assert score == pytest.approx(PLAIN[convention][metric](*floats), rel=1e-9)


def test_the_wavelet_transform_agrees_with_its_plain_form():
    for name in VALUES:
        image = read_case(name)["fused"][30:61, 20:53].astype(np.float64)
        assert np.allclose(_wavelet(image), plain_metrics.meyer_transform(image), rtol=0, atol=1e-8)


def test_restatements_agree_with_the_authors_evaluator_where_both_exist():
    """So that a misunderstanding in the restatements' windows, histograms and edges would show."""
    for name, values in VALUES.items():
        a, b, f = (image.astype(np.float64) for image in read_case(name).values())
        assert PLAIN["adasffuse"]["EN"](a, b, f) == pytest.approx(values["EN"], rel=1e-12)
        assert plain_metrics.mutual_information(a, b, f) == pytest.approx(values["MI"], rel=1e-9)
        assert plain_metrics.spatial_frequency(f, every_pixel=False) == pytest.approx(values["SF"], rel=1e-12)
        assert plain_metrics.average_gradient(f, every_pixel=True) == pytest.approx(values["AG"], rel=1e-12)
        assert plain_metrics.mean_squared_error(a, b, f) == pytest.approx(values["MSE"], rel=1e-12)


def test_the_script_renders_these_images(tmp_path):
    """Up to rounding: OpenCV's filters differ by a level between processors."""
    render(tmp_path)
    for file in FOLDER.glob("*.png"):
        ours, committed = (cv2.imread(str(folder / file.name), cv2.IMREAD_GRAYSCALE) for folder in (tmp_path, FOLDER))
        assert ours.shape == committed.shape
        assert (np.abs(ours.astype(int) - committed) <= 2).mean() > 0.99
