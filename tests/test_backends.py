"""The choice between the scan's implementations, with stand-ins for what needs a GPU, and their agreement on one."""

import functools
import logging
import sys
import types

import pytest
import torch
from test_scan import assert_close_to_largest, inputs, with_gradients

from adasffuse.models import backends, scan, scan_reference
from adasffuse.models.backends import BACKENDS, Case, candidates, case_of, fastest, fused_scan, scan_triton, using
from adasffuse.models.pairwise import scan_pairwise
from adasffuse.models.scan import scan_columns

ON_GPU = {torch.float32: 1e-3, torch.bfloat16: 4e-2}  # of the largest value; Triton multiplies float32 as TF32
CASE = Case(torch.device("cpu"), torch.float32, 4, 2, 3, 5, 512, False)


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch):
    monkeypatch.setattr(backends, "chosen", {})


def broken() -> None:
    raise RuntimeError("no kernel image\nis available")


def test_the_fastest_is_kept_and_logged(caplog):
    seconds = {"torch": 0.8, "compiled": 0.35, "triton": 0.21}
    actions = {name: lambda name=name: name for name in seconds}
    with caplog.at_level(logging.INFO, "adasffuse.models.backends"):
        assert fastest(CASE, actions, lambda action, device: seconds[action()]) == "triton"
    assert backends.chosen == {CASE: "triton"}
    message = "scan on cpu: triton (0.21 ms; compiled 0.35, torch 0.80) for 4 x 3 channels, up to 512 steps, float32"
    assert caplog.messages == ["scan on cpu: trying torch, compiled, triton, which may take a minute", message]


def test_what_fails_is_no_candidate():
    def clock(action, device) -> float:
        action()
        return 1.0

    with pytest.warns(UserWarning, match="scan backend 'triton' cannot be used on cpu: no kernel image$"):
        assert fastest(CASE, {"triton": broken, "torch": lambda: None}, clock) == "torch"
    with (
        pytest.raises(RuntimeError, match="no backend of the scan works on cpu"),
        pytest.warns(UserWarning, match="'torch' cannot be used"),
    ):
        fastest(CASE, {"torch": broken}, clock)


def test_a_case_is_chosen_once(monkeypatch):
    """A stand-in for CUDA tensors: what `pick` asks them for, and a count of what is timed."""
    timed = []
    monkeypatch.setattr(backends, "candidates", lambda *_: {"torch": lambda: 2.0, "compiled": lambda: 1.0})
    monkeypatch.setattr(backends, "milliseconds", lambda action, _: timed.append(1) or action())
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: capturing)
    x, dt, A, B, C, D = inputs(9, 1.0)

    class OnCuda(torch.Tensor):
        is_cuda = True

    x = x.as_subclass(OnCuda)
    capturing = True
    assert backends.pick("auto", (x, dt, A, B, C, D), 2, 8) == "torch" and not timed  # nothing can be timed then
    capturing = False
    assert [backends.pick("auto", (x, dt, A, B, C, D), 2, 8) for _ in range(3)] == ["compiled"] * 3
    assert len(timed) == 2
    capturing = True
    assert backends.pick("auto", (x, dt, A, B, C, D), 2, 8) == "compiled"
    with using("triton"):
        assert backends.pick("auto", (x, dt, A, B, C, D), 2, 8) == "triton"
        assert backends.pick("torch", (x, dt, A, B, C, D), 2, 8) == "torch"


def test_a_case_is_what_speed_depends_on():
    tensors = inputs(9, 1.0)  # 2 x 9 steps
    case = case_of(tensors, 2)
    assert case == Case(torch.device("cpu"), torch.float64, 4, 2, 3, 5, 32, False)
    assert case_of(inputs(16, 1.0), 2) == case and case_of(inputs(17, 1.0), 2).steps == 64
    tensors[2].requires_grad_()
    assert case_of(tensors, 2).gradient
    with torch.no_grad():
        assert not case_of(tensors, 2).gradient


def test_candidates_run_on_the_tensors_and_leave_no_trace(monkeypatch):
    seen = []

    def recording(*arguments):
        seen.append(arguments)
        return scan_reference(*arguments[:-1])

    for name in ("scan_pairwise", "scan_compiled", "scan_triton"):
        monkeypatch.setattr(backends, name, recording)
    tensors = tuple(t.requires_grad_() for t in inputs(6, 1.0))
    state = torch.get_rng_state()
    for installed, names in ((None, BACKENDS[:2]), (recording, BACKENDS)):
        monkeypatch.setattr(backends, "fused_scan", lambda installed=installed: installed)
        actions = candidates(tensors, 2, 8)
        assert tuple(actions) == names
        for action in actions.values():
            action()
    assert all(leaf is not t and torch.equal(leaf, t) for leaf, t in zip(seen[0], tensors)) and seen[0][-2:] == (2, 8)
    assert torch.equal(torch.get_rng_state(), state) and all(t.grad is None for t in tensors)
    with torch.inference_mode():
        candidates(tuple(t * 1 for t in tensors), 2, 8)["torch"]()
    assert not seen[-1][0].requires_grad


