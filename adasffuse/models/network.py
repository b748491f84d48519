"""AdaSFFuse (arXiv 2508.15505): embed, split, fuse band by band, merge, refine, decode."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adasffuse.arguments import check_batches, checked
from adasffuse.choices import RELEASED_SIZES
from adasffuse.models.heads import LEVELS, SLOPE, PyramidHead, wide
from adasffuse.models.mamba import SCAN_ORDERS, SpatialFrequencyMambaBlock
from adasffuse.models.spectral import POOL
from adasffuse.models.targets import TargetLift
from adasffuse.models.wavelet import AdaIWAT, AdaWAT
from adasffuse.options import bounded, check_bounds, shown
from adasffuse.tasks import GENERAL, KINDS

OUTPUTS = ("direct", "pyramid")
RAISED = ("infrared", "visible")  # kinds of a pair in whose fused image `TargetLift` raises people
Kinds = Sequence[str | Sequence[str]]  # for each source one name, or a name per sample
_DARK, _BRIGHT = 0.4, 0.8  # luminance of a pixel: dark up to the first, not dark from the second on
_NIGHT, _DAY = 0.3, 0.5  # mean luminance of an image: night up to the first, day from the second on
_HOT, _HOT_AT_NIGHT = 1.5, 0.8  # standard deviations above the mean: from there a cell is hot, wholly from one more on
_HOTTER = 0.1  # luminance by which what is hot must be above all other sources to count fully
_EVEN = 0.02  # added to the standard deviation, against noise
_NOTHING = 1e-6  # a residual times this factor changes no level of a 16-bit image
_MULTIPLE = max(2 * POOL, 2**LEVELS)  # patches per side: pooling at half resolution and the pyramid must divide evenly


@checked
@dataclass(frozen=True)
class ModelOptions:
    """Shape of the network; widths and depths default to the paper's, whose whole network is `SIZES["paper"]`."""

    patch: int = bounded(1, 1, 8)  # pixels per side that one token holds; 1 is the paper's
    channels: int = bounded(64, 4, 512)  # C, a multiple of 4
    band_blocks: int = bounded(2, 0, 16)  # N1, Mamba blocks on each band
    full_blocks: int = bounded(4, 0, 16)  # N2, Mamba blocks at full resolution
    head_dim: int = bounded(64, 1, 1024)  # head size of the scan
    d_state: int = bounded(64, 1, 512)  # state size of the scan
    scan: str = "bidirectional"  # or 'raster'
    output: str = "pyramid"  # 'pyramid': a blend of the sources; 'direct': the decoder's image alone, as in the paper
    residual: bool = True  # add the decoder's image to the blend, limited to the difference of the sources
    exposure: bool = False  # multiply the pyramid's weights by those of exposure fusion
    contrast: bool = False  # multiply the pyramid's weights by the sources' contrast in each band
    kinds: tuple[str, ...] = ()  # kinds of sources, each with embedding kernels and logit gains of its own
    dark: bool = False  # needs kinds: each kind has a learned logit for the base where a source is dark, at night
    hot: bool = False  # needs kinds: the same where a source is conspicuously bright, and brighter than all others
    unshaded: bool = False  # needs kind infrared: its cold detail fades where what is shown is much brighter
    targets: bool = False  # needs kinds infrared and visible: raise people to their contrast in the infrared image

    def __post_init__(self) -> None:
        check_bounds(self, "model")
        if self.channels % 4:
            raise ValueError(f"model.channels must be a multiple of 4 (the decoder quarters it), got {self.channels}")
        for name, known in (("scan", SCAN_ORDERS), ("output", OUTPUTS)):
            value = getattr(self, name)
            if value not in known:
                near = get_close_matches(str(value), known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"model.{name} must be one of {', '.join(known)}, got {shown(value)}{hint}")
        if self.output == "direct" and not self.residual:
            raise ValueError("model.output 'direct' is the residual alone: set model.residual true or use 'pyramid'")
        for name in ("exposure", "contrast", "kinds"):
            if getattr(self, name) and self.output != "pyramid":
                raise ValueError(f"model.{name} needs model.output 'pyramid', got {self.output!r}")
        if self.contrast and self.patch > 1 and self.patch % 2:
            raise ValueError(f"model.contrast needs a model.patch of 1 or an even one, got {self.patch}")
        for kind in self.kinds:
            if kind not in KINDS or self.kinds.count(kind) > 1:
                raise ValueError(f"model.kinds lists some of {', '.join(KINDS)}, each once; got {shown(self.kinds)}")


