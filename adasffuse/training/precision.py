"""Full float32 for the loss: by default cuDNN rounds the inputs of float32 convolutions to TF32's 10 bits."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def exact_convolutions(fused: Tensor) -> Iterator[None]:
    """Turn TF32 off for convolutions, until the end of the block or until a backward pass reaches `fused`.

    So the loss and its gradient by `fused` are exact, and the network's own backward pass uses the user's setting.
    """
    setting = torch.backends.cudnn.conv
    before = setting.fp32_precision

    def restore(_: Tensor | None = None) -> None:
        setting.fp32_precision = before

    setting.fp32_precision = "ieee"
    hook = fused.register_hook(restore) if fused.requires_grad else None
    try:
        yield
    finally:
        restore()
        if hook is not None:
            hook.remove()
