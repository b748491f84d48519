"""Training loss: the paper's intensity, gradient and structural similarity terms, and optional ones.

The paper's recipe (arXiv 2508.15505, loss section) is `LossOptions.for_task`.  Most optional terms are differentiable
fusion metrics: VIF, Qabf, SCD and MEF-SSIM.
Shapes: images are (B, 1, H, W) float luminance in [0, 1], S sources (S, B, 1, H, W); every term is a mean over samples.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from adasffuse.arguments import check_batches, checked
from adasffuse.classical.exposure import exposure_fusion
from adasffuse.losses.metrics import (
    FLAT,
    SMALLEST,
    differences_kept,
    edge_preservation,
    exposure_structure,
    smooth,
    sobel,
    spurious_brightness,
    ssim,
    targets_lost,
    visual_information,
)
from adasffuse.options import bounded, check_bounds, shown
from adasffuse.tasks import Task

_HOT = 0.15  # contrast in [0, 1] at which a hot object counts fully
_BACKGROUND = 0.35  # weight of the infrared background


def hot_over_visible(sources: Tensor) -> Tensor:
    """Intensity target 'hot': the visible image, brightened by hot objects of the infrared image.

    Where the infrared image is brighter, its excess is added with weight 1 for objects hotter than their surroundings
    by `_HOT`, down to `_BACKGROUND` for the background.  So nights stay darker than in the pixel maximum, and visible
    objects keep their contrast before a bright infrared background.

    Args:
        sources: (S, B, 1, H, W) in [0, 1], the infrared image first.
    Returns:
        (B, 1, H, W).
    """
    infrared, visible = sources[0], sources[1:].amax(dim=0)
    hot = ((infrared - smooth(infrared, 14.0)) / _HOT).clamp(0, 1)
    return visible + (_BACKGROUND + (1 - _BACKGROUND) * hot) * (infrared - visible).clamp(min=0)


TARGETS: dict[str, Callable[[Tensor], Tensor]] = {
    "max": lambda sources: sources.amax(dim=0),
    "mean": lambda sources: sources.mean(dim=0),
    "mertens": exposure_fusion,
    "hot": hot_over_visible,
}


@checked
@dataclass(frozen=True)
class LossOptions:
    """Recipe of the loss; `for_task` gives the paper's.  Weights lie in 0 .. 1e6; 0 leaves a term out."""

    intensity: float = bounded(20.0, 0, 1e6)  # weight of L1(fused, target)
    gradient: float = bounded(20.0, 0, 1e6)  # weight of L1(|grad fused|, max |grad sources|)
    ssim: float = bounded(10.0, 0, 1e6)  # weight of 1 - (a SSIM(A, fused) + b SSIM(B, fused))
    target: str = "max"  # intensity target, a name in `TARGETS`; a known truth replaces it
    ssim_share: str = "gradient"  # a and b: 'gradient' (share of mean gradient) or 'equal'
    signed: bool = False  # gradient term: the vector of the stronger source's gradient instead of its magnitude
    evenly: bool = False  # square the vif term of each source, so that no source is sacrificed for the other
    vif: float = bounded(0.0, 0, 1e6)  # weight of the sum over sources of 1 - VIF(source, fused)
    edges: float = bounded(0.0, 0, 1e6)  # weight of 1 - Qabf, the loss of edges
    correlation: float = bounded(0.0, 0, 1e6)  # weight of 2 - SCD: fused minus one source should resemble the other
    decision: float = bounded(0.0, 0, 1e6)  # weight of L1 to the nearest source at every pixel: no vague mixtures
    targets: float = bounded(0.0, 0, 1e6)  # weight of the lost contrast of hot targets in the first source
    spurious: float = bounded(0.0, 0, 1e6)  # weight of coarse brightness gradients beyond those of all sources
    exposure: float = bounded(0.0, 0, 1e6)  # weight of 1 - MEF-SSIM, the loss of multi-exposure structure
    steady: float = bounded(0.0, 0, 1e6)  # weight of L1, away from a passing object, to the result without it

    def __post_init__(self) -> None:
        check_bounds(self, "loss")
        weights = [f.name for f in fields(self) if "bounds" in f.metadata]
        if not any(getattr(self, name) for name in weights):
            raise ValueError(f"loss has no term: give one of {', '.join(weights)} a weight above 0")
        for name, known in (("target", tuple(TARGETS)), ("ssim_share", ("gradient", "equal"))):
            if getattr(self, name) not in known:
                raise ValueError(f"loss.{name} must be one of {', '.join(known)}, got {shown(getattr(self, name))}")

    @classmethod
    @checked
    def for_task(cls, task: Task) -> "LossOptions":
        """The paper's recipe for a task."""
        return cls(*task.loss_weights, target=task.target, ssim_share=task.ssim_share)

    def check_side(self, name: str, pixels: int) -> None:
        """Raise ValueError if images with `pixels` per side are too small for a term; the error calls them `name`."""
        for term, smallest in SMALLEST.items():
            if getattr(self, term) and pixels < smallest:
                raise ValueError(f"loss.{term} needs {name} of at least {smallest} pixels, got {pixels}")


