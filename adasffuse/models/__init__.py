"""The network and its parts."""

from adasffuse.models.network import SIZES, AdaSFFuse, ModelOptions
from adasffuse.models.scan import scan, scan_chunked, scan_reference
from adasffuse.models.wavelet import AdaIWAT, AdaWAT

__all__ = ["SIZES", "AdaIWAT", "AdaSFFuse", "AdaWAT", "ModelOptions", "scan", "scan_chunked", "scan_reference"]
