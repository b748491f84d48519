"""Full float32 for the loss: cuDNN otherwise rounds the inputs of float32 convolutions to TF32's 10 bits, unasked."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


@contextmanager
def exact_convolutions(fused: Tensor) -> Iterator[None]:
    """Within, float32 convolutions on CUDA are float32, until a backward pass has reached `fused`.

    The gradient of what is computed from `fused` is thus exact as well, while behind it, in the network, the user's
    own setting counts again.
    """
    before = _set_tf32(None)

    def leave(_: Tensor) -> None:
        _set_tf32(before)

    hook = fused.register_hook(leave) if fused.requires_grad else None
    try:
        yield
    finally:
        _set_tf32(before)
        if hook is not None:
            hook.remove()


def _set_tf32(value: Any) -> Any:
    """Set cuDNN's precision of float32 convolutions, None: no TF32; returns the setting before."""
    before = torch.backends.cudnn.conv.fp32_precision
    torch.backends.cudnn.conv.fp32_precision = "ieee" if value is None else value
    return before
