"""High activity in PET and SPECT stays the most conspicuous spot of the fused image; on rendered heads."""

import numpy as np
import pytest

from adasffuse.images.color import rgb_to_ycbcr
from adasffuse.inference import load_fuser
from adasffuse.models import RELEASED_SIZES
from adasffuse.scenes.head import head


@pytest.fixture(scope="module", params=RELEASED_SIZES)
def fuser(request):
    return load_fuser("mif", request.param, device="cpu")


@pytest.mark.parametrize("seed", [3, 5, 7])  # slices whose lesion is bright in the MRI, too
def test_a_red_lesion_stays_red_on_bright_tissue(fuser, seed):
    images = head(seed, 160)
    pet, mri = images["PET"], images["MRI"]
    lesion = (pet[..., 0] > 220) & (pet[..., 1] < 100)
    assert lesion.sum() > 50 and mri[lesion].mean() > 120
    (_, *before), (_, *after) = (rgb_to_ycbcr(image / np.float32(255)) for image in (pet, fuser.fuse(pet, mri)))
    assert np.hypot(*after)[lesion].mean() > 0.6 * np.hypot(*before)[lesion].mean()  # neither white nor gray
    red = after[1]
    assert red[lesion].mean() > np.quantile(red[~lesion], 0.98)  # redder than anything else


@pytest.mark.parametrize("seed", [4, 6, 8])
def test_a_white_lesion_stays_bright_on_dark_tissue(fuser, seed):
    images = head(seed, 160)
    spect, mri = images["SPECT"], images["MRI"] // 3
    luma = rgb_to_ycbcr(spect / np.float32(255))[0]
    lesion = luma > 0.8
    assert lesion.sum() > 20
    fused, *chroma = rgb_to_ycbcr(fuser.fuse(spect, mri) / np.float32(255))
    assert fused[lesion].mean() > 0.85 * luma[lesion].mean()
    assert fused[lesion].mean() > np.quantile(fused[~lesion], 0.98)
    assert (chroma[1] - chroma[0])[lesion].mean() > 0  # of a warm tint, not green
