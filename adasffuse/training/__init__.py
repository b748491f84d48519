"""Training: one process, or several under torchrun."""

from adasffuse.training.trainer import train

__all__ = ["train"]
