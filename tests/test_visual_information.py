"""The visual-information term of the loss is the metric VIFF, differentiable."""

import numpy as np
import pytest
import torch

from adasffuse.losses.fusion import LossOptions, fusion_loss
from adasffuse.losses.metrics import visual_information
from adasffuse.metrics import evaluate
from adasffuse.training.options import parse_options

IMAGES = torch.rand(3, 1, 1, 64, 72, generator=torch.Generator().manual_seed(0), dtype=torch.float64).mul(255).round()


def test_it_equals_the_metric():
    a, b, fused = IMAGES / 255
    ours = (visual_information(a, fused) + visual_information(b, fused)).item()
    levels = [np.asarray(image[0, 0]) for image in IMAGES]
    assert ours == pytest.approx(evaluate(*levels, metrics=("VIFF",), data_range=255)["VIFF"], rel=1e-6)


def test_a_copy_and_a_flat_source_lose_nothing():
    a = IMAGES[0] / 255
    assert visual_information(a, a).item() == pytest.approx(1)
    assert visual_information(torch.full_like(a, 0.5), a).item() == 1


def test_the_term_is_there_only_with_a_weight_and_has_a_finite_gradient():
    a, b, fused = IMAGES / 255
    fused = fused.clone().requires_grad_()
    assert "vif" not in fusion_loss(fused, [a, b], LossOptions())
    fusion_loss(fused, [a, b], LossOptions(vif=1))["vif"].backward()
    assert fused.grad.isfinite().all() and fused.grad.abs().max() > 0


def test_crops_too_small_for_it_are_refused():
    values = {
        "name": "x",
        "task": "mef",
        "data": {"root_path": ".", "datasets": ["MEF"], "crop": 40},
        "loss": {"vif": 1},
    }
    with pytest.raises(ValueError, match=r"loss\.vif needs data\.crop of at least 41 pixels, got 40"):
        parse_options(values)
