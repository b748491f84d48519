"""AdaSFFuse (arXiv 2508.15505): embed, split, fuse band by band, merge, refine, decode."""

from dataclasses import asdict, dataclass
from difflib import get_close_matches

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adasffuse.models.heads import LEVELS, SLOPE, BlendHead, PyramidHead
from adasffuse.models.mamba import SCAN_ORDERS, SpatialFrequencyMambaBlock
from adasffuse.models.spectral import POOL
from adasffuse.models.strips import apply_block, apply_locally
from adasffuse.models.wavelet import AdaIWAT, AdaWAT, reconstruction_penalty

HEADS = ("direct", "blend", "pyramid")
_MULTIPLE = max(2 * POOL, 2**LEVELS)  # patches on a side: half resolution must still pool evenly, and the pyramid


@dataclass(frozen=True)
class ModelOptions:
    """Shape of the network; widths and depths default to the paper's, of which `SIZES["paper"]` is the whole shape."""

    patch: int = 1  # pixels per side that one token holds; 1 is the paper's
    channels: int = 64  # C, a multiple of 4
    band_blocks: int = 2  # N1, Mamba blocks on each band
    full_blocks: int = 4  # N2, Mamba blocks at full resolution
    head: int = 64  # head size of the scan
    state: int = 64  # state size of the scan
    scan: str = "bidirectional"  # or 'raster', 'cross'
    output: str = "blend"  # 'direct': the paper's decoder; 'blend', 'pyramid': a weighted mean of the sources
    residual: bool = True  # the decoder's image is added to the weighted mean
    exposure: bool = False  # the weights of a 'pyramid' start from those of exposure fusion
    ordered: bool = False  # A and B are embedded differently, so that the network knows which is which
    frequency: bool = True  # FFT branch of the mixer
    spatial: bool = True  # 3x3 branch of the mixer
    trained_filters: bool = True  # False keeps the wavelet filters at Haar

    def __post_init__(self) -> None:
        for name in ("patch", "channels", "head", "state"):
            if getattr(self, name) < 1:
                raise ValueError(f"model.{name} must be positive, got {getattr(self, name)}")
        if self.channels % 4:
            raise ValueError(f"model.channels must be a multiple of 4 (the decoder quarters it), got {self.channels}")
        for name in ("band_blocks", "full_blocks"):
            if getattr(self, name) < 0:
                raise ValueError(f"model.{name} must not be negative, got {getattr(self, name)}")
        for name, known in (("scan", SCAN_ORDERS), ("output", HEADS)):
            value = getattr(self, name)
            if value not in known:
                near = get_close_matches(str(value), known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"model.{name} must be one of {', '.join(known)}, got {value!r}{hint}")
        if self.output == "direct" and not self.residual:
            raise ValueError("model.residual false leaves nothing of model.output 'direct'; choose 'pyramid'")
        if self.exposure and self.output != "pyramid":
            raise ValueError(f"model.exposure needs model.output 'pyramid', got {self.output!r}")


SIZES = {
    "base": ModelOptions(patch=2, output="pyramid"),
    "small": ModelOptions(patch=2, channels=32, band_blocks=1, full_blocks=2, head=32, state=32, output="pyramid"),
    "paper": ModelOptions(output="direct", scan="raster"),
}


