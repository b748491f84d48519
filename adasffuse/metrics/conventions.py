"""Which metrics exist, and what each convention means by them: tables of choices over shared functions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from inspect import signature

from numpy import ndarray

from adasffuse.metrics.gradients import average_gradient, edge_preservation, spatial_frequency
from adasffuse.metrics.information import entropy, mutual_information
from adasffuse.metrics.intensity import (
    correlation,
    mean_squared_error,
    peak_signal_to_noise,
    standard_deviation,
    sum_of_correlations_of_differences,
)
from adasffuse.metrics.structure import structural_similarity
from adasffuse.metrics.vif import visual_information_fidelity

DEFAULT_METRICS = ("EN", "SD", "SF", "MI", "SCD", "VIFF", "Qabf", "SSIM")


@dataclass(frozen=True)
class Metric:
    """What a metric is, whichever convention computes it."""

    title: str
    better: str = "higher"  # or "lower"


@dataclass(frozen=True)
class Definition:
    """How one convention computes one metric: a function of pictures and the choices made for it."""

    function: Callable[..., float]
    choices: Mapping[str, object] = field(default_factory=dict)
    note: str = ""  # how it differs from the definition that one would expect

    @property
    def inputs(self) -> list[str]:
        """The pictures the function takes."""
        return [name for name in signature(self.function).parameters if name in ("a", "b", "fused", "reference")]

    def score(self, images: Mapping[str, ndarray]) -> float:
        """The score of float64 (H, W) pictures on 0..255, given by name."""
        return self.function(**{name: images[name] for name in self.inputs}, **self.choices)


def choose(function: Callable[..., float], note: str = "", **choices: object) -> Definition:
    """An entry of a convention's table."""
    return Definition(function, choices, note)


METRICS: dict[str, Metric] = {
    "EN": Metric("entropy, bits"),
    "SD": Metric("standard deviation"),
    "SF": Metric("spatial frequency"),
    "AG": Metric("average gradient"),
    "MI": Metric("mutual information"),
    "MSE": Metric("mean squared error", "lower"),
    "PSNR": Metric("peak signal-to-noise ratio"),
    "CC": Metric("correlation coefficient"),
    "SCD": Metric("sum of the correlations of differences"),
    "VIFF": Metric("visual information fidelity"),
    "Qabf": Metric("edge preservation, Xydeas-Petrovic"),
    "SSIM": Metric("structural similarity"),
}
CONVENTIONS: dict[str, dict[str, Definition]] = {
    "adasffuse": {
        "EN": choose(entropy),
        "SD": choose(standard_deviation),
        "SF": choose(spatial_frequency),
        "AG": choose(average_gradient),
        "MI": choose(mutual_information),
        "MSE": choose(mean_squared_error),
        "PSNR": choose(peak_signal_to_noise),
        "CC": choose(correlation),
        "SCD": choose(sum_of_correlations_of_differences),
        "VIFF": choose(visual_information_fidelity),
        "Qabf": choose(edge_preservation),
        "SSIM": choose(structural_similarity),
    },
}


def definitions(metrics: Sequence[str], convention: str) -> dict[str, Definition]:
    """The convention's definitions of the named metrics, in that order.

    Raises:
        ValueError: unknown convention or metric, or the convention does not define it.
    """
    if convention not in CONVENTIONS:
        raise ValueError(f"unknown convention {convention!r}; there are {', '.join(CONVENTIONS)}")
    table = CONVENTIONS[convention]
    for name in metrics:
        if name not in METRICS:
            near = get_close_matches(name.upper(), {n.upper() for n in METRICS}, n=1)
            hint = "".join(f"; did you mean {n!r}?" for n in METRICS if n.upper() in near)
            raise ValueError(f"unknown metric {name!r}{hint or '; there are ' + ', '.join(METRICS)}")
        if name not in table:
            where = ", ".join(other for other in CONVENTIONS if name in CONVENTIONS[other])
            raise ValueError(f"convention {convention!r} does not define {name}; these do: {where}")
    return {name: table[name] for name in metrics}
