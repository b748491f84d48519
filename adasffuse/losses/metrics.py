"""Differentiable forms of fusion metrics, per sample.  Scores by a metric that was trained for are biased.

Shapes: images are (B, 1, H, W) float luminance in [0, 1], S sources are (S, B, 1, H, W); every result is (B,).
"""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

SMALLEST = {"vif": 41, "exposure": 44, "edges": 3, "spurious": 2}  # least pixels per side that these loss terms need
HOT = 0.06  # contrast to its surroundings at which an object in an infrared image is a target
FLAT = 1e-6  # mean gradients up to this are rounding noise of flat images


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Mean structural similarity per sample: 11x11 Gaussian window of sigma 1.5 inside the image, range 1.

    Wang et al., IEEE Trans. Image Process. 2004, doi:10.1109/TIP.2003.819861.  Images below 11 pixels on a side
    use the largest window that fits.

    Args:
        x, y: (B, 1, H, W) in [0, 1].
    Returns:
        (B,), at most 1.
    """
    mean_x, mean_y, variance_x, variance_y, covariance = _moments(x, y, min(11, *x.shape[-2:]), 1.5)
    luminance = (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
    structure = (2 * covariance + 0.03**2) / (variance_x + variance_y + 0.03**2)
    return (luminance * structure).mean(dim=(1, 2, 3))


def visual_information(source: Tensor, fused: Tensor) -> Tensor:
    """Pixel-domain visual information fidelity (VIF-P) of the fused image for one source.

    Sheikh and Bovik, IEEE Trans. Image Process. 2006, doi:10.1109/TIP.2005.859378, four scales with Gaussian windows of
    17, 9, 5 and 3 pixels (sigma a fifth) and noise variance 2 on gray levels 0..255, as `adasffuse.metrics` computes
    it.  1 for a copy, more if contrast is raised, 1 for a flat source.  Needs 41 pixels per side.
    """
    noise, tiny = 2.0, 1e-6
    x, y = source * 255, fused * 255
    kept = total = x.new_zeros(len(x))
    for scale, size in enumerate((17, 9, 5, 3)):
        if scale:
            x, y = (_blur(t, size, size / 5)[..., ::2, ::2] for t in (x, y))
        _, _, variance_x, variance_y, covariance = _moments(x, y, size, size / 5)
        variance_x, variance_y = variance_x.clamp(min=0), variance_y.clamp(min=0)
        gain = (covariance / (variance_x + tiny)).clamp(min=0)
        unrelated = (variance_y - gain * covariance).clamp(min=tiny)
        kept = kept + torch.log1p(gain.square() * variance_x / (unrelated + noise)).sum(dim=(1, 2, 3))
        total = total + torch.log1p(variance_x / noise).sum(dim=(1, 2, 3))
    return torch.where(total > tiny, kept / total.clamp(min=tiny), 1.0)


def edge_preservation(sources: Tensor, fused: Tensor) -> Tensor:
    """Qabf, the preservation of the sources' Sobel edges in strength and direction, 0..0.975.

    Xydeas and Petrovic, Electronics Letters 2000, doi:10.1049/el:20000267, on gray levels 0..255, with the constants of
    `adasffuse.metrics`, summed over S sources.  Equal strengths have the quotient 1, as in the paper.

    Args:
        sources: S of (B, 1, H, W) in [0, 1], a sequence or one tensor.
        fused: (B, 1, H, W).
    Returns:
        (B,).
    """
    strength_f, angle_f = _edges(fused)
    kept = total = fused.new_zeros(len(fused))
    for source in sources:
        strength, angle = _edges(source)
        relative = torch.minimum(strength, strength_f) / torch.maximum(strength, strength_f)
        turn = 1 - (angle - angle_f).abs() * (2 / math.pi)
        quality = 0.9994 * torch.sigmoid(15 * (relative - 0.5)) * 0.9879 * torch.sigmoid(22 * (turn - 0.8))
        kept = kept + (quality * strength).sum(dim=(1, 2, 3))
        total = total + strength.sum(dim=(1, 2, 3))
    return kept / total


def differences_kept(sources: Tensor, fused: Tensor) -> Tensor:
    """SCD per sample, (B,), at most 2: correlations of fused minus the mean of the other sources with each source.

    Aslantas and Bendes, AEU 2015, doi:10.1016/j.aeue.2015.09.004, for two sources; the sum of more is scaled to two.

    Args:
        sources: (S, B, 1, H, W) in [0, 1].
        fused: (B, 1, H, W).
    Returns:
        (B,); a flat image correlates 0.
    """
    others = (sources.sum(dim=0) - sources) / (len(sources) - 1)
    kept = [correlation(fused - other, source) for other, source in zip(others, sources)]
    return sum(kept) * (2 / len(sources))


def exposure_structure(sources: Tensor, fused: Tensor) -> Tensor:
    """MEF-SSIM, contrast and structure of the result against the block-wise ideal of all sources.

    Ma, Zeng and Wang, IEEE Trans. Image Processing 2015, doi:10.1109/TIP.2015.2442920, on gray levels 0..255 over three
    scales, as `adasffuse.metrics` computes it; blind to brightness.  The score of each scale is at least 0.001.

    Args:
        sources: (S, B, 1, H, W) in [0, 1], H and W at least 44.
        fused: (B, 1, H, W).
    Returns:
        (B,), at most 1.
    """
    images = torch.cat([sources, fused.unsqueeze(0)]) * 255  # (S + 1, B, 1, H, W)
    kept = fused.new_ones(len(fused))
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001)):  # the weights of MS-SSIM
        if scale:
            images = F.avg_pool2d(_even(images.flatten(0, 1)), 2).unflatten(0, images.shape[:2])
        structure = _structure_map(list(images[:-1]), images[-1]).mean(dim=(1, 2, 3))
        kept = kept * structure.clamp(min=1e-3) ** (weight / 0.6305)
    return kept


def _structure_map(sources: list[Tensor], fused: Tensor) -> Tensor:
    """Contrast-structure map of the result against the ideal r = sum of alpha_k (s_k - mean s_k) of each 11x11 block.

    alpha_k grows with the contrast of source k.  r is never computed: its moments follow from the sources' covariances.
    Images are (B, 1, H, W) on gray levels, the map is (B, 1, H - 10, W - 10), at most 1.
    """
    block = _covariances(sources, lambda x: F.avg_pool2d(x, 11, stride=1))
    lengths = [(121 * block[k][k]).clamp(min=0).sqrt() for k in range(len(sources))]
    length_of_sum = (121 * sum(sum(row) for row in block)).clamp(min=0).sqrt()
    consistency = ((length_of_sum + FLAT) / (sum(lengths) + FLAT)).clamp(FLAT, 1 - FLAT)
    power = torch.tan(math.pi / 2 * consistency).clamp(max=10)
    contrasts = torch.stack([length + 1e-3 for length in lengths])
    alphas = torch.softmax(power * contrasts.log(), dim=0) / contrasts  # c_k^p / sum of c^p, over c_k
    length = (121 * _mixed_variance(alphas, block)).sqrt()
    scale = torch.where(length > 0, contrasts.amax(dim=0) / length.clamp(min=FLAT), 1.0)
    alphas = scale * alphas

    local = _covariances([*sources, fused], lambda x: _blur(x, 11, 1.5))
    constant = 7.65**2
    variance = _mixed_variance(alphas, [row[:-1] for row in local[:-1]]) + local[-1][-1]
    shared = sum(alpha * row[-1] for alpha, row in zip(alphas, local))
    return (2 * shared + constant) / (variance + constant)


def _covariances(images: list[Tensor], window_mean: Callable[[Tensor], Tensor]) -> list[list[Tensor]]:
    """Local covariance of image i and image j, [i][j]."""
    means = [window_mean(x) for x in images]
    count = range(len(images))
    half = {(i, j): window_mean(images[i] * images[j]) - means[i] * means[j] for i in count for j in count if i <= j}
    return [[half[min(i, j), max(i, j)] for j in count] for i in count]


def _mixed_variance(alphas: Tensor, covariances: list[list[Tensor]]) -> Tensor:
    """Variance of the sum of alpha_k s_k."""
    total = sum(a * b * value for a, row in zip(alphas, covariances) for b, value in zip(alphas, row))
    return total.clamp(min=0)


def _even(x: Tensor) -> Tensor:
    """(B, C, H, W) with an odd last row or column repeated."""
    return F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2), mode="replicate")


def spurious_brightness(sources: Sequence[Tensor], fused: Tensor) -> Tensor:
    """Coarse luminance gradient beyond that of every source: halos and patches that no source has.

    Images are blurred by a Gaussian of sigma = sqrt(H W) / 64 pixels, at least 3.  The score is the mean over pixels of
    how far the gradient magnitude, per sigma, exceeds the largest one among the sources.

    Args:
        sources: S of (B, 1, H, W) in [0, 1], a sequence or one tensor.
        fused: (B, 1, H, W).
    Returns:
        (B,), at least 0; 0 for each source itself.
    """
    height, width = fused.shape[-2:]
    sigma = max(3.0, math.sqrt(height * width) / 64)
    images = torch.cat([*sources, fused], dim=1)
    strengths = _coarse_strength(smooth(images, sigma)) * sigma  # (B, S + 1, H - 1, W - 1)
    return (strengths[:, -1] - strengths[:, :-1].amax(dim=1)).clamp(min=0).mean(dim=(1, 2))


def targets_lost(infrared: Tensor, fused: Tensor) -> Tensor:
    """Share of the contrast of hot targets that the fused image lacks.

    Contrast is the difference to a Gaussian mean, at two widths.  Targets are pixels whose contrast in the infrared
    image exceeds `HOT`; the fused image should have the same contrast there.

    Args:
        infrared, fused: (B, 1, H, W) in [0, 1].
    Returns:
        (B,), 0 for the infrared image itself and for images without targets; 1 if no target is visible.
    """
    both = torch.cat([infrared, fused], dim=1)
    lost = total = fused.new_zeros(len(fused))
    for sigma in (6.0, 14.0):
        contrast, shown = (both - smooth(both, sigma)).split(1, dim=1)
        hot = (contrast - HOT).clamp(min=0)
        lost = lost + (hot * (1 - shown / contrast.clamp(min=HOT)).clamp(min=0)).sum(dim=(1, 2, 3))
        total = total + hot.sum(dim=(1, 2, 3))
    few = 1e-3 * infrared[0].numel() * HOT  # a handful of warm pixels are no target
    return lost / (total + few)


def smooth(x: Tensor, sigma: float) -> Tensor:
    """Gaussian mean of (B, C, H, W), to the same size, borders replicated; large sigmas work on a reduced copy."""
    height, width = x.shape[-2:]
    factor = max(1, int(sigma // 3))
    if factor > 1:
        extended = F.pad(x, (0, -width % factor, 0, -height % factor), mode="replicate")
        x = F.avg_pool2d(extended, factor)
    radius = math.ceil(3 * sigma / factor)
    x = _blur(F.pad(x, (radius,) * 4, mode="replicate"), 2 * radius + 1, sigma / factor)
    if factor > 1:
        x = F.interpolate(x, scale_factor=factor, mode="bilinear")[..., :height, :width]
    return x


def _coarse_strength(x: Tensor) -> Tensor:
    """Magnitude of the differences to the right and downwards, (B, C, H - 1, W - 1)."""
    across, down = x[..., :-1, 1:] - x[..., :-1, :-1], x[..., 1:, :-1] - x[..., :-1, :-1]
    return (across.square() + down.square() + FLAT**2).sqrt()


def correlation(x: Tensor, y: Tensor) -> Tensor:
    """Pearson correlation of each pair of images, (B,); 0 if one of them is flat."""
    x, y = (t - t.mean(dim=(1, 2, 3), keepdim=True) for t in (x, y))
    power = x.square().sum(dim=(1, 2, 3)) * y.square().sum(dim=(1, 2, 3))
    return (x * y).sum(dim=(1, 2, 3)) / power.clamp(min=FLAT**2).sqrt()


def _edges(image: Tensor) -> tuple[Tensor, Tensor]:
    """Sobel strength on gray levels, never 0, and angle of the edge, -pi/2..pi/2, without the image's border."""
    gx, gy = sobel(image * 255)[..., 1:-1, 1:-1].split(1, dim=1)
    flat = torch.where(gx < 0, -FLAT, FLAT)  # keeps the quotient and its gradient finite
    return (gx.square() + gy.square() + FLAT).sqrt(), torch.atan(gy / (gx + flat))


