"""Fusing stacks: brackets of exposures, or focus settings, of one scene, any number of images.

Images are read one after the other, several times, so that memory does not grow with their number.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from adasffuse.arguments import checked
from adasffuse.images.color import COLOR_MARGIN, ChromaMean, with_chroma
from adasffuse.images.image import Image
from adasffuse.images.levels import expanded, luma_of, made_in_bands, row_bands, with_margin
from adasffuse.images.write import quantise, result_depth
from adasffuse.inference.fuser import Fuser
from adasffuse.inference.stack_images import StackImages, StackOptions
from adasffuse.inference.tiling import on_grid
from adasffuse.models.streaming import StreamedFusion
from adasffuse.process import release_freed_memory


@dataclass
class FusedStack:
    """A fused stack."""

    pixels: np.ndarray  # uint8, uint16 or float32 in [0, 1]; (H, W) or (H, W, 3)
    depth: str
    used: int  # images
    notices: list[str] = field(default_factory=list)
    shifts: list[float] = field(default_factory=list)  # pixels that a corner of each image was moved by, at most


@checked
@torch.inference_mode()
def fuse_stack(fuser: Fuser, paths: Sequence[str | Path], options: StackOptions | None = None) -> FusedStack:
    """Fuse the images of a stack, in any order.

    The result is that of `fuser.fuse(images)`, but for rounding, where the images need no registration and hold data
    everywhere.  One without content is left out; where that leaves one image, the result is that image.

    Args:
        fuser: of a task whose sources are of one kind: exposures or focus settings.
        paths: two or more files of one height and width, or pages as `adasffuse.images.pages.stacks_in` finds them.
    Raises:
        ImageError: fewer than two images, one that is given twice or cannot be read, sizes that differ, images of which
            none has content, or (AlignmentError) one that cannot be registered.
        ValueError: the task's sources are not of one kind, an unknown depth, or ghosts of focus settings.
    """
    options = StackOptions() if options is None else options
    stack = _images_of(fuser, paths, options)
    autocast = torch.autocast(fuser.device.type, torch.bfloat16, enabled=fuser.precision == "bfloat16")

    def tensor(image: Image) -> torch.Tensor:
        return torch.from_numpy(luma_of(image.pixels))[None, None].to(fuser.device)

    used: list[int] = []
    for number, image in stack.first_reads():
        if not used:
            streamed = _streamed(fuser, stack.size)
        used.append(number)
        image = stack.completed(image)
        release_freed_memory()  # of reading: the network asks for blocks of other sizes
        with autocast:
            streamed.add(tensor(image))
    with autocast:
        streamed.settle()
        for number in used:
            source = tensor(stack.read(number))
            release_freed_memory()
            streamed.blend(source)
        luma = streamed.result()[0, 0].float().clamp_(0, 1).cpu().numpy()
    del streamed  # its memory is large
    chroma = _Chroma(fuser.task.color)
    for number in used:
        chroma.add(stack.read(number).pixels, luma)
    if stack.known is not None:
        luma = np.where(stack.known, luma, 0)
    depth = result_depth(options.depth, stack.depths)
    return FusedStack(chroma.added_to(luma, depth), depth, len(used), stack.all_notices(), stack.shifts)


def _images_of(fuser: Fuser, paths: Sequence[str | Path], options: StackOptions) -> StackImages:
    """The images of a stack, as the task of a fuser takes them."""
    if len(fuser.task.kinds) > 1:
        raise ValueError(f"stacks are exposures (mef) or focus settings (mff), not {fuser.task.title}")
    return StackImages([Path(path) for path in paths], options, fuser.task.id == "mef", fuser.evens)


def _streamed(fuser: Fuser, size: tuple[int, int]) -> StreamedFusion:
    """For images of a height and width, in tiles where they are large."""
    tile, overlap, _ = on_grid(fuser.model, fuser.tile, fuser.tile_overlap)
    large = fuser.tile and size[0] * size[1] > tile * tile
    return StreamedFusion(fuser.model, fuser.task.kinds[0], size, tile if large else 0, overlap)


@checked
def plan_stack(fuser: Fuser, paths: Sequence[str | Path], options: StackOptions) -> tuple[str, list[str]]:
    """Read the images of a stack as `fuse_stack` does; the depth that the result would have, and notices.

    Args, raises: as `fuse_stack`.
    """
    stack = _images_of(fuser, paths, options)
    for _, image in stack.first_reads():
        stack.completed(image)
    return result_depth(options.depth, stack.depths), stack.all_notices()


class _Chroma:
    """The mean chroma of images of one size, a band of rows at a time."""

    def __init__(self, rule: str) -> None:
        self._rule = rule
        self._means: list[ChromaMean] = []  # of each band

    def add(self, pixels: np.ndarray, luma: np.ndarray) -> None:
        """Take an image, levels or float32 in [0, 1], into account; luma: the fused one, (H, W)."""
        bands = [with_margin(rows, COLOR_MARGIN) for rows in row_bands(pixels.shape)]
        self._means = self._means or [ChromaMean(self._rule) for _ in bands]
        for mean, rows in zip(self._means, bands):
            mean.add(expanded(pixels[rows]), luma[rows])

    def added_to(self, luma: np.ndarray, depth: str) -> np.ndarray:
        """The image of a depth that has that luminance, (H, W) in [0, 1], and the mean chroma."""
        means = iter(self._means)

        def part(rows: slice) -> np.ndarray:
            return quantise(with_chroma(luma[rows], next(means).result(), self._rule, depth), depth)

        return made_in_bands(luma.shape, COLOR_MARGIN, part)
