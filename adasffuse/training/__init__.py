"""Training: one process, or several under torchrun.

`__init__.pyi` lists what a program takes of it; the name is imported on first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
