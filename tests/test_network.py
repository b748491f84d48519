"""The whole network: symmetry, sizes, batches, gradients, and the two orders of work (whole maps, strips of rows)."""

import pytest
import torch
import torch.nn.functional as F
from tiny import SHAPE, network

from adasffuse.classical.exposure import exposure_fusion
from adasffuse.models import SIZES, AdaSFFuse, ModelOptions, strips
from adasffuse.models.heads import BlendHead, PyramidHead
from adasffuse.models.mamba import Mixer
from adasffuse.models.network import pad_to_multiple

HEADS = ["direct", "blend", "pyramid"]
SIZES_IN_PIXELS = [(1, 1), (1, 13), (13, 1), (2, 2), (3, 5), (8, 8), (17, 40), (37, 21)]
VARIANTS = [
    {},
    {"output": "direct"},
    {"scan": "raster"},
    {"scan": "cross"},
    {"frequency": False},
    {"spatial": False},
    {"band_blocks": 0, "full_blocks": 2},
    {"ordered": True},
    {"output": "pyramid"},
    {"output": "pyramid", "patch": 2},
    {"output": "pyramid", "patch": 2, "exposure": True, "residual": False},
]


def sources(height: int, width: int, batch: int = 1, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    a, b = torch.rand(2, batch, 1, height, width, generator=torch.Generator().manual_seed(seed))
    return a, b


@pytest.mark.parametrize("output", HEADS)
@pytest.mark.parametrize("height, width", SIZES_IN_PIXELS)
def test_any_size_comes_out_as_it_went_in(height, width, output):
    model = network(output=output)
    a, b = sources(height, width, batch=2)
    whole = model(a, b)
    assert whole.shape == (2, 1, height, width) and whole.isfinite().all()
    with torch.inference_mode():
        torch.testing.assert_close(model(a, b), whole, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("output", HEADS)
def test_order_of_the_sources_does_not_matter(output):
    model = network(output=output)
    a, b = sources(19, 26, batch=2)
    torch.testing.assert_close(model(a, b), model(b, a), atol=1e-6, rtol=0)
    with torch.inference_mode():
        torch.testing.assert_close(model(a, b), model(b, a), atol=1e-6, rtol=0)
        assert (model(a, b) - model(a, a)).abs().max() > 1e-3  # and both of them do


def test_an_ordered_network_tells_its_sources_apart_once_trained():
    model, alike = network(ordered=True), network()
    a, b = sources(19, 26, batch=2)
    model.load_state_dict(model.state_dict() | alike.state_dict())
    torch.nn.init.zeros_(model.embed_order.weight)
    torch.nn.init.zeros_(model.embed_order.bias)
    assert torch.equal(model(a, b), alike(a, b))  # as at the start of its training
    torch.nn.init.constant_(model.embed_order.bias, 0.1)
    assert (model(a, b) - model(b, a)).abs().max() > 1e-3
    with torch.no_grad():
        alike.embed.bias += 0.1
    both = torch.cat([a, b])
    torch.testing.assert_close(model.embed_sources(both)[:2], alike.embed_sources(both)[:2])


@pytest.mark.parametrize("changes", VARIANTS)
def test_strips_of_rows_equal_whole_maps(changes, monkeypatch):
    monkeypatch.setattr(strips, "_STRIP_BYTES", 1)  # the smallest strips, 16 rows: many even here
    model = network(**changes)
    a, b = sources(75, 42, batch=2)
    whole = model(a, b).detach()
    with torch.no_grad():
        torch.testing.assert_close(model(a, b), whole, atol=1e-5, rtol=1e-4)


def test_strips_equal_whole_maps_where_the_scan_forgets_fast(monkeypatch):
    monkeypatch.setattr(strips, "_STRIP_BYTES", 1)
    model = network()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, Mixer):
                module.dt_bias += 4  # the chunk of the scan has to shrink
    a, b = sources(40, 24)
    whole = model(a, b).detach()
    with torch.no_grad():
        torch.testing.assert_close(model(a, b), whole, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("output", HEADS)
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


@pytest.mark.parametrize("output", HEADS)
def test_every_parameter_gets_a_gradient(output):
    torch.manual_seed(0)
    model = AdaSFFuse(ModelOptions(**SHAPE, output=output))  # as it starts, spectral filters at zero
    a, b = sources(24, 40, batch=2)
    (model(a, b) - torch.maximum(a, b)).abs().mean().backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_fixed_filters_stay_at_haar():
    model = AdaSFFuse(ModelOptions(**SHAPE, trained_filters=False))
    fixed = [n for n, p in model.named_parameters() if not p.requires_grad]
    assert fixed == ["split.low_pass", "split.high_pass", "merge.low_pass", "merge.high_pass"]
    assert model.filter_penalty().item() == pytest.approx(0, abs=1e-12)


def test_parameter_counts():
    def count(options: ModelOptions) -> int:
        return sum(p.numel() for p in AdaSFFuse(options).parameters())

    base = count(ModelOptions(output="direct"))
    assert 1.33e6 < count(ModelOptions(output="direct", frequency=False)) < 1.35e6  # the paper's network
    assert base < count(SIZES["base"]) <= 1.5e6
    assert count(SIZES["small"]) < 0.25 * count(SIZES["base"])


def test_parameters_are_real_and_not_shared():
    state = network().state_dict()
    assert {v.dtype for v in state.values()} == {torch.float32}
    assert len({v.data_ptr() for v in state.values()}) == len(state)


def blended(head: BlendHead, fused: torch.Tensor, features: torch.Tensor, sources: torch.Tensor) -> torch.Tensor:
    """Sources (S*B, P, H, W) weighed by a head, (B, P, H, W)."""
    guide = head.fine_guide(fused, features) + head.coarse_guide(F.avg_pool2d(fused, 2), F.avg_pool2d(features, 2))
    return head.compose(sources.unflatten(0, (-1, len(fused))), guide)


def test_blend_lies_between_the_sources_and_keeps_what_they_share():
    torch.manual_seed(0)
    head = BlendHead(8)
    values = torch.rand(3, 1, 9, 9)  # it extends to three sources
    features = torch.randn(3, 8, 9, 9)
    out = blended(head, torch.randn(1, 8, 9, 9), features, values)
    assert (out >= values.amin(0) - 1e-6).all() and (out <= values.amax(0) + 1e-6).all()
    same = values[:1].expand(3, 1, 9, 9)
    torch.testing.assert_close(blended(head, torch.randn(1, 8, 9, 9), features, same), same[:1])


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
    for blend in (head, *head.coarse):
        torch.nn.init.zeros_(blend.logit.weight)
    sources = torch.rand(2, 1, 16, 24)
    fused, features = torch.zeros(1, 8, 16, 24), torch.stack([torch.ones(8, 16, 24), -torch.ones(8, 16, 24)])
    torch.testing.assert_close(blended(head, fused, features, sources), sources.mean(0, keepdim=True))
    for blend in (head, *head.coarse):
        torch.nn.init.zeros_(blend.from_fused.bias)
        torch.nn.init.constant_(blend.from_source.weight, 100.0)
        torch.nn.init.zeros_(blend.logit.weight)
        blend.logit.weight.data[:, :, 1, 1] = 1.0
    torch.testing.assert_close(blended(head, fused, features, sources), sources[:1])


def test_a_pyramid_can_start_as_a_blend():
    torch.manual_seed(0)
    blend, head = BlendHead(8), PyramidHead(8)
    head.load_state_dict(head.state_dict() | blend.state_dict())
    head.start_as_blend()
    fused, features = torch.randn(1, 8, 1, 1).expand(1, 8, 16, 24), torch.randn(2, 8, 1, 1).expand(2, 8, 16, 24)
    sources = torch.rand(2, 1, 16, 24)
    inside = (..., slice(8, -8), slice(8, -8))  # away from the zeros that convolutions see outside
    torch.testing.assert_close(
        blended(head, fused, features, sources)[inside], blended(blend, fused, features, sources)[inside]
    )


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
        with torch.no_grad():
            in_strips = model(a, b)
    fused.float().square().mean().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    assert (fused.float() - model(a, b)).abs().max() < 0.05
    assert (in_strips.float() - model(a, b)).abs().max() < 0.05


@pytest.mark.parametrize(
    "a, b", [((1, 1, 4, 4), (1, 1, 4, 5)), ((1, 3, 4, 4), (1, 3, 4, 4)), ((4, 4), (4, 4)), ((2, 1, 4, 4), (1, 1, 4, 4))]
)
def test_wrong_shapes(a, b):
    with pytest.raises(ValueError, match=r"two luminance batches \(B, 1, H, W\) of one shape, got"):
        network()(torch.rand(a), torch.rand(b))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"channels": 6}, "model.channels must be a multiple of 4 .*, got 6"),
        ({"channels": 0}, "model.channels must be positive, got 0"),
        ({"state": -1}, "model.state must be positive, got -1"),
        ({"full_blocks": -1}, "model.full_blocks must not be negative, got -1"),
        (
            {"scan": "rastr"},
            "model.scan must be one of raster, bidirectional, cross, got 'rastr'; did you mean 'raster'",
        ),
        ({"output": "direct", "residual": False}, "model.residual false leaves nothing of model.output 'direct'"),
        ({"exposure": True}, "model.exposure needs model.output 'pyramid', got 'blend'"),
        ({"output": "blnd"}, "model.output must be one of direct, blend, pyramid, got 'blnd'; did you mean 'blend'"),
        ({"head": 7}, "head size 7 does not divide the inner width 16"),
        ({"head": 16}, r"a bidirectional scan needs an even number of heads, got 16 / 16 = 1"),
        ({"head": 16, "scan": "cross"}, r"a cross scan needs an even number of heads, got 16 / 16 = 1"),
        ({"frequency": False, "spatial": False}, "the mixer needs its spatial branch, its frequency branch or both"),
    ],
)
def test_impossible_networks(changes, message):
    with pytest.raises(ValueError, match=message):
        AdaSFFuse(ModelOptions(**{**SHAPE, **changes}))


