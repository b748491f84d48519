"""Metrics on images made here: hand-computed values, identities, other libraries, and bad input."""

import json
import math
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.measure import shannon_entropy
from skimage.metrics import normalized_mutual_information, peak_signal_noise_ratio
from skimage.metrics import structural_similarity as skimage_ssim

from adasffuse.metrics import (
    CONVENTIONS,
    DEFAULT_METRICS,
    METRICS,
    MetricWarning,
    ScoreTable,
    brightness,
    evaluate,
    explain,
    features,
    histograms,
    information,
    perception,
    windows,
)
from adasffuse.metrics.color import chroma_difference
from adasffuse.metrics.conventions import definitions
from adasffuse.metrics.features import _meyer_taps, _wavelet, feature_mutual_information
from adasffuse.metrics.gradients import average_gradient, edge_intensity, edge_preservation, spatial_frequency
from adasffuse.metrics.information import cross_entropy, entropy, mutual_information, tsallis_information
from adasffuse.metrics.intensity import (
    peak_signal_to_noise,
    peak_signal_to_noise_of_reference,
    sum_of_correlations_of_differences,
)
from adasffuse.metrics.structure import ms_ssim, piella_quality, structural_similarity
from adasffuse.metrics.vif import _sum_of_logs, vif_terms
from adasffuse.metrics.windows import filter_valid, gaussian, uniform

BOARD = 255.0 * ((np.arange(64)[:, None] + np.arange(64)) % 2)  # every neighbour differs by one full step
RAMP = np.tile(np.arange(64.0), (64, 1))


def scene(seed: int = 0, height: int = 64, width: int = 64) -> np.ndarray:
    """A smooth texture, uint8."""
    noise = np.random.default_rng(seed).normal(size=(height + 6, width + 6))
    smooth = filter_valid(noise, gaussian(7, 1.5))
    return np.clip(128 + 300 * smooth, 0, 255).astype(np.uint8)


TRIPLE = {"a": scene(0), "b": scene(1), "fused": scene(2)}
FLOATS = {name: image.astype(np.float64) for name, image in TRIPLE.items()}


# hand-computed values


def test_sharpness_of_a_checkerboard_and_a_ramp():
    assert spatial_frequency(BOARD) == pytest.approx(255 * 2**0.5)
    assert spatial_frequency(BOARD, all_pixels=True) == pytest.approx(255 * (2 * 63 / 64) ** 0.5)
    assert average_gradient(RAMP) == pytest.approx(0.5**0.5)
    assert edge_intensity(RAMP) == pytest.approx((62 * 8 + 2 * 4) / 64)  # half the step on replicated borders


def test_entropy_and_information_of_two_levels():
    assert entropy(BOARD) == pytest.approx(1)
    assert mutual_information(BOARD, RAMP, BOARD, base=2) == pytest.approx(1)  # 1 bit from A, none from the ramp
    assert cross_entropy(BOARD, BOARD, BOARD) == 0
    assert tsallis_information(BOARD, BOARD, BOARD) == pytest.approx(2 * (1 - 2 * 0.5**1.85 / 0.25**0.85) / -0.85)


def test_saturated_bin_merges_254_and_255_in_the_joint_histogram_alone():
    image = np.repeat([[254.0, 255.0]], 8, axis=0)
    assert mutual_information(image, image, image, base=2) == pytest.approx(2)
    assert mutual_information(image, image, image, base=2, saturated_bin=True) == pytest.approx(4)  # H + H - 0, twice


def test_psnr_uses_the_peak_it_says():
    white = np.full((8, 8), 100.0)
    assert peak_signal_to_noise(white - 1, white + 1, white) == pytest.approx(40)
    assert peak_signal_to_noise(white - 1, white + 1, white, peak=255.0) == pytest.approx(10 * math.log10(255**2))


def test_sum_of_the_sources_has_the_best_scd():
    a, b = FLOATS["a"], FLOATS["b"]
    assert sum_of_correlations_of_differences(a, b, a + b) == pytest.approx(2)


def test_scd_of_a_source_plus_a_constant_is_undefined():
    """F - B is flat; the rounding of means must not make a correlation of it."""
    for seed in range(8):
        a, b = np.random.default_rng(seed).integers(0, 200, (2, 61, 53)).astype(float)
        assert math.isnan(sum_of_correlations_of_differences(a, b, b + 37))


