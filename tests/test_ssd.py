"""The chunked scan against the recurrence written out step by step, and against hand-computed values."""

import pytest
import torch

from adasffuse.models import scan, scan_reference, ssd

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}  # relative to the largest value


def inputs(length: int, decay: float, dtype=torch.float64, seed: int = 0, batch: int = 2) -> list[torch.Tensor]:
    """Random x, dt, A, B, C, D of four heads; dt * A is at most `decay` per step, dt between 0 and 0.1."""
    torch.manual_seed(seed)
    heads, head, state = 4, 3, 5
    x, dt = torch.randn(batch, length, heads, head), 0.1 * torch.rand(batch, length, heads)
    B, C = torch.randn(2, batch, length, state)
    A = -10 * decay * torch.tensor([1.0, 0.5, 0.01, 1e-4])
    return [t.to(dtype) for t in (x, dt, A, B, C, torch.randn(heads))]


def with_gradients(scan, tensors: list[torch.Tensor], **arguments) -> list[torch.Tensor]:
    """Result, and gradients of a random weighted sum of it towards all six inputs."""
    leaves = [t.clone().requires_grad_() for t in tensors]
    y = scan(*leaves, **arguments)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y)
    return [y.detach(), *torch.autograd.grad((y * weights).sum(), leaves)]


def assert_close_to_largest(actual: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    assert actual.isfinite().all()
    largest = expected.abs().max().clamp(min=1e-3)  # the gradient of A is 0 where nothing decays
    assert (actual - expected).abs().max() <= tolerance * largest


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("backward_heads", [0, 2, 4])
@pytest.mark.parametrize("length, chunk", [(1, 8), (7, 8), (8, 8), (37, 8), (64, 16), (130, 64)])
def test_agrees_with_the_recurrence(length, chunk, backward_heads, dtype):
    tensors = inputs(length, decay=1.0)
    expected = with_gradients(scan_reference, tensors, backward_heads=backward_heads)
    actual = with_gradients(scan, [t.to(dtype) for t in tensors], backward_heads=backward_heads, chunk=chunk)
    for got, wanted in zip(actual, expected):
        assert_close_to_largest(got, wanted, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("total", [1, 50, 119, 121, 200, 1000, 100_000])
def test_strong_decay_stays_exact(total, dtype):
    """`total` is the exponent a chunk of 64 steps accumulates in the fastest head."""
    tensors = inputs(100, decay=total / 64)
    tensors[1].fill_(0.1)
    expected = with_gradients(scan_reference, tensors, backward_heads=1)
    for got, wanted in zip(with_gradients(scan, [t.to(dtype) for t in tensors], backward_heads=1), expected):
        assert_close_to_largest(got, wanted, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("dt", [0.0, 1e-12, 1e-6])
def test_small_steps_stay_exact(dt, dtype):
    tensors = inputs(70, decay=1.0)
    tensors[1].fill_(dt)
    expected = with_gradients(scan_reference, tensors, backward_heads=2)
    for got, wanted in zip(with_gradients(scan, [t.to(dtype) for t in tensors], backward_heads=2), expected):
        assert_close_to_largest(got, wanted, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_decay_that_jumps_from_step_to_step(dtype):
    tensors = inputs(90, decay=1.0)
    tensors[1][:, ::7] = 30.0  # one step forgets everything, the others next to nothing
    tensors[1][:, 3::7] = 0.0
    expected = with_gradients(scan_reference, tensors, backward_heads=2)
    for got, wanted in zip(with_gradients(scan, [t.to(dtype) for t in tensors], backward_heads=2), expected):
        assert_close_to_largest(got, wanted, TOLERANCE[dtype])


@pytest.mark.parametrize("chunk", [8, 1])
def test_long_sequences_carry_the_state_over_many_chunks(chunk):
    tensors = inputs(1201, decay=0.01, batch=1)  # chunks of one step: three levels of groups
    for backward_heads in (0, 4):
        expected = scan_reference(*tensors, backward_heads=backward_heads)
        actual = scan(*tensors, backward_heads=backward_heads, chunk=chunk)
        assert_close_to_largest(actual, expected, 1e-10)


def test_gradients_agree_with_finite_differences():
    tensors = [t.requires_grad_() for t in inputs(5, decay=0.5, batch=1)]
    assert torch.autograd.gradcheck(lambda *t: scan(*t, backward_heads=2, chunk=2), tensors)


@pytest.mark.parametrize("form", [scan_reference, scan])
def test_one_impulse_halves_with_every_step(form):
    one, zero = torch.ones(1, 3, 1), torch.zeros(1, 3, 2, 1)
    x = zero.clone()
    x[0, 0, 0], x[0, 2, 1] = 1, 1  # first pixel for the forward head, last one for the backward head
    half = -torch.full((2,), 2.0).log()
    y = form(x, torch.ones(1, 3, 2), half, one, one, torch.zeros(2), backward_heads=1)
    assert y[0, :, 0, 0].tolist() == pytest.approx([1, 0.5, 0.25])
    assert y[0, :, 1, 0].tolist() == pytest.approx([0.25, 0.5, 1])
    skip = form(x, torch.zeros(1, 3, 2), half, one, one, torch.tensor([3.0, 4.0]), backward_heads=1)
    torch.testing.assert_close(skip, x * torch.tensor([3.0, 4.0])[:, None])  # dt = 0: D alone


def test_backward_heads_read_the_reversed_sequence():
    x, dt, A, B, C, D = inputs(37, decay=1.0)
    backward = scan(x, dt, A, B, C, D, backward_heads=4, chunk=8)
    reversed_forward = scan(*(t.flip(1) for t in (x, dt)), A, B.flip(1), C.flip(1), D, chunk=8).flip(1)
    torch.testing.assert_close(backward, reversed_forward)


def test_chunks_worked_on_a_few_at_a_time_give_the_same(monkeypatch):
    tensors = inputs(130, decay=1.0)
    expected = with_gradients(scan, tensors, backward_heads=2, chunk=8)
    monkeypatch.setattr(ssd, "_PAIRS", 3 * 4 * 8**2)  # three chunks of four heads
    for got, wanted in zip(with_gradients(scan, tensors, backward_heads=2, chunk=8), expected):
        torch.testing.assert_close(got, wanted, atol=1e-12, rtol=1e-12)


def test_unknown_and_absent_backends():
    tensors = inputs(5, decay=1.0)
    with pytest.raises(ValueError, match="backend must be 'auto', 'torch' or 'triton', got 'cuda'"):
        scan(*tensors, backend="cuda")
    with pytest.raises(RuntimeError, match="backend 'triton' needs mamba_ssm and CUDA tensors"):
        scan(*tensors, backend="triton")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("backend", ["torch", "triton"])
def test_on_a_gpu(backend):
    if backend == "triton":
        pytest.importorskip("mamba_ssm")
    tensors = inputs(200, decay=1.0, dtype=torch.float32)
    expected = scan_reference(*tensors, backward_heads=2)
    actual = scan(*(t.cuda() for t in tensors), backward_heads=2, backend=backend).cpu()
    assert_close_to_largest(actual, expected, 1e-4 if backend == "torch" else 1e-2)  # Triton multiplies as TF32