class AdaSFFuse(nn.Module):
    """Fuses the luminance of two registered images; unless `ordered`, the result does not depend on their order.

    Args:
        options: shape of the network.
    """

    def __init__(self, options: ModelOptions = SIZES["base"]) -> None:
        super().__init__()
        self.options = options
        c, planes = options.channels, options.patch**2
        block = {k: v for k, v in asdict(options).items() if k in ("head", "state", "frequency", "spatial")}
        block["order"] = options.scan
        self.embed = nn.Conv2d(planes, c, 3, padding=1)
        if options.ordered:
            self.embed_order = nn.Conv2d(planes, c, 3, padding=1)
            nn.init.zeros_(self.embed_order.weight)
            nn.init.zeros_(self.embed_order.bias)
        self.split = AdaWAT(c)
        self.low_blocks = nn.Sequential(*(SpatialFrequencyMambaBlock(c, **block) for _ in range(options.band_blocks)))
        self.high_blocks = nn.Sequential(
            *(SpatialFrequencyMambaBlock(3 * c, **block) for _ in range(options.band_blocks))
        )
        self.merge = AdaIWAT()
        self.full_blocks = nn.Sequential(*(SpatialFrequencyMambaBlock(c, **block) for _ in range(options.full_blocks)))
        blended = options.output != "direct"
        self.decode = self.blend = None
        if options.residual or not blended:
            self.decode = nn.Sequential(
                nn.Conv2d(c, c // 2, 3, padding=1),
                nn.LeakyReLU(SLOPE),
                nn.Conv2d(c // 2, c // 4, 3, padding=1),
                nn.LeakyReLU(SLOPE),
                nn.Conv2d(c // 4, planes, 3, padding=1),
            )
        if blended:
            pyramid = options.output == "pyramid"
            self.blend = PyramidHead(c, options.patch, options.exposure) if pyramid else BlendHead(c, planes)
        if blended and options.residual:
            nn.init.zeros_(self.decode[-1].bias)
            with torch.no_grad():
                self.decode[-1].weight.mul_(0.1)  # the first image is close to the mean of the sources
        if not options.trained_filters:
            for transform in (self.split, self.merge):
                transform.low_pass.requires_grad_(False)
                transform.high_pass.requires_grad_(False)

    @property
    def multiple(self) -> int:
        """Pixels: height and width are extended to multiples of this, 16 with patches of 2x2."""
        return _MULTIPLE * self.options.patch

    def forward(self, source_a: Tensor, source_b: Tensor) -> Tensor:
        """Fuse luminance (B, 1, H, W) in [0, 1], any H, W >= 1, into (B, 1, H, W), not clamped.

        Raises:
            ValueError: the sources are not two (B, 1, H, W) of the same shape.
        """
        if source_a.ndim != 4 or source_a.shape[1] != 1 or source_a.shape != source_b.shape:
            raise ValueError(
                "AdaSFFuse needs two luminance batches (B, 1, H, W) of one shape, "
                f"got {tuple(source_a.shape)} and {tuple(source_b.shape)}"
            )
        return self.compose(source_a, source_b, self.guide(source_a, source_b))

    def guide(self, source_a: Tensor, source_b: Tensor) -> tuple[Tensor, ...]:
        """What the network finds out about the sources, all that `compose` needs beside them.

        Returns:
            maps (N, K, h, w) with few channels; h and w are those of the sources, extended, divided by 1, 2, 4, ...,
            all divisors of `multiple`.
        """
        sources = self._as_patches(source_a, source_b)
        in_strips = sources.device.type == "cpu" and not torch.is_grad_enabled()
        return self._guide_in_strips(sources) if in_strips else self._guide_whole(sources)

    def compose(self, source_a: Tensor, source_b: Tensor, guide: tuple[Tensor, ...]) -> Tensor:
        """The fused image (B, 1, H, W), not clamped, from the sources (B, 1, H, W) and their `guide`."""
        sources = self._as_patches(source_a, source_b).unflatten(0, (2, -1))  # (2, B, P, H/p, W/p)
        if self.options.output == "direct":
            (fused,) = guide
        elif self.options.residual:
            residual, *guide = guide
            fused = self.blend.compose(sources, guide) + residual
        else:
            fused = self.blend.compose(sources, guide)
        height, width = source_a.shape[-2:]
        return F.pixel_shuffle(fused, self.options.patch)[..., :height, :width]

    def _as_patches(self, source_a: Tensor, source_b: Tensor) -> Tensor:
        """Both sources, extended, (2B, P, H/p, W/p): P = p * p pixels of a patch."""
        sources = torch.stack([source_a, source_b]).flatten(0, 1)  # (2B, 1, H, W)
        sources = pad_to_multiple(sources, self.multiple)
        sources = F.pixel_unshuffle(sources, self.options.patch)
        return sources.contiguous(memory_format=torch.channels_last)

    def _guide_whole(self, sources: Tensor) -> tuple[Tensor, ...]:
        """Guide of sources (2B, P, H, W); here and below H x W counts patches of P pixels."""
        features = self.embed_sources(sources)  # (2B, C, H, W)
        low, high = self.analyse(features)  # (B, C, H/2, W/2), (B, 3C, H/2, W/2)
        features = rounded(features)
        low = self.low_blocks(low)
        high = self.high_blocks(high)
        fused = self.full_blocks(self.synthesise(low, high))  # (B, C, H, W)
        return self.fine_guide(fused, features) + self.coarse_guide(*(F.avg_pool2d(x, 2) for x in (fused, features)))

    def _guide_in_strips(self, sources: Tensor) -> tuple[Tensor, ...]:
        """The same steps on the CPU without gradients, see `adasffuse.models.strips`."""
        c = self.options.channels

        def analyse(sources: Tensor) -> tuple[Tensor, ...]:
            features = self.embed_sources(sources)
            bands, features = self.analyse(features), rounded(features)
            return *bands, features, F.avg_pool2d(features, 2)

        low, high, features, coarse_features = apply_locally(analyse, (sources,), halo=8, channels=8 * c)
        for block in self.low_blocks:
            low = apply_block(block, low)
        for block in self.high_blocks:
            high = apply_block(block, high)
        fused = self.synthesise(low, high)
        for block in self.full_blocks:
            fused = apply_block(block, fused)
        fine = apply_locally(self.fine_guide, (fused, features), halo=4, channels=4 * c)
        return fine + self.coarse_guide(F.avg_pool2d(fused, 2), coarse_features)

    def embed_sources(self, sources: Tensor) -> Tensor:
        """Feature embedding, (2B, P, H, W) to (2B, C, H, W): shared by all sources, or its own for A and for B.

        Of an `ordered` network, A's kernels are `embed` plus `embed_order`, B's `embed` minus it; zero at first.
        """
        with torch.autocast(sources.device.type, enabled=False):  # bfloat16 holds fewer levels than the images
            features = self.embed(sources)
            if self.options.ordered:
                a, b = self.embed_order(sources).chunk(2)
                features = features + torch.cat([a, -b])
        return F.leaky_relu(features, SLOPE)

    def analyse(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """AdaWAT of each source, then frequency-segmented fusion: bands (B, C, H/2, W/2) and (B, 3C, H/2, W/2)."""
        low, high = self.split(features)
        return rounded(sum_sources(low)), rounded(sum_sources(high))

    def synthesise(self, low: Tensor, high: Tensor) -> Tensor:
        """AdaIWAT of the fused bands: (B, C, H, W)."""
        return self.merge(low, high)

    def fine_guide(self, fused: Tensor, features: Tensor) -> tuple[Tensor, ...]:
        """The decoder's image (B, P, H, W), where it is asked for, then the head's maps, see `BlendHead`."""
        decoded = (self.decode(fused),) if self.decode is not None else ()
        return decoded + (self.blend.fine_guide(fused, features) if self.blend is not None else ())

    def coarse_guide(self, fused: Tensor, features: Tensor) -> tuple[Tensor, ...]:
        """The head's coarse maps from means over 2x2 patches, see `BlendHead`."""
        return self.blend.coarse_guide(fused, features) if self.blend is not None else ()

    def filter_penalty(self) -> Tensor:
        """Distance of the trained wavelet filters from perfect reconstruction, a scalar (0 for Haar)."""
        return reconstruction_penalty(self.split, self.merge)


def sum_sources(bands: Tensor) -> Tensor:
    """Frequency-segmented fusion: bands of all sources, (2B, ...), added to (B, ...); the same for either order."""
    a, b = bands.chunk(2)
    return a + b


def rounded(x: Tensor) -> Tensor:
    """x in the precision of autocast, where that is on: what comes before must be exact, what follows need not."""
    device = x.device.type
    return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Extend (B, C, H, W) below and right to multiples, by reflection, or replication where that is too short."""
    height, width = x.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    for pad, size in (((0, right, 0, 0), width), ((0, 0, 0, bottom), height)):
        if any(pad):
            x = F.pad(x, pad, mode="reflect" if max(pad) < size else "replicate")
    return x
