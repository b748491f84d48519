"""Metrics of image fusion with named conventions: `evaluate` one image, collect scores in a `ScoreTable`.

`__init__.pyi` lists the names; they are imported on first use, so that a command line is read without SciPy.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