def test_an_odd_number_of_heads_runs_one_way():
    assert network(head=16, scan="raster")(*sources(8, 8)).shape == (1, 1, 8, 8)


def test_half_of_the_heads_of_a_cross_scan_go_through_columns():
    """A pixel reaches what comes after it in the order of its head, and nothing else."""
    height, width, row, column = 3, 5, 1, 2
    mixer = Mixer(4, head=4, state=3, order="cross")
    x, dt = torch.rand(1, height * width, 2, 4), torch.rand(1, height * width, 2)
    B, C = torch.rand(2, 1, height * width, 3)
    changed = x.clone()
    changed[:, row * width + column] += 1
    with torch.no_grad():
        out = [mixer._scan(t, dt, torch.full((2,), -0.1), B, C, width) for t in (x, changed)]  # little is forgotten
    reached = (out[1] - out[0]).abs().sum(dim=(0, 3)).unflatten(0, (height, width)) > 1e-6  # (H, W, heads)
    for i in range(height):
        for j in range(width):
            assert reached[i, j, 0] == ((i, j) >= (row, column))
            assert reached[i, j, 1] == ((j, i) >= (column, row))


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
    expected = exposure_fusion(*images)
    assert (result - expected).abs().mean() < 0.4 * (expected - images.mean(0)).abs().mean()
