"""Training loss: the paper's intensity, gradient and structural similarity terms, and optional ones.

The paper's recipe (arXiv 2508.15505, loss section) is `LossOptions.for_task`.  The optional terms are differentiable
forms of fusion metrics, of what the result keeps of the sources' visual information (VIF), edges (Qabf), differences
(SCD) and structure whatever the exposure (MEF-SSIM); a network trained with them is partly judged by what it was
trained for.
Shapes: images are (B, 1, H, W) float luminance in [0, 1]; every term is a mean over pairs.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from adasffuse.classical.exposure import exposure_fusion
from adasffuse.options import bounded, check_bounds, shown
from adasffuse.tasks import Task

SMALLEST = {"vif": 41, "exposure": 44}  # pixels on a side that the scales of these terms need
_FLAT = 1e-6  # mean gradient of a flat pair: not zero, but what rounding leaves of it


@dataclass(frozen=True)
class LossOptions:
    """Recipe of the loss; `for_task` gives the paper's.  Weights lie in 0 .. 1e6; 0 leaves a term out."""

    intensity: float = bounded(20.0, 0, 1e6)  # weight of L1(fused, target)
    gradient: float = bounded(20.0, 0, 1e6)  # weight of L1(|grad fused|, max |grad sources|)
    ssim: float = bounded(10.0, 0, 1e6)  # weight of 1 - (a SSIM(A, fused) + b SSIM(B, fused))
    target: str = "max"  # intensity target, a name in `TARGETS`; a known truth replaces it
    ssim_share: str = "gradient"  # a and b: 'gradient' (share of mean gradient) or 'equal'
    signed: bool = False  # gradient term: the vector of the stronger source's gradient instead of its magnitude
    evenly: bool = False  # vif term: of each source the square, so that none is given up for the other
    vif: float = bounded(0.0, 0, 1e6)  # weight of the visual information of both sources that the result lacks
    edges: float = bounded(0.0, 0, 1e6)  # weight of the sources' edges that the result lacks, 1 - Qabf
    correlation: float = bounded(0.0, 0, 1e6)  # weight of 2 - SCD: result less one source should be the other
    exposure: float = bounded(0.0, 0, 1e6)  # weight of multi-exposure structure that the result lacks, 1 - MEF-SSIM

    def __post_init__(self) -> None:
        check_bounds(self, "loss")
        for name, known in (("target", tuple(TARGETS)), ("ssim_share", ("gradient", "equal"))):
            if getattr(self, name) not in known:
                raise ValueError(f"loss.{name} must be one of {', '.join(known)}, got {shown(getattr(self, name))}")

    @classmethod
    def for_task(cls, task: Task) -> "LossOptions":
        """The paper's recipe for a task."""
        return cls(*task.loss_weights, target=task.target, ssim_share=task.ssim_share)


def fusion_loss(
    fused: Tensor, source_a: Tensor, source_b: Tensor, options: LossOptions, truth: Tensor | None = None
) -> dict[str, Tensor]:
    """Weighted loss terms 'intensity', 'gradient', 'ssim' and the optional ones with a weight; the loss is their sum.

    Args:
        truth: the ideal result, with NaN throughout the pairs whose ideal is unknown.  Where it is known it takes
            the place of target, largest gradient and both sources.
    """
    target = TARGETS[options.target](source_a, source_b)
    sobel_a, sobel_b = _sobel(source_a), _sobel(source_b)
    gradient_a, gradient_b = (sobel.abs().sum(dim=1, keepdim=True) for sobel in (sobel_a, sobel_b))
    gradient = torch.where(gradient_a >= gradient_b, sobel_a, sobel_b)  # (B, 2, H, W)
    if options.ssim_share == "gradient":
        share = gradient_share(gradient_a, gradient_b)
    else:
        share = source_a.new_full((len(source_a),), 0.5)
    if truth is not None:
        known = truth[:, :1, :1, :1].isfinite()
        source_a, source_b, target = (torch.where(known, truth, t) for t in (source_a, source_b, target))
        gradient = torch.where(known, _sobel(truth), gradient)
    similarity = share * ssim(source_a, fused) + (1 - share) * ssim(source_b, fused)
    terms = {
        "intensity": options.intensity * F.l1_loss(fused, target),
        "gradient": options.gradient * _gradient_distance(_sobel(fused), gradient, options.signed),
        "ssim": options.ssim * (1 - similarity).mean(),
    }
    if options.vif:
        lost = [(1 - visual_information(source, fused)).clamp(min=0) for source in (source_a, source_b)]
        lost = [share.square() if options.evenly else share for share in lost]
        terms["vif"] = options.vif * (lost[0] + lost[1]).mean()
    if options.edges:
        terms["edges"] = options.edges * (1 - edge_preservation(source_a, source_b, fused)).mean()
    if options.correlation:
        kept = correlation(fused - source_b, source_a) + correlation(fused - source_a, source_b)
        if truth is not None:  # both sources are the truth there, and the result less the truth should be nothing
            kept = torch.where(known.flatten(), 2.0, kept)
        terms["correlation"] = options.correlation * (2 - kept).mean()
    if options.exposure:
        terms["exposure"] = options.exposure * (1 - exposure_structure(source_a, source_b, fused)).mean()
    return terms


