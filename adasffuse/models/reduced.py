"""What is found on a reduced copy of an image and applied at full size.  Shapes: images are (B, 1, H, W) in [0, 1].

A cell is CELL x CELL pixels of the copy.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adasffuse.models.bands import halved

SHORTER = 384  # pixels: largest shorter side of the reduced copy
CELL = 2  # pixels of the copy per side of a cell; `halved` gives the means over cells
MULTIPLE = 8  # pixels: height and width of the copy are multiples of it


class OnReducedCopy(nn.Module):
    """A module that looks at a reduced copy of images, and gives a grid of cells back at full size."""

    def copy_of(self, image: Tensor) -> Tensor:
        """The reduced copy of an image, (B, 1, h, w): means over squares of pixels, padded to multiples of 8."""
        height, width = image.shape[-2:]
        factor = reduction(height, width)
        if factor == 2:
            image = halved(F.pad(image, (0, width % 2, 0, height % 2), mode="replicate"))
        elif factor > 2:
            image = F.avg_pool2d(image, factor, ceil_mode=True)
        height, width = image.shape[-2:]
        return F.pad(image, (0, -width % MULTIPLE, 0, -height % MULTIPLE), mode="replicate")

    def at_full_size(self, grid: Tensor, rows: Tensor, first: int = 0, height: int = 0) -> Tensor:
        """A grid of cells (B, 1, h / 2, w / 2), enlarged to the size of an image and cut to some of its rows.

        Args:
            rows: the image, or these rows of it, (B, 1, rows, W).
            first: number of their first row in the whole image.
            height: height of the whole image; 0: `rows` is the whole image.
        """
        count, width = rows.shape[-2:]
        step = reduction(height or count, width) * CELL
        above = max(0, first // step - 1)
        part = grid[..., above : (first + count - 1) // step + 2, :]
        enlarged = F.interpolate(part, scale_factor=step, mode="bilinear")
        return enlarged[..., first - above * step : first + count - above * step, :width]


def reduction(height: int, width: int) -> int:
    """Reduction factor of the copy: pixels of the image per pixel of the copy, per side."""
    return max(1, -(-min(height, width) // SHORTER))


def shorter_side(height: int, width: int, device: torch.device) -> Tensor:
    """The shorter side as an int64 value, not a shape, so that an exported graph serves any size."""
    return torch.minimum(*(torch.full((), n, device=device, dtype=torch.int64) for n in (height, width)))


def ramp(limits: tuple[float, float], x: Tensor) -> Tensor:
    """0 up to the first limit, 1 from the second on, linear between."""
    low, high = limits
    return ((x - low) / (high - low)).clamp(0, 1)


def gaussian_means(deviation: float, *grids: Tensor) -> tuple[Tensor, ...]:
    """Gaussian means of grids (B, 1, h, w), borders replicated; standard deviation in samples of the grids."""
    x = torch.cat(grids, dim=1)
    radius = int(3 * deviation)
    offset = torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype)
    window = torch.exp(-0.5 * (offset / deviation) ** 2)
    window = (window / window.sum()).expand(len(grids), 1, 1, -1)
    with torch.autocast(x.device.type, enabled=False):
        x = F.conv2d(F.pad(x, (radius,) * 4, mode="replicate"), window, groups=len(grids))
        return F.conv2d(x, window.transpose(2, 3), groups=len(grids)).split(1, dim=1)