def test_nothing_is_timed_on_the_cpu():
    tensors = inputs(4, 1.0)
    assert backends.pick("auto", tensors, 0, 8) == "torch" and not backends.chosen
    assert torch.equal(scan(*tensors), scan(*tensors, backend="torch"))


def test_columns_and_backward_heads_go_through_the_choice(monkeypatch):
    calls = []
    monkeypatch.setattr(backends, "scan_compiled", lambda *t: calls.append(t[6:]) or scan_pairwise(*t))
    tensors = inputs(12, 1.0)
    with using("compiled"):
        actual = [scan(*tensors, backward_heads=2), scan_columns(*tensors, width=3)]
    assert calls == [(2, 64), (0, 64)]
    for got, wanted in zip(actual, [scan(*tensors, backward_heads=2), scan_columns(*tensors, width=3)]):
        torch.testing.assert_close(got, wanted)


def test_what_is_compiled_has_no_break_and_serves_every_length():
    """No decision looks at a value, as a CUDA graph needs it too, and a new length does not compile again."""
    graphs = []

    def backend(module, _):
        graphs.append(module)
        return module.forward

    @functools.cache
    def prepare(function):
        return torch.compile(function, fullgraph=True, backend=backend)

    counts = []
    for length in (70, 129, 300, 1000):
        tensors = inputs(length, decay=1.0)
        actual = with_gradients(lambda *t: scan_pairwise(*t, 2, 8, prepare), tensors)
        for got, wanted in zip(actual, with_gradients(scan_reference, tensors, backward_heads=2)):
            assert_close_to_largest(got, wanted, 1e-10)
        counts.append(len(graphs))
    assert counts == [2, 4, 4, 4]  # once for the first length, once for all


def test_half_precision_agrees():
    tensors = inputs(200, decay=0.5)
    low = [t.bfloat16() if i in (0, 3, 4) else t.float() for i, t in enumerate(tensors)]
    expected = scan_reference(*tensors, backward_heads=2)
    assert_close_to_largest(scan_pairwise(*low, backward_heads=2), expected, ON_GPU[torch.bfloat16])


def test_unknown_backend():
    with pytest.raises(ValueError, match="backend must be one of auto, torch, compiled, triton, got 'cuda'"):
        scan(*inputs(4, 1.0), backend="cuda")
    with pytest.raises(ValueError, match="got 'cuda'"), using("cuda"):
        pass


def test_triton_needs_cuda_tensors():
    with pytest.raises(RuntimeError, match=r"needs mamba_ssm and CUDA tensors \(x is on cpu\); use 'auto'"):
        scan(*inputs(4, 1.0), backend="triton")


@pytest.mark.parametrize("backward_heads", [0, 1, 2, 4])
def test_the_kernel_is_called_with_its_own_layout(monkeypatch, backward_heads):
    """A stand-in with mamba_ssm's signature (every group of heads has its B and C) must give the same result."""

    def kernel(x, dt, A, B, C, chunk_size, D):
        assert x.shape[2] % B.shape[2] == 0 and B.shape == C.shape and chunk_size == 8
        parts = [t.tensor_split(B.shape[2], dim) for t, dim in ((x, 2), (dt, 2), (A, 0), (B, 2), (C, 2), (D, 0))]
        return torch.cat(
            [scan_reference(x, dt, A, B[:, :, 0], C[:, :, 0], D) for x, dt, A, B, C, D in zip(*parts)], dim=2
        )

    monkeypatch.setattr(backends, "fused_scan", lambda: kernel)
    tensors = inputs(9, decay=1.0)
    expected = with_gradients(scan_reference, tensors, backward_heads=backward_heads)
    actual = with_gradients(lambda *t: scan_triton(*t, backward_heads, 8), tensors)
    for got, wanted in zip(actual, expected):
        torch.testing.assert_close(got, wanted)


def test_a_broken_install_of_the_kernel_is_worth_a_warning(monkeypatch):
    for name in ("mamba_ssm", "mamba_ssm.ops", "mamba_ssm.ops.triton"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    fused_scan.cache_clear()
    try:
        with pytest.warns(UserWarning, match="mamba_ssm is installed but does not import"):
            assert fused_scan() is None
    finally:
        fused_scan.cache_clear()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("dtype", ON_GPU)
@pytest.mark.parametrize("backward_heads", [0, 2])
@pytest.mark.parametrize("backend", [*BACKENDS, "auto"])
def test_agrees_on_the_gpu(backend, backward_heads, dtype):
    """Against the recurrence in float64, results and gradients; x, B and C in the low precision, as under autocast."""
    if backend == "triton":
        pytest.importorskip("mamba_ssm")
    tensors = inputs(200, decay=0.5)
    expected = with_gradients(scan_reference, tensors, backward_heads=backward_heads)
    low = [t.to("cuda", dtype if i in (0, 3, 4) else torch.float32) for i, t in enumerate(tensors)]
    actual = with_gradients(lambda *t: scan(*t, backward_heads, backend=backend), low)
    for got, wanted in zip(actual, expected):
        assert_close_to_largest(got.cpu(), wanted, ON_GPU[dtype])
    assert bool(backends.chosen) == (backend == "auto")
