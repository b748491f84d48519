"""What happens inside a network: bands of each source, outputs of the blocks, filters, responses of the FFT branch."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor, nn

from adasffuse.images.content import choose_sources, measure_content
from adasffuse.inference.fuser import Fuser, source_name
from adasffuse.models.spectral import SpectralFilter

_BRIGHTEST = 99.5  # percentile of a map that is drawn white
_GRID = 64  # frequencies per side of a response


def feature_maps(fuser: Fuser, *lumas: ndarray) -> dict[str, ndarray]:
    """Mean magnitude over the channels of what the network computes for some sources.

    Args:
        fuser: of any task.
        lumas: luminance (H, W) float32 in [0, 1] of two or more sources.
    Returns:
        Name to (h, w) float32, at least 0, in the network's order: 'low of source A', 'high of source A', ..., what
        the blocks on the bands make of them, merged features and what the blocks at full resolution make of those;
        'people', where people are raised, of infrared and visible images.
    Raises:
        ValueError: as of `Fuser.fuse_luminance`, or the images are so large that the fuser would cut them into tiles,
            of which only one would be seen.
    """
    if fuser.needs_tiles(lumas[0].shape):
        height, width = lumas[0].shape
        raise ValueError(
            f"feature maps are of whole images, and {width}x{height} pixels are fused in tiles; cut or reduce the "
            "images, or give a fuser with tile=0"
        )
    model = fuser.model
    stages = {"low blocks": model.low_blocks, "high blocks": model.high_blocks, "merged": model.merge}
    if len(model.full_blocks):
        stages["full blocks"] = model.full_blocks
    with _outputs([model.split, *stages.values()]) as seen:
        fuser.fuse_luminance(*lumas)
    low, high = seen[model.split]
    maps = {}
    used = choose_sources([measure_content(luma) for luma in lumas])  # flat ones of more than two are left out
    for place, k in enumerate(used):
        name = source_name(k)
        maps[f"low of {name}"] = _magnitude(low[place])
        maps[f"high of {name}"] = _magnitude(high[place])
    maps |= {name: _magnitude(seen[module][0]) for name, module in stages.items()}
    sources = [torch.from_numpy(np.ascontiguousarray(luma))[None, None].to(fuser.device) for luma in lumas]
    pair = model.infrared_and_visible(sources, fuser.task.kinds_of(len(lumas)))
    if pair is not None and model.targets is not None:
        infrared, visible, _ = pair
        with torch.inference_mode():
            maps["people"] = _magnitude(model.targets.presence(infrared, visible))
    return maps


def responses(fuser: Fuser) -> dict[str, ndarray]:
    """Transfer function of each FFT branch, mean magnitude over channels; (64, 64), zero frequency in the middle."""
    found = {}
    for name, module in fuser.model.named_modules():
        if isinstance(module, SpectralFilter):
            with torch.inference_mode():
                half = module.response((_GRID, _GRID)).abs().mean(dim=0).cpu().numpy()  # (64, 33)
            mirrored = np.roll(half[::-1, 1:-1][:, ::-1], 1, axis=0)  # of a real image's spectrum
            found[name.removesuffix(".mixer.frequency")] = np.fft.fftshift(np.hstack([half, mirrored]))
    return found


def wavelet_filters(fuser: Fuser) -> dict[str, list[float]]:
    """The two taps of the trained low- and high-pass filters, of analysis and synthesis."""
    filters = {}
    for name, module in (("analysis", fuser.model.split), ("synthesis", fuser.model.merge)):
        filters[f"{name} low"] = module.low_pass.tolist()
        filters[f"{name} high"] = module.high_pass.tolist()
    return filters


def drawn(values: ndarray) -> ndarray:
    """A map as gray levels, uint8: 0 black, its 99.5th percentile and more white."""
    white = float(np.percentile(values, _BRIGHTEST))
    return np.rint((values / max(white, 1e-12)).clip(0, 1) * 255).astype(np.uint8)


@contextmanager
def _outputs(modules: Sequence[nn.Module]) -> Iterator[dict[nn.Module, tuple[Tensor, ...]]]:
    """What each module returned when it was last called within the block."""
    seen: dict[nn.Module, tuple[Tensor, ...]] = {}

    def remember(module: nn.Module, _: tuple, output: Tensor | tuple[Tensor, ...]) -> None:
        seen[module] = output if isinstance(output, tuple) else (output,)

    hooks = [module.register_forward_hook(remember) for module in modules]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _magnitude(channels: Tensor) -> ndarray:
    """(C, h, w) or (1, C, h, w) to (h, w)."""
    values = channels[0] if channels.ndim == 4 else channels
    return values.float().abs().mean(dim=0).cpu().numpy()
