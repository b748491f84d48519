"""Figures that compare methods: whole images with a box, what lies in the box enlarged, and maps of the differences.

Images are uint8, (H, W) gray or (H, W, 3) RGB, all of one height and width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy import ndarray

from adasffuse.images.color import as_rgb, luminance
from adasffuse.images.panel import contact_sheet

FULL = 96  # gray levels of difference that are drawn as the brightest colour
_BOX = (255, 40, 40)  # RGB
_SHARE = 4  # the box that is chosen has this part of the image's height and width


@dataclass(frozen=True)
class Crop:
    """A box of whole pixels."""

    left: int
    top: int
    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height} pixels at column {self.left}, row {self.top}"

    def of(self, image: ndarray) -> ndarray:
        """The part of an image that lies in the box."""
        return image[self.top : self.top + self.height, self.left : self.left + self.width]


def comparison_figure(
    sources: Mapping[str, ndarray],
    methods: Mapping[str, ndarray],
    crop: Crop | None = None,
    differences: bool = True,
    height: int = 240,
) -> ndarray:
    """One scene, a column for each source and method: images, enlarged crops, differences of luminance to each source.

    The sources have differences as well: a result cannot be near to both where they are far apart.

    Args:
        sources: name to image, in the task's order.
        methods: name to fused image.
        crop: the box; None chooses one, see `telling_crop`.
        differences: whether rows with |image - source| are drawn, from black (0) to the brightest colour (FULL levels).
        height: pixels of each image in the figure.
    Returns:
        (H, W, 3) uint8.
    Raises:
        ValueError: images differ in height or width, or the box is empty or reaches beyond them.
    """
    images = {**sources, **methods}
    sizes = {image.shape[:2] for image in images.values()}
    if len(sizes) > 1:
        listed = ", ".join(f"{name} {image.shape[1]}x{image.shape[0]}" for name, image in images.items())
        raise ValueError(f"images to compare must have one height and width, got {listed}")
    rows, columns = sizes.pop()
    crop = crop or telling_crop(list(sources.values()), list(methods.values()))
    if not (0 <= crop.left < crop.left + crop.width <= columns and 0 <= crop.top < crop.top + crop.height <= rows):
        raise ValueError(f"the box of {crop} reaches beyond the image of {columns}x{rows} pixels")
    figure = [
        [(name, _with_box(image, crop)) for name, image in images.items()],
        [("", _enlarged(crop.of(image), rows, columns)) for image in images.values()],
    ]
    if differences:
        symbols = [*sources, *["F"] * len(methods)]
        for name, source in sources.items():
            maps = [difference_map(image, source) for image in images.values()]
            figure.append([(f"|{symbol} - {name}|", one) for symbol, one in zip(symbols, maps)])
    return contact_sheet(figure, height)


def difference_map(fused: ndarray, source: ndarray) -> ndarray:
    """|F - S| of luminance as colours, black for 0, the brightest for FULL gray levels and more; (H, W, 3) uint8."""
    difference = np.abs(_levels(fused) - _levels(source))
    scaled = np.rint(difference.clip(0, FULL) * (255 / FULL)).astype(np.uint8)
    return cv2.cvtColor(cv2.applyColorMap(scaled, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)


def telling_crop(sources: Sequence[ndarray], methods: Sequence[ndarray]) -> Crop:
    """The box, a quarter of the image's height and width, in which the methods differ most; with one, the sources.

    Args:
        sources, methods: images as of `comparison_figure`.
    """
    compared = np.stack([_levels(image) for image in (methods if len(methods) > 1 else sources)])
    rows, columns = compared.shape[1:]
    high, wide = max(1, rows // _SHARE), max(1, columns // _SHARE)
    sums = cv2.integral(compared.std(axis=0))  # (H + 1, W + 1), of which four corners give the sum in a box
    totals = sums[high:, wide:] - sums[:-high, wide:] - sums[high:, :-wide] + sums[:-high, :-wide]
    top, left = np.unravel_index(int(np.argmax(totals)), totals.shape)
    return Crop(int(left), int(top), wide, high)


def _levels(image: ndarray) -> ndarray:
    """Luminance (H, W) float32 on 0..255."""
    return luminance(image.astype(np.float32) / np.float32(255)) * np.float32(255)


def _with_box(image: ndarray, crop: Crop) -> ndarray:
    """An image with the outline of a box drawn on it, (H, W, 3) uint8."""
    drawn = as_rgb(image).copy()
    thickness = max(1, round(image.shape[0] / 160))
    corner = crop.left + crop.width - 1, crop.top + crop.height - 1
    return cv2.rectangle(drawn, (crop.left, crop.top), corner, _BOX, thickness)


def _enlarged(part: ndarray, rows: int, columns: int) -> ndarray:
    """A part scaled to fit into `rows` x `columns` pixels, white beside it."""
    factor = min(rows / part.shape[0], columns / part.shape[1])
    size = max(1, round(part.shape[1] * factor)), max(1, round(part.shape[0] * factor))
    shown = cv2.resize(part, size, interpolation=cv2.INTER_NEAREST if factor > 8 else cv2.INTER_CUBIC)
    canvas = np.full((rows, columns, *part.shape[2:]), 255, np.uint8)
    canvas[: size[1], : size[0]] = shown
    return canvas
