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
    residual: bool = True  # the decoder's picture is added to the weighted mean
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
    """Fuses the luminance of two registered pictures; unless `ordered`, the result does not depend on their order.

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
                self.decode[-1].weight.mul_(0.1)  # the first picture is close to the mean of the sources
        if not options.trained_filters:
            for transform in (self.split, self.merge):
                transform.low_pass.requires_grad_(False)
                transform.high_pass.requires_grad_(False)

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
        height, width = source_a.shape[-2:]
        sources = torch.stack([source_a, source_b]).flatten(0, 1)  # (2B, 1, H, W)
        sources = pad_to_multiple(sources, _MULTIPLE * self.options.patch)
        sources = F.pixel_unshuffle(sources, self.options.patch)  # (2B, P, H/p, W/p), P = p * p pixels of a patch
        sources = sources.contiguous(memory_format=torch.channels_last)
        in_strips = sources.device.type == "cpu" and not torch.is_grad_enabled()
        out = self._fuse_in_strips(sources) if in_strips else self._fuse_whole(sources)
        return F.pixel_shuffle(out, self.options.patch)[..., :height, :width]

    def _fuse_whole(self, sources: Tensor) -> Tensor:
        """Sources (2B, P, H, W) to (B, P, H, W); here and below H x W counts patches of P pixels."""
        features = self.embed_sources(sources)  # (2B, C, H, W)
        low, high = self.analyse(features)  # (B, C, H/2, W/2), (B, 3C, H/2, W/2)
        low = self.low_blocks(low)
        high = self.high_blocks(high)
        fused = self.full_blocks(self.synthesise(low, high))  # (B, C, H, W)
        return self.reconstruct(fused, features, sources)  # (B, P, H, W)

    def _fuse_in_strips(self, sources: Tensor) -> Tensor:
        """The same steps on the CPU without gradients, see `adasffuse.models.strips`."""
        c = self.options.channels

        def analyse(sources: Tensor) -> tuple[Tensor, ...]:
            features = self.embed_sources(sources)
            return *self.analyse(features), features, F.avg_pool2d(features, 2)

        def reconstruct(*maps: Tensor) -> tuple[Tensor]:
            return (self.reconstruct(*maps),)

        low, high, features, coarse_features = apply_locally(analyse, (sources,), halo=8, channels=8 * c)
        for block in self.low_blocks:
            low = apply_block(block, low)
        for block in self.high_blocks:
            high = apply_block(block, high)
        fused = self.synthesise(low, high)
        for block in self.full_blocks:
            fused = apply_block(block, fused)
        maps = (fused, features, sources)
        if self.options.output == "pyramid":
            maps += self.blend.coarse_bands(F.avg_pool2d(fused, 2), coarse_features, sources)
        return apply_locally(reconstruct, maps, halo=4, channels=4 * c)[0]

    def embed_sources(self, sources: Tensor) -> Tensor:
        """Feature embedding, (2B, P, H, W) to (2B, C, H, W): shared by all sources, or its own for A and for B.

        Of an `ordered` network, A's kernels are `embed` plus `embed_order`, B's `embed` minus it; zero at first.
        """
        features = self.embed(sources)
        if self.options.ordered:
            a, b = self.embed_order(sources).chunk(2)
            features = features + torch.cat([a, -b])
        return F.leaky_relu(features, SLOPE)

    def analyse(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """AdaWAT of each source, then frequency-segmented fusion: bands (B, C, H/2, W/2) and (B, 3C, H/2, W/2)."""
        low, high = self.split(features)
        return sum_sources(low), sum_sources(high)

    def synthesise(self, low: Tensor, high: Tensor) -> Tensor:
        """AdaIWAT of the fused bands: (B, C, H, W)."""
        return self.merge(low, high)

    def reconstruct(self, fused: Tensor, features: Tensor, sources: Tensor, *bands: Tensor) -> Tensor:
        """Decoder, blend of the sources, or both added, as `output` and `residual` say: (B, P, H, W).

        Args:
            bands: the pyramid's coarse ones, where they are known already, see `PyramidHead`.
        """
        if self.options.output == "direct":
            return self.decode(fused)
        blended = self.blend(fused, features, sources, *bands)
        return blended + self.decode(fused) if self.options.residual else blended

    def filter_penalty(self) -> Tensor:
        """Distance of the trained wavelet filters from perfect reconstruction, a scalar (0 for Haar)."""
        return reconstruction_penalty(self.split, self.merge)


def sum_sources(bands: Tensor) -> Tensor:
    """Frequency-segmented fusion: bands of all sources, (2B, ...), added to (B, ...); the same for either order."""
    a, b = bands.chunk(2)
    return a + b


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Extend (B, C, H, W) below and right to multiples, by reflection, or replication where that is too short."""
    height, width = x.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    for pad, size in (((0, right, 0, 0), width), ((0, 0, 0, bottom), height)):
        if any(pad):
            x = F.pad(x, pad, mode="reflect" if max(pad) < size else "replicate")
    return x
