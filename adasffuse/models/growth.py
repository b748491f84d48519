"""Starting a network from a trained one of another shape, with the same or nearly the same output.

A larger network is grown as in Net2Net (Chen, Goodfellow and Shlens, ICLR 2016, arXiv:1511.05641): every channel is
copied, layers that read a channel split its weight among the copies, and added blocks start as the identity.  The split
is random, so that the copies diverge in training.
"""

from collections.abc import Iterator
from dataclasses import asdict

import torch
from torch import Tensor, nn

from adasffuse.models.network import AdaSFFuse
from adasffuse.models.options import ModelOptions

_WIDTHS = ("channels", "head_dim", "d_state")
_DEPTHS = ("band_blocks", "full_blocks")
_UNEVEN = 0.25  # standard deviation of a copy's share
_GAINED = ("kinds", "contrast", "exposure", "dark", "hot", "unshaded", "lights")  # options that may be new in `model`
_BANDS = 3  # high bands of a channel, in neighbouring maps
# Parameters of a block whose given dimension is the block's channels, in and out.
_CHANNEL_DIM = {"mixer_norm": 0, "xBC_proj": 1, "z_dt_proj": 1, "out_proj": 0, "mlp_norm": 0, "expand": 1, "project": 0}


def inherit(model: AdaSFFuse, start: AdaSFFuse) -> None:
    """Give `model` the parameters of `start`, so that its output is the same or nearly the same.

    `model` may have `kinds`, `dark`, `hot`, `unshaded`, `lights`, `contrast` or the residual where `start` has not,
    more blocks, and a multiple of the width, the same in channels, head_dim and d_state.  It may lack the residual or
    the `targets` of `start`.  It may have `exposure` where `start` has not; its weights then start as those of
    exposure fusion.

    Raises:
        ValueError: the shapes differ otherwise.
    """
    factor = model.options.channels // start.options.channels
    if not _can_grow(start.options, model.options, factor):
        listed = differences(start.options, model.options)
        raise ValueError(f"a network of another shape: {listed}; give size or model as these weights have it")
    given = start.state_dict() if factor == 1 else dict(_widened(start, model, factor))
    own = model.state_dict()
    model.load_state_dict(own | {name: value for name, value in given.items() if name in own})
    for name in ("low_blocks", "high_blocks", "full_blocks"):
        for block in getattr(model, name)[len(getattr(start, name)) :]:
            nn.init.zeros_(block.mixer.out_proj.weight)
            nn.init.zeros_(block.mlp.project.weight)
    if model.options.residual and not start.options.residual:
        nn.init.zeros_(model.decode[-1].weight)
    if model.options.contrast and not start.options.contrast:
        nn.init.zeros_(model.head.contrast_power.bias)
    if model.options.exposure and not start.options.exposure:
        model.head.start_as_exposure_fusion()


def differences(found: ModelOptions, wanted: ModelOptions) -> str:
    """The options in which two shapes differ: 'channels 16 where 32 is asked for, ..'."""
    there, here = asdict(found), asdict(wanted)
    return ", ".join(
        f"{name} {there[name]} where {here[name]} is asked for" for name in there if there[name] != here[name]
    )


def _can_grow(start: ModelOptions, model: ModelOptions, factor: int) -> bool:
    """Whether a network of shape `start` can become one of shape `model`, `factor` times as wide."""
    wider = {name: factor * getattr(start, name) for name in _WIDTHS}
    deeper = {name: max(getattr(start, name), getattr(model, name)) for name in _DEPTHS}
    changed = {name: getattr(start, name) or getattr(model, name) for name in _GAINED}
    changed |= {"residual": model.residual, "targets": model.targets}
    return asdict(model) == asdict(start) | wider | deeper | changed


def _widened(start: AdaSFFuse, model: AdaSFFuse, factor: int) -> Iterator[tuple[str, Tensor]]:
    """Names and values of the parameters of `start`, widened to the shapes of `model`."""
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    for name, value in start.state_dict().items():
        if name not in shapes:
            continue
        part = name.split(".")[-2]
        for dim, wide in enumerate(shapes[name]):
            narrow = value.shape[dim]
            if wide == narrow:
                continue
            bands = part == "enhance_high" or (name.startswith("high_blocks") and _CHANNEL_DIM.get(part) == dim)
            single = (factor * narrow - wide) // (factor - 1)  # last rows of z_dt_proj, one per head: not copied
            rows, rest = value.split([narrow - single, single], dim)
            copies = rows.unflatten(dim, (-1, 1, _BANDS if bands else 1))
            copies = copies.repeat_interleave(factor, dim + 1)
            if dim == 1:
                copies = copies * _shares(copies, dim + 1)
            value = torch.cat([copies.flatten(dim, dim + 2), rest], dim)
        # The sum over the copies of a state makes the scan's output `factor` times as large.  D grows by the same
        # factor, which the normalisation behind the scan then removes.
        yield name, factor * value if name.endswith("mixer.D") else value


def _shares(copies: Tensor, dim: int) -> Tensor:
    """Random weights around 1 / n for the n copies along `dim`; they add up to 1."""
    uneven = _UNEVEN * torch.randn_like(copies)
    return 1 / copies.shape[dim] + uneven - uneven.mean(dim, keepdim=True)
