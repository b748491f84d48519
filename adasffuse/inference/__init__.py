"""Fusing images with a trained network: one pair, or a folder of pairs."""

from adasffuse.inference.folder import FolderReport, fuse_folder
from adasffuse.inference.fuser import Fuser, load_fuser

__all__ = ["FolderReport", "Fuser", "fuse_folder", "load_fuser"]
