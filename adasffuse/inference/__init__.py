"""Fusing images with a trained network: one pair, a folder, stacks, videos, volumes.

`__init__.pyi` lists the names; they are imported on first use, so that a command line is read without PyTorch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
