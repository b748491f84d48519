"""AdaSFFuse: task-generalised fusion of two registered images (Wang et al., arXiv 2508.15505).

from adasffuse import load_fuser
fused = load_fuser("ivf").fuse(infrared, visible)      # uint8 arrays in, uint8 array out
"""

from typing import Any

_PUBLIC = {
    "AdaSFFuse": "adasffuse.models",
    "Fuser": "adasffuse.inference",
    "load_fuser": "adasffuse.inference",
    "evaluate": "adasffuse.metrics",
    "TASKS": "adasffuse.tasks",
}
__all__ = ["TASKS", "AdaSFFuse", "Fuser", "evaluate", "load_fuser"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import public names on first use, so that scoring images does not load the network and the reverse."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'adasffuse' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PUBLIC[name]), name)
