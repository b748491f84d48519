"""Every convention against the values of public implementations, where the development data are at hand."""

import json
import math
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest

from adasffuse.metrics import CONVENTIONS, MetricWarning, evaluate
from adasffuse.metrics.conventions import definitions
from adasffuse.metrics.features import feature_mutual_information
from adasffuse.metrics.gradients import fusion_artifacts
from adasffuse.metrics.structure import ms_ssim, piella_quality, structural_similarity
from adasffuse.metrics.vif import vif_terms

CASES = (
    "ctmri37009_laplacian",
    "road09573_average",
    "tno05_densefuse",
    "tno37_ifcnn",
    *(  # of the same scenes
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("ctmri37009_max", "road09573_laplacian", "tno05_seafusion", "tno37_u2fusion")
    ),
)
TWELVE = ("EN", "SD", "SF", "AG", "MI", "MSE", "PSNR", "CC", "SCD", "VIFF", "Qabf", "SSIM")

# Block of reference values, and our name to theirs.
BLOCKS = {
    "adasffuse": ("seed_evaluator", {name: name for name in TWELVE}),
    "vifb": (
        "matlab_vifb",
        {
            "AG": "Avg_gradient",
            "CE": "Cross_entropy",
            "EI": "Edge_intensity",
            "EN": "Entropy",
            "MI": "Mutinf",
            "PSNR": "Psnr",
            "Qabf": "Qabf",
            "Qcb": "Qcb",
            "Qcv": "Qcv",
            "RMSE": "Rmse",
            "SD": "Variance",
            "SF": "Spatial_frequency",
            "SSIM": "Ssim",
        },
    ),
    "mefb": (
        "matlab_mefb",
        {
            "AG": "Avg_gradient",
            "CE": "Cross_entropy",
            "EI": "Edge_intensity",
            "EN": "Entropy",
            "FMI_edge": "FMI",
            "MEF_SSIM": "MEF_SSIM",
            "NMI": "NMI",
            "PSNR": "Psnr",
            "Q": "Q_piella",
            "QP": "Qp",
            "Qabf": "Qabf",
            "Qc": "Qc",
            "Qcb": "Qcb",
            "Qcv": "Qcv",
            "Qncie": "Qncie",
            "Qw": "Qw_as_shipped_edge_images",
            "Qy": "Qy",
            "SD": "SD",
            "SF": "Spatial_frequency",
            "TE": "TE",
            "VIFF": "VIF",
        },
    ),
    "tang": (
        "matlab_tang",
        {
            **{name: name for name in ("AG", "CC", "EN", "MI", "MSE", "Nabf", "PSNR", "Qabf", "SCD", "SD", "SF")},
            "FMI_dct": "FMI_dct",
            "FMI_pixel": "FMI_pixel_edge_maps",
            "FMI_wavelet": "FMI_w_62tap_dmey",
            "MS_SSIM": "MS_SSIM_really_MEF_SSIM_3_scales",
            "SSIM": "SSIM_as_called_dynamic_range_1",
            "VIFF": "VIF",
        },
    ),
}
# Where the reference itself is not determined, its tolerance; the others are far inside 1e-9 or 1e-6.
LOOSE = {
    ("mefb", "Qc"): 5e-3,  # in flat windows public code divides rounding noise by rounding noise
    ("mefb", "Qy"): 1e-4,  # the same; exact on the cases without flat windows, see below
    ("tang", "FMI_wavelet"): 3e-2,  # another 62-tap approximation of the Meyer filter than the reference's
    ("vifb", "Qcb"): 1e-5,
    ("mefb", "Qcb"): 1e-5,
}


def read_case(folder: Path) -> dict[str, np.ndarray]:
    return {
        name: cv2.imread(str(folder / f"{letter}.png"), cv2.IMREAD_GRAYSCALE)
        for name, letter in (("a", "A"), ("b", "B"), ("fused", "F"))
    }


@pytest.fixture(scope="module", params=CASES)
def case(request, metrics_reference):
    folder = metrics_reference / "cases" / request.param
    return request.param, read_case(folder), json.loads((folder / "values.json").read_text())


@pytest.mark.parametrize("convention", BLOCKS)
def test_convention_agrees_with_its_source(case, convention):
    name, images, values = case
    block, names = BLOCKS[convention]
    assert set(names) == set(CONVENTIONS[convention].metrics) or convention == "adasffuse"
    if not name.startswith("ctmri"):  # one scene is enough for the slowest
        names = {ours: theirs for ours, theirs in names.items() if not ours.startswith("FMI")}
    scores = evaluate(**images, metrics=tuple(names), convention=convention)
    general = 1e-9 if convention == "adasffuse" else 1e-6
    for ours, theirs in names.items():
        tolerance = LOOSE.get((convention, ours), general)
        assert scores[ours] == pytest.approx(values[block][theirs], rel=tolerance), ours


