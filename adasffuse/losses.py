"""Training loss of the paper (arXiv 2508.15505, loss section): intensity, gradient and structural similarity.

Shapes: images are (B, 1, H, W) float luminance in [0, 1]; every term is a mean over pairs.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from adasffuse.tasks import Task

SMALLEST_VIF = 41  # pixels on a side that the four scales of visual information need
_FLAT = 1e-6  # mean gradient of a flat pair: not zero, but what rounding leaves of it


@dataclass(frozen=True)
class LossOptions:
    """Recipe of the loss; `for_task` gives the paper's."""

    intensity: float = 20.0  # weight of L1(fused, target)
    gradient: float = 20.0  # weight of L1(|grad fused|, max |grad sources|)
    ssim: float = 10.0  # weight of 1 - (a SSIM(A, fused) + b SSIM(B, fused))
    target: str = "max"  # intensity target: 'max' or 'mean' of the sources; a known truth replaces it
    ssim_share: str = "gradient"  # a and b: 'gradient' (share of mean gradient) or 'equal'
    vif: float = 0.0  # weight of the visual information of both sources that the result lacks; not in the paper
    filters: float = 0.0  # weight of the wavelet filters' distance from perfect reconstruction

    def __post_init__(self) -> None:
        for name in ("intensity", "gradient", "ssim", "vif", "filters"):
            if getattr(self, name) < 0:
                raise ValueError(f"loss.{name} must not be negative, got {getattr(self, name)}")
        for name, known in (("target", ("max", "mean")), ("ssim_share", ("gradient", "equal"))):
            if getattr(self, name) not in known:
                raise ValueError(f"loss.{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")

    @classmethod
    def for_task(cls, task: Task) -> "LossOptions":
        """The paper's recipe for a task."""
        return cls(*task.loss_weights, target=task.target, ssim_share=task.ssim_share)


def fusion_loss(
    fused: Tensor, source_a: Tensor, source_b: Tensor, options: LossOptions, truth: Tensor | None = None
) -> dict[str, Tensor]:
    """Weighted loss terms 'intensity', 'gradient', 'ssim' and, where it has a weight, 'vif'; the loss is their sum.

    Args:
        truth: the ideal result, with NaN throughout the pairs whose ideal is unknown.  Where it is known it takes
            the place of target, largest gradient and both sources.
    """
    target = torch.maximum(source_a, source_b) if options.target == "max" else (source_a + source_b) / 2
    gradient_a, gradient_b = gradient_magnitude(source_a), gradient_magnitude(source_b)
    gradient = torch.maximum(gradient_a, gradient_b)
    if options.ssim_share == "gradient":
        share = gradient_share(gradient_a, gradient_b)
    else:
        share = source_a.new_full((len(source_a),), 0.5)
    if truth is not None:
        known = truth[:, :1, :1, :1].isfinite()
        source_a, source_b, target = (torch.where(known, truth, t) for t in (source_a, source_b, target))
        gradient = torch.where(known, gradient_magnitude(truth), gradient)
    similarity = share * ssim(source_a, fused) + (1 - share) * ssim(source_b, fused)
    terms = {
        "intensity": options.intensity * F.l1_loss(fused, target),
        "gradient": options.gradient * F.l1_loss(gradient_magnitude(fused), gradient),
        "ssim": options.ssim * (1 - similarity).mean(),
    }
    if options.vif:
        lost = [(1 - visual_information(source, fused)).clamp(min=0) for source in (source_a, source_b)]
        terms["vif"] = options.vif * (lost[0] + lost[1]).mean()
    return terms


def gradient_magnitude(image: Tensor) -> Tensor:
    """|Sobel x| + |Sobel y| with replicated borders, same shape as the image."""
    smooth, difference = image.new_tensor([1.0, 2.0, 1.0]), image.new_tensor([-1.0, 0.0, 1.0])
    kernels = torch.stack([torch.outer(smooth, difference), torch.outer(difference, smooth)]).unsqueeze(1)
    return F.conv2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), kernels).abs().sum(dim=1, keepdim=True)


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


def _local_moments(x: Tensor, y: Tensor, size: int, sigma: float) -> tuple[Tensor, ...]:
    """Means of x and y, their variances and covariance in Gaussian windows inside the image."""
    mean_x, mean_y, xx, yy, xy = _blur(torch.cat([x, y, x * x, y * y, x * y], dim=1), size, sigma).chunk(5, dim=1)
    return mean_x, mean_y, xx - mean_x**2, yy - mean_y**2, xy - mean_x * mean_y


def _blur(x: Tensor, size: int, sigma: float) -> Tensor:
    window, channels = _gaussian(size, sigma, x), x.shape[1]
    x = F.conv2d(x, window.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    return F.conv2d(x, window.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)


def _gaussian(size: int, sigma: float, like: Tensor) -> Tensor:
    offset = torch.arange(size, dtype=like.dtype, device=like.device) - (size - 1) / 2
    weights = torch.exp(-0.5 * (offset / sigma) ** 2)
    return weights / weights.sum()
