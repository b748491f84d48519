"""Full float32 for the loss: by default cuDNN rounds the inputs of float32 convolutions to TF32's 10 bits."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


@contextmanager
def exact_convolutions(fused: Tensor) -> Iterator[None]:
    """Turn TF32 off for convolutions, until the end of the block or until a backward pass reaches `fused`.

    So the loss and its gradient by `fused` are exact, and the network's own backward pass uses the user's setting.
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
    """Set cuDNN's precision of float32 convolutions, None for full precision; returns the previous setting."""
    before = torch.backends.cudnn.conv.fp32_precision
    torch.backends.cudnn.conv.fp32_precision = "ieee" if value is None else value
    return before