_ALL_TASKS = {  # what the released sizes have in common
    "patch": 4,
    "exposure": True,
    "contrast": True,
    "kinds": KINDS,
    "dark": True,
    "hot": True,
    "unshaded": True,
    "targets": True,
}
SIZES = {
    "base": ModelOptions(**_ALL_TASKS),
    "small": ModelOptions(channels=32, band_blocks=1, full_blocks=2, head_dim=32, d_state=32, **_ALL_TASKS),
    "tiny": ModelOptions(channels=16, band_blocks=1, full_blocks=0, head_dim=16, d_state=16, **_ALL_TASKS),
    "paper": ModelOptions(output="direct", scan="raster"),
}
_WIDTH_AND_DEPTH = ("channels", "band_blocks", "full_blocks", "head_dim", "d_state")


def size_of(options: ModelOptions) -> str | None:
    """'paper' for the paper's network, else the released size of the same width and depth, None if there is none."""
    if options == SIZES["paper"]:
        return "paper"
    shape = [getattr(options, key) for key in _WIDTH_AND_DEPTH]
    for name in RELEASED_SIZES:
        if shape == [getattr(SIZES[name], key) for key in _WIDTH_AND_DEPTH]:
            return name
    return None


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
        self.decode = self.head = self.targets = None
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
        if options.targets and set(RAISED) <= set(options.kinds):
            self.targets = TargetLift()

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

    @property
    def multiple(self) -> int:
        """Images are padded to a height and width that are multiples of so many pixels, 16 for patches of 2x2."""
        return _MULTIPLE * self.options.patch

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
        known = self.kinds.numbers(kinds, sources) if self.uses(kinds) else None  # (S*B,)
        patches = self.as_patches(sources)
        features = self.embed_sources(patches, known)  # (S*B, C, H, W), in patches here and below
        del sources, patches  # large images are not kept beside the features
        low, high = self.analyse(features, count)  # (B, C, H/2, W/2), (B, 3C, H/2, W/2)
        features = rounded(features)
        low = self.low_blocks(low)
        high = self.high_blocks(high)
        fused = self.full_blocks(self.merge(low, high))  # (B, C, H, W)
        decoded = (wide(self.decode(fused)),) if self.has_residual(kinds, count) else ()
        if self.head is None:
            return decoded
        gains, exposed = None, None
        if known is not None:
            gains = self.kinds.logit_gains(known)
            exposed = exposures(kinds)
            decoded = tuple(self.kinds.residual_gain(known, count) * image for image in decoded)
        return decoded + self.head.weight_maps(fused, features, gains, exposed)

    def compose(self, sources: Tensor, maps: tuple[Tensor, ...], kinds: Kinds = ()) -> Tensor:
        """The fused image (B, 1, H, W), not clamped, from the sources (S, B, 1, H, W) and their `weight_maps`.

        Args:
            kinds: as in `forward`.
        """
        fused = self.blend(sources, maps, kinds)
        raised = self.raised_samples(sources, kinds)
        if raised is None:
            return fused
        infrared, visible, chosen = raised
        return torch.where(chosen, self.targets(fused, infrared, visible), fused)

    def raised_samples(self, sources: Tensor | Sequence[Tensor], kinds: Kinds) -> tuple[Tensor, Tensor, Tensor] | None:
        """The sources of samples in which people are raised: pairs of one infrared and one visible image.

        Returns:
            infrared and visible images (B, 1, H, W), and a mask (B, 1, 1, 1) of these samples; None if there are none.
        """
        if self.targets is None or len(kinds) != 2 or len(sources) != 2:
            return None
        pairs = list(zip(*per_sample(kinds, len(sources[0]))))
        chosen = [set(pair) == set(RAISED) for pair in pairs]
        if not any(chosen):
            return None
        ordered = [pair != RAISED[::-1] for pair in pairs]
        if all(ordered):
            infrared, visible = sources[0], sources[1]
        else:
            swapped = ~sources[0].new_tensor(ordered, dtype=torch.bool)[:, None, None, None]
            infrared = torch.where(swapped, sources[1], sources[0])
            visible = torch.where(swapped, sources[0], sources[1])
        return infrared, visible, sources[0].new_tensor(chosen, dtype=torch.bool)[:, None, None, None]

    def blend(self, sources: Tensor, maps: tuple[Tensor, ...], kinds: Kinds = ()) -> Tensor:
        """`compose` without raised people."""
        if self.head is None:
            (fused,) = maps
        else:
            patches = self.as_patches(sources).unflatten(0, sources.shape[:2])  # (S, B, P, H/p, W/p)
            residual = None
            if self.has_residual(kinds, len(sources)):
                residual, *maps = maps
            fused = self.head.compose(patches, maps, self.base_logit(kinds), self.infrared_in(kinds, sources))
            if residual is not None:
                difference = functools.reduce(torch.maximum, patches) - functools.reduce(torch.minimum, patches)
                fused = fused + residual.clamp(-difference, difference)
        return self.from_patches(fused, *sources.shape[-2:])

    def uses(self, kinds: Kinds) -> bool:
        """Whether the network has kinds and the kinds of the sources are given."""
        return bool(self.options.kinds and kinds)

    def has_residual(self, kinds: Kinds, count: int) -> bool:
        """Whether the decoder's image is added for `count` sources of these kinds."""
        if self.decode is None:
            return False
        return self.training or not self.uses(kinds) or self.kinds.has_residual(kinds, count)

    def base_logit(self, kinds: Kinds) -> Callable[[Tensor], Tensor] | None:
        """A function from the bases (S, B, 1, h, w) of whole images to what is added to their logits; None: nothing."""
        if not ((self.options.dark or self.options.hot) and self.uses(kinds)):
            return None
        return lambda base: self.kinds.base_logit(base, self.kinds.numbers(kinds, base))

    def infrared_in(self, kinds: Kinds, sources: Tensor | Sequence[Tensor]) -> list[int | None] | None:
        """Which of the two sources of each sample is infrared, None if none or both are; None if it does not matter."""
        if not (self.options.unshaded and self.uses(kinds)) or len(sources) != 2:
            return None
        pairs = zip(*per_sample(kinds, len(sources[0])))
        found = [pair.index(RAISED[0]) if pair.count(RAISED[0]) == 1 else None for pair in pairs]
        return None if found.count(None) == len(found) else found

    def from_patches(self, patches: Tensor, height: int, width: int) -> Tensor:
        """Patches (B, P, h, w) as an image (B, 1, H, W), without the padding."""
        pixels = patches.permute(0, 2, 3, 1).unflatten(3, 2 * (self.options.patch,)).transpose(2, 3)  # (B, h, p, w, p)
        return pixels.flatten(3).flatten(1, 2).unsqueeze(1)[..., :height, :width]

    def as_patches(self, sources: Tensor) -> Tensor:
        """Sources (S, B, 1, H, W), padded, as (S*B, P, H/p, W/p) with the P = p * p pixels of a patch as channels."""
        extended = pad_to_multiple(sources.flatten(0, 1), self.multiple)
        size = (-1, self.options.patch)
        patches = extended.unflatten(3, size).unflatten(2, size).transpose(3, 4).flatten(4)  # (S*B, 1, h, w, P)
        return patches.squeeze(1).permute(0, 3, 1, 2)  # in channels-last memory

    def embed_sources(self, sources: Tensor, known: Tensor | None = None) -> Tensor:
        """Feature embedding of the N = S*B images of all sources, (N, P, H, W) to (N, C, H, W).

        All sources share the kernels; each kind adds its own to them, see `SourceKinds`.

        Args:
            known: (N,) number of each image's kind; None if the kinds are unknown.
        """
        sources = sources.to(self.embed.weight.dtype)
        with torch.autocast(sources.device.type, enabled=False):  # bfloat16 holds fewer levels than the images
            features = self.embed(sources) if known is None else self.kinds.embed(sources, known, self.embed)
        return F.leaky_relu(features, SLOPE)

    def analyse(self, features: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """AdaWAT of each source, then frequency-segmented fusion: bands (B, C, H/2, W/2) and (B, 3C, H/2, W/2)."""
        low, high = self.split(features)
        return rounded(add_sources(low, count)), rounded(add_sources(high, count))


class SourceKinds(nn.Module):
    """What each kind of source adds to the shared network: embedding kernels, gains of logits and residual, logits.

    All parameters start at zero: kinds are treated alike until training finds a difference.

    Args:
        names: names of the kinds.
        embedding: the shared convolution, to whose kernels those of a kind are added.
        bands: number of bands of the pyramid.
        dark: whether each kind has a logit for the base where a source is dark, at night.
        hot: whether each kind has a logit for the base where a source is conspicuously bright.
    """

    def __init__(
        self, names: Sequence[str], embedding: nn.Conv2d, bands: int, dark: bool = False, hot: bool = False
    ) -> None:
        super().__init__()
        self.names = tuple(names)
        self.weight = nn.Parameter(
            torch.zeros_like(embedding.weight).repeat(len(names), 1, 1, 1)
        )  # (kinds * C, P, 3, 3)
        self.bias = nn.Parameter(torch.zeros_like(embedding.bias).repeat(len(names)))
        self.log_gain = nn.Parameter(torch.zeros(len(names), bands + 1))  # of the logits of each band; of the residual
        self.dark = nn.Parameter(torch.zeros(len(names))) if dark else None  # added to the logit of the base at night
        self.hot = nn.Parameter(torch.zeros(len(names))) if hot else None  # added where a source is hot

    def numbers(self, kinds: Kinds, sources: Tensor) -> Tensor:
        """Index of the kind of every image of sources (S, B, ...): (S*B,) int64.

        Raises:
            ValueError: not S kinds, not B names for a source, or an unknown name.
        """
        count, batch = sources.shape[:2]
        if not isinstance(kinds, list | tuple) or not all(isinstance(kind, str | list | tuple) for kind in kinds):
            raise ValueError(f"kinds must be a list of names, or of lists of them, got {shown(kinds)}")
        rows = per_sample(kinds, batch)
        if len(rows) != count or any(len(row) != batch for row in rows):
            raise ValueError(f"{count} sources of {batch} samples need as many kinds, got {shown(kinds)}")
        flat = [name for row in rows for name in row]
        unknown = set(flat) - set(self.names)
        if unknown:
            raise ValueError(f"kinds must be some of {', '.join(self.names)}, got {shown(sorted(unknown))}")
        return torch.tensor([self.names.index(name) for name in flat], device=sources.device)

    def embed(self, sources: Tensor, known: Tensor, embedding: nn.Conv2d) -> Tensor:
        """Feature embedding of images (N, P, H, W) to (N, C, H, W), each with the kernels of its kind."""
        weight = embedding.weight + self.weight.unflatten(0, (len(self.names), -1))[known]  # (N, C, P, 3, 3)
        bias = embedding.bias + self.bias.unflatten(0, (len(self.names), -1))[known]
        kernels = zip(sources.split(1), weight, bias)  # image by image: a grouped convolution takes 4 times as long
        return torch.cat([F.conv2d(image, w, b, padding=1) for image, w, b in kernels])

    def logit_gains(self, known: Tensor) -> Tensor:
        """Factor of the logits of every image in every band, (N, bands, 1, 1, 1)."""
        return self.log_gain[known, :-1].exp()[..., None, None, None]

    def base_logit(self, base: Tensor, known: Tensor) -> Tensor:
        """What is added to the logits of the base: `dark` of the kind in dark cells of night images, `hot` in hot ones.

        A cell is hot if its source stands out there by standard deviations and is brighter than all other sources; if
        these are a night, less is enough.

        Args:
            base: (S, B, 1, h, w) luminance in [0, 1] of whole images; the result has its shape.
        """
        added = torch.zeros_like(base)
        if self.dark is not None:
            dark = ((_BRIGHT - base) / (_BRIGHT - _DARK)).clamp(0, 1)
            added = added + _of_each(self.dark[known], base) * _night(base) * dark
        if self.hot is not None:
            others = torch.stack([torch.cat((base[:k], base[k + 1 :])).amax(dim=0) for k in range(len(base))])
            variance, mean = torch.var_mean(base, dim=(-2, -1), keepdim=True, correction=0)
            least = _HOT + (_HOT_AT_NIGHT - _HOT) * _night(others)
            hot = (base - mean) / (variance.sqrt() + _EVEN) - least
            hotter = ((base - others) / _HOTTER).clamp(0, 1)
            added = added + _of_each(self.hot[known], base) * hot.clamp(0, 1) * hotter
        return added

    def has_residual(self, kinds: Kinds, count: int) -> bool:
        """Whether the decoder's image has a visible factor in some sample."""
        batch = max(1 if isinstance(kind, str) else len(kind) for kind in kinds)
        known = self.numbers(kinds, self.log_gain.new_zeros(count, batch))
        return bool((self.residual_gain(known, count) > _NOTHING).any())

    def residual_gain(self, known: Tensor, count: int) -> Tensor:
        """Factor of the decoder's image, (B, 1, 1, 1): the geometric mean over the sources of each sample."""
        return self.log_gain[known, -1].unflatten(0, (count, -1)).mean(dim=0).exp()[:, None, None, None]


def _night(base: Tensor) -> Tensor:
    """1 for images (..., h, w) of a night, 0 for those of a day, (..., 1, 1)."""
    return ((_DAY - base.mean(dim=(-2, -1), keepdim=True)) / (_DAY - _NIGHT)).clamp(0, 1)


def _of_each(values: Tensor, base: Tensor) -> Tensor:
    """One value for each image (S*B,), for products with (S, B, 1, h, w)."""
    return values.view(*base.shape[:2], 1, 1, 1)


def per_sample(kinds: Kinds, batch: int) -> list[list[str]]:
    """For each source, the kind of every one of `batch` samples."""
    return [[kind] * batch if isinstance(kind, str) else list(kind) for kind in kinds]


def exposures(kinds: Kinds) -> list[bool]:
    """Whether the sources of each sample are exposures; a single value if all samples have the same kinds."""
    first = kinds[0]
    return [name == "exposure" for name in ([first] if isinstance(first, str) else first)]


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


def rounded(x: Tensor) -> Tensor:
    """x in autocast's precision if that is on: embedding and wavelets need full precision, the blocks do not."""
    device = x.device.type
    return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Pad (B, C, H, W) below and right to multiples, by reflection, or by replication where the image is too small."""
    height, width = x.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    for pad, size in (((0, right, 0, 0), width), ((0, 0, 0, bottom), height)):
        if any(pad):
            x = F.pad(x, pad, mode="reflect" if max(pad) < size else "replicate")
    return x
