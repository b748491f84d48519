"""Whether fusion helps what comes after it: detectors and segmenters trained on each kind of image of the same frames.

`frames` finds the images and labels, `labels` reads, checks and converts boxes and masks, `modalities` makes the images
that are compared, `detection` and `segmentation` hold the networks and their scores, `fitting` trains them,
`experiment` carries all runs out, and `report` writes tables and figures.

`__init__.pyi` lists what a program takes of it; the names are imported on first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
