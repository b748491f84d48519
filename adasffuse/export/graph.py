"""What an exported file computes: network, kinds of the sources and colour rule, for any size and batch."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adasffuse.export.color import fused_color, keep_hot_spots, luma
from adasffuse.export.dense import DenseLightLift, DenseSpectralFilter, DenseTargetLift, blend_pyramids_dense, extend
from adasffuse.export.drift import equally_bright
from adasffuse.images.color import color_givers
from adasffuse.models import AdaSFFuse
from adasffuse.models.kinds import SourceKinds
from adasffuse.models.mamba import Mixer
from adasffuse.models.options import INFRARED_VISIBLE
from adasffuse.tasks import Task


class ExportedFusion(nn.Module):
    """The network of a fuser with all that is fixed when it is exported; what goes in and out lies in [0, 1].

    Args:
        model: the network, which is copied.
        task: gives the kinds of the sources and the colour rule.
        count: number of sources S.
        colour: whether sources that give the result its colour are RGB, and the result too.
        evens: whether sources are made equally bright where their exposure has drifted.
    """

    def __init__(self, model: AdaSFFuse, task: Task, count: int = 2, colour: bool = False, evens: bool = False) -> None:
        super().__init__()
        self.evens = evens
        self.color = task.color if colour else None
        self.keeps_hot_spots = task.color == "a"
        self.channels = source_channels(task, count, colour)
        self.kinds = task.kinds_of(count) if model.options.kinds else ()
        self.model = for_any_size(model, self.kinds)

    def forward(self, *sources: Tensor) -> Tensor:
        """Sources (B, 1 or 3, H, W), see `source_channels`, to (B, 1, H, W) or, in colour, (B, 3, H, W)."""
        if self.evens:
            sources = equally_bright(sources)
        lumas = torch.stack([luma(source) for source in sources])  # (S, B, 1, H, W)
        height, width = lumas.shape[-2:]
        extended = extend(lumas.flatten(0, 1), self.model.multiple).unflatten(0, lumas.shape[:2])
        maps = self.model.weight_maps(extended, self.kinds)
        fused = self.model.blend(extended, maps, self.kinds)[..., :height, :width]
        if sorted(self.kinds) == sorted(INFRARED_VISIBLE):
            infrared, visible = (lumas[self.kinds.index(kind)] for kind in INFRARED_VISIBLE)
            fused = self.model.raised(fused, infrared, visible)
        fused = fused.clamp(0.0, 1.0)
        if self.keeps_hot_spots:
            fused = keep_hot_spots(fused, sources[0])
        return fused_color(fused, sources, self.color) if self.color else fused


def source_channels(task: Task, count: int, colour: bool) -> tuple[int, ...]:
    """Channels of each of `count` sources: 3 of those that give the result its colour, 1 of the others."""
    colored = color_givers(task.color, range(count))
    return tuple(3 if colour and k in colored else 1 for k in range(count))


def raises_people(model: AdaSFFuse, task: Task, count: int) -> bool:
    """Whether the network raises people among `count` sources of a task."""
    kinds = task.kinds_of(count) if model.options.kinds else ()
    return model.targets is not None and sorted(kinds) == sorted(INFRARED_VISIBLE)


def for_any_size(model: AdaSFFuse, kinds: tuple[str, ...]) -> AdaSFFuse:
    """A copy of the network on the CPU, in float32, that can be captured once for all sizes and batches.

    Args:
        kinds: of the sources, one name each; none for a network that knows none.
    """
    model = copy.deepcopy(model).cpu().float().eval().requires_grad_(False)
    for module in model.modules():
        if isinstance(module, Mixer):
            module.frequency = DenseSpectralFilter(module.frequency)
    if model.head is not None:
        model.head.blend_octaves = blend_pyramids_dense
    if model.lights is not None:
        model.lights = DenseLightLift()
    if model.targets is not None:
        model.targets = DenseTargetLift(model.targets)
    if kinds:
        model.kinds = KindsOfSources(model.kinds, kinds)
    return model


class KindsOfSources(SourceKinds):
    """`SourceKinds` where every sample of a batch, of any size, has the same kinds.

    Args:
        layer: gives names and parameters.
        kinds: of the S sources, one name each.
    """

    def __init__(self, layer: SourceKinds, kinds: tuple[str, ...]) -> None:
        nn.Module.__init__(self)
        self.names, self.weight, self.bias, self.log_gain = layer.names, layer.weight, layer.bias, layer.log_gain
        self.dark, self.hot = layer.dark, layer.hot
        self.each = [layer.names.index(name) for name in kinds]
        self.residual = layer.has_residual(kinds, len(kinds))

    def indices(self, kinds: tuple[str, ...], sources: Tensor) -> Tensor:
        """Index of the kind of every image of sources (S, B, ...), (S*B,) int64."""
        return torch.tensor(self.each, device=sources.device)[:, None].expand(-1, sources.shape[1]).flatten()

    def has_residual(self, kinds: tuple[str, ...], count: int) -> bool:
        """Whether the factor of the decoder's image is more than nothing, found out once."""
        return self.residual

    def embed(self, sources: Tensor, index: Tensor, embedding: nn.Conv2d) -> Tensor:
        """(S*B, P, H, W) to (S*B, C, H, W): a convolution for each source instead of one for each image."""
        weight = embedding.weight + self.weight.unflatten(0, (len(self.names), -1))
        bias = embedding.bias + self.bias.unflatten(0, (len(self.names), -1))
        images = sources.unflatten(0, (len(self.each), -1)).unbind(0)
        return torch.cat([F.conv2d(x, weight[k], bias[k], padding=1) for x, k in zip(images, self.each)])
