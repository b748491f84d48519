"""The network and its parts."""

from adasffuse.models.network import SIZES, AdaSFFuse, ModelOptions
from adasffuse.models.ssd import scan, scan_reference
from adasffuse.models.wavelet import AdaIWAT, AdaWAT

__all__ = ["SIZES", "AdaIWAT", "AdaSFFuse", "AdaWAT", "ModelOptions", "scan", "scan_reference"]
