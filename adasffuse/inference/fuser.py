"""The fuser: network, task and colour rule together, from two images to one."""

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from adasffuse.device import pick_device, pick_precision
from adasffuse.images.color import luminance, rebuild_color
from adasffuse.images.write import quantise
from adasffuse.inference.graphs import Replays
from adasffuse.inference.tiling import GRID, fuse_tiled
from adasffuse.models import AdaSFFuse
from adasffuse.models.weights import WeightsError, find_weights, load_weights
from adasffuse.tasks import GENERAL, Task, find_task

DEFAULT_TILE = 1536
DEFAULT_OVERLAP = 64


class Fuser:
    """Fuses pairs of images of one task.  On CUDA, shapes that come again are fused by a graph, see `Replays`.

    Args:
        model: the network.
        task: gives the colour rule.
        device: where the network runs.
        tile: images of more than tile x tile pixels are fused in tiles of that area, as wide as the image where
            possible; a multiple of 16; 0 never.
        tile_overlap: pixels that neighbouring tiles share, a multiple of 16.
        precision: of the network's arithmetic, 'float32', 'bfloat16', or 'auto', the faster one of this machine.
        night: infrared and visible: added to the visible image's logits in the coarsest band, times its darkness.  0
            leaves the brightness of smooth regions to the network, which lays the infrared's gray background over dark
            scenes; 6 keeps nights dark and hot targets bright.
    """

    def __init__(
        self,
        model: AdaSFFuse,
        task: Task,
        device: torch.device | str = "cpu",
        tile: int = DEFAULT_TILE,
        tile_overlap: int = DEFAULT_OVERLAP,
        precision: str = "auto",
        night: float = 0.0,
    ) -> None:
        if tile < 0 or tile % GRID or tile_overlap < 0 or tile_overlap % GRID or 0 < tile <= tile_overlap:
            raise ValueError(
                f"tile and tile_overlap must be multiples of {GRID} with tile > tile_overlap (or tile 0), "
                f"got {tile} and {tile_overlap}"
            )
        self.device = torch.device(device)
        self.precision = pick_precision(precision, self.device)
        self.model = model.to(self.device, memory_format=torch.channels_last).eval()
        self.task, self.tile, self.tile_overlap = task, tile, tile_overlap
        pyramid = model.options.output == "pyramid"
        if night and not (task.night and pyramid and math.isfinite(night)):
            raise ValueError(
                f"night must be a finite number, of infrared and visible images and a network whose model.output is "
                f"'pyramid'; got {night:g} for task {task.id!r}, model.output {model.options.output!r}"
            )
        if pyramid:
            model.blend.lean = night
        self._replays = Replays()

    def fuse(self, a: np.ndarray, b: np.ndarray, stretch: bool = False) -> np.ndarray:
        """Fuse two registered images in colour.

        Args:
            a, b: the task's sources in its order (infrared, visible), (H, W) gray or (H, W, 3) RGB of one height and
                width; uint8, uint16 (divided by 65535) or float in [0, 1].
            stretch: spread the result's luminance to 0..255, only to reproduce published numbers.
        Returns:
            uint8 (H, W, 3) RGB, or (H, W) gray where the sources that give colour have none.
        Raises:
            ValueError: shapes differ, another type, or float values outside [0, 1].
        """
        a, b = as_unit_range(a, "source A"), as_unit_range(b, "source B")
        return self.color(self.fuse_luminance(luminance(a), luminance(b)), a, b, stretch)

    def color(self, luma: np.ndarray, a: np.ndarray, b: np.ndarray, stretch: bool = False) -> np.ndarray:
        """The last step of `fuse`: fused luminance (H, W) in [0, 1] with the sources' chroma; result as there.

        Args:
            a, b: the sources as float32 in [0, 1].
            stretch: as in `fuse`.
        """
        if stretch:
            luma = (luma - luma.min()) / max(float(np.ptp(luma)), 1e-12)
        return quantise(rebuild_color(luma, (a, b), self.task.color), "8")

    @torch.inference_mode()
    def fuse_luminance(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Fuse luminance (H, W) float32 in [0, 1]; the result is clamped to [0, 1].

        Raises:
            ValueError: the shapes differ.
        """
        if a.shape != b.shape:
            raise ValueError(f"the sources must have one height and width, got {a.shape} and {b.shape}")
        source_a, source_b = (self._to_tensor(x) for x in (a, b))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            if self.tile and a.size > self.tile**2:
                fused = fuse_tiled(self.model, source_a, source_b, self.tile, self.tile_overlap)
            else:
                fused = self._replays(self.model, source_a, source_b)
        return fused[0, 0].float().clamp(0, 1).cpu().numpy()

    def _to_tensor(self, luma: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(luma, dtype=np.float32))[None, None].to(self.device)


def load_fuser(
    task: str,
    size: str = "small",
    weights: str | Path | None = None,
    device: str = "auto",
    tile: int = DEFAULT_TILE,
    tile_overlap: int = DEFAULT_OVERLAP,
    precision: str = "auto",
    night: float = 0.0,
) -> Fuser:
    """Fuser of a task with released weights, or with a weights file of your own.

    Args:
        task: 'ivf', 'mef', 'mff' or 'mif'.
        size: 'small' or 'base', which released weights to take.
        weights: other weights than those released for the task, see `adasffuse.models.weights.find_weights`.
        device: 'auto' (the GPU where there is one), 'cpu', 'cuda' or 'cuda:N'.
        tile, tile_overlap, precision, night: as in `Fuser`.
    Raises:
        ValueError: unknown task or precision, impossible tile size, or `night` where it has no meaning.
        WeightsError: no such weights, damaged or foreign ones, or made for another task.
    """
    chosen = find_task(task)
    path = find_weights(weights, chosen.id, size)
    model, made_for = load_weights(path)
    if made_for not in (chosen.id, GENERAL):
        raise WeightsError(f"{path} was trained for task {made_for!r}, not {chosen.id!r}")
    return Fuser(model, chosen, pick_device(device), tile, tile_overlap, precision, night)


def as_unit_range(pixels: np.ndarray, name: str) -> np.ndarray:
    """Pixels as float32 in [0, 1] from uint8, uint16 or float.

    Raises:
        ValueError: another type or shape, or float values outside [0, 1]; the message starts with `name`.
    """
    pixels = np.asarray(pixels)
    if pixels.ndim != 2 and (pixels.ndim != 3 or pixels.shape[2] != 3):
        raise ValueError(f"{name} must be (H, W) gray or (H, W, 3) RGB, got shape {pixels.shape}")
    if pixels.dtype in (np.uint8, np.uint16):
        return pixels.astype(np.float32) / np.iinfo(pixels.dtype).max
    if pixels.dtype.kind != "f":
        raise ValueError(f"{name} must be uint8, uint16 or float in [0, 1], got {pixels.dtype}")
    if pixels.size and not (pixels.min() >= 0 and pixels.max() <= 1):  # NaN fails as well
        raise ValueError(f"{name} has float values outside [0, 1] or NaN; scale it first")
    return pixels.astype(np.float32, copy=False)