def salient_target(source_a: Tensor, source_b: Tensor) -> Tensor:
    """Infrared (A) targets on the visible image (B), which stays dark where it is dark.

    Where A stands out from its surroundings (a Gaussian window of sigma 16 pixels) by 0.05 to 0.25, the target goes
    over from B to max(A, B).
    """
    surroundings = F.avg_pool2d(source_a, 8, ceil_mode=True, count_include_pad=False)
    size = min(9, 2 * ((min(surroundings.shape[-2:]) - 1) // 2) + 1)
    half = size // 2
    surroundings = _blur(F.pad(surroundings, (half,) * 4, mode="replicate"), size, 2.0)
    surroundings = F.interpolate(surroundings, source_a.shape[-2:], mode="bilinear")
    hot = ((source_a - surroundings - 0.05) / 0.2).clamp(0, 1)
    return torch.lerp(source_b, torch.maximum(source_a, source_b), hot)


def exposed_target(source_a: Tensor, source_b: Tensor) -> Tensor:
    """Mean of both sources weighted by how well each pixel is exposed, exp(-(x - 1/2)^2 / (2 sigma^2)).

    The measure is that of Mertens et al., Exposure Fusion, Pacific Graphics 2007; sigma is 0.3 instead of 0.2, so that
    of two pixels the brighter one in the scene stays the brighter one, nearly always, without any blur.
    """
    weight_a, weight_b = (torch.exp(-(source - 0.5).square() / (2 * 0.3**2)) for source in (source_a, source_b))
    return (weight_a * source_a + weight_b * source_b) / (weight_a + weight_b)


TARGETS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "max": torch.maximum,
    "mean": lambda source_a, source_b: (source_a + source_b) / 2,
    "salient": salient_target,
    "exposed": exposed_target,
    "mertens": exposure_fusion,
}


def gradient_magnitude(image: Tensor) -> Tensor:
    """|Sobel x| + |Sobel y| with replicated borders, same shape as the image."""
    return _sobel(image).abs().sum(dim=1, keepdim=True)


def _gradient_distance(gradient: Tensor, wanted: Tensor, signed: bool) -> Tensor:
    """Mean L1 distance of two gradients (B, 2, H, W), as vectors or as magnitudes |x| + |y|."""
    if signed:
        return (gradient - wanted).abs().sum(dim=1).mean()
    return (gradient.abs().sum(dim=1) - wanted.abs().sum(dim=1)).abs().mean()


def gradient_share(gradient_a: Tensor, gradient_b: Tensor) -> Tensor:
    """Share (B,) of A in the mean gradient magnitude of each pair, 0.5 where both sources are flat."""
    mean_a, mean_b = gradient_a.mean(dim=(1, 2, 3)), gradient_b.mean(dim=(1, 2, 3))
    total = mean_a + mean_b
    return torch.where(total > _FLAT, mean_a / total.clamp(min=_FLAT), 0.5)


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Mean structural similarity per pair, (B,): 11x11 Gaussian window of sigma 1.5 inside the image, range 1.

    Wang et al., IEEE Trans. Image Process. 2004, doi:10.1109/TIP.2003.819861.  Images below 11 pixels on a side
    use the largest window that fits.
    """
    mean_x, mean_y, variance_x, variance_y, covariance = _local_moments(x, y, min(11, *x.shape[-2:]), 1.5)
    luminance = (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
    structure = (2 * covariance + 0.03**2) / (variance_x + variance_y + 0.03**2)
    return (luminance * structure).mean(dim=(1, 2, 3))


def visual_information(source: Tensor, fused: Tensor) -> Tensor:
    """Pixel-domain visual information fidelity (VIF-P) of the fused image for one source, per pair, (B,).

    Sheikh and Bovik, IEEE Trans. Image Process. 2006, doi:10.1109/TIP.2005.859378, four scales with Gaussian windows of
    17, 9, 5 and 3 pixels (sigma a fifth) and noise variance 2 on grey levels 0..255, as `adasffuse.metrics` computes
    it.  1 for a copy; more where contrast is raised.  A flat source counts as kept.  Needs 41 pixels on a side.
    """
    noise, tiny = 2.0, 1e-6
    x, y = source * 255, fused * 255
    kept = total = torch.zeros(len(x), dtype=x.dtype, device=x.device)
    for scale, size in enumerate((17, 9, 5, 3)):
        if scale:
            x, y = (_blur(t, size, size / 5)[..., ::2, ::2] for t in (x, y))
        _, _, variance_x, variance_y, covariance = _local_moments(x, y, size, size / 5)
        variance_x, variance_y = variance_x.clamp(min=0), variance_y.clamp(min=0)
        gain = (covariance / (variance_x + tiny)).clamp(min=0)
        unrelated = (variance_y - gain * covariance).clamp(min=tiny)
        kept = kept + torch.log1p(gain.square() * variance_x / (unrelated + noise)).sum(dim=(1, 2, 3))
        total = total + torch.log1p(variance_x / noise).sum(dim=(1, 2, 3))
    return torch.where(total > tiny, kept / total.clamp(min=tiny), 1.0)


def edge_preservation(source_a: Tensor, source_b: Tensor, fused: Tensor) -> Tensor:
    """Qabf, how much of the sources' Sobel edges the fused image keeps in strength and direction, per pair, (B,).

    Xydeas and Petrovic, Electronics Letters 2000, doi:10.1049/el:20000267, on grey levels 0..255, with the constants
    of `adasffuse.metrics` and a quotient of one for equal strengths, as the equation says.  0..0.975.
    """
    strength_f, angle_f = _edges(fused)
    kept = total = torch.zeros(len(fused), dtype=fused.dtype, device=fused.device)
    for source in (source_a, source_b):
        strength, angle = _edges(source)
        relative = torch.minimum(strength, strength_f) / torch.maximum(strength, strength_f)
        turn = 1 - (angle - angle_f).abs() * (2 / math.pi)
        quality = 0.9994 * torch.sigmoid(15 * (relative - 0.5)) * 0.9879 * torch.sigmoid(22 * (turn - 0.8))
        kept = kept + (quality * strength).sum(dim=(1, 2, 3))
        total = total + strength.sum(dim=(1, 2, 3))
    return kept / total


def exposure_structure(source_a: Tensor, source_b: Tensor, fused: Tensor) -> Tensor:
    """MEF-SSIM, contrast and structure of the result against the block-wise ideal of both sources, per pair, (B,).

    Ma, Zeng and Wang, IEEE Trans. Image Processing 2015, doi:10.1109/TIP.2015.2442920, on grey levels 0..255 over three
    scales, as `adasffuse.metrics` computes it; blind to brightness.  A scale counts at least 0.001.  Needs 44 pixels.
    """
    images = [image * 255 for image in (source_a, source_b, fused)]
    kept = torch.ones(len(fused), dtype=fused.dtype, device=fused.device)
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001)):  # those of MS-SSIM
        if scale:
            images = [F.avg_pool2d(_even(image), 2) for image in images]
        kept = kept * _structure_map(*images).mean(dim=(1, 2, 3)).clamp(min=1e-3) ** (weight / 0.6305)
    return kept


def _structure_map(a: Tensor, b: Tensor, fused: Tensor) -> Tensor:
    """Contrast-structure map of the result against r, the sources' centred 11x11 blocks mixed by their contrast.

    r = alpha (a - mean a) + beta (b - mean b) never exists as pixels: its moments follow from the sources'.
    """
    _, _, aa, bb, ab = _moments(a, b, lambda x: F.avg_pool2d(x, 11, stride=1))
    length_a, length_b = (121 * aa).clamp(min=0).sqrt(), (121 * bb).clamp(min=0).sqrt()
    of_sum = (121 * (aa + bb + 2 * ab)).clamp(min=0).sqrt()
    consistency = ((of_sum + _FLAT) / (length_a + length_b + _FLAT)).clamp(_FLAT, 1 - _FLAT)
    power = torch.tan(math.pi / 2 * consistency).clamp(max=10)
    contrast_a, contrast_b = length_a + 1e-3, length_b + 1e-3
    share = torch.sigmoid(power * (contrast_a / contrast_b).log())  # c_a^p / (c_a^p + c_b^p)
    alpha, beta = share / contrast_a, (1 - share) / contrast_b
    length = (121 * _mixed(alpha, beta, aa, bb, ab)).sqrt()
    scale = torch.where(length > 0, torch.maximum(contrast_a, contrast_b) / length.clamp(min=_FLAT), 1.0)
    alpha, beta = scale * alpha, scale * beta

    _, _, aa, ff, af = _local_moments(a, fused, 11, 1.5)
    _, _, bb, _, bf = _local_moments(b, fused, 11, 1.5)
    *_, ab = _local_moments(a, b, 11, 1.5)
    constant = 7.65**2
    variance = _mixed(alpha, beta, aa, bb, ab) + ff
    return (2 * (alpha * af + beta * bf) + constant) / (variance + constant)


def _mixed(alpha: Tensor, beta: Tensor, aa: Tensor, bb: Tensor, ab: Tensor) -> Tensor:
    """Variance of alpha a + beta b."""
    return (alpha * alpha * aa + 2 * alpha * beta * ab + beta * beta * bb).clamp(min=0)


def _even(x: Tensor) -> Tensor:
    """An odd last row or column of (B, C, H, W) doubled."""
    return F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2), mode="replicate")


def correlation(x: Tensor, y: Tensor) -> Tensor:
    """Pearson correlation of each pair of images, (B,); 0 where one of them is flat."""
    x, y = (t - t.mean(dim=(1, 2, 3), keepdim=True) for t in (x, y))
    power = x.square().sum(dim=(1, 2, 3)) * y.square().sum(dim=(1, 2, 3))
    return (x * y).sum(dim=(1, 2, 3)) / power.clamp(min=_FLAT**2).sqrt()


def _edges(image: Tensor) -> tuple[Tensor, Tensor]:
    """Sobel strength on grey levels, at least a little, and angle of the line, -pi/2..pi/2, inside the image."""
    gx, gy = _sobel(image * 255)[..., 1:-1, 1:-1].split(1, dim=1)
    flat = torch.where(gx < 0, -_FLAT, _FLAT)  # keeps the quotient and its gradient finite
    return (gx.square() + gy.square() + _FLAT).sqrt(), torch.atan(gy / (gx + flat))


def _sobel(image: Tensor) -> Tensor:
    """Differences to the right and downwards, (B, 2, H, W), borders replicated."""
    smooth, difference = image.new_tensor([1.0, 2.0, 1.0]), image.new_tensor([-1.0, 0.0, 1.0])
    kernels = torch.stack([torch.outer(smooth, difference), torch.outer(difference, smooth)]).unsqueeze(1)
    return F.conv2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), kernels)


def _local_moments(x: Tensor, y: Tensor, size: int, sigma: float) -> tuple[Tensor, ...]:
    """Means of x and y, their variances and covariance in Gaussian windows inside the image."""
    return _moments(x, y, lambda t: _blur(t, size, sigma))


def _moments(x: Tensor, y: Tensor, window_mean: Callable[[Tensor], Tensor]) -> tuple[Tensor, ...]:
    mean_x, mean_y, xx, yy, xy = window_mean(torch.cat([x, y, x * x, y * y, x * y], dim=1)).chunk(5, dim=1)
    return mean_x, mean_y, xx - mean_x**2, yy - mean_y**2, xy - mean_x * mean_y


def _blur(x: Tensor, size: int, sigma: float) -> Tensor:
    window, channels = _gaussian(size, sigma, x), x.shape[1]
    x = F.conv2d(x, window.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    return F.conv2d(x, window.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)


def _gaussian(size: int, sigma: float, like: Tensor) -> Tensor:
    offset = torch.arange(size, dtype=like.dtype, device=like.device) - (size - 1) / 2
    weights = torch.exp(-0.5 * (offset / sigma) ** 2)
    return weights / weights.sum()
