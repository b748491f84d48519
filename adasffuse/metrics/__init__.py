"""Metrics of image fusion with named conventions: `evaluate` one image, collect scores in a `ScoreTable`."""

from adasffuse.metrics.conventions import CONVENTIONS, DEFAULT_METRICS, METRICS, Metric, explain
from adasffuse.metrics.evaluation import MetricWarning, evaluate
from adasffuse.metrics.identity import identity_error
from adasffuse.metrics.table import ScoreTable

__all__ = [
    "CONVENTIONS",
    "DEFAULT_METRICS",
    "METRICS",
    "Metric",
    "MetricWarning",
    "ScoreTable",
    "evaluate",
    "explain",
    "identity_error",
]