def test_terms_and_variants_agree(case):
    """Reference values of choices that no convention uses."""
    name, images, values = case
    a, b, fused = (image.astype(np.float64) for image in images.values())
    tang, mefb = values["matlab_tang"], values["matlab_mefb"]
    seed = [values["seed_evaluator"][key] for key in ("VIFF_A", "VIFF_B")]
    assert vif_terms((a, b), fused) == pytest.approx(seed, rel=1e-9)
    assert fusion_artifacts(b, fused, a) == pytest.approx(tang["Nabf_as_called_A_in_place_of_F"], rel=1e-6)
    assert piella_quality(a, b, fused, weighted=True) == pytest.approx(mefb["Qw_piella"], rel=1e-6)
    padded = structural_similarity(a, b, fused, pad=True, mean=True)
    assert padded == pytest.approx(tang["SSIM_dynamic_range_255_mean"], rel=1e-6)
    if name.startswith("ctmri"):  # the slowest; one scene is enough
        raw = feature_mutual_information(a, b, fused)
        assert raw == pytest.approx(tang["FMI_none_raw_pixels"], rel=1e-9)
        gradient = feature_mutual_information(a, b, fused, "gradient")
        assert gradient == pytest.approx(tang["FMI_gradient"], rel=1e-9)


def test_yang_and_cvejic_are_exact_without_flat_windows(metrics_reference):
    for name in ("tno37_ifcnn", "tno37_u2fusion"):
        folder = metrics_reference / "cases" / name
        expected = json.loads((folder / "values.json").read_text())["matlab_mefb"]
        scores = evaluate(**read_case(folder), metrics=("Qy", "Qc"), convention="mefb")
        assert scores == pytest.approx({key: expected[key] for key in scores}, rel=1e-9)


def test_ms_ssim_differs_from_sewar_by_its_decimation_alone(metrics_reference, monkeypatch):
    """sewar averages each pixel with the one before it, we (as the paper's code) with the one after it."""
    from scipy.ndimage import uniform_filter

    from adasffuse.metrics import structure

    monkeypatch.setattr(structure, "_halve", lambda image: uniform_filter(image, 2)[::2, ::2])
    folder = metrics_reference / "cases" / "tno37_u2fusion"
    expected = json.loads((folder / "values.json").read_text())["python_sewar"]
    images = {name: image.astype(np.float64) for name, image in read_case(folder).items()}
    for source, key in (("a", "ms_ssim_A"), ("b", "ms_ssim_B")):
        assert ms_ssim(images[source], images["fused"]) == pytest.approx(expected[key], rel=1e-9)


# Where the authors' evaluator returns a VIFF of 1 per 0/0, or lets image and window change places, we return NaN.
NAN_VIFF = (
    *("constant_source_A_128", "zero_source_A", "zero_source_A_fused_equals_B"),
    *("all_constant_128", "all_zero", "both_sources_zero"),
    *("tiny_40x40", "tiny_17x17", "tiny_16x16", "tiny_8x8", "tiny_6x6", "tiny_2x2", "single_pixel_1x1"),
)


def edge_cases(root: Path) -> dict:
    return json.loads((root / "edge_cases" / "values.json").read_text())["cases"]


def test_degenerate_images_score_as_stated(metrics_reference):
    for name, values in edge_cases(metrics_reference).items():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            scores = evaluate(**read_case(metrics_reference / "edge_cases" / name), metrics=TWELVE)
        for metric, score in scores.items():
            expected = values["seed_evaluator"][metric]
            if "exception" in expected or (metric == "VIFF" and name in NAN_VIFF):
                assert math.isnan(score), (name, metric)
            else:
                wanted = pytest.approx(float(expected["value"]), rel=1e-9, abs=1e-9, nan_ok=True)
                assert score == wanted, (name, metric)
        undefined = [metric for metric, score in scores.items() if math.isnan(score)]
        assert [w.category for w in caught] == [MetricWarning] * bool(undefined), name
        assert not undefined or all(metric in str(caught[0].message) for metric in undefined)


def test_functions_keep_fractions(metrics_reference):
    """The metric functions take any float; only `evaluate` rounds.  EN rounds halves to even, as the authors do."""
    images = read_case(metrics_reference / "edge_cases" / "normal_64x64")
    values = json.loads((metrics_reference / "edge_cases" / "values.json").read_text())["bad_inputs"]
    images = {name: image.astype(np.float64) for name, image in images.items()}
    images["fused"] += 0.5
    for metric, definition in definitions(TWELVE, "adasffuse").items():
        expected = values["fused_plus_0.5_non_integer"][metric]["value"]
        assert definition.score(images) == pytest.approx(expected, rel=1e-9), metric


def test_uint8_never_wraps(metrics_reference):
    """The authors' evaluator returns 9.13 for SF of these uint8 pixels, and 15.46 for the same as floats."""
    images = read_case(metrics_reference / "edge_cases" / "normal_64x64")
    floats = {name: image.astype(np.float32) for name, image in images.items()}
    assert evaluate(**images, metrics=TWELVE) == evaluate(**floats, metrics=TWELVE, data_range=255.0)