@checked
def fusion_loss(
    fused: Tensor,
    sources: Tensor | Sequence[Tensor],
    options: LossOptions,
    truth: Tensor | None = None,
    still: Tensor | None = None,
) -> dict[str, Tensor]:
    """Weighted loss terms by name: 'intensity', 'gradient', 'ssim' and the optional ones; the loss is their sum.

    Args:
        fused: (B, 1, H, W).
        sources: S >= 2 of that shape, a sequence or (S, B, 1, H, W).
        truth: the ideal result, of that shape; samples without a known one are NaN everywhere.  A known truth replaces
            the target, the largest gradient and all sources.
        still: for the term 'steady', the result without the passing object; NaN where the term does not apply.
    Raises:
        ValueError: other shapes than these, no floating-point numbers, images too small for a term, or an argument of
            a wrong type.
    """
    check_batches("fusion_loss", (fused, *sources), "a result and two or more sources", least=3)
    given = [image for image in (truth, still) if image is not None]
    check_batches("fusion_loss", (fused, *given), "truth and still like the result,", least=1)
    options.check_side("height and width", min(fused.shape[-2:]))
    sources = torch.stack(tuple(sources))
    target = TARGETS[options.target](sources)
    sobels = [sobel(source) for source in sources]  # each (B, 2, H, W)
    magnitudes = torch.stack([s.abs().sum(dim=1, keepdim=True) for s in sobels])  # (S, B, 1, H, W)
    gradient = _strongest(sobels, magnitudes)
    if options.ssim_share == "gradient":
        shares = gradient_shares(magnitudes)
    else:
        shares = sources.new_full(sources.shape[:2], 1 / len(sources))
    if truth is not None:
        known = truth[:, :1, :1, :1].isfinite()
        sources, target = torch.where(known, truth, sources), torch.where(known, truth, target)
        gradient = torch.where(known, sobel(truth), gradient)
    similarity = sum(share * ssim(source, fused) for share, source in zip(shares, sources))
    terms = {
        "intensity": options.intensity * F.l1_loss(fused, target),
        "gradient": options.gradient * _gradient_distance(sobel(fused), gradient, options.signed),
        "ssim": options.ssim * (1 - similarity).mean(),
    }
    if options.vif:
        lost = [(1 - visual_information(source, fused)).clamp(min=0) for source in sources]
        lost = [share.square() if options.evenly else share for share in lost]
        terms["vif"] = options.vif * sum(lost).mean()
    if options.edges:
        terms["edges"] = options.edges * (1 - edge_preservation(sources, fused)).mean()
    if options.correlation:
        kept = differences_kept(sources, fused)
        if truth is not None:  # where all sources are the truth, the ideal difference is 0 and SCD says nothing
            kept = torch.where(known.flatten(), 2.0, kept)
        terms["correlation"] = options.correlation * (2 - kept).mean()
    if options.exposure:
        terms["exposure"] = options.exposure * (1 - exposure_structure(sources, fused)).mean()
    if options.decision:
        nearest = (fused - sources).abs().amin(dim=0)
        terms["decision"] = options.decision * nearest.mean()
    if options.targets:
        terms["targets"] = options.targets * targets_lost(sources[0], fused).mean()
    if options.spurious:
        terms["spurious"] = options.spurious * spurious_brightness(sources, fused).mean()
    if options.steady and still is not None:
        still = torch.where(still.isnan(), fused.detach(), still)
        terms["steady"] = options.steady * F.l1_loss(fused, still)
    return terms


def gradient_shares(magnitudes: Tensor) -> Tensor:
    """Share (S, B) of each source in the mean gradient, from magnitudes (S, B, 1, H, W); equal if all are flat."""
    means = magnitudes.mean(dim=(2, 3, 4))
    total = means.sum(dim=0)
    return torch.where(total > FLAT, means / total.clamp(min=FLAT), 1 / len(means))


def _strongest(sobels: Sequence[Tensor], magnitudes: Tensor) -> Tensor:
    """At every pixel the gradient (B, 2, H, W) of the source where it is largest, of equal ones that of the first."""
    strongest = sobels[0]
    for k in range(1, len(sobels)):
        strongest = torch.where(magnitudes[:k].amax(dim=0) >= magnitudes[k], strongest, sobels[k])
    return strongest


def _gradient_distance(gradient: Tensor, wanted: Tensor, signed: bool) -> Tensor:
    """Mean L1 distance of two gradients (B, 2, H, W), as vectors or as magnitudes |x| + |y|."""
    if signed:
        return (gradient - wanted).abs().sum(dim=1).mean()
    return (gradient.abs().sum(dim=1) - wanted.abs().sum(dim=1)).abs().mean()
