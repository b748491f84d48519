"""Does fusion help detection and segmentation?  Networks are trained on each kind of image of the same frames.

`frames` finds images and labels, `labels` reads, checks and converts boxes and masks, `modalities` makes the compared
images, `detection` and `segmentation` hold networks and scores, `fitting` trains, `experiment` executes all runs, and
`report` writes tables and figures.  `targets` trains the people detector of `adasffuse.models.targets`.

`__init__.pyi` lists the public names; they are imported on first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
