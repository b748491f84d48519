"""AdaSFFuse (arXiv 2508.15505): embed, split, fuse band by band, merge, refine, decode.

Shapes: S sources, B samples, C channels, H x W pixels; inside the network H x W patches, whose P pixels are channels.
The batch holds the sources one after the other, (S*B, ...).
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adasffuse.arguments import check_batches, checked
from adasffuse.models.bands import LEVELS
from adasffuse.models.heads import SLOPE, PyramidHead
from adasffuse.models.kinds import Kinds, SourceKinds, are_exposures, by_sample
from adasffuse.models.lights import LightLift
from adasffuse.models.mamba import SpatialFrequencyMambaBlock
from adasffuse.models.options import INFRARED_VISIBLE, SIZES, ModelOptions
from adasffuse.models.precision import rounded, wide
from adasffuse.models.spectral import POOL
from adasffuse.models.targets import TargetLift
from adasffuse.models.wavelet import AdaIWAT, AdaWAT
from adasffuse.tasks import GENERAL

_MULTIPLE = max(2 * POOL, 2**LEVELS)  # patches per side: pooling at half resolution and the pyramid must divide evenly


class AdaSFFuse(nn.Module):
    """Fuses the luminance of S >= 2 registered images into one.

    The order of the sources does not matter.  A network with `options.kinds` can be given the kind of each source,
    e.g. 'infrared'; without kinds it treats all sources alike.

    With output 'pyramid' the result lies between the sources, up to the decoder's residual, which never exceeds the
    difference of the sources.  So an image fused with itself is returned, and black in all sources stays black.

    Args:
        options: shape of the network.
    Attributes:
        task: the task of the weights file that the network was read from, else 'general'.
    """

    @checked
    def __init__(self, options: ModelOptions = SIZES["base"]) -> None:
        super().__init__()
        self.options, self.task = options, GENERAL
        c, planes = options.channels, options.patch**2

        def blocks(channels: int, count: int) -> nn.Sequential:
            shape = (channels, options.head_dim, options.d_state, options.scan)
            return nn.Sequential(*(SpatialFrequencyMambaBlock(*shape) for _ in range(count)))

        self.embed = nn.Conv2d(planes, c, 3, padding=1)
        if options.kinds:
            self.kinds = SourceKinds(options.kinds, self.embed, LEVELS + 1, options.dark, options.hot)
        self.split = AdaWAT(c)
        self.low_blocks = blocks(c, options.band_blocks)
        self.high_blocks = blocks(3 * c, options.band_blocks)
        self.merge = AdaIWAT()
        self.full_blocks = blocks(c, options.full_blocks)
        self.decode = self.head = self.lights = self.targets = None
        if options.residual:
            self.decode = nn.Sequential(
                nn.Conv2d(c, c // 2, 3, padding=1),
                nn.LeakyReLU(SLOPE),
                nn.Conv2d(c // 2, c // 4, 3, padding=1),
                nn.LeakyReLU(SLOPE),
                nn.Conv2d(c // 4, planes, 3, padding=1),
            )
        if options.output == "pyramid":
            self.head = PyramidHead(c, options.patch, options.exposure, options.contrast)
            if options.residual:
                nn.init.zeros_(self.decode[-1].bias)
                with torch.no_grad():
                    self.decode[-1].weight.mul_(0.1)  # the first image is close to the mean of the sources
        if options.lights:
            self.lights = LightLift()
        if options.targets:
            self.targets = TargetLift()

    def forward(self, *sources: Tensor | Sequence[Tensor], kinds: Kinds = ()) -> Tensor:
        """Fuse luminance in [0, 1] of S >= 2 sources, each (B, 1, H, W), any H, W >= 1, into (B, 1, H, W), not clamped.

        Args:
            sources: the tensors one by one, or one sequence of them.
            kinds: the kind of each source, a name in `options.kinds`, or B names if the samples differ; empty if
                unknown.  A network without kinds ignores it.
        Returns:
            in the sources' floating-point type, whatever that of the parameters is; of several the widest.
        Raises:
            ValueError: the sources are not two or more (B, 1, H, W) of one shape, or the kinds do not fit them.
        """
        given = stack_sources(*sources)
        stacked = given.to(torch.promote_types(self.embed.weight.dtype, torch.float32))  # pixels are blended in that
        return self.compose(stacked, self.weight_maps(stacked, kinds), kinds).to(given.dtype)

    def weight_maps(self, sources: Tensor, kinds: Kinds = ()) -> tuple[Tensor, ...]:
        """Everything that `compose` needs besides the sources (S, B, 1, H, W).

        Args:
            kinds: as in `forward`.
        Returns:
            the decoder's image, if `has_residual`, then the head's weight maps.  Each is (N, K, h, w);
            h and w are the padded height and width divided by 1, 2, 4, ..., always a divisor of `multiple`.
        """
        count = len(sources)
        index = self.kinds.indices(kinds, sources) if self.uses(kinds) else None  # (S*B,)
        patches = self.as_patches(sources)
        features = self.embed_sources(patches, index)  # feature embedding, (S*B, C, H, W), in patches here and below
        del sources, patches  # large images are not kept beside the features
        low, high = self.analyse(features, count)  # AdaWAT and fusion, (B, C, H/2, W/2) and (B, 3C, H/2, W/2)
        features = rounded(features)
        low = self.low_blocks(low)  # spatial-frequency Mamba blocks
        high = self.high_blocks(high)
        fused = self.full_blocks(self.merge(low, high))  # AdaIWAT and blocks at full resolution, (B, C, H, W)
        decoded = (wide(self.decode(fused)),) if self.has_residual(kinds, count) else ()  # feature unembedding
        if self.head is None:
            return decoded
        gains, exposed = None, None
        if index is not None:
            gains = self.kinds.logit_gains(index)
            exposed = are_exposures(kinds)
            decoded = tuple(self.kinds.residual_gain(index, count) * image for image in decoded)
        return decoded + self.head.weight_maps(fused, features, gains, exposed)

    def embed_sources(self, patches: Tensor, index: Tensor | None = None) -> Tensor:
        """Feature embedding of the N = S*B images of all sources, (N, P, H, W) to (N, C, H, W).

        All sources share the kernels; each kind adds its own to them, see `SourceKinds`.

        Args:
            index: (N,) of each image's kind; None if the kinds are unknown.
        """
        patches = patches.to(self.embed.weight.dtype)
        with torch.autocast(patches.device.type, enabled=False):  # bfloat16 holds fewer levels than the images
            features = self.embed(patches) if index is None else self.kinds.embed(patches, index, self.embed)
        return F.leaky_relu(features, SLOPE)

    def analyse(self, features: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """AdaWAT of each source, then frequency-segmented fusion: bands (B, C, H/2, W/2) and (B, 3C, H/2, W/2)."""
        low, high = self.split(features)
        return rounded(add_sources(low, count)), rounded(add_sources(high, count))

    def compose(self, sources: Tensor, maps: tuple[Tensor, ...], kinds: Kinds = ()) -> Tensor:
        """The fused image (B, 1, H, W), not clamped, from the sources (S, B, 1, H, W) and their `weight_maps`.

        Args:
            kinds: as in `forward`.
        """
        fused = self.blend(sources, maps, kinds)
        pairs = self.infrared_and_visible(sources, kinds)
        if pairs is None:
            return fused
        infrared, visible, chosen = pairs
        return torch.where(chosen, self.raised(fused, infrared, visible), fused)

    def raised(self, fused: Tensor, infrared: Tensor, visible: Tensor) -> Tensor:
        """The fused image of an infrared and a visible image, all (B, 1, H, W), with lights and people raised."""
        if self.lights is not None:
            fused = self.lights(fused, infrared, visible)
        if self.targets is not None:
            fused = self.targets(fused, infrared, visible)
        return fused

    def blend(self, sources: Tensor, maps: tuple[Tensor, ...], kinds: Kinds = ()) -> Tensor:
        """`compose` without raised lights and people."""
        residual, maps = self.parted(maps, kinds, len(sources))
        if self.head is None:
            fused = residual
        else:
            patches = self.as_patches(sources).unflatten(0, sources.shape[:2])  # (S, B, P, H, W)
            fused = self.head.compose(patches, maps, residual, self.base_logit(kinds), self.infrared_in(kinds))
        return self.from_patches(fused, *sources.shape[-2:])

    def infrared_and_visible(
        self, sources: Tensor | Sequence[Tensor], kinds: Kinds
    ) -> tuple[Tensor, Tensor, Tensor] | None:
        """The sources of samples in which lights or people are raised: pairs of one infrared and one visible image.

        Returns:
            infrared and visible images (B, 1, H, W), and which samples these are, (B, 1, 1, 1) or, where all have the
            same kinds, (1, 1, 1, 1); None if no sample is such a pair.
        """
        if (self.lights is None and self.targets is None) or len(kinds) != 2 or len(sources) != 2:
            return None
        pairs = by_sample(kinds)
        chosen = [set(pair) == set(INFRARED_VISIBLE) for pair in pairs]
        if not any(chosen):
            return None
        swapped = [pair == INFRARED_VISIBLE[::-1] for pair in pairs]
        infrared, visible = sources[0], sources[1]
        if any(swapped):
            mask = infrared.new_tensor(swapped, dtype=torch.bool)[:, None, None, None]
            infrared, visible = torch.where(mask, visible, infrared), torch.where(mask, infrared, visible)
        return infrared, visible, infrared.new_tensor(chosen, dtype=torch.bool)[:, None, None, None]

    def uses(self, kinds: Kinds) -> bool:
        """Whether the network has kinds and the kinds of the sources are given."""
        return bool(self.options.kinds and kinds)

    def has_residual(self, kinds: Kinds, count: int) -> bool:
        """Whether the decoder's image is added for `count` sources of these kinds: unless their factor is nothing."""
        if self.decode is None:
            return False
        if self.training or torch.compiler.is_compiling() or not self.uses(kinds):  # a graph may not read parameters
            return True
        return self.kinds.has_residual(kinds, count)

    def parted(self, maps: Sequence[Tensor], kinds: Kinds, count: int) -> tuple[Tensor | None, Sequence[Tensor]]:
        """The decoder's image, None where none is added, and the head's maps: the `weight_maps` of `count` sources."""
        return (maps[0], maps[1:]) if self.has_residual(kinds, count) else (None, maps)

    def base_logit(self, kinds: Kinds) -> Callable[[Tensor], Tensor] | None:
        """A function from the bases (S, B, 1, h, w) of whole images to what is added to their logits; None: nothing."""
        if not ((self.options.dark or self.options.hot) and self.uses(kinds)):
            return None
        return lambda base: self.kinds.base_logit(base, self.kinds.indices(kinds, base))

    def infrared_in(self, kinds: Kinds) -> list[int | None] | None:
        """Which source of each sample is infrared beside one other source, for `adasffuse.models.heads.unshaded`.

        Returns:
            0 or 1 per sample, None if neither or both are, one value if all samples have the same kinds; None in place
            of the list if no detail fades: no sample is such a pair, or the network is not `unshaded`.
        """
        if not (self.options.unshaded and self.uses(kinds)) or len(kinds) != 2:
            return None
        found = [pair.index("infrared") if pair.count("infrared") == 1 else None for pair in by_sample(kinds)]
        return None if set(found) == {None} else found

    @property
    def multiple(self) -> int:
        """Images are padded to a height and width that are multiples of so many pixels, 16 for patches of 2x2."""
        return _MULTIPLE * self.options.patch

    def as_patches(self, sources: Tensor) -> Tensor:
        """Sources (S, B, 1, H, W), padded, as (S*B, P, H/p, W/p) with the P = p * p pixels of a patch as channels."""
        extended = pad_to_multiple(sources.flatten(0, 1), self.multiple)
        size = (-1, self.options.patch)
        patches = extended.unflatten(3, size).unflatten(2, size).transpose(3, 4).flatten(4)  # (S*B, 1, h, w, P)
        return patches.squeeze(1).permute(0, 3, 1, 2)  # in channels-last memory

    def from_patches(self, patches: Tensor, height: int, width: int) -> Tensor:
        """Patches (B, P, h, w) as an image (B, 1, height, width), without the padding."""
        p = self.options.patch
        pixels = patches.permute(0, 2, 3, 1).unflatten(3, (p, p)).transpose(2, 3)  # (B, h, p, w, p)
        return pixels.flatten(3).flatten(1, 2).unsqueeze(1)[..., :height, :width]

    @staticmethod
    def from_pretrained(
        name: str | Path,
        *,
        revision: str | None = None,
        token: str | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
    ) -> "AdaSFFuse":
        """Load a network by name, in evaluation mode on the CPU, float32.

        Args:
            name: a folder written by `save_pretrained` or by training, a weights file, the name of released weights,
                e.g. 'general_small', or 'organisation/repository' on the Hugging Face Hub (extra `hub`).
            revision, token, cache_dir, local_files_only: as in `huggingface_hub.hf_hub_download`.
        Raises:
            WeightsError: nothing of that name, no connection, or damaged or foreign weights.
        """
        from adasffuse.models import hub, weights  # here, since both import this module

        options = {"revision": revision, "token": token, "cache_dir": cache_dir, "local_files_only": local_files_only}
        return weights.load_weights(hub.find_pretrained(name, **options))[0]

    def save_pretrained(
        self, folder: str | Path, task: str | None = None, record: Mapping[str, Any] | None = None
    ) -> None:
        """Write the network to a folder that `from_pretrained` and `load_fuser(weights=folder)` read.

        Arguments and errors: see `adasffuse.models.hub.save_pretrained`.
        """
        from adasffuse.models import hub

        hub.save_pretrained(self, folder, task, record)

    def push_to_hub(
        self,
        name: str,
        task: str | None = None,
        record: Mapping[str, Any] | None = None,
        *,
        private: bool | None = None,
        token: str | None = None,
    ) -> str:
        """Upload the network to the Hugging Face Hub and return the address of the commit.

        Arguments and errors: see `adasffuse.models.hub.push_to_hub`.
        """
        from adasffuse.models import hub

        return hub.push_to_hub(self, name, task, record, private=private, token=token)