def test_qabf_of_identical_images():
    best = 0.9994 / (1 + math.exp(-7.5)) * 0.9879 / (1 + math.exp(-4.4))
    a = FLOATS["a"]
    assert edge_preservation(a, a, a, equal_as_published=False) == pytest.approx(best)
    assert best < 0.976


def test_swapping_the_sources_changes_nothing():
    ours = evaluate(TRIPLE["a"], TRIPLE["b"], TRIPLE["fused"])
    assert evaluate(TRIPLE["b"], TRIPLE["a"], TRIPLE["fused"]) == pytest.approx(ours, rel=1e-12)


def test_flat_sources_count_half_in_piella_quality():
    """Whatever the rounding of their variances: it was divided by."""
    for levels in np.random.default_rng(0).integers(0, 256, (20, 3)):
        a, b, fused = (np.full((20, 20), float(level)) for level in levels)
        expected = structural_similarity(a, b, fused, mean=True)
        assert piella_quality(a, b, fused) == pytest.approx(expected, rel=1e-9)
        assert piella_quality(a, b, fused, weighted=True) == pytest.approx(expected, rel=1e-9)


def test_identical_images_have_full_feature_information():
    for feature in ("pixel", "gradient", "edge", "dct", "wavelet"):
        assert feature_mutual_information(*[FLOATS["a"]] * 3, feature) == 1


def test_chroma_difference_looks_at_chroma_alone():
    red = np.zeros((4, 4, 3))
    red[..., 0] = 200
    gray = np.full((4, 4), 50.0)
    assert chroma_difference(gray, red, red) == pytest.approx(0, abs=1e-6)
    assert chroma_difference(gray, red, gray) > 20  # the colour is lost
    assert math.isnan(chroma_difference(gray, gray, red))  # nobody owns colour


# independent libraries


def test_ssim_equals_scikit_image():
    a, b, fused = FLOATS.values()
    expected = sum(skimage_ssim(x, fused, data_range=255) for x in (a, b))
    assert structural_similarity(a, b, fused, uniform(7), sample_covariance=True) == pytest.approx(expected, rel=1e-10)


