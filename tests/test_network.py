"""The whole network: sources of any number and order, sizes, batches, gradients, precision, export."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from tiny import SHAPE, network

from adasffuse import load_fuser
from adasffuse.classical.exposure import exposure_fusion
from adasffuse.models import SIZES, AdaSFFuse, ModelOptions
from adasffuse.models.heads import PyramidHead, unshaded
from adasffuse.models.network import add_sources, pad_to_multiple
from adasffuse.tasks import KINDS

OUTPUTS = ["direct", "pyramid"]
SIZES_IN_PIXELS = [(1, 1), (1, 13), (13, 1), (2, 2), (3, 5), (8, 8), (17, 40), (37, 21)]
VARIANTS = [
    {},
    {"output": "direct"},
    {"scan": "raster"},
    {"kinds": KINDS},
    {"band_blocks": 0, "full_blocks": 2},
    {"patch": 2},
    {"patch": 2, "exposure": True, "residual": False},
]
PARTS = ("exposure", "contrast", "dark", "hot", "unshaded", "lights")
RELEASED = {"patch": 2, "kinds": KINDS, **dict.fromkeys(PARTS, True)}  # what the released networks have


def sources(height: int, width: int, batch: int = 1, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    a, b = torch.rand(2, batch, 1, height, width, generator=torch.Generator().manual_seed(seed))
    return a, b


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("height, width", SIZES_IN_PIXELS)
def test_any_size_comes_out_as_it_went_in(height, width, output):
    model = network(output=output)
    a, b = sources(height, width, batch=2)
    whole = model(a, b)
    assert whole.shape == (2, 1, height, width) and whole.isfinite().all()
    with torch.inference_mode():
        torch.testing.assert_close(model(a, b), whole, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("output", OUTPUTS)
def test_order_of_the_sources_does_not_matter(output):
    model = network(output=output)
    a, b = sources(19, 26, batch=2)
    torch.testing.assert_close(model(a, b), model(b, a), atol=1e-6, rtol=0)
    with torch.inference_mode():
        torch.testing.assert_close(model(a, b), model(b, a), atol=1e-6, rtol=0)
        assert (model(a, b) - model(a, a)).abs().max() > 1e-3  # and both of them do


def test_a_network_that_knows_kinds_starts_as_one_that_does_not():
    alike, new = network(), AdaSFFuse(ModelOptions(**SHAPE, kinds=KINDS))
    model = network(kinds=KINDS)
    model.load_state_dict(new.state_dict() | alike.state_dict())
    a, b = sources(19, 26, batch=2)
    for kinds in ((), ("infrared", "visible"), (("scan", "focus"), ("mri", "focus"))):
        torch.testing.assert_close(model(a, b, kinds=kinds), alike(a, b), atol=1e-6, rtol=0)


def test_sources_of_different_kinds_are_told_apart_and_those_of_one_kind_are_not():
    model = network(kinds=KINDS)
    a, b = sources(19, 26, batch=2)
    with torch.no_grad():
        known = model(a, b, kinds=("infrared", "visible"))
        torch.testing.assert_close(model(b, a, kinds=("visible", "infrared")), known, atol=1e-5, rtol=0)
        assert (model(b, a, kinds=("infrared", "visible")) - known).abs().max() > 1e-2
        alike = model(a, b, kinds=("focus", "focus"))
        torch.testing.assert_close(model(b, a, kinds=("focus", "focus")), alike, atol=1e-5, rtol=0)


@pytest.mark.parametrize("changes", [{}, {"patch": 2, "exposure": True}], ids=str)
def test_samples_of_several_kinds_in_one_batch_equal_each_alone(changes):
    model = network(kinds=KINDS, **changes)
    a, b = sources(18, 33, batch=3)
    kinds = (("infrared", "exposure", "scan"), ("visible", "exposure", "mri"))
    together = model(a, b, kinds=kinds)
    for k, own in enumerate(zip(*kinds)):
        alone = model(a[k : k + 1], b[k : k + 1], kinds=own)
        torch.testing.assert_close(together[k : k + 1], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("cells", "shares"),
    [
        ((0.1, 0.3), (1, 1)),  # 0.2 on the mean: night
        ((0.2, 0.6), (0.5, 0.25)),  # between day and night; 0.6 is half dark
        ((0.0, 0.9), (0.25, 0)),
        ((0.3, 0.7), (0, 0)),  # 0.5: day
    ],
)
def test_what_is_dark_at_night_changes_the_logits_of_the_base(cells, shares):
    """And what another source of the pair shows counts for nothing."""
    model = network(kinds=KINDS, dark=True)
    with torch.no_grad():
        model.kinds.dark[KINDS.index("visible")] = 2
        model.kinds.dark[KINDS.index("infrared")] = 0
        base = torch.stack([torch.rand(1, 1, 1, 2), torch.tensor(cells).view(1, 1, 1, 2)])
        infrared, visible = model.base_logit(("infrared", "visible"))(base)
    torch.testing.assert_close(visible.flatten(), 2.0 * torch.tensor(shares))
    assert not infrared.any()
    assert model.base_logit(()) is None and network(kinds=KINDS).base_logit(("infrared", "visible")) is None


def test_what_is_hot_changes_the_logits_of_the_base():
    """One hot cell of 16 stands out by sqrt(15) = 3.87 standard deviations, two opposite halves by one."""
    model, kinds = network(kinds=KINDS, hot=True), ("infrared", "visible")
    with torch.no_grad():
        model.kinds.hot[KINDS.index("infrared")], model.kinds.hot[KINDS.index("visible")] = 6, 0

    def added(infrared: torch.Tensor, visible: float) -> torch.Tensor:
        bases = torch.stack([infrared, torch.full_like(infrared, visible)]).view(2, 1, 1, 4, 4)
        with torch.no_grad():
            first, second = model.base_logit(kinds)(bases)
        assert not second.any()
        return first.flatten()

    spot, halves = torch.full((16,), 0.1), torch.tensor([0.1] * 8 + [0.9] * 8)
    spot[5] = 0.9
    torch.testing.assert_close(added(spot, 0.6), 6.0 * (torch.arange(16) == 5))
    torch.testing.assert_close(added(spot, 0.84)[5], torch.tensor(6 * 0.06 / 0.1))  # hardly hotter than the visible one
    assert not added(spot, 0.9).any()
    assert not added(halves, 0.6).any()  # by day one deviation is not hot
    at_night = 6 * (0.4 / (0.4 + 0.02) - 0.8)  # 0.4: the standard deviation; 0.02 against noise
    torch.testing.assert_close(added(halves, 0.2), torch.tensor([0.0] * 8 + [at_night] * 8))
    assert network(kinds=KINDS).base_logit(kinds) is None


@pytest.mark.parametrize(
    ("detail", "infrared", "coarser", "kept"),
    [
        (-0.1, 0.05, 0.85, 0.0),  # darker than what is shown by 0.8, in full from 0.5 on
        (-0.1, 0.05, 0.45, 0.5),  # by 0.4, halfway between 0.3 and 0.5
        (-0.1, 0.05, 0.3, 1.0),  # by 0.25
        (0.1, 0.05, 0.85, 1.0),  # bright detail
        (-0.1, 0.25, 0.85, 1.0),  # warm, as behind glare
        (-0.1, 0.175, 0.85, 0.5),  # halfway between cold and warm
    ],
)
def test_cold_detail_does_not_darken_what_is_shown_much_brighter(detail, infrared, coarser, kept):
    weights = [torch.full((1, 1, 1, 1), value) for value in (0.8, 0.2)]
    details, levels = (torch.tensor([one, 0.0]).view(2, 1, 1, 1, 1) for one in (detail, infrared))
    first, second = unshaded(1, weights, details, levels, torch.full((1, 1, 1, 1), coarser), [0])
    torch.testing.assert_close(first.flatten(), torch.tensor([0.8 * kept]))
    torch.testing.assert_close(first + second, torch.ones(1, 1, 1, 1))


def test_only_the_infrared_image_of_a_pair_with_a_visible_one_has_no_shade():
    model, sources = network(patch=2, kinds=KINDS, unshaded=True), torch.rand(2, 3, 1, 16, 16)
    kinds = (["infrared", "visible", "focus"], ["visible", "infrared", "focus"])
    assert model.infrared_in(kinds) == [0, 1, None] and model.infrared_in(("visible", "infrared")) == [1]
    assert model.infrared_in(("focus", "focus")) is None and model.infrared_in(()) is None
    assert model.infrared_in(("infrared", "infrared")) is None
    assert network(patch=2, kinds=KINDS).infrared_in(kinds) is None
    with torch.no_grad():
        together = model(sources, kinds=kinds)
        for k in range(3):
            alone = model(sources[:, k : k + 1], kinds=tuple(row[k] for row in kinds))
            torch.testing.assert_close(together[k : k + 1], alone, atol=1e-5, rtol=0)


def test_a_bright_sky_stays_bright_beside_a_warm_building():
    """Without the rule it is darkened beside the building nearly twice as much."""
    infrared, visible = torch.full((1, 1, 128, 192), 0.03), torch.full((1, 1, 128, 192), 0.75)
    infrared[..., :96], visible[..., :96] = 0.8, 0.5
    kinds = ("infrared", "visible")

    def darkest(model):
        with torch.no_grad():
            return 0.75 - model(infrared, visible, kinds=kinds)[..., 100:128].min().item()

    model = load_fuser("ivf", "tiny", device="cpu", people=False).model
    now = darkest(model)
    model.options = replace(model.options, unshaded=False)
    assert now < 0.7 * darkest(model)


def test_a_residual_of_nothing_is_no_part_of_the_maps_and_changes_no_image():
    model = network(kinds=KINDS).eval()
    a, b = sources(19, 26, batch=2)
    kinds = ("infrared", "visible")
    with torch.no_grad():
        model.kinds.log_gain[:2, -1] = -20.0  # as `mix_weights.py --residual_of infrared=0 visible=0` leaves it
        maps = model.weight_maps(torch.stack((a, b)), kinds)
        assert len(maps) == len(model.weight_maps(torch.stack((a, b)), ("focus", "focus"))) - 1
        fused = model(a, b, kinds=kinds)
        assert (fused >= torch.minimum(a, b)).all() and (fused <= torch.maximum(a, b)).all()
        torch.testing.assert_close(model.train()(a, b, kinds=kinds), fused, atol=1e-6, rtol=0)
        mixed = model.eval()(a, b, kinds=(("infrared", "focus"), ("visible", "focus")))  # of the second it counts
    torch.testing.assert_close(mixed[:1], fused[:1], atol=1e-5, rtol=0)


def test_exposure_fusion_counts_for_exposures_alone():
    model = network(patch=2, exposure=True, kinds=KINDS)
    a, b = sources(32, 48)
    with torch.no_grad():
        before = [model(a, b, kinds=(kind, kind)) for kind in ("exposure", "focus")]
        model.head.exposure_power.bias += 1
        after = [model(a, b, kinds=(kind, kind)) for kind in ("exposure", "focus")]
    assert (after[0] - before[0]).abs().max() > 1e-3 and torch.equal(after[1], before[1])


def test_pairs_of_an_exposure_and_something_else_have_no_order():
    model = network(patch=2, exposure=True, kinds=KINDS)
    a, b = sources(16, 24)
    with torch.no_grad():
        one, other = model(a, b, kinds=("exposure", "visible")), model(b, a, kinds=("visible", "exposure"))
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kinds", [("infrared", "visible"), ("exposure", "exposure")])
def test_gradients_by_the_sources_are_finite_beside_a_flat_one(kinds):
    model = network(
        patch=2, exposure=True, contrast=True, kinds=KINDS, dark=True, hot=True, unshaded=True, targets=True
    )
    images = torch.stack([torch.full((1, 1, 32, 48), 0.5), torch.rand(1, 1, 32, 48)]).requires_grad_()
    model(images, kinds=kinds).square().sum().backward()
    assert images.grad.isfinite().all() and images.grad[1].any()


@pytest.mark.parametrize("kinds", [("infrared",), ("infrared", "sonar"), (("infrared",), ("visible", "visible"))])
def test_kinds_that_do_not_fit_the_sources_are_refused(kinds):
    with pytest.raises(ValueError, match="kinds"):
        network(kinds=KINDS)(*sources(8, 8), kinds=kinds)
    with pytest.raises(ValueError, match=r"model\.kinds lists some of infrared, visible"):
        ModelOptions(kinds=("infrared", "infrared"))


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("gradients", [True, False])
def test_a_batch_equals_its_pairs_one_by_one(output, gradients):
    model = network(output=output)
    a, b = sources(18, 33, batch=3)
    with torch.set_grad_enabled(gradients):
        one_by_one = torch.cat([model(a[i : i + 1], b[i : i + 1]) for i in range(3)])
        torch.testing.assert_close(model(a, b), one_by_one, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("gradients", [True, False])
def test_one_and_two_threads_agree(gradients):
    model, threads = network(), torch.get_num_threads()
    a, b = sources(48, 64)
    results = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            with torch.set_grad_enabled(gradients):
                results.append(model(a, b))
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(*results, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("output", OUTPUTS)
def test_every_parameter_gets_a_gradient(output):
    torch.manual_seed(0)
    model = AdaSFFuse(ModelOptions(**SHAPE, output=output))  # as it starts, spectral filters at zero
    a, b = sources(24, 40, batch=2)
    (model(a, b) - torch.maximum(a, b)).abs().mean().backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_parameter_counts():
    def count(options: ModelOptions) -> int:
        """Without what finds people, which is the same in all sizes."""
        return sum(p.numel() for p in AdaSFFuse(replace(options, targets=False)).parameters())

    paper, base = AdaSFFuse(SIZES["paper"]), count(SIZES["base"])
    filters = sum(p.numel() for name, p in paper.named_parameters() if "frequency" in name)
    assert 1.33e6 < count(SIZES["paper"]) - filters < 1.35e6  # the paper's network, but for our filters
    assert count(SIZES["paper"]) < base <= 1.6e6
    assert count(SIZES["tiny"]) < 0.4 * count(SIZES["small"]) < 0.4 * 0.25 * base


def test_parameters_are_real_and_not_shared():
    state = network().state_dict()
    assert {v.dtype for v in state.values()} == {torch.float32}
    assert len({v.data_ptr() for v in state.values()}) == len(state)


def blended(head: PyramidHead, fused: torch.Tensor, features: torch.Tensor, sources: torch.Tensor) -> torch.Tensor:
    """Sources (S*B, P, H, W) weighed by a head, (B, P, H, W)."""
    return head.compose(sources.unflatten(0, (-1, len(fused))), head.weight_maps(fused, features))


@pytest.mark.parametrize("patch", [1, 2])
def test_a_pyramid_gives_back_sources_that_agree_and_moves_with_their_brightness(patch):
    torch.manual_seed(0)
    head = PyramidHead(8, patch)
    same = torch.rand(1, patch**2, 16, 24).repeat(2, 1, 1, 1)
    fused, features = torch.randn(1, 8, 16, 24), torch.randn(2, 8, 16, 24)
    torch.testing.assert_close(blended(head, fused, features, same), same[:1], atol=1e-6, rtol=0)
    other = torch.rand(2, patch**2, 16, 24)
    result = blended(head, fused, features, other)
    torch.testing.assert_close(blended(head, fused, features, other + 0.2), result + 0.2)
    assert (other.amin(0) <= result[0]).all() and (result[0] <= other.amax(0)).all()  # no halo


def test_a_pyramid_of_equal_weights_is_the_mean_and_a_sure_one_is_the_source():
    head = PyramidHead(8)
    for blend in (head.detail, *head.coarse):
        torch.nn.init.zeros_(blend.logit.weight)
    sources = torch.rand(2, 1, 16, 24)
    fused, features = torch.zeros(1, 8, 16, 24), torch.stack([torch.ones(8, 16, 24), -torch.ones(8, 16, 24)])
    torch.testing.assert_close(blended(head, fused, features, sources), sources.mean(0, keepdim=True))
    for blend in (head.detail, *head.coarse):
        torch.nn.init.zeros_(blend.from_fused.bias)
        torch.nn.init.constant_(blend.from_source.weight, 100.0)
        torch.nn.init.zeros_(blend.logit.weight)
        blend.logit.weight.data[:, :, 1, 1] = 1.0
    torch.testing.assert_close(blended(head, fused, features, sources), sources[:1])


def test_blend_starts_from_a_sensible_image():
    for seed in range(3):
        torch.manual_seed(seed)
        model = AdaSFFuse(SIZES["small"])
        a, b = sources(32, 32)
        with torch.no_grad():
            assert (model(a, b) - (a + b) / 2).abs().mean() < 0.1


def test_padding_reflects_and_replicates_where_it_cannot():
    row = torch.tensor([[[[1.0, 2.0, 3.0, 4.0, 5.0]]]])
    assert pad_to_multiple(row, 8)[0, 0, 0].tolist() == [1, 2, 3, 4, 5, 4, 3, 2]
    assert pad_to_multiple(row[..., :2], 8)[0, 0, 0].tolist() == [1, 2, 2, 2, 2, 2, 2, 2]
    assert pad_to_multiple(row, 8).shape == (1, 1, 8, 5 + 3)
    even = torch.rand(1, 1, 16, 8)
    assert pad_to_multiple(even, 8) is even


def test_half_precision_trains_with_finite_gradients_and_small_error():
    model = network().train()
    a, b = sources(24, 24, batch=2)
    with torch.autocast("cpu", torch.bfloat16):
        fused = model(a, b)
    fused.float().square().mean().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    assert (fused.float() - model(a, b)).abs().max() < 0.05


@pytest.mark.parametrize(
    "a, b", [((1, 1, 4, 4), (1, 1, 4, 5)), ((1, 3, 4, 4), (1, 3, 4, 4)), ((4, 4), (4, 4)), ((2, 1, 4, 4), (1, 1, 4, 4))]
)
def test_wrong_shapes(a, b):
    with pytest.raises(ValueError, match=r"two or more luminance batches \(B, 1, H, W\) of one shape, got"):
        network()(torch.rand(a), torch.rand(b))


@pytest.mark.parametrize("shape", [(0, 1, 4, 4), (1, 1, 0, 4), (1, 1, 4, 0)])
def test_images_without_pixels(shape):
    with pytest.raises(ValueError, match=r"AdaSFFuse needs at least one sample of at least one pixel, got \("):
        network()(torch.rand(shape), torch.rand(shape))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"channels": 6}, "model.channels must be a multiple of 4 .*, got 6"),
        ({"channels": 0}, r"model.channels must lie in 4 \.\. 512, got 0"),
        ({"d_state": -1}, r"model.d_state must lie in 1 \.\. 512, got -1"),
        ({"full_blocks": -1}, r"model.full_blocks must lie in 0 \.\. 16, got -1"),
        (
            {"scan": "rastr"},
            "model.scan must be one of raster, bidirectional, got 'rastr'; did you mean 'raster'",
        ),
        ({"output": "direct", "residual": False}, "model.output 'direct' is the residual alone"),
        ({"exposure": True, "output": "direct"}, "model.exposure needs model.output 'pyramid', got 'direct'"),
        ({"output": "pyramyd"}, "model.output must be one of direct, pyramid, got 'pyramyd'; did you mean 'pyramid'"),
        ({"dark": True, "hot": True}, r"model.dark, model.hot would do nothing, model.kinds being \[\]: .* some kinds"),
        ({"kinds": ("visible",), "unshaded": True, "dark": True}, "model.unshaded would do nothing, .* needs infrared"),
        (
            {"kinds": ("infrared",), "targets": True},
            "model.targets would .* lights and targets need infrared and visible; set to",
        ),
        ({"head_dim": 7}, "head size 7 does not divide the inner width 16"),
        ({"head_dim": 16}, r"a bidirectional scan needs an even number of heads, got 16 / 16 = 1"),
    ],
)
def test_impossible_networks(changes, message):
    with pytest.raises(ValueError, match=message):
        AdaSFFuse(ModelOptions(**{**SHAPE, **changes}))


def test_an_odd_number_of_heads_runs_one_way():
    assert network(head_dim=16, scan="raster")(*sources(8, 8)).shape == (1, 1, 8, 8)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_cpu_and_gpu_agree():
    model = network()
    a, b = sources(37, 50)
    with torch.no_grad():
        expected = model(a, b)
        torch.testing.assert_close(model.cuda()(a.cuda(), b.cuda()).cpu(), expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("patch", [1, 2])
def test_a_pyramid_can_start_as_exposure_fusion(patch):
    torch.manual_seed(0)
    head = PyramidHead(8, patch, exposure=True)
    head.start_as_exposure_fusion()
    images = F.interpolate(torch.rand(2, 1, 4 * patch, 6 * patch), scale_factor=8, mode="bicubic")
    images = images.clamp(0, 1).unsqueeze(1)  # smooth ones, which bands of another shape split alike
    sources = F.pixel_unshuffle(images.flatten(0, 1), patch)
    fused, features = torch.randn(1, 8, 32, 48), torch.randn(2, 8, 32, 48)
    result = F.pixel_shuffle(blended(head, fused, features, sources), patch)
    expected = exposure_fusion(images)
    assert (result - expected).abs().mean() < 0.4 * (expected - images.mean(0)).abs().mean()


def stack(count: int, height: int = 19, width: int = 26, batch: int = 1) -> list[torch.Tensor]:
    return list(torch.rand(count, batch, 1, height, width, generator=torch.Generator().manual_seed(7)))


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_a_sequence_of_two_sources_is_the_two_source_form_bit_for_bit(changes):
    model = network(**changes)
    a, b = stack(2)
    assert torch.equal(model([a, b]), model(a, b)) and torch.equal(model(torch.stack([a, b])), model(a, b))


@pytest.mark.parametrize(("changes", "count"), [*((changes, 3) for changes in VARIANTS), ({}, 5)], ids=str)
def test_more_sources_in_any_order(changes, count):
    """Batches do not mix."""
    model, images = network(**changes), stack(count, batch=2)
    result = model(images)
    torch.testing.assert_close(model(images[::-1]), result, atol=1e-5, rtol=0)
    torch.testing.assert_close(model([x[1:] for x in images]), result[1:], atol=1e-5, rtol=0)
    for k, image in enumerate(images):  # every source counts
        changed = [*images[:k], 1 - image, *images[k + 1 :]]
        assert (model(changed) - result).abs().max() > 1e-3


def test_sources_are_added_as_twice_their_mean():
    a, b, c = torch.rand(3, 1, 4, 2, 2)
    assert torch.equal(add_sources(torch.cat([a, b]), 2), a + b)
    torch.testing.assert_close(add_sources(torch.cat([a, b, c]), 3), (a + b + c) / 3 * 2)


@pytest.mark.parametrize("changes", [c for c in VARIANTS if c.get("output") != "direct"], ids=str)
@pytest.mark.parametrize("count", [2, 3])
def test_what_all_sources_agree_on_stays_and_the_residual_is_as_small_as_their_difference(changes, count):
    model = network(**changes)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("decode.4"):
                parameter.fill_(50.0)  # a decoder that shouts
    images = torch.stack(stack(count))
    same = images[:1].expand(count, -1, -1, -1, -1)
    assert torch.equal(model(same), same[0])
    images[:, ..., :8, :] = images[:1, ..., :8, :]  # they agree in some rows, and differ below
    images[:, ..., 2, :] = 0
    result, darkest, brightest = model(images), images.amin(0), images.amax(0)
    assert torch.equal(result[..., :8, :], images[0, ..., :8, :]) and not result[..., 2, :].any()
    slack = (brightest - darkest) if model.decode is not None else 0
    assert (result >= darkest - slack - 1e-6).all() and (result <= brightest + slack + 1e-6).all()
    if model.decode is not None:
        assert ((result < darkest - 1e-3) | (result > brightest + 1e-3)).any()  # the residual is not lost


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("changes", [{"patch": 2, "exposure": True}, {"kinds": KINDS}], ids=str)
def test_networks_of_other_precision(changes, dtype):
    model, images = network(**changes), stack(2, 24, 40)
    expected = model(images)
    result = model.to(dtype)([x.to(torch.promote_types(dtype, torch.float32)) for x in images])
    assert (result - expected).abs().max() < (1e-5 if dtype == torch.float64 else 0.05)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("own", [torch.float16, torch.float32, torch.float64])
def test_the_result_has_the_type_of_the_sources(own, dtype):
    model, images = network(patch=2, exposure=True), stack(2, 24, 40)
    expected = model(images)
    result = model.to(own)([image.to(dtype) for image in images])
    assert result.dtype == dtype and (result - expected).abs().max() < 0.05


def test_another_default_precision_changes_nothing():
    model, images = network(patch=2, exposure=True), stack(2, 24, 40)
    expected = model(images)
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(model(images), expected)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.slow
def test_export_agrees_and_leaves_the_network_as_it_was():
    model, images, kinds = network(**RELEASED), stack(2, 24, 40), {"kinds": ("infrared", "visible")}
    expected = model(*images, **kinds).detach()
    exported = torch.export.export(model, tuple(images), kinds)
    torch.testing.assert_close(exported.module()(*images, **kinds), expected, atol=1e-5, rtol=0)
    with pytest.raises(Exception, match="two or more luminance batches"):
        torch.export.export(model, (images[0], images[1][..., 1:]))
    assert torch.equal(model(*images, **kinds), expected)


@pytest.mark.slow
def test_the_network_is_one_graph_for_the_compiler():
    model, images, kinds = network(**RELEASED), stack(2, 24, 40), ("infrared", "visible")
    with torch.no_grad():
        model.kinds.log_gain[:2, -1] = -20.0  # no residual, as in the released weights for this task
        compiled = torch.compile(model, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(*images, kinds=kinds), model(*images, kinds=kinds), atol=1e-5, rtol=0)
