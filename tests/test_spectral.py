"""The frequency branch: its transfer function, its borders, and the pooling around it."""

import numpy as np
import pytest
import torch

from adasffuse.models.spectral import CUTOFFS, POOL, REACH, SpectralFilter, _fast_length, enlarge, pool, spectral_basis


def random_filter(channels: int = 2, seed: int = 0) -> SpectralFilter:
    torch.manual_seed(seed)
    layer = SpectralFilter(channels)
    torch.nn.init.normal_(layer.weight)
    return layer


def transfer_function(weight: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """H of the module's docstring on the whole grid of `fft2`, in float64; odd terms vanish at Nyquist."""
    fy, fx = np.meshgrid(np.fft.fftfreq(size[0]), np.fft.fftfreq(size[1]), indexing="ij")
    odd_y, odd_x = np.where(fy == -0.5, 0, fy), np.where(fx == -0.5, 0, fx)
    even, odd = [], []
    for f in CUTOFFS:
        r2 = fx**2 + fy**2
        radial = np.exp(-r2 / f**2)
        even += [radial, radial * (fx**2 - fy**2) / (r2 + f**2), radial * 2 * odd_x * odd_y / (r2 + f**2)]
        odd += [radial * odd_x / np.sqrt(r2 + f**2), radial * odd_y / np.sqrt(r2 + f**2)]
    return np.tensordot(weight, np.stack(even + [1j * o for o in odd]), 1)


@pytest.mark.parametrize("height, width", [(1, 1), (1, 7), (5, 3), (16, 16), (9, 20)])
def test_equals_filtering_with_the_full_complex_transform(height, width):
    layer = random_filter()
    x = torch.randn(3, 2, height, width, generator=torch.Generator().manual_seed(1))
    top, left = min(REACH, height), min(REACH, width)
    size = (_fast_length(height + 2 * top), _fast_length(width + 2 * left))
    padding = [(0, 0), (0, 0), (top, size[0] - height - top), (left, size[1] - width - left)]
    padded = np.pad(x.numpy().astype(float), padding, mode="symmetric")
    H = transfer_function(layer.weight.detach().double().numpy(), size)
    filtered = np.fft.ifft2(np.fft.fft2(padded) * H)
    assert abs(filtered.imag).max() < 1e-12  # Hermitian: a real image stays real
    expected = filtered.real[..., top : top + height, left : left + width]
    actual = layer(x)
    assert actual.shape == x.shape and actual.dtype == x.dtype
    np.testing.assert_allclose(actual.detach(), expected, atol=2e-5 * abs(expected).max())


@pytest.mark.parametrize("size", [(16, 16), (18, 24), (20, 2)])
def test_basis_is_hermitian_on_the_half_grid_itself(size):
    """At zero and at Nyquist along the width, row -k of the half grid is the mirror image of row k."""
    even, odd = spectral_basis(size)
    for column in (0, size[1] // 2):
        mirrored = torch.arange(size[0]).neg() % size[0]
        torch.testing.assert_close(even[:, mirrored, column], even[:, :, column])
        torch.testing.assert_close(odd[:, mirrored, column], -odd[:, :, column])


def test_starts_as_zero_with_real_parameters():
    layer = SpectralFilter(3)
    assert not layer(torch.randn(1, 3, 6, 6)).any()
    assert [p.dtype for p in layer.parameters()] == [torch.float32]


def test_response_varies_with_frequency_and_channel():
    response = random_filter().response((32, 32))
    assert response.shape == (2, 32, 17)
    assert (response[0] - response[1]).abs().max() > 0.1
    assert (response - response[:, :1, :1]).abs().amax(dim=(1, 2)).min() > 0.1


@pytest.mark.parametrize("height, width", [(1, 1), (7, 5), (30, 18)])
def test_a_constant_stays_constant_up_to_the_gain_at_zero_frequency(height, width):
    layer = random_filter()
    gain = layer.weight[:, : 3 * len(CUTOFFS) : 3].sum(dim=1)  # the radial terms; all others are 0 there
    expected = 0.7 * gain[None, :, None, None].expand(1, 2, height, width)
    torch.testing.assert_close(layer(torch.full((1, 2, height, width), 0.7)), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dim", [2, 3])
def test_no_wrap_around_between_opposite_borders(dim):
    """A line of ones along one border moves the opposite one by less than 2e-3, whichever basis function is used."""
    x = torch.zeros(1, 5 * len(CUTOFFS), 48, 48)
    x.select(dim, 0).fill_(1)
    layer = SpectralFilter(x.shape[1])
    torch.nn.init.eye_(layer.weight)  # channel k holds basis function k alone
    out = layer(x).abs()
    assert out.select(dim, 0).amax() > 0.5
    assert out.narrow(dim, 24, 24).max() < 2e-3


def test_reaches_beyond_the_window_of_the_other_branch():
    x = torch.zeros(1, 1, 33, 33)
    x[0, 0, 16, 16] = 1
    layer = random_filter(1)
    out = layer(x)[0, 0].abs()
    assert out[16, 22:].max() > 1e-2 * out.max()  # 6 pooled pixels, 24 pixels of the image


def test_transforms_stay_in_float32_under_autocast():
    layer = random_filter()
    x = torch.randn(1, 2, 12, 12)
    with torch.autocast("cpu", torch.bfloat16):
        half = layer(x.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half, layer(x.bfloat16().float()).bfloat16())


def test_pool_and_enlarge():
    x = torch.arange(32.0).view(1, 1, 4, 8)
    assert pool(x).flatten().tolist() == [13.5, 17.5]  # means of columns 0..3 and 4..7
    assert enlarge(torch.full((1, 2, 1, 3), 0.3)).shape == (1, 2, POOL, 3 * POOL)
    row = enlarge(torch.tensor([[[[0.0, 8.0]]]]))[0, 0, 0]
    assert row.tolist() == [0, 0, 1, 3, 5, 7, 8, 8]  # bilinear, centres of pooled pixels 4 apart


def test_fast_lengths():
    assert [_fast_length(n) for n in (1, 2, 3, 7, 11, 13, 17, 31, 49, 97)] == [2, 2, 4, 8, 12, 16, 18, 32, 50, 100]
