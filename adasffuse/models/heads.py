"""The pyramid head: weight maps of S sources for every band of a Laplacian pyramid, and the blend by these weights.

The batch holds the sources one after the other, (S*B, ...).  The P pixels of a patch are channels, so H x W is the size
in patches.  Bands 0 to LEVELS - 1 are details from fine to coarse, one weight per pixel in band 0 and one per cell of
patches in the others; band LEVELS is the base.
"""

import functools
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adasffuse.classical.exposure import exposure_weights
from adasffuse.classical.pyramid import blend_pyramids
from adasffuse.models.precision import wide

LEVELS = 3  # of the pyramid above its finest band; height and width in patches are multiples of 2 ** LEVELS
SLOPE = 0.2  # of the LeakyReLU
FAINT = 1e-3  # added to the contrast in exposure weights, against noise
_NOISE = 0.01  # added to the contrast of a band before its logarithm, against noise
_LEAST = 1e-4  # lower bound of exposure weights before their logarithm
_SHADED = ((0.45, 0.6), (0.3, 0.5), (0.3, 0.5))  # by which an image is darker than what is shown where its dark detail
# fades, and where it has gone: luminance, for each band
_COLD = (0.1, 0.25)  # luminance up to which infrared detail can fade wholly, and from which it stays: glare hides more


