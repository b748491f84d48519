"""The network and its parts."""

from adasffuse.choices import DEFAULT_SIZE, RELEASED_SIZES
from adasffuse.models.network import AdaSFFuse
from adasffuse.models.options import SIZES, ModelOptions
from adasffuse.models.ssd import scan, scan_reference
from adasffuse.models.wavelet import AdaIWAT, AdaWAT

__all__ = [
    "DEFAULT_SIZE",
    "RELEASED_SIZES",
    "SIZES",
    "AdaIWAT",
    "AdaSFFuse",
    "AdaWAT",
    "ModelOptions",
    "scan",
    "scan_reference",
]