def test_gaussian_ssim_equals_scikit_image():
    a, b, fused = FLOATS.values()
    options = {"data_range": 255, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    expected = sum(skimage_ssim(x, fused, **options) for x in (a, b)) / 2
    assert structural_similarity(a, b, fused, mean=True) == pytest.approx(expected, rel=1e-10)


def test_ms_ssim_of_an_image_with_itself_is_1_and_needs_176_pixels():
    image = scene(3, 176, 208).astype(np.float64)
    assert ms_ssim(image, image) == pytest.approx(1)
    assert math.isnan(ms_ssim(image[:160], image[:160]))


def test_vif_equals_torchmetrics_and_sewar():
    functional = pytest.importorskip("torchmetrics.functional.image")
    sewar = pytest.importorskip("sewar.full_ref")
    a, fused = FLOATS["a"], np.rint(0.5 * (FLOATS["a"] + FLOATS["b"]))
    ours = vif_terms((a,), fused)[0]
    tensors = (torch.from_numpy(image)[None, None] for image in (fused, a))
    assert ours == pytest.approx(functional.visual_information_fidelity(*tensors).item(), rel=1e-6)
    assert ours == pytest.approx(sewar.vifp(a.astype(np.uint8), fused.astype(np.uint8)), rel=1e-9)


def test_counting_metrics_equal_scikit_image():
    a, b, fused = FLOATS.values()
    # scikit-image's form is (H(X) + H(F)) / H(X, F), from which 2 I(X; F) / (H(X) + H(F)) = 2 (1 - 1 / form)
    expected = sum(2 * (1 - 1 / normalized_mutual_information(x, fused, bins=256)) for x in (a, b))
    assert information.normalized_mutual_information(a, b, fused) == pytest.approx(expected, rel=1e-10)
    assert entropy(fused) == pytest.approx(shannon_entropy(fused), rel=1e-12)
    expected = peak_signal_noise_ratio(a, fused, data_range=255)
    assert peak_signal_to_noise_of_reference(a, fused) == pytest.approx(expected, rel=1e-12)


def test_wavelet_transform_equals_pywavelets():
    pywt = pytest.importorskip("pywt")
    low = _meyer_taps()
    high = -low[::-1] * (-1.0) ** np.arange(62)
    wavelet = pywt.Wavelet("meyer", [low, high, low[::-1], high[::-1]])
    approximation, (horizontal, vertical, diagonal) = pywt.dwt2(scene(5, 70, 83).astype(float), wavelet, "symmetric")
    expected = np.block([[approximation, vertical], [horizontal, diagonal]])
    assert np.allclose(_wavelet(scene(5, 70, 83).astype(float)), expected, atol=1e-9)


# input


def test_sum_of_logs_of_the_largest_factors_does_not_overflow():
    """1 + 127.5^2 / 2 is the most that 8-bit images give."""
    factors = np.full((64, 5), 1 + 127.5**2 / 2)
    factors[:3] = 1 + 1e-12
    assert _sum_of_logs(factors) == pytest.approx(np.log1p(factors - 1).sum(), rel=1e-12)


def test_scores_do_not_depend_on_the_height_of_strips(monkeypatch):
    """VIFF needs an even number of rows; Spurious counts in standard deviations, here of 1.4 pixels; Qcv in blocks."""

    def score(rows: int, deviations: float, pixels: int, blocks: int, chunk: int) -> dict[str, float]:
        monkeypatch.setattr(windows, "_STRIP", rows)
        monkeypatch.setattr(brightness, "_BAND", deviations)
        monkeypatch.setattr(histograms, "_PIXELS", pixels)
        monkeypatch.setattr(perception, "_BLOCKS", blocks)
        monkeypatch.setattr(features, "_CHUNK", chunk)
        corner = {name: image[:93, :90] for name, image in images.items()}
        found = evaluate(**images, metrics=["MS_SSIM"])  # needs 176 pixels
        return found | evaluate(**corner, metrics=metrics, reference=corner["b"])

    metrics = [name for name in CONVENTIONS["adasffuse"].metrics if name not in ("MS_SSIM", "Retention")]
    a, b = scene(0, 187, 180), np.dstack([scene(seed, 187, 180) for seed in (1, 2, 3)])
    images = {"a": a, "b": b, "fused": a[..., None] // 2 + b // 2 + scene(4, 187, 180)[..., None] // 8}
    whole = score(1000, 1000, 10**6, 100, 10**4)
    assert whole["Spurious"] > 0 and not any(map(math.isnan, whole.values()))
    for sizes in ((2, 0.5, 997, 1, 1), (14, 3.3, 5000, 2, 500)):
        assert score(*sizes) == pytest.approx(whole, rel=1e-11)


def test_every_form_of_one_image_scores_the_same():
    expected = evaluate(**TRIPLE)
    forms = {
        "float32 on 0..1": ({n: (x / 255).astype(np.float32) for n, x in TRIPLE.items()}, 1.0),
        "float64 on 0..255": (FLOATS, 255.0),
        "uint16": ({n: x.astype(np.uint16) * 257 for n, x in TRIPLE.items()}, None),
        "big-endian uint16": ({n: (x.astype(np.uint16) * 257).astype(">u2") for n, x in TRIPLE.items()}, None),
        "equal channels": ({n: np.dstack([x] * 3) for n, x in TRIPLE.items()}, None),
        "one channel": ({n: x[..., None] for n, x in TRIPLE.items()}, None),
        "tensor (1, 1, H, W)": ({n: torch.from_numpy(x)[None, None] for n, x in TRIPLE.items()}, None),
        "tensor (3, H, W)": ({n: torch.from_numpy(x).expand(3, -1, -1) for n, x in TRIPLE.items()}, None),
        "PIL": ({n: Image.fromarray(x) for n, x in TRIPLE.items()}, None),
        "not contiguous": ({n: np.repeat(x, 2, axis=1)[:, ::2] for n, x in TRIPLE.items()}, None),
    }
    for form, (images, data_range) in forms.items():
        assert evaluate(**images, data_range=data_range) == expected, form


def test_bfloat16_scores_as_its_values_in_float32():
    images = {name: torch.from_numpy(x / 255).bfloat16() for name, x in TRIPLE.items()}
    exact = {name: x.float() for name, x in images.items()}
    assert evaluate(**images, data_range=1.0) == evaluate(**exact, data_range=1.0)


def test_color_is_scored_on_rounded_bt601_luminance():
    rgb = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    y = np.rint(rgb @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
    assert evaluate(TRIPLE["a"], TRIPLE["b"], rgb) == pytest.approx(evaluate(TRIPLE["a"], TRIPLE["b"], y), rel=1e-3)


def test_per_channel_is_the_mean_over_channels():
    rgb = np.dstack([scene(seed) for seed in (7, 8, 9)])
    gray = TRIPLE["a"]
    whole = evaluate(gray, rgb, np.roll(rgb, 1, axis=-1), per_channel=True)
    parts = [evaluate(gray, rgb[..., k], rgb[..., k - 1]) for k in range(3)]
    assert whole == pytest.approx({name: sum(part[name] for part in parts) / 3 for name in whole})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fused": TRIPLE["fused"][:, :63]}, r"one height and width.*fused \(64, 63\)"),
        ({"fused": TRIPLE["fused"].astype(np.float32)}, "state data_range"),
        ({"fused": TRIPLE["fused"].astype(np.float32), "data_range": np.inf}, "state data_range"),
        ({"fused": np.ma.masked_less(TRIPLE["fused"], 99)}, "fused is a masked array, whose mask would be lost"),
        ({"fused": torch.empty(64, 64, device="meta")}, "fused: is a tensor on the device 'meta'"),
        ({"fused": TRIPLE["fused"].astype(np.float32), "data_range": 1.0}, r"fused spans .* outside 0\.\.1"),
        ({"fused": FLOATS["fused"] * np.nan, "data_range": 255.0}, "fused has 4096 NaN"),
        ({"fused": FLOATS["fused"], "data_range": math.inf}, "state data_range"),
        ({"fused": np.zeros((2, 64, 64), np.uint8)}, r"fused must be one gray \(H, W\)"),
        ({"fused": TRIPLE["fused"].astype(np.int32)}, "fused has type int32"),
        ({"fused": Image.fromarray(TRIPLE["fused"]).convert("P")}, "fused is a PIL image of mode P; convert it to RGB"),
        ({"metrics": ("ssim",)}, "did you mean 'SSIM'"),
        ({"metrics": ("VIFF",), "convention": "vifb"}, "'vifb' does not define VIFF; these do: adasffuse"),
        ({"convention": "matlab"}, "unknown convention 'matlab'"),
        ({"metrics": ("PSNR_GT",)}, "give a reference"),
    ],
)
def test_bad_input_says_what_is_wrong(change, message):
    with pytest.raises(ValueError, match=message):
        evaluate(**(TRIPLE | change))


def test_a_path_is_no_image_and_is_told_so():
    image = np.zeros((8, 8), np.uint8)
    for path in ("x.png", Path("x.png")):
        with pytest.raises(ValueError, match=r"b is a path, x\.png: give pixels, adasffuse\.images\.read\.read_image"):
            evaluate(image, path, image)


def test_more_than_two_sources_are_refused():
    a, b, fused = TRIPLE.values()
    with pytest.raises(ValueError, match=r"takes two sources.*two at a time"):
        evaluate(a, b, a, fused)
    with pytest.raises(ValueError, match=r"a is a sequence of 3 images.*two at a time"):
        evaluate([a, b, a], b, fused)


def test_undefined_scores_are_nan_with_one_warning():
    flat = np.full((64, 64), 9, np.uint8)
    with pytest.warns(MetricWarning, match="SCD, VIFF") as caught:
        scores = evaluate(flat, TRIPLE["b"], TRIPLE["fused"])
    assert len(caught) == 1
    assert math.isnan(scores["VIFF"])


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("shape", [(1, 64), (64, 1), (1, 1), (2, 2), (6, 100), (16, 17), (40, 100)])
def test_tiny_images_and_single_rows_never_raise(shape, convention):
    a, b, fused = (np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8) for seed in range(3))
    metrics = tuple(CONVENTIONS[convention].metrics)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        scores = evaluate(a, b, fused, metrics, convention, reference=a, boxes=())
    undefined = {name for name, score in scores.items() if math.isnan(score)}
    assert len(caught) == bool(undefined)
    windowed = {"VIFF": 41, "SSIM": 7 if convention == "adasffuse" else 11, "MEF_SSIM": 44, "SF": 2, "AG": 2}
    windowed |= {name: 3 for name in metrics if name.startswith("FMI")}
    if convention == "tang":
        del windowed["SSIM"]  # padded
    assert undefined >= {name for name, size in windowed.items() if name in metrics and min(shape) < size}