def stack_sources(*sources: Tensor | Sequence[Tensor]) -> Tensor:
    """Stack S >= 2 tensors (B, 1, H, W), given one by one or as one sequence, to (S, B, 1, H, W).

    Raises:
        ValueError: fewer than two, another shape, or shapes that differ.
    """
    if len(sources) == 1:
        (sources,) = sources
    check_sources(sources)
    return torch.stack(tuple(sources))


def check_sources(sources: Sequence[Tensor]) -> None:
    """Raise ValueError unless there are two or more floating-point tensors (B, 1, H, W) of one shape."""
    check_batches("AdaSFFuse", sources, "two or more luminance batches", least=2)


def add_sources(bands: Tensor, count: int) -> Tensor:
    """Frequency-segmented fusion: twice the mean over S = `count` sources, (S*B, ...) to (B, ...).

    Two sources are added, as in the paper.  More give bands of the same size, for which the blocks were trained.
    """
    if count == 2:
        first, second = bands.unflatten(0, (2, -1))
        return first + second
    total = wide(bands).unflatten(0, (count, -1)).sum(dim=0)  # in float32: the order of the sources must not matter
    return (total * (2 / count)).to(bands.dtype)


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Pad (B, C, H, W) below and right to multiples, by reflection, or by replication where the image is too small."""
    height, width = x.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    for pad, size in (((0, right, 0, 0), width), ((0, 0, 0, bottom), height)):
        if any(pad):
            x = F.pad(x, pad, mode="reflect" if max(pad) < size else "replicate")
    return x
