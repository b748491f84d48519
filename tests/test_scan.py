"""The forms of the scan against the recurrence written out step by step, and against hand-computed values."""

import pytest
import torch

from adasffuse.models import scan, scan_chunked, scan_reference
from adasffuse.models.pairwise import scan_pairwise
from adasffuse.models.scan import safe_chunk, scan_columns

FORMS = [scan_chunked, scan_pairwise]
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


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("backward_heads", [0, 2, 4])
@pytest.mark.parametrize("length, chunk", [(1, 8), (7, 8), (8, 8), (37, 8), (64, 16), (130, 64)])
def test_agrees_with_the_recurrence(form, length, chunk, backward_heads, dtype):
    tensors = inputs(length, decay=1.0)
    expected = with_gradients(scan_reference, tensors, backward_heads=backward_heads)
    actual = with_gradients(form, [t.to(dtype) for t in tensors], backward_heads=backward_heads, chunk=chunk)
    for got, wanted in zip(actual, expected):
        assert_close_to_largest(got, wanted, TOLERANCE[dtype])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("total", [1, 50, 119, 121, 200, 1000, 100_000])
def test_strong_decay_stays_exact(form, total, dtype):
    """`total` is the exponent a chunk of 64 steps accumulates in the fastest head."""
    tensors = inputs(100, decay=total / 64)
    tensors[1].fill_(0.1)
    expected = with_gradients(scan_reference, tensors, backward_heads=1)
    for got, wanted in zip(with_gradients(form, [t.to(dtype) for t in tensors], backward_heads=1), expected):
        assert_close_to_largest(got, wanted, TOLERANCE[dtype])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("dt", [0.0, 1e-12, 1e-6])
def test_small_steps_stay_exact(form, dt, dtype):
    tensors = inputs(70, decay=1.0)
    tensors[1].fill_(dt)
    expected = with_gradients(scan_reference, tensors, backward_heads=2)
    for got, wanted in zip(with_gradients(form, [t.to(dtype) for t in tensors], backward_heads=2), expected):
        assert_close_to_largest(got, wanted, TOLERANCE[dtype])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_decay_that_jumps_from_step_to_step(form, dtype):
    tensors = inputs(90, decay=1.0)
    tensors[1][:, ::7] = 30.0  # one step forgets everything, the others next to nothing
    tensors[1][:, 3::7] = 0.0
    expected = with_gradients(scan_reference, tensors, backward_heads=2)
    for got, wanted in zip(with_gradients(form, [t.to(dtype) for t in tensors], backward_heads=2), expected):
        assert_close_to_largest(got, wanted, TOLERANCE[dtype])


@pytest.mark.parametrize("form, chunk", [(scan_chunked, 8), (scan_pairwise, 8), (scan_pairwise, 1)])
def test_long_sequences_carry_the_state_over_many_chunks(form, chunk):
    tensors = inputs(1201, decay=0.01, batch=1)  # chunks of one step: three levels of groups
    for backward_heads in (0, 4):
        expected = scan_reference(*tensors, backward_heads=backward_heads)
        actual = form(*tensors, backward_heads=backward_heads, chunk=chunk)
        assert_close_to_largest(actual, expected, 1e-10)


@pytest.mark.parametrize("form", FORMS)
def test_gradients_agree_with_finite_differences(form):
    tensors = [t.requires_grad_() for t in inputs(5, decay=0.5, batch=1)]
    assert torch.autograd.gradcheck(lambda *t: form(*t, backward_heads=2, chunk=2), tensors)


@pytest.mark.parametrize("form", [scan_reference, *FORMS, scan])
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
    backward = scan_chunked(x, dt, A, B, C, D, backward_heads=4, chunk=8)
    reversed_forward = scan_chunked(*(t.flip(1) for t in (x, dt)), A, B.flip(1), C.flip(1), D, chunk=8).flip(1)
    torch.testing.assert_close(backward, reversed_forward)


@pytest.mark.parametrize("height, width", [(6, 7), (1, 9), (9, 1)])
def test_columns_agree_with_the_recurrence_in_that_order(height, width):
    tensors = inputs(height * width, decay=1.0)
    order = [row * width + column for column in range(width) for row in range(height)]

    def reference(x, dt, A, B, C, D):
        y = torch.empty_like(x)
        y[:, order] = scan_reference(x[:, order], dt[:, order], A, B[:, order], C[:, order], D)
        return y

    actual = with_gradients(scan_columns, tensors, width=width)
    for got, wanted in zip(actual, with_gradients(reference, tensors)):
        assert_close_to_largest(got, wanted, TOLERANCE[torch.float64])


def test_the_chunk_shrinks_where_the_decay_would_leave_the_range():
    decay = torch.full((1, 4, 1), -3.0)
    assert safe_chunk(decay, 32) == 32  # 96 in a chunk
    assert safe_chunk(decay, 64) == 32  # 192
    assert safe_chunk(1e6 * decay, 64) == 1