# conventions


def test_every_metric_says_what_it_is():
    """Which way is better, and what it rewards or overlooks wrongly."""
    for convention in CONVENTIONS.values():
        for name, definition in convention.metrics.items():
            text = definition.function.__doc__.lower()
            assert "higher is" in text or "lower is" in text, name
            assert re.search(r"rewards|blind|dominate|ignored", text), name
            assert "args:" in text and "returns:" in text, name


def test_every_metric_is_explained_and_in_use():
    for metric in METRICS:
        text = explain(metric)
        assert METRICS[metric].better in text
        assert all(name in text for name in CONVENTIONS)
    assert "base=2" in explain("MI")
    with pytest.raises(ValueError, match="did you mean 'VIFF'"):
        explain("vif")


def test_conventions_differ_as_documented():
    def score(metric, convention):
        return evaluate(**TRIPLE, metrics=(metric,), convention=convention)[metric]

    assert score("MI", "clean") == pytest.approx(score("MI", "adasffuse") / math.log(2))
    assert score("MSE", "tang") == pytest.approx(score("MSE", "adasffuse") / 255**2)
    true_peak = 10 * math.log10(255**2 / score("MSE", "adasffuse"))
    assert score("PSNR", "tang") == pytest.approx(true_peak + 20 * math.log10(255))
    assert set(DEFAULT_METRICS) <= set(definitions(DEFAULT_METRICS, "adasffuse"))


