"""Published data sets: their description, their original layout, and their conversion to folders of pairs."""

from adasffuse.data.datasets.catalog import CATALOG, find_data_set
from adasffuse.data.datasets.prepare import Prepared, prepare

__all__ = ["CATALOG", "Prepared", "find_data_set", "prepare"]
