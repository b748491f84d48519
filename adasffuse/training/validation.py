"""Validation during training: loss terms and metrics of the averaged network on held-out pairs."""

import math
import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from adasffuse.data.heldout import HeldOut
from adasffuse.images.notices import pick_evenly
from adasffuse.images.panel import contact_sheet
from adasffuse.images.write import quantise
from adasffuse.metrics import MetricWarning, evaluate
from adasffuse.training.options import TRUTH_METRICS, VALIDATION_METRICS
from adasffuse.training.precision import exact_convolutions
from adasffuse.training.run import Run
from adasffuse.training.terms import Terms, merged

CONVENTION = "adasffuse"
SHOWN = 4  # pairs in the panel


@dataclass(frozen=True)
class ScoredPair:
    """One held-out pair, fused and scored."""

    part: str  # label of its part
    name: str
    terms: Terms
    scores: dict[str, float]
    images: dict[str, np.ndarray]  # caption to (H, W) uint8; empty if the pair is not in the panel


def validate(run: Run, pairs: Sequence[tuple[int, HeldOut]]) -> tuple[dict[str, float], np.ndarray | None]:
    """Fuse and score the held-out pairs with the averaged network.

    Every process judges its share of the pairs; all get the same means.  Keys are 'total' and the loss terms, the
    metrics, and, in a run of several parts, all of them per part ('ivf/VIFF').  A metric is the mean over the pairs
    where it is defined, and across parts the mean of the parts.

    Args:
        pairs: held-out pairs, each with its part's number.
    Returns:
        the means by name, and on the main process a panel (H, W, 3) uint8 of some pairs: sources, truth and result.
    """
    rank, world = run.processes.rank, run.processes.world
    shown = pick_evenly(range(len(pairs)), SHOWN)
    own = {i: _score(run, *pairs[i], show=i in shown) for i in range(rank, len(pairs), world)}
    by_number = {i: pair for share in run.processes.gather(own) for i, pair in share.items()}
    scored = [by_number[i] for i in range(len(pairs))]
    means = merged(pair.terms for pair in scored).means() | mean_scores(scored)
    if not run.processes.main:
        return means, None
    rows = []
    for pair in scored:
        if pair.images:
            rows.append([(f"{pair.name} {caption}", image) for caption, image in pair.images.items()])
    return means, contact_sheet(rows)


def mean_scores(scored: Sequence[ScoredPair]) -> dict[str, float]:
    """Metrics: per part the mean over pairs where they are defined, overall the mean of the parts."""
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for pair in scored:
        for name, score in pair.scores.items():
            if not math.isnan(score):
                values[name][pair.part].append(score)
    parts = {name: {part: sum(v) / len(v) for part, v in by_part.items()} for name, by_part in values.items()}
    means = {name: sum(by_part.values()) / len(by_part) for name, by_part in parts.items()}
    if len({pair.part for pair in scored}) > 1:
        means |= {f"{part}/{name}": value for name, by_part in parts.items() for part, value in by_part.items()}
    return means


def best_score(means: dict[str, float], wanted: str) -> float:
    """Sum of the means named in `log.best`; 'loss' is the negative total loss, a missing name counts as NaN."""
    known = {**means, "loss": -means["total"]}
    return sum(known.get(name, math.nan) for name in wanted.split("+"))


@torch.no_grad()
def _score(run: Run, part: int, pair: HeldOut, show: bool) -> ScoredPair:
    """Fuse a pair with the averaged network, round to 8 bits and score it."""
    images = {"a": pair.a, "b": pair.b} | ({} if pair.truth is None else {"truth": pair.truth})
    batch = {name: _tensor(image) for name, image in images.items()}
    batch["part"] = torch.tensor([part])
    batch.setdefault("truth", torch.full_like(batch["a"], math.nan))
    result = run.fuse(run.average.module, batch)
    with exact_convolutions(result.fused):
        _, terms = run.loss(result, batch["part"])
    levels = {name: _levels(image) for name, image in images.items()}
    fused = _levels(result.fused[0, 0].cpu().numpy())
    names = VALIDATION_METRICS if pair.truth is None else VALIDATION_METRICS + TRUTH_METRICS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MetricWarning)  # the means leave undefined scores out
        scores = evaluate(levels["a"], levels["b"], fused, names, CONVENTION, reference=levels.get("truth"))
    return ScoredPair(run.options.labels[part], pair.name, terms, scores, {**levels, "fused": fused} if show else {})


def _tensor(image: np.ndarray) -> Tensor:
    """(1, 1, H, W) float32 in [0, 1]."""
    scale = 255 if image.dtype == np.uint8 else 1
    return torch.from_numpy(image.astype(np.float32) / scale)[None, None]


def _levels(image: np.ndarray) -> np.ndarray:
    """(H, W) uint8 as in a saved file; NaN, from a network that diverged, becomes black."""
    if image.dtype == np.uint8:
        return image
    return quantise(np.nan_to_num(image), "8")