# the table


def filled_table(values: dict[str, dict[str, float]], metric: str = "EN") -> ScoreTable:
    """A table of one metric: method to image to score."""
    table = ScoreTable((metric,))
    for method, scores in values.items():
        for name, score in scores.items():
            table.add(method, name, (8, 8), {metric: score})
    return table


def test_a_missing_score_ranks_last_and_ties_share():
    undefined = {"p": math.nan}
    table = filled_table({"x": undefined, "y": {"p": 2.0}, "z": undefined, "w": {"p": 2.0}, "v": {"p": -math.inf}})
    assert {m: r["EN"] for m, r in table.ranks().items()} == {"x": 4.5, "y": 1.5, "z": 4.5, "w": 1.5, "v": 3}
    assert table.mean_ranks()["x"] == 4.5
    text = table.text()
    assert "n/a: no score, ranks last" in text and "n/a*" not in text and "n/a+" not in text
    assert filled_table({"x": undefined, "y": undefined}).mean_ranks() == {"x": 1.5, "y": 1.5}
    lower_is_better = filled_table({"x": undefined, "y": {"p": 9.0}}, "CE")
    assert lower_is_better.mean_ranks() == {"x": 2, "y": 1}


def test_methods_are_compared_on_the_images_that_all_have():
    table = filled_table({"x": {"p": 1.0, "q": 100.0}, "y": {"p": 2.0}})
    table.add_unscored("y", "q", "y/q.png: damaged")
    assert table.means("x") == {"EN": 1.0} and table.mean_ranks() == {"x": 2, "y": 1}
    assert "n = 1 (8x8 px)" in table.text() and "images scored: x 2, y 1" in table.text()
    assert "not scored: q of y: y/q.png: damaged" in table.markdown() and "% not scored: q of y" in table.latex()
    content = json.loads(table.json())
    assert content["compared"] == 1 and content["methods"]["x"]["n"] == 2
    assert content["failed"] == [{"method": "y", "name": "q", "reason": "y/q.png: damaged"}]
    assert table.csv().count("\n") == 4  # every score is kept


def test_any_name_of_a_method_is_one_cell_of_a_table():
    table = filled_table({"a|b": {"p": 1.0}, "50%&_x": {"p": 2.0}, "two\nlines": {"p": 3.0}})
    rows = [line for line in table.markdown().splitlines() if line.startswith("|")]
    assert rows[2].startswith(r"| a\|b | ") and len(rows) == 5
    rows = [line for line in table.latex().splitlines() if line.endswith(r" \\")]
    names = [row.split(" & ")[0] for row in rows[1:]]
    assert names == ["a|b", r"50\%\&\_x", r"two\textbackslash{}nlines"]
    assert r"two\nlines" in table.text()


