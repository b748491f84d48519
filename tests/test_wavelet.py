"""AdaWAT and AdaIWAT: Haar at the start, exactly inverse, in agreement with two other libraries."""

import numpy as np
import pytest
import torch

from adasffuse.models import AdaIWAT, AdaWAT

pywt = pytest.importorskip("pywt")

SIZES = [(2, 2), (8, 6), (2, 10), (16, 34)]


def image(height: int, width: int, channels: int = 3) -> torch.Tensor:
    return torch.rand(2, channels, height, width, generator=torch.Generator().manual_seed(0)).double()


def test_bands_of_two_by_two_pixels():
    low, high = AdaWAT(1).split(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
    assert low.item() == pytest.approx(5)  # half the sum
    # LH: low along the width, high along the height; then HL and HH
    assert high.flatten().tolist() == pytest.approx([-2, -1, 0], abs=1e-6)


@pytest.mark.parametrize("height, width", SIZES)
def test_split_then_merge_is_the_input(height, width):
    x = image(height, width)
    merged = AdaIWAT().double()(*AdaWAT(3).double().split(x))
    assert merged.shape == x.shape
    torch.testing.assert_close(merged, x, rtol=0, atol=1e-6)  # float32 value of sqrt(1/2) in the filters
    merged = AdaIWAT()(*AdaWAT(3).split(x.float()))
    torch.testing.assert_close(merged, x.float(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("height, width", SIZES)
def test_agrees_with_pywavelets(height, width):
    x = image(height, width)
    low, high = AdaWAT(3).double().split(x)
    expected_low, details = pywt.dwt2(x.numpy(), "haar")
    np.testing.assert_allclose(low.detach(), expected_low, atol=1e-6)
    np.testing.assert_allclose(high.detach().unflatten(1, (3, 3)), np.stack(details, axis=2), atol=1e-6)
    inverse = AdaIWAT().double()(torch.from_numpy(expected_low), torch.from_numpy(np.stack(details, 2)).flatten(1, 2))
    np.testing.assert_allclose(inverse.detach(), pywt.idwt2((expected_low, details), "haar"), atol=1e-6)


@pytest.mark.filterwarnings("ignore")  # pytorch_wavelets imports pkg_resources
def test_agrees_with_pytorch_wavelets():
    pytorch_wavelets = pytest.importorskip("pytorch_wavelets", reason="needs pytorch_wavelets and setuptools<81")
    x = image(16, 34).float()
    low, high = AdaWAT(3).split(x)
    expected_low, (expected_high,) = pytorch_wavelets.DWTForward(J=1, wave="haar", mode="zero")(x)
    torch.testing.assert_close(low, expected_low)
    torch.testing.assert_close(high.unflatten(1, (3, 3)), expected_high, atol=1e-6, rtol=1e-5)
    inverse = pytorch_wavelets.DWTInverse(wave="haar", mode="zero")((expected_low, [expected_high]))
    torch.testing.assert_close(AdaIWAT()(low, high), inverse, atol=1e-6, rtol=1e-5)


def test_kernels_are_outer_products_of_trained_filters():
    transform = AdaWAT(1)
    with torch.no_grad():
        transform.low_pass.copy_(torch.tensor([0.5, 0.9]))
        transform.high_pass.copy_(torch.tensor([0.8, -0.3]))
    filters = {"L": transform.low_pass, "H": transform.high_pass}
    bank = torch.stack([torch.outer(filters[name[1]], filters[name[0]]) for name in ("LL", "LH", "HL", "HH")])
    x = image(6, 8, channels=1).float()
    expected = torch.nn.functional.conv2d(x, bank.unsqueeze(1), stride=2)
    torch.testing.assert_close(torch.cat(transform.split(x), dim=1), expected)


def test_low_enhancement_sees_three_pixels_far_and_its_own_channel():
    low = torch.zeros(1, 2, 9, 9)
    split = AdaWAT(2)
    changed = low.clone()
    changed[0, 1, 4, 4] = 1
    reach = (split.enhance_low(changed) - split.enhance_low(low))[0].abs() > 1e-6
    assert not reach[0].any()
    assert reach[1].nonzero().tolist() == [[y, x] for y in (1, 4, 7) for x in (1, 4, 7)]


def test_high_enhancement_sees_the_three_bands_of_one_channel():
    split = AdaWAT(2)
    high = torch.zeros(1, 6, 5, 5)
    for band in range(6):
        changed = high.clone()
        changed[0, band, 2, 2] = 1
        touched = (split.enhance_high(changed) - split.enhance_high(high)).abs().amax(dim=(0, 2, 3)) > 1e-6
        assert touched.nonzero().flatten().tolist() == ([0, 1, 2] if band < 3 else [3, 4, 5])


@pytest.mark.parametrize("height, width", [(3, 4), (4, 3), (1, 1)])
def test_odd_size_is_an_error(height, width):
    with pytest.raises(ValueError, match=f"even height and width, got {height}x{width}; pad the input first"):
        AdaWAT(1)(torch.zeros(1, 1, height, width))
