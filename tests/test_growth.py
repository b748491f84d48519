"""A network that inherits another one's parameters does what that does."""

import pytest
import torch
from tiny import SHAPE, network
from torch import Tensor

from adasffuse.models import AdaSFFuse, ModelOptions
from adasffuse.models.growth import inherit
from adasffuse.tasks import KINDS

TWICE = {name: 2 * SHAPE[name] for name in ("channels", "head_dim", "d_state")}


def grown(start: AdaSFFuse, **changes) -> AdaSFFuse:
    """A network of another shape than `network`'s that inherits from `start`."""
    model = network(1, **changes)
    inherit(model, start)
    return model


def fused(model: AdaSFFuse) -> Tensor:
    sources = torch.rand(2, 1, 1, 48, 64, generator=torch.manual_seed(3))
    with torch.no_grad():
        return model(*sources, kinds=model.options.kinds[:2])


@pytest.mark.parametrize("factor", [2, 3])
@pytest.mark.parametrize("shape", [{"output": "pyramid", "kinds": KINDS, "patch": 2}, {"output": "direct"}])
def test_a_wider_and_deeper_network_does_the_same(shape, factor):
    start = network(5, **shape)
    if shape.get("kinds"):
        torch.nn.init.normal_(start.kinds.weight, std=0.3)
        torch.nn.init.normal_(start.kinds.bias)
        torch.nn.init.normal_(start.kinds.log_gain)
    wider = {name: factor * SHAPE[name] for name in TWICE}
    model = grown(start, **shape, **wider, band_blocks=2, full_blocks=3)
    expected = fused(start)
    assert (fused(network(1, **shape, **wider)) - expected).abs().max() > 0.05  # not by chance
    torch.testing.assert_close(fused(model), expected, atol=2e-3, rtol=0)  # the norms' epsilon counts the copies


def test_copies_drift_apart_in_training():
    model = grown(network(5), **TWICE).train()
    weight = model.full_blocks[0].mlp.expand.weight  # two copies of every row lie side by side; so do their gradients
    sources = torch.rand(2, 1, 1, 32, 32)
    model(*sources).square().mean().backward()
    gradient = weight.grad.unflatten(0, (-1, 2))
    torch.testing.assert_close(*weight.detach().unflatten(0, (-1, 2)).sum(2).unbind(1))  # what they read adds up alike
    difference = (gradient[:, 0] - gradient[:, 1]).norm() / gradient.norm()
    assert difference > 0.1


def test_a_network_that_knows_kinds_inherits_from_one_that_does_not():
    start = network(5, output="pyramid")
    model = AdaSFFuse(grown(start, output="pyramid", kinds=KINDS).options)
    inherit(model, start)
    state = model.state_dict()
    assert all(torch.equal(state.pop(name), value) for name, value in start.state_dict().items())
    assert list(state) == ["kinds.weight", "kinds.bias", "kinds.log_gain"]
    assert not any(value.any() for value in state.values())


def test_a_network_that_knows_contrast_inherits_from_one_that_does_not():
    start = network(5, output="pyramid")
    model = AdaSFFuse(ModelOptions(**{**SHAPE, "contrast": True}))
    inherit(model, start)
    torch.testing.assert_close(fused(model), fused(start))


def test_a_network_without_residual_inherits_from_one_with_it():
    start = network(5, output="pyramid")
    model = grown(start, output="pyramid", residual=False)
    torch.nn.init.zeros_(start.decode[-1].weight)
    torch.nn.init.zeros_(start.decode[-1].bias)
    torch.testing.assert_close(fused(model), fused(start))


def test_a_network_with_residual_inherits_from_one_without_it():
    start = network(5, output="pyramid", residual=False)
    model = AdaSFFuse(ModelOptions(**{**SHAPE, "output": "pyramid"}))
    inherit(model, start)
    torch.testing.assert_close(fused(model), fused(start))


@pytest.mark.parametrize(
    "changes",
    [
        {"d_state": 16},
        {"channels": 16},
        {"channels": 12, "head_dim": 12, "d_state": 12},
        {"patch": 2},
        {"scan": "raster"},
    ],
    ids=str,
)
def test_other_shapes_are_refused(changes):
    with pytest.raises(ValueError, match=r"a network of another shape: .+ where .+ is asked for"):
        grown(network(5), **changes)
    with pytest.raises(ValueError, match=r"a network of another shape: .+ where .+ is asked for"):
        grown(network(5, kinds=KINDS))  # what is known of kinds cannot be left out
    with pytest.raises(ValueError, match=r"a network of another shape: .+ where .+ is asked for"):
        grown(network(5, full_blocks=2))
    with pytest.raises(ValueError, match=r"a network of another shape: .+ where .+ is asked for"):
        grown(network(5, **TWICE))  # a smaller network cannot hold a larger one
    with pytest.raises(ValueError, match=r"a network of another shape: .+ where .+ is asked for"):
        grown(network(5, output="direct"))