def test_table_skips_nan_ranks_and_marks():
    table = ScoreTable(("EN", "CE"))
    for method, values in {"x": [(1, 5), (3, math.nan)], "y": [(4, 2), (4, 2)], "z": [(0, 9), (0, 9)]}.items():
        for i, (en, ce) in enumerate(values):
            table.add(method, f"p{i}", (10 + i, 20), {"EN": en, "CE": ce})
    assert table.means("x") == {"EN": 2.0, "CE": 5.0}
    assert table.skipped("x") == {"EN": 0, "CE": 1}
    assert table.ranks()["y"] == {"EN": 1.0, "CE": 1.0}  # higher entropy, lower cross entropy
    assert table.mean_ranks() == {"x": 2.5, "y": 1.0, "z": 2.5}  # x lacks a cross entropy that y and z have
    text = table.text()
    assert "convention adasffuse, n = 2 (20-20 x 10-11 px" in text
    assert "5.000 (-1)" in text and "9.000+" in text and "4.000*" in text
    assert "**4.000**" in table.markdown() and r"5.000 ({-}1)" in table.latex() and "% (-k): mean" in table.latex()
    content = json.loads(table.json())
    assert content["methods"]["x"]["mean"]["CE"] == 5.0
    assert content["images"][1]["scores"]["CE"] is None
    assert table.csv().splitlines()[2] == "x,p1,11,20,adasffuse,3.0,nan"


def test_a_method_that_lacks_a_score_of_some_image_ranks_last_unless_all_do():
    """x leads where it has scores; nobody has one of q, which counts for none."""
    table = filled_table({"x": {"p": 9.0, "q": math.nan, "r": math.nan}, "y": {"p": 1.0, "q": math.nan, "r": 1.0}})
    assert table.ranks() == {"x": {"EN": 2}, "y": {"EN": 1}}
    assert "9.000 (-2)" in table.text() and "1.000* (-1)" in table.text()
    equal = filled_table({"x": {"p": 9.0, "q": math.nan}, "y": {"p": 1.0, "q": math.nan}})
    assert equal.ranks() == {"x": {"EN": 1}, "y": {"EN": 2}}


def test_nothing_is_marked_where_no_image_is_common_and_one_method_alone_has_a_score():
    table = filled_table({"x": {"p": 9.0}, "y": {"q": math.nan}})
    rows = [line for line in table.latex().splitlines() if line.endswith(r" \\")]
    assert rows[1:] == [r"x & 9.000 & n/a \\", r"y & n/a ({-}1) & n/a \\"]
    assert "means are not comparable" in table.text()


def test_the_numbers_of_a_column_have_equally_many_decimals():
    table = filled_table({"x": {"p": 11.5}, "y": {"p": 0.68631}, "z": {"p": 0.0}})
    cells = [line.split(" & ")[1] for line in table.latex().splitlines() if line.endswith(r" \\")]
    assert cells[1:] == [r"\textbf{11.5000}", r"\underline{0.6863}", "0.0000"]
    large = filled_table({"x": {"p": 2314.2}, "y": {"p": 755.13}})
    assert "2314.2*" in large.text() and "755.1+" in large.text()


def test_latex_says_which_package_it_needs():
    assert r"% needs \usepackage{booktabs}" in filled_table({"x": {"p": 1.0}}).latex()


@pytest.mark.parametrize("a, b, c", [("a", "b", "c"), ("4", "5", "10"), ("00004N", "00005D", "FLIR_1")])
def test_what_went_wrong_with_many_images_in_one_way_is_told_once(a, b, c):
    table = filled_table({"x": {a: 1.0, b: 1.0, c: 1.0}})
    table.add_unscored("y", a, f"sizes differ: A/{a}.png is 640x480, Y/{a}.png is 637x478 pixels")
    table.add_unscored("y", b, f"sizes differ: A/{b}.png is 600x480, Y/{b}.png is 597x478 pixels")
    table.add_unscored("y", c, "Y holds no image of it")
    told = [note for note in table.notes() if note.startswith("not scored")]
    assert told == [
        f"not scored: {a}, {b} of y, the first: sizes differ: A/{a}.png is 640x480, Y/{a}.png is 637x478 pixels",
        f"not scored: {c} of y: Y holds no image of it",
    ]


def test_table_keeps_infinite_scores_apart_from_undefined_ones():
    table = ScoreTable(("PSNR",))
    table.add("copy", "p", (4, 4), {"PSNR": math.inf})
    assert table.skipped("copy") == {"PSNR": 0}
    assert json.loads(table.json())["images"][0]["scores"]["PSNR"] == "inf"
    assert table.means("copy")["PSNR"] == math.inf


def test_table_refuses_incomplete_scores():
    with pytest.raises(ValueError, match=r"m, p: no score for CE"):
        ScoreTable(("EN", "CE")).add("m", "p", (4, 4), {"EN": 1.0})
