"""Options of the network, and the sizes in which it is released."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any

from adasffuse.arguments import checked
from adasffuse.choices import RELEASED_SIZES
from adasffuse.models.mamba import SCAN_ORDERS
from adasffuse.options import bounded, check_bounds, shown
from adasffuse.tasks import KINDS

OUTPUTS = ("direct", "pyramid")
INFRARED_VISIBLE = ("infrared", "visible")  # kinds of a pair in whose fused image lights and people are raised
KINDS_NEEDED = {  # option: kinds of sources without which it does nothing; () for any kind
    "dark": (),
    "hot": (),
    "unshaded": ("infrared",),
    "lights": INFRARED_VISIBLE,
    "targets": INFRARED_VISIBLE,
}


@checked
@dataclass(frozen=True)
class ModelOptions:
    """Shape of the network; widths and depths default to the paper's, whose whole network is `SIZES["paper"]`."""

    patch: int = bounded(1, 1, 8)  # pixels per side that one token holds; 1 is the paper's
    channels: int = bounded(64, 4, 512)  # C, a multiple of 4
    band_blocks: int = bounded(2, 0, 16)  # N1, Mamba blocks on each band
    full_blocks: int = bounded(4, 0, 16)  # N2, Mamba blocks at full resolution
    head_dim: int = bounded(64, 1, 1024)  # head size of the scan
    d_state: int = bounded(64, 1, 512)  # state size of the scan
    scan: str = "bidirectional"  # or 'raster'
    output: str = "pyramid"  # 'pyramid': a blend of the sources; 'direct': the decoder's image alone, as in the paper
    residual: bool = True  # add the decoder's image to the blend, limited to the difference of the sources
    exposure: bool = False  # multiply the pyramid's weights by those of exposure fusion
    contrast: bool = False  # multiply the pyramid's weights by the sources' contrast in each band
    kinds: tuple[str, ...] = ()  # kinds of sources, each with embedding kernels and logit gains of its own
    dark: bool = False  # needs kinds: each kind has a learned logit for the base where a source is dark, at night
    hot: bool = False  # needs kinds: the same where a source is conspicuously bright, and brighter than all others
    unshaded: bool = False  # needs kind infrared: its cold dark detail fades where the blend is much brighter
    lights: bool = False  # needs kinds infrared and visible: keep a night's lights, and the ground around hot things
    targets: bool = False  # needs kinds infrared and visible: raise people to their contrast in the infrared image

    def __post_init__(self) -> None:
        check_bounds(self, "model")
        if self.channels % 4:
            raise ValueError(f"model.channels must be a multiple of 4 (the decoder quarters it), got {self.channels}")
        for name, known in (("scan", SCAN_ORDERS), ("output", OUTPUTS)):
            value = getattr(self, name)
            if value not in known:
                near = get_close_matches(str(value), known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"model.{name} must be one of {', '.join(known)}, got {shown(value)}{hint}")
        if self.output == "direct" and not self.residual:
            raise ValueError("model.output 'direct' is the residual alone: set model.residual true or use 'pyramid'")
        for name in ("exposure", "contrast", "kinds"):
            if getattr(self, name) and self.output != "pyramid":
                raise ValueError(f"model.{name} needs model.output 'pyramid', got {self.output!r}")
        if self.contrast and self.patch > 1 and self.patch % 2:
            raise ValueError(f"model.contrast needs a model.patch of 1 or an even one, got {self.patch}")
        for kind in self.kinds:
            if kind not in KINDS or self.kinds.count(kind) > 1:
                raise ValueError(f"model.kinds lists some of {', '.join(KINDS)}, each once; got {shown(self.kinds)}")
        idle = _idle_options(asdict(self))
        if idle:
            raise ValueError(
                f"{', '.join(f'model.{name}' for name in idle)} would do nothing, model.kinds being "
                f"{shown(list(self.kinds))}: dark and hot need some kinds, unshaded needs infrared, lights and targets "
                f"need {' and '.join(INFRARED_VISIBLE)}; set to false what is not wanted, or add these kinds"
            )


def without_idle(values: Any) -> Any:
    """Stored `ModelOptions`, JSON values, with options off that do nothing: earlier versions wrote such ones."""
    if not isinstance(values, dict):
        return values
    return values | dict.fromkeys(_idle_options(values), False)


def _idle_options(values: Mapping[str, Any]) -> list[str]:
    """Names of the options that are on in `values`, but need kinds of sources that are not there."""
    kinds = values.get("kinds")
    kinds = kinds if isinstance(kinds, list | tuple) else ()
    lacking = [name for name, needed in KINDS_NEEDED.items() if not kinds or any(kind not in kinds for kind in needed)]
    return [name for name in lacking if values.get(name)]


_ALL_TASKS = {  # what the released sizes have in common
    "patch": 4,
    "exposure": True,
    "contrast": True,
    "kinds": KINDS,
    "dark": True,
    "hot": True,
    "unshaded": True,
    "lights": True,
    "targets": True,
}
SIZES = {
    "base": ModelOptions(**_ALL_TASKS),
    "small": ModelOptions(channels=32, band_blocks=1, full_blocks=2, head_dim=32, d_state=32, **_ALL_TASKS),
    "tiny": ModelOptions(channels=16, band_blocks=1, full_blocks=0, head_dim=16, d_state=16, **_ALL_TASKS),
    "paper": ModelOptions(output="direct", scan="raster"),
}
_WIDTH_AND_DEPTH = ("channels", "band_blocks", "full_blocks", "head_dim", "d_state")


def size_of(options: ModelOptions) -> str | None:
    """'paper' for the paper's network, else the released size of the same width and depth, None if there is none."""
    if options == SIZES["paper"]:
        return "paper"
    shape = [getattr(options, key) for key in _WIDTH_AND_DEPTH]
    for name in RELEASED_SIZES:
        if shape == [getattr(SIZES[name], key) for key in _WIDTH_AND_DEPTH]:
            return name
    return None