class BandHead(nn.Module):
    """Logits of the sources in one band, from the fused features and each source's embedding."""

    def __init__(self, channels: int, planes: int = 1, kernel: int = 3) -> None:
        super().__init__()
        hidden = channels // 2
        self.from_fused = nn.Conv2d(channels, hidden, kernel, padding=kernel // 2)
        self.from_source = nn.Conv2d(channels, hidden, kernel, padding=kernel // 2, bias=False)
        self.logit = nn.Conv2d(hidden, planes, 3, padding=1, bias=False)  # a bias would cancel in the softmax

    def forward(self, fused: Tensor, features: Tensor) -> Tensor:
        """Logits (S*B, P, H, W), at least float32, from fused features (B, C, H, W) and embeddings (S*B, C, H, W)."""
        count = features.shape[0] // fused.shape[0]
        hidden = self.from_source(features) + self.from_fused(fused).repeat(count, 1, 1, 1)
        return wide(self.logit(F.leaky_relu(hidden, SLOPE)))


class PyramidHead(nn.Module):
    """Blend of Laplacian pyramids: fine detail has a weight per pixel, coarser bands have smooth weights.

    With patches of 2x2 pixels the bands hold detail finer than 4 pixels, the octaves up to 16 pixels, and the base.
    Sources may differ much in brightness, where weights per cell would make edges that no source has.  So the network
    chooses for each cell of the base (`octave_share`) how much of it is blended over all coarser octaves instead, which
    keeps the order of brightness across the image, as in exposure fusion.  The result is clamped to the range of the
    sources at each pixel, so differently weighted bands leave no halos.

    With `contrast` the weights of all bands but the base are multiplied by the source's contrast in the band to a power
    that the network chooses for each cell (`contrast_power`, 2 at first).

    With `exposure` the weights of all bands are multiplied by those of exposure fusion to a power that the network
    chooses for each cell (`exposure_power`, 1 at first).

    The weight maps are the logits of each band, the powers of contrast and exposure, and the octave share.
    The maps of tiles can be joined, so that an image of any size is composed as a whole.
    """

    def __init__(self, channels: int, patch: int = 1, exposure: bool = False, contrast: bool = False) -> None:
        super().__init__()
        self.patch = patch
        self.blend_octaves = blend_pyramids  # export has a form of it for any size
        self.detail = BandHead(channels, patch**2)
        self.coarse = nn.ModuleList(BandHead(channels, kernel=1) for _ in range(LEVELS))
        self.octave_share = _constant(nn.Conv2d(channels, 1, 1), -2.0)
        self.exposure_power = _constant(nn.Conv2d(channels, 1, 1), 1.0) if exposure else None
        self.contrast_power = _constant(nn.Conv2d(channels, 1, 1), 2.0) if contrast else None

    def weight_maps(
        self, fused: Tensor, features: Tensor, gains: Tensor | None = None, exposed: Sequence[bool] | None = None
    ) -> tuple[Tensor, ...]:
        """The weight maps, fine before coarse, from fused features (B, C, H, W) and embeddings (S*B, C, H, W).

        Args:
            gains: factors of the logits, (S*B, bands, 1, 1, 1).
            exposed: whether exposure weights apply to each sample, or one value for all; None: they apply.
        """
        pooled = pooled_bands(fused)
        return self.logits(pooled, features, gains) + self.shared_maps(pooled, exposed)

    def logits(self, fused: Sequence[Tensor], features: Tensor, gains: Tensor | None = None) -> tuple[Tensor, ...]:
        """The maps of each source, from `pooled_bands` of the fused features; arguments as in `weight_maps`."""
        bands = zip((self.detail, *self.coarse), fused, pooled_bands(features))
        logits = tuple(head(shared, own) for head, shared, own in bands)
        return logits if gains is None else tuple(gains[:, band] * own for band, own in enumerate(logits))

    def shared_maps(self, fused: Sequence[Tensor], exposed: Sequence[bool] | None = None) -> tuple[Tensor, ...]:
        """The maps that all sources share: powers of contrast and of exposure, then the octave share."""
        contrast, exposure = (), ()
        if self.contrast_power is not None:
            contrast = tuple(wide(self.contrast_power(band)) for band in fused[:LEVELS])
        if self.exposure_power is not None and (exposed is None or any(exposed) or self.training):
            exposure = tuple(wide(self.exposure_power(band)) for band in fused)
            if exposed is not None:
                exposure = tuple(p * p.new_tensor(exposed)[:, None, None, None] for p in exposure)
        return (*contrast, *exposure, wide(self.octave_share(fused[-1])))

    def compose(
        self,
        sources: Tensor,
        maps: Sequence[Tensor],
        base_logit: Callable[[Tensor], Tensor] | None = None,
        infrared: Sequence[int | None] | None = None,
    ) -> Tensor:
        """The blend (B, P, H, W) of sources (S, B, P, H, W) by their weight maps.

        Args:
            base_logit: as in `band_logits`.
            infrared: as in `unshaded`.
        """
        logits, shared = maps[: LEVELS + 1], maps[LEVELS + 1 :]
        images = pyramid_levels(sources)
        exposure = self.exposure_bands(sources) if self.has_exposure(shared) else []

        def weights(band: int, detail: Tensor) -> Sequence[Tensor]:
            own = logits[band].view_as(detail)
            return _softmax(self.band_logits(band, own, detail, shared, exposure, base_logit))

        base = images[LEVELS]
        result = self.blended_base(base, torch.stack(tuple(weights(LEVELS, base))), shared)
        for band in range(LEVELS - 1, -1, -1):
            detail, coarser = self.detail_of(images, band), self.enlarged(result, band)
            result = blended(
                coarser, unshaded(band, weights(band, detail), detail, images[band], coarser, infrared), detail
            )
        return result.clamp(functools.reduce(torch.minimum, sources), functools.reduce(torch.maximum, sources))

    def has_exposure(self, shared: Sequence[Tensor]) -> bool:
        """Whether the `shared_maps` hold powers of exposure."""
        return len(shared) > 1 + (LEVELS if self.contrast_power is not None else 0)

    def band_logits(
        self,
        band: int,
        own: Tensor,
        detail: Tensor,
        shared: Sequence[Tensor],
        exposure: Sequence[Tensor],
        base_logit: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Logits of the weights of one band: the network's own, plus the logarithms of contrast and exposure terms.

        Args:
            band: 0 (finest) to LEVELS (base).
            own: the network's logits, in the shape of `detail`.
            detail: the band of the sources, (S, B, P, H, W), or (S, B, 1, h, w) from band 1 on.
            shared: as `shared_maps` returns them.
            exposure: as `exposure_bands` returns them; empty without exposure weights.
            base_logit: returns what is added to the logits of the base, given the base of whole images.
        """
        total = own
        if base_logit is not None and band == LEVELS:
            total = total + base_logit(detail)
        if self.contrast_power is not None and band < LEVELS:
            total = total + shared[band] * self.log_contrast(detail)
        if exposure:
            first = LEVELS if self.contrast_power is not None else 0
            total = total + shared[first + band] * exposure[band].clamp(min=_LEAST).log()
        return total

    def blended_base(self, base: Tensor, weights: Tensor, shared: Sequence[Tensor]) -> Tensor:
        """The base (B, 1, h, w) of sources (S, B, 1, h, w), blended per cell and, to a share, over octaves."""
        return torch.lerp((weights * base).sum(dim=0), self.blend_octaves(base, weights), torch.sigmoid(shared[-1]))

    def detail_of(self, images: Sequence[Tensor], band: int) -> Tensor:
        """One band of the sources, from their `pyramid_levels`."""
        coarser = images[band + 1]
        if band:
            return images[band] - _enlarged(coarser, 2)
        return images[0] - self._as_patches(coarser.flatten(0, 1)).view_as(images[0])

    def enlarged(self, coarser: Tensor, band: int) -> Tensor:
        """The blend of all coarser bands at the size of `band`."""
        return _enlarged(coarser, 2) if band else self._as_patches(coarser)

    def log_contrast(self, detail: Tensor) -> Tensor:
        """Logarithm of the mean magnitude of a band (S, B, P, H, W) around each pixel or cell.

        The mean is over 3x3 cells; in the finest band over 2x2 pixels, then over 3x3 of these.
        """
        magnitude = detail.flatten(0, 1).abs()
        if detail.shape[2] == 1:
            means = F.avg_pool2d(magnitude, 3, stride=1, padding=1, count_include_pad=False)
            return (means + _NOISE).log().view_as(detail)
        with torch.autocast(detail.device.type, enabled=False):
            mean = _kernel(_mean_of_2x2_and_3x3, self.patch, self.patch // 2, magnitude)
            contrast = (_by_patches(magnitude, mean) + _NOISE).log()  # (S*B, P / 4, H, W)
            twice = _kernel(
                lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"), self.patch // 2, self.patch, detail
            )
            return _by_patches(contrast, twice).view_as(detail)

    def exposure_bands(self, sources: Tensor) -> list[Tensor]:
        """Weights of exposure fusion of sources (S, B, P, H, W), in every band."""
        weights = exposure_weights(F.pixel_shuffle(sources, self.patch), FAINT)
        return pyramid_levels(F.pixel_unshuffle(weights, self.patch))

    def start_as_exposure_fusion(self) -> None:
        """Set parameters so that the weights are those of exposure fusion alone, blended over all octaves."""
        for head in (self.detail, *self.coarse):
            nn.init.zeros_(head.logit.weight)
        _constant(self.octave_share, 3.0)
        _constant(self.exposure_power, 1.0)

    def _as_patches(self, cells: Tensor) -> Tensor:
        """Bilinear enlargement of each cell to 2x2 patches: (B, 1, h, w) to (B, P, 2h, 2w), in channels-last memory.

        The pixels of a cell are its 3x3 neighbourhood times a matrix, which gives them in the order of the patches.
        """
        batch, _, height, width = cells.shape
        side, size = 2 * self.patch, self.patch**2
        with torch.autocast(cells.device.type, enabled=False):
            ones = torch.eye(9, device=cells.device, dtype=cells.dtype).view(9, 1, 3, 3)  # 1 in one neighbour each
            middle = F.interpolate(ones, scale_factor=side, mode="bilinear")[..., side:-side, side:-side]
            bilinear = F.pixel_unshuffle(middle, self.patch).permute(0, 2, 3, 1).flatten(1)  # (9, 2 * 2 * P)
            around = F.pad(cells, (1, 1, 1, 1), mode="replicate").unfold(2, 3, 1).unfold(3, 3, 1)  # (B, 1, h, w, 3, 3)
            pixels = around.reshape(-1, 9) @ bilinear
        patches = pixels.view(batch, height, width, 2, 2 * size).transpose(2, 3)  # (B, h, 2, w, 2 * P)
        return patches.reshape(batch, 2 * height, 2 * width, size).permute(0, 3, 1, 2)


def unshaded(
    band: int,
    weights: Sequence[Tensor],
    detail: Tensor,
    level: Tensor,
    coarser: Tensor,
    infrared: Sequence[int | None] | None,
) -> Sequence[Tensor]:
    """Weights of two sources, whose cold infrared detail does not darken what is shown much brighter.

    A cold sky is darker than its mean with a warm building, so bands of detail would darken the sky around the
    building, like smoke, where the visible image gives its brightness.

    Args:
        band: 0 (finest) to LEVELS - 1.
        weights: of both sources, each (B, P, H, W).
        detail, level: of the sources, the band and the image that it is of, (2, B, P, H, W).
        coarser: the blend of all coarser bands, (B, P, H, W).
        infrared: of each sample which source is infrared, None if none or both are; None if all detail counts.
    """
    if infrared is None:
        return weights
    if len(set(infrared)) > 1:
        parts = []
        for k, own in enumerate(infrared):
            one = slice(k, k + 1)
            shares = [weight[one] for weight in weights]
            parts.append(unshaded(band, shares, detail[:, one], level[:, one], coarser[one], [own]))
        return tuple(torch.cat(shares) for shares in zip(*parts))
    own = infrared[0]
    if own is None:
        return weights
    first, last = _SHADED[band]
    near = (last - coarser + level[own]) / (last - first)
    warm = (level[own] - _COLD[0]) / (_COLD[1] - _COLD[0])
    kept = torch.maximum(near, warm).clamp(0, 1)
    weight = torch.where(detail[own] < 0, weights[own] * kept, weights[own])
    return (weight, 1 - weight) if own == 0 else (1 - weight, weight)


def blended(result: Tensor, weights: Sequence[Tensor], details: Tensor) -> Tensor:
    """result (B, ...) plus the weighted sum over the sources of their details (S, B, ...)."""
    for weight, detail in zip(weights, details):
        result = torch.addcmul(result, weight, detail)
    return result


def _mean_of_2x2_and_3x3(pixels: Tensor) -> Tensor:
    """Means over 2x2 pixels (B, 1, H, W), then over 3x3 of these, (B, 1, H / 2, W / 2)."""
    return F.avg_pool2d(F.avg_pool2d(pixels, 2), 3, stride=1, padding=1)


def _kernel(linear: Callable[[Tensor], Tensor], before: int, after: int, like: Tensor) -> Tensor:
    """Kernel (after**2, before**2, 3, 3) of the convolution of patches that equals a linear function of images.

    Args:
        linear: takes and returns images (B, 1, H, W); a pixel depends on pixels at most one patch away.
        before, after: pixels per side of a patch, before and after the function.
        like: gives device and dtype.
    """
    planes = before**2
    pixels = torch.eye(9 * planes, device=like.device, dtype=like.dtype).view(-1, planes, 3, 3)  # 1 in one pixel each
    response = F.pixel_unshuffle(linear(F.pixel_shuffle(pixels, before)), after)[..., 1, 1]  # in the middle patch
    return response.T.reshape(after**2, planes, 3, 3)


def _by_patches(images: Tensor, kernel: Tensor) -> Tensor:
    """Convolve images (B, P, H, W) with a `_kernel`; patches at the border are repeated beyond it."""
    extended = F.pad(images, (1, 1, 1, 1), mode="replicate").contiguous(memory_format=torch.channels_last)
    return F.conv2d(extended, kernel)


def _softmax(logits: Tensor) -> Sequence[Tensor]:
    """Weights of the sources from logits (S, ...); for two of them a sigmoid takes a third of softmax's time."""
    if len(logits) != 2:
        return logits.softmax(dim=0).unbind(0)
    first = torch.sigmoid(logits[0] - logits[1])
    return first, 1 - first


def pyramid_levels(x: Tensor) -> list[Tensor]:
    """x (S, B, P, H, W), then the means over all pixels of 2x2, 4x4 and 8x8 patches, down to (S, B, 1, H/8, W/8)."""
    levels = [x, _halved(x.mean(dim=2, keepdim=True))]
    while len(levels) <= LEVELS:
        levels.append(_halved(levels[-1]))
    return levels


def pooled_bands(features: Tensor) -> list[Tensor]:
    """Features (N, C, H, W), and their means over 2x2, 4x4 and 8x8 patches."""
    bands = [features]
    while len(bands) <= LEVELS:
        bands.append(F.avg_pool2d(bands[-1], 2))
    return bands


def _constant(layer: nn.Conv2d, value: float) -> nn.Conv2d:
    """Initialise a layer so that its output is `value` everywhere; returns the layer."""
    nn.init.zeros_(layer.weight)
    nn.init.constant_(layer.bias, value)
    return layer


def _halved(x: Tensor) -> Tensor:
    return F.avg_pool2d(x.flatten(0, 1), 2).unflatten(0, x.shape[:2])


def _enlarged(x: Tensor, factor: int) -> Tensor:
    planes = x.flatten(0, -4)  # (B, 1, H, W)
    return F.interpolate(planes, scale_factor=factor, mode="bilinear").unflatten(0, x.shape[:-3])
