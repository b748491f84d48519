"""AdaSFFuse: task-generalised fusion of registered images of one scene (Wang et al., arXiv 2508.15505).

from adasffuse import load_fuser
fused = load_fuser("ivf").fuse(infrared, visible)      # uint8 arrays in, uint8 array out

`__init__.pyi` lists the public names; they are imported on first use, so that scoring does not load the network.
"""

import lazy_loader

__version__ = "0.2.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
