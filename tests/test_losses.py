"""Loss terms by hand, and SSIM against scikit-image and torchmetrics."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from adasffuse.classical.baselines import mertens
from adasffuse.classical.exposure import exposure_fusion
from adasffuse.losses.fusion import (
    LossOptions,
    fusion_loss,
    gradient_shares,
    hot_over_visible,
)
from adasffuse.losses.metrics import (
    SMALLEST,
    correlation,
    differences_kept,
    edge_preservation,
    exposure_structure,
    smooth,
    sobel,
    spurious_brightness,
    ssim,
    targets_lost,
)
from adasffuse.metrics import evaluate
from adasffuse.tasks import TASKS

ONES = LossOptions(intensity=1, gradient=1, ssim=1, target="max", ssim_share="equal")


def random_images(count: int, height: int = 24, width: int = 31, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 1, height, width, generator=torch.Generator().manual_seed(seed))


def constant(value: float, count: int = 1) -> torch.Tensor:
    return torch.full((count, 1, 16, 16), value)


def step(height: float, at: int = 8) -> torch.Tensor:
    """Zero left of column `at`, `height` from there on."""
    return (height * (torch.arange(16) >= at)).expand(1, 1, 16, 16).float()


@pytest.mark.parametrize(
    "task, weights, target, share",
    [
        ("ivf", (20, 20, 10), "max", "gradient"),
        ("mef", (20, 20, 10), "mean", "equal"),
        ("mff", (20, 20, 10), "mean", "gradient"),
        ("mif", (20, 100, 50), "max", "equal"),
    ],
)
def test_recipes_of_the_paper(task, weights, target, share):
    recipe = LossOptions.for_task(TASKS[task])
    assert (recipe.intensity, recipe.gradient, recipe.ssim) == weights
    assert (recipe.target, recipe.ssim_share) == (target, share)


def gradient_magnitude(image: torch.Tensor) -> torch.Tensor:
    """|Sobel x| + |Sobel y|, (B, 1, H, W)."""
    return sobel(image).abs().sum(dim=1, keepdim=True)


def test_gradient_of_a_ramp_and_of_a_step():
    ramp = (torch.arange(8.0) * 0.1).expand(1, 1, 6, 8)
    assert gradient_magnitude(ramp)[0, 0, :, 1:-1].tolist() == 6 * [pytest.approx(6 * [0.8])]  # (1 + 2 + 1) * 2 * 0.1
    assert gradient_magnitude(ramp)[0, 0, :, 0].tolist() == pytest.approx(6 * [0.4])  # replicated border
    edges = gradient_magnitude(step(0.5))[0, 0, 3]
    assert edges.nonzero().flatten().tolist() == [7, 8] and edges[7].item() == pytest.approx(2.0)
    torch.testing.assert_close(gradient_magnitude(ramp.mT), gradient_magnitude(ramp).mT)


def test_terms_of_flat_images():
    a, b, fused = constant(0.2), constant(0.6), constant(0.5)
    terms = fusion_loss(fused, [a, b], ONES)
    assert terms["intensity"].item() == pytest.approx(0.1)  # |0.5 - max|
    assert terms["gradient"].item() == pytest.approx(0, abs=1e-6)

    def flat(x: float, y: float) -> float:  # structure term is 1
        return (2 * x * y + 1e-4) / (x * x + y * y + 1e-4)

    assert terms["ssim"].item() == pytest.approx(1 - (flat(0.2, 0.5) + flat(0.6, 0.5)) / 2, rel=1e-3)
    mean = fusion_loss(fused, [a, b], LossOptions(target="mean"))
    assert mean["intensity"].item() == pytest.approx(20 * 0.1)  # |0.5 - 0.4|


def test_gradient_term_wants_the_stronger_edge():
    a, b = step(0.5), step(0.25)
    assert fusion_loss(a, [a, b], ONES)["gradient"].item() == 0
    weak = fusion_loss(b, [a, b], ONES)["gradient"].item()
    assert weak == pytest.approx(2 * 4 * 0.25 / 16)  # 4 * 0.25 too little in two of sixteen columns


def test_perfect_result_of_equal_sources_costs_nothing():
    a = random_images(2)
    for task in TASKS.values():
        terms = fusion_loss(a, [a, a], LossOptions.for_task(task))
        assert sum(terms.values()).item() == pytest.approx(0, abs=1e-4)


def test_weights_scale_their_terms_and_swapping_sources_changes_nothing():
    a, b, fused = random_images(3).chunk(3)
    once, recipe = fusion_loss(fused, [a, b], ONES), LossOptions(2, 3, 5, "max", "equal")
    scaled = fusion_loss(fused, [b, a], recipe)
    for name, weight in (("intensity", 2), ("gradient", 3), ("ssim", 5)):
        assert scaled[name].item() == pytest.approx(weight * once[name].item(), rel=1e-5)


def test_terms_are_means_over_pairs():
    a, b, fused = (random_images(2, seed=s) for s in range(3))
    for options in (ONES, LossOptions()):
        together = fusion_loss(fused, [a, b], options)
        singles = [fusion_loss(fused[i : i + 1], [a[i : i + 1], b[i : i + 1]], options) for i in (0, 1)]
        for name, value in together.items():
            assert value.item() == pytest.approx((singles[0][name] + singles[1][name]).item() / 2, rel=1e-5)


def test_gradient_shares():
    def share(a: torch.Tensor, b: torch.Tensor) -> float:
        return gradient_shares(torch.stack([gradient_magnitude(a), gradient_magnitude(b)]))[0].item()

    assert share(step(0.6), step(0.2)) == pytest.approx(0.75)
    assert share(step(0.2), step(0.6)) == pytest.approx(0.25)
    assert share(step(0.3), constant(0.9)) == pytest.approx(1, abs=1e-5)
    assert share(constant(0.1), step(0.3)) == pytest.approx(0, abs=1e-5)
    assert share(constant(0.1), constant(0.9)) == 0.5


def test_share_weighs_the_similarities():
    a, b, fused = step(0.6), step(0.2, at=4), random_images(1, 16, 16)
    terms = fusion_loss(fused, [a, b], LossOptions(ssim=1, ssim_share="gradient"))
    expected = 1 - (0.75 * ssim(a, fused) + 0.25 * ssim(b, fused))
    assert terms["ssim"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_truth_replaces_the_sources_only_where_it_is_known():
    a, b, fused, truth = (random_images(2, seed=s) for s in range(4))
    truth[0] = torch.nan  # unknown for the first pair
    mixed = fusion_loss(fused, [a, b], LossOptions(target="mean"), truth)
    unknown = fusion_loss(fused[:1], [a[:1], b[:1]], LossOptions(target="mean"))
    known = fusion_loss(fused[1:], [truth[1:], truth[1:]], LossOptions(target="mean"))
    for name, value in mixed.items():
        assert value.item() == pytest.approx((unknown[name] + known[name]).item() / 2, rel=1e-5)
    perfect = fusion_loss(truth[1:], [a[1:], b[1:]], LossOptions(), truth[1:])
    assert sum(perfect.values()).item() == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("name", ["truth", "still"])
@pytest.mark.parametrize("shape", [(1, 1, 24, 31), (2, 1, 1, 1), (2, 3, 24, 31)])
def test_a_truth_of_another_shape_is_refused(name, shape):
    fused = random_images(2)
    with pytest.raises(ValueError, match=r"truth and still like the result, \(B, 1, H, W\) of one shape, got \[\(2"):
        fusion_loss(fused, [fused, fused], LossOptions(steady=1), **{name: torch.rand(shape)})


@pytest.mark.parametrize("term, least", SMALLEST.items())
def test_the_smallest_images_of_a_term(term, least):
    options = LossOptions(**{term: 1.0})
    images = torch.rand(3, 1, 1, least, least + 9)
    assert fusion_loss(images[0], images[1:], options)[term].isfinite()
    message = f"loss.{term} needs height and width of at least {least} pixels, got {least - 1}"
    with pytest.raises(ValueError, match=message):
        fusion_loss(images[0][..., 1:, :], images[1:, ..., 1:, :], options)


def test_unknown_truth_leaves_no_nan_in_the_gradient():
    a, b, truth = (random_images(2, seed=s) for s in range(3))
    truth[0] = torch.nan
    fused = random_images(2, seed=4).requires_grad_()
    sum(fusion_loss(fused, [a, b], LossOptions(), truth).values()).backward()
    assert fused.grad.isfinite().all() and fused.grad.flatten(1).any(dim=1).all()


def test_what_stands_still_is_compared_where_it_is_known():
    a, b, still = (random_images(2, seed=s) for s in range(3))
    fused = random_images(2, seed=4).requires_grad_()
    half = still.clone()
    half[1] = torch.nan
    term = fusion_loss(fused, [a, b], LossOptions(steady=3), None, half)["steady"]
    assert term.item() == pytest.approx(3 * (fused[0] - still[0]).abs().mean().item() / 2, rel=1e-5)
    term.backward()
    assert fused.grad[0].ne(0).all() and not fused.grad[1].any()
    assert "steady" not in fusion_loss(fused, [a, b], LossOptions(steady=3))


def test_ssim_agrees_with_scikit_image():
    x, y = random_images(3, seed=1), random_images(3, seed=2)
    y = 0.7 * x + 0.3 * y
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    expected = [structural_similarity(x[i, 0].numpy(), y[i, 0].numpy(), **options) for i in range(3)]
    np.testing.assert_allclose(ssim(x, y), expected, rtol=1e-4)
    np.testing.assert_allclose(ssim(x.double(), y.double()), expected, rtol=1e-5)


def test_ssim_agrees_with_torchmetrics():
    x, y = random_images(3, seed=1), random_images(3, seed=2).sqrt()
    measure = pytest.importorskip("torchmetrics.functional.image").structural_similarity_index_measure
    _, full = measure(y, x, sigma=1.5, data_range=1.0, return_full_image=True)
    expected = full[..., 5:-5, 5:-5].mean(dim=(1, 2, 3))  # windows that lie inside the image
    torch.testing.assert_close(ssim(x, y), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("height, width", [(1, 1), (1, 20), (10, 30), (5, 4)])
def test_ssim_of_small_images_is_finite_and_one_for_equal_ones(height, width):
    x, y = random_images(2, height, width).chunk(2)
    assert ssim(x, y).isfinite().all()
    assert ssim(x, x).item() == pytest.approx(1, abs=1e-5)


def test_ssim_has_finite_gradients_at_flat_images():
    x = constant(0.5).requires_grad_()
    ssim(x, constant(0.5)).sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize(
    "values, message",
    [
        ({"gradient": -1}, r"loss.gradient must lie in 0 \.\. 1e\+06, got -1"),
        ({"target": "min"}, "loss.target must be one of max, mean, mertens, hot, got 'min'"),
        ({"ssim_share": "a"}, "loss.ssim_share must be one of gradient, equal, got 'a'"),
    ],
)
def test_impossible_recipes(values, message):
    with pytest.raises(ValueError, match=message):
        LossOptions(**values)


def test_optional_terms_equal_their_metrics():
    inside = torch.nn.functional.pad(torch.ones(1, 1, 60, 66), (2, 2, 2, 2))  # the metric has zeros around the images
    a, b, noise = (torch.round(random_images(1, 64, 70, seed=s) * 255) * inside for s in range(3))
    fused = torch.round(0.5 * a + 0.3 * b + 0.2 * noise)
    gray = [t[0, 0].numpy().astype(np.uint8) for t in (a, b, fused)]
    scores = evaluate(*gray, metrics=("Qabf", "SCD"))
    a, b, fused = (t.double() / 255 for t in (a, b, fused))
    kept = differences_kept(torch.stack([a, b]), fused)
    assert kept.item() == pytest.approx(scores["SCD"], rel=1e-9)
    assert edge_preservation([a, b], fused).item() == pytest.approx(scores["Qabf"], rel=1e-3)


def test_edges_of_a_copy_are_kept_and_those_of_a_flat_image_are_lost():
    a = random_images(2)
    assert edge_preservation([a, a], a).tolist() == pytest.approx(2 * [0.9994 * 0.9879 / (1 + np.exp(-4.4))], rel=1e-3)
    assert max(edge_preservation([a, a], torch.full_like(a, 0.5)).tolist()) < 0.01


def test_optional_terms_have_finite_gradients_at_flat_images():
    recipe = LossOptions(vif=1, edges=1, correlation=1, exposure=1, target="mertens")
    for a, b in ((0.5, 0.5), (0.2, 1.0)):
        sources = torch.full((1, 1, 48, 48), a), torch.full((1, 1, 48, 48), b)
        fused = torch.full((1, 1, 48, 48), 0.5, requires_grad=True)
        sum(fusion_loss(fused, sources, recipe).values()).backward()
        assert fused.grad.isfinite().all()


def test_exposure_fusion_is_that_of_opencv_but_for_its_rounding():
    rng = torch.Generator().manual_seed(0)
    scene = torch.nn.functional.interpolate(torch.rand(1, 1, 9, 9, generator=rng), (65, 65), mode="bicubic")
    scene = (scene + 0.1 * torch.rand(1, 1, 65, 65, generator=rng)).clamp(0, 1)
    low, over = (scene * 0.5).mul(255).round() / 255, (scene * 1.6).clamp(max=1).mul(255).round() / 255
    fused = exposure_fusion(torch.stack([low, over]))
    expected = mertens(low[0, 0].numpy(), over[0, 0].numpy())
    error = np.abs(fused[0, 0].numpy() - expected)
    assert error.mean() < 1e-3 and error.max() < 0.02
    torch.testing.assert_close(
        exposure_fusion(torch.stack([low, low])), low, atol=1e-6, rtol=0
    )  # the pyramid gives back what it took


def test_signed_gradients_punish_an_edge_turned_around():
    a, b = step(0.5), constant(0.0)
    turned = 0.5 - a
    plain, signed = (
        fusion_loss(turned, [a, b], LossOptions(gradient=1, signed=signed))["gradient"].item()
        for signed in (False, True)
    )
    assert plain == pytest.approx(0, abs=1e-7)
    assert signed == pytest.approx(2 * 2 * 2 / 16)  # Sobel's answer 4 x 0.5 in two of 16 columns, twice
    right = fusion_loss(a, [b, a], LossOptions(gradient=1, signed=True))["gradient"].item()
    assert right == pytest.approx(0, abs=1e-7)


def test_an_even_loss_of_visual_information_prefers_a_bit_of_both():
    a, b = random_images(2, 64, 64).chunk(2)
    mixed = (a + b) / 2
    plain, even = (
        [fusion_loss(fused, [a, b], LossOptions(vif=1, evenly=evenly))["vif"].item() for fused in (a, mixed)]
        for evenly in (False, True)
    )
    assert even[0] == pytest.approx(plain[0] ** 2, rel=1e-4)  # the copy of A loses nothing of A
    assert even[1] / even[0] < plain[1] / plain[0]


def test_exposure_term_equals_its_metric():
    a, b = (torch.nn.functional.interpolate(random_images(1, 9, 9, seed), (61, 70), mode="bicubic") for seed in (0, 1))
    a, b = (torch.round((0.6 * a).clamp(0, 1) * 255)), torch.round((0.3 + b).clamp(0, 1) * 255)
    fused = torch.round(0.4 * a + 0.6 * b + 4 * random_images(1, 61, 70, seed=2))
    expected = evaluate(*(t[0, 0].numpy().astype(np.uint8) for t in (a, b, fused)), metrics=("MEF_SSIM",))["MEF_SSIM"]
    assert exposure_structure(torch.stack([a, b]).double() / 255, fused.double() / 255).item() == pytest.approx(
        expected, rel=1e-4
    )
    assert exposure_structure(torch.stack([a, b]) / 255, fused / 255).item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("count", [3, 5])
def test_more_sources_in_any_order(count):
    """Every term is the same in any order, nothing where all are alike, and a source of its own counts."""
    recipe = LossOptions(vif=1, edges=1, correlation=1, exposure=1, signed=True, target="mertens")
    images = [random_images(2, 48, 50, seed) for seed in range(count)]
    fused = random_images(2, 48, 50, seed=9)
    terms, turned = fusion_loss(fused, images, recipe), fusion_loss(fused, images[::-1], recipe)
    for name, value in terms.items():
        assert turned[name].item() == pytest.approx(value.item(), rel=1e-4)
        assert fusion_loss(fused, [*images[1:], images[1]], recipe)[name].item() != pytest.approx(
            value.item(), rel=1e-4
        )
    same = fusion_loss(images[0], count * images[:1], LossOptions(vif=1))
    assert sum(same.values()).item() == pytest.approx(0, abs=1e-4)


def test_terms_of_three_flat_sources_by_hand():
    sources, fused = [constant(0.2), constant(0.6), constant(0.7)], constant(0.6)
    assert fusion_loss(fused, sources, LossOptions(target="mean"))["intensity"].item() == pytest.approx(20 * 0.1)
    assert fusion_loss(fused, sources, ONES)["intensity"].item() == pytest.approx(0.1)
    shares = gradient_shares(torch.stack([gradient_magnitude(step(x)) for x in (0.1, 0.3, 0.6)]))
    assert shares.flatten().tolist() == pytest.approx([0.1, 0.3, 0.6])


def test_differences_kept_of_three_sources():
    """Of a result that is the sum of uncorrelated sources, less the mean of the others, something of each is left."""
    a, b, c = (random_images(1, 64, 64, seed) for seed in range(3))
    expected = sum(
        np.corrcoef((a + b + c - (y + z) / 2).flatten(), x.flatten())[0, 1]
        for x, y, z in ((a, b, c), (b, a, c), (c, a, b))
    )
    assert differences_kept(torch.stack([a, b, c]), a + b + c).item() == pytest.approx(expected * 2 / 3, rel=1e-4)
    assert correlation(a, a).item() == pytest.approx(1)


def blob(height: int = 96, width: int = 128, size: float = 5.0, at: tuple[int, int] = (48, 64)) -> torch.Tensor:
    """A Gaussian spot of height 1, (1, 1, H, W)."""
    y, x = torch.arange(height)[:, None] - at[0], torch.arange(width) - at[1]
    return torch.exp(-(y**2 + x**2) / (2 * size**2))[None, None]


@pytest.mark.parametrize("sigma", [2.0, 6.0, 14.0])
def test_smoothing_is_a_gaussian_mean(sigma):
    image = blob(96, 125, size=9, at=(30, 50))
    expected = gaussian_filter(image[0, 0].numpy(), sigma, mode="nearest")
    np.testing.assert_allclose(smooth(image, sigma)[0, 0], expected, atol=0.02)
    torch.testing.assert_close(smooth(torch.full((1, 2, 70, 50), 0.3), sigma), torch.full((1, 2, 70, 50), 0.3))


def test_hot_targets_are_lost_by_as_much_as_their_contrast_fades():
    infrared = 0.2 + 0.7 * blob()
    flat = torch.full_like(infrared, 0.5)
    assert targets_lost(infrared, infrared).item() == 0
    assert targets_lost(infrared, infrared - 0.1).item() == pytest.approx(0, abs=1e-6)  # contrast counts, not the level
    assert targets_lost(infrared, flat).item() == pytest.approx(1, abs=0.05)
    assert targets_lost(infrared, (infrared + flat) / 2).item() == pytest.approx(0.5, abs=0.05)
    assert targets_lost(flat, infrared).item() == 0  # nothing is hot


def test_spurious_brightness_is_what_no_source_has():
    a, b = 0.2 + 0.3 * blob(size=20), 0.1 + 0.2 * blob(size=12, at=(30, 30))
    for fused in (a, b, 0.5 * a + 0.2):
        assert spurious_brightness([a, b], fused).item() == 0
    patch = spurious_brightness([a, b], a + 0.3 * blob(size=12, at=(70, 30))).item()
    assert patch > 0.003 and spurious_brightness([a, b], 2 * a).item() > 0.003


def test_the_hot_target_keeps_backgrounds_dark_and_targets_bright():
    infrared, visible = torch.full((1, 1, 96, 128), 0.5), torch.full((1, 1, 96, 128), 0.1)
    background = hot_over_visible(torch.stack([infrared, visible]))
    torch.testing.assert_close(background, torch.full_like(background, 0.1 + 0.35 * 0.4))
    infrared = infrared + 0.5 * blob(size=4)
    target = hot_over_visible(torch.stack([infrared, visible]))
    assert target.max() == infrared.max() and target[0, 0, 0, 0].item() == pytest.approx(0.24, abs=1e-3)
    torch.testing.assert_close(hot_over_visible(torch.stack([visible, infrared])), infrared)  # a bright day stays


def test_terms_of_targets_and_brightness_have_their_weights_and_finite_gradients():
    options = LossOptions(target="hot", targets=3.0, spurious=50.0)
    infrared, visible = 0.2 + 0.7 * blob(), torch.full((1, 1, 96, 128), 0.4)
    fused = (0.3 + 0.2 * blob(at=(20, 20))).requires_grad_()
    terms = fusion_loss(fused, [infrared, visible], options)
    assert terms["targets"].item() == pytest.approx(3 * targets_lost(infrared, fused).item())
    assert terms["spurious"].item() == pytest.approx(50 * spurious_brightness([infrared, visible], fused).item())
    sum(terms.values()).backward()
    assert fused.grad.isfinite().all() and fused.grad.any()


def test_the_decision_term_is_the_distance_to_the_nearest_source():
    sources, options = [constant(0.2), constant(0.6)], LossOptions(decision=10.0)
    for value, distance in ((0.2, 0.0), (0.6, 0.0), (0.4, 0.2), (0.3, 0.1), (0.9, 0.3)):
        assert fusion_loss(constant(value), sources, options)["decision"].item() == pytest.approx(
            10 * distance, abs=1e-6
        )