def sobel(image: Tensor) -> Tensor:
    """Sobel differences to the right and downwards, (B, 2, H, W), borders replicated."""
    mean, difference = image.new_tensor([1.0, 2.0, 1.0]), image.new_tensor([-1.0, 0.0, 1.0])
    kernels = torch.stack([torch.outer(mean, difference), torch.outer(difference, mean)]).unsqueeze(1)
    return F.conv2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), kernels)


def _moments(x: Tensor, y: Tensor, size: int, sigma: float) -> tuple[Tensor, ...]:
    """Means of x and y, their variances and covariance in Gaussian windows inside the image."""
    mean_x, mean_y, xx, yy, xy = _blur(torch.cat([x, y, x * x, y * y, x * y], dim=1), size, sigma).chunk(5, dim=1)
    return mean_x, mean_y, xx - mean_x**2, yy - mean_y**2, xy - mean_x * mean_y


def _blur(x: Tensor, size: int, sigma: float) -> Tensor:
    """Gaussian mean in windows of size x size pixels inside the image, (B, C, H, W) to (B, C, H - size + 1, ...)."""
    window, channels = _gaussian(size, sigma, x), x.shape[1]
    x = F.conv2d(x, window.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    return F.conv2d(x, window.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)


def _gaussian(size: int, sigma: float, like: Tensor) -> Tensor:
    """A Gaussian window (size,) of sum 1, with device and type of `like`."""
    offset = torch.arange(size, dtype=like.dtype, device=like.device) - (size - 1) / 2
    weights = torch.exp(-0.5 * (offset / sigma) ** 2)
    return weights / weights.sum()
