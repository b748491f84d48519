"""Replayed CUDA graphs: which calls are captured, with a stand-in, and on a GPU that they change nothing."""

import functools
import sys
import warnings

import pytest
import torch
from tiny import network
from torch.utils._python_dispatch import TorchDispatchMode

from adasffuse.inference import graphs
from adasffuse.inference.graphs import PIXELS, RECENT, Replays
from adasffuse.models.mamba import SCAN_ORDERS
from adasffuse.models.network import HEADS
from adasffuse.models.pairwise import scan_pairwise
from adasffuse.models.spectral import keeping_bases, spectral_basis


class OnCuda(torch.Tensor):
    """Says that it lies on a GPU."""

    is_cuda = True


def source(height: int, width: int) -> torch.Tensor:
    return torch.rand(1, 1, height, width).as_subclass(OnCuda)


@pytest.fixture
def log():
    return []


@pytest.fixture
def call(log):
    """Calls a stand-in network on an image of this size; `log` says what ran."""

    def model(a, b):
        log.append(("model", *a.shape[-2:]))
        return a + b

    def capture(model, a, b):
        log.append(("capture", *a.shape[-2:]))

        def replay(a, b):
            log.append(("replay", *a.shape[-2:]))
            return a + b

        return replay

    replays = Replays(capture)

    def call(height: int, width: int) -> None:
        a, b = source(height, width), source(height, width)
        with torch.no_grad():
            assert torch.equal(replays(model, a, b), a + b)

    return call


def test_the_second_image_of_a_shape_is_captured_and_later_ones_replayed(call, log):
    for size in ((4, 6), (4, 8), (4, 6), (4, 6)):
        call(*size)
    assert log == [("model", 4, 6), ("model", 4, 8), ("capture", 4, 6), ("replay", 4, 6), ("replay", 4, 6)]


def test_memory_is_bounded_and_old_shapes_make_room(call, log, monkeypatch):
    monkeypatch.setattr(graphs, "PIXELS", 60)
    for width in (4, 5, 6, 7) * 4:  # of ten rows: one fits at a time
        call(10, width)
    assert [entry for entry in log if entry[0] == "capture"] == [("capture", 10, 4)]
    assert log.count(("replay", 10, 4)) == 3 and log.count(("model", 10, 7)) == 4
    log.clear()
    for _ in range(RECENT + 2):
        call(10, 5)
    assert log.count(("capture", 10, 5)) == 1 and log[-1] == ("replay", 10, 5)
    log.clear()
    call(10, 4)
    assert log == [("model", 10, 4)]  # forgotten


def test_training_the_cpu_and_large_images_run_as_usual(log):
    replays = Replays(lambda *_: log.append("capture"))
    small, large = source(4, 4), torch.zeros(1).expand(1, 1, 1, PIXELS + 1).as_subclass(OnCuda)
    for _ in range(3):
        replays(torch.add, small, small)  # gradients are on
        with torch.no_grad():
            replays(torch.add, small.as_subclass(torch.Tensor), small)
            replays(lambda a, b: a, large, large)
    assert not log


def test_a_failed_capture_is_said_once(log):
    def failing(*_):
        log.append("capture")
        raise RuntimeError("operation not permitted\nwhen stream is capturing")

    replays, a = Replays(failing), source(4, 4)
    with torch.no_grad():
        replays(torch.add, a, a)
        with pytest.warns(UserWarning, match="fusing without CUDA graphs, because capturing one failed: .*permitted$"):
            replays(torch.add, a, a)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert torch.equal(replays(torch.add, a, a), a + a)
    assert log == ["capture"]


class NeverAsking(TorchDispatchMode):
    """Refuses operators whose result, or its shape, the program waits for, and numbers copied from the program."""

    WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "equal", "is_nonzero", "lift_fresh")

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert function.overloadpacket.__name__ not in self.WAITING
        return function(*args, **(kwargs or {}))


EXPOSURE = {"output": "pyramid", "exposure": True, "residual": False, "patch": 2}


@pytest.mark.parametrize(
    "changes", [*({"scan": order} for order in SCAN_ORDERS), *({"output": head} for head in HEADS), EXPOSURE]
)
def test_the_network_never_asks_for_a_value(monkeypatch, changes):
    """As on a GPU, with the scan that runs there: a graph could not be captured, and eager kernels would wait."""
    monkeypatch.setattr(sys.modules["adasffuse.models.scan"], "scan_chunked", scan_pairwise)
    model, sources = network(**changes), torch.rand(2, 1, 1, 30, 44)
    if model.options.output == "pyramid":
        model.blend.lean = 4.0
    model(*sources)  # constants are made once
    for precision in (torch.float32, torch.bfloat16):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16), NeverAsking():
            model(*sources)  # gradients are on: whole maps instead of strips
    with pytest.raises(AssertionError), NeverAsking():
        sources.max().item()


def test_the_bases_of_a_graph_stay():
    with keeping_bases() as kept, torch.no_grad():
        network()(torch.rand(1, 1, 32, 48), torch.rand(1, 1, 32, 48))
    cached = [id(basis) for basis, _ in kept]
    spectral_basis.cache_clear()
    assert len(kept) == 3 and len(set(cached)) == 2  # two blocks on bands of one size, one at full size
    with keeping_bases() as others:
        pass
    assert not others


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("changes", [{}, {"output": "pyramid", "patch": 2}, EXPOSURE])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_graph_changes_nothing_on_the_gpu(precision, changes):
    """Replays equal the network, for new images, after new weights, and after the caches are gone."""
    model, replays = network(**changes).cuda().to(memory_format=torch.channels_last), Replays()
    fuse = functools.partial(replays, model)
    torch.manual_seed(0)
    with torch.inference_mode():
        for round in range(6):
            a, b = torch.rand(2, 1, 1, 70, 90, device="cuda")
            if round == 4:
                spectral_basis.cache_clear()
                torch.cuda.empty_cache()
                model.blend.logit.weight.mul_(2)
            with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bfloat16"):
                torch.testing.assert_close(fuse(a, b), model(a, b))
    assert replays._works and [replay is not None for _, replay in replays._known.values()] == [True]
