"""Published data sets: what they are, how their owners lay them out, and how they become folders of pairs."""

from adasffuse.data.datasets.catalog import CATALOG, find_data_set
from adasffuse.data.datasets.prepare import Prepared, prepare

__all__ = ["CATALOG", "Prepared", "find_data_set", "prepare"]
