"""Kinds of sources (infrared, visible, exposure, ...): what each kind adds to the network that all sources share.

Shapes: S sources, B samples, C channels; the P pixels of a patch are channels, H x W patches.  The batch holds the
sources one after the other, (S*B, ...).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adasffuse.models.precision import mean_and_deviation
from adasffuse.options import shown

Kinds = Sequence[str | Sequence[str]]  # for each source one name, or a name per sample
_DARK, _BRIGHT = 0.4, 0.8  # luminance of a cell: dark up to the first, not dark from the second on
_NIGHT, _DAY = 0.3, 0.5  # mean luminance of an image: night up to the first, day from the second on
_HOT, _HOT_AT_NIGHT = 1.5, 0.8  # standard deviations above the mean: from there a cell is hot, wholly from one more on
_HOTTER = 0.1  # luminance by which a hot cell must be above all other sources to count fully
_EVEN = 0.02  # added to the standard deviation, against noise
_NOTHING = 1e-6  # a residual times this factor changes no level of a 16-bit image


class SourceKinds(nn.Module):
    """What each kind of source adds: embedding kernels, factors of the logits and of the residual, logits of the base.

    All parameters start at zero: kinds are treated alike until training finds a difference.

    Args:
        names: names of the kinds.
        embedding: the shared convolution, to whose kernels those of a kind are added.
        bands: number of bands of the pyramid.
        dark: whether each kind has a logit for the base where a source is dark, at night.
        hot: whether each kind has a logit for the base where a source is conspicuously bright.
    """

    def __init__(
        self, names: Sequence[str], embedding: nn.Conv2d, bands: int, dark: bool = False, hot: bool = False
    ) -> None:
        super().__init__()
        self.names = tuple(names)
        count = len(self.names)
        self.weight = nn.Parameter(torch.zeros_like(embedding.weight).repeat(count, 1, 1, 1))  # (kinds * C, P, 3, 3)
        self.bias = nn.Parameter(torch.zeros_like(embedding.bias).repeat(count))
        self.log_gain = nn.Parameter(torch.zeros(count, bands + 1))  # of the logits of each band; last of the residual
        self.dark = nn.Parameter(torch.zeros(count)) if dark else None
        self.hot = nn.Parameter(torch.zeros(count)) if hot else None

    def indices(self, kinds: Kinds, sources: Tensor) -> Tensor:
        """Index of the kind of every image of sources (S, B, ...): (S*B,) int64.

        Raises:
            ValueError: not S kinds, not B names for a source, or an unknown name.
        """
        count, batch = sources.shape[:2]
        if not isinstance(kinds, list | tuple) or not all(isinstance(kind, str | list | tuple) for kind in kinds):
            raise ValueError(f"kinds must be a list of names, or of lists of them, got {shown(kinds)}")
        rows = [[kind] * batch if isinstance(kind, str) else kind for kind in kinds]
        if len(rows) != count or any(len(row) != batch for row in rows):
            raise ValueError(f"{count} sources of {batch} samples need as many kinds, got {shown(kinds)}")
        flat = [name for row in rows for name in row]
        unknown = set(flat) - set(self.names)
        if unknown:
            raise ValueError(f"kinds must be some of {', '.join(self.names)}, got {shown(sorted(unknown))}")
        return torch.tensor([self.names.index(name) for name in flat], device=sources.device)

    def embed(self, sources: Tensor, index: Tensor, embedding: nn.Conv2d) -> Tensor:
        """Feature embedding of images (N, P, H, W) to (N, C, H, W), each with the kernels of its kind.

        Args:
            index: (N,) as `indices` returns it, here and below.
        """
        weight = embedding.weight + self.weight.unflatten(0, (len(self.names), -1))[index]  # (N, C, P, 3, 3)
        bias = embedding.bias + self.bias.unflatten(0, (len(self.names), -1))[index]
        kernels = zip(sources.split(1), weight, bias)  # image by image: a grouped convolution takes 4 times as long
        return torch.cat([F.conv2d(image, w, b, padding=1) for image, w, b in kernels])

    def logit_gains(self, index: Tensor) -> Tensor:
        """Factor of the logits of every image in every band, (N, bands, 1, 1, 1)."""
        return self.log_gain[index, :-1].exp()[..., None, None, None]

    def base_logit(self, base: Tensor, index: Tensor) -> Tensor:
        """What is added to the logits of the base: `dark` of the kind in dark cells of night images, `hot` in hot ones.

        A cell is hot if it is brighter than the mean of its image by some standard deviations, fewer if the other
        sources show a night, and brighter than all other sources.

        Args:
            base: (S, B, 1, h, w) luminance in [0, 1] of whole images; the result has its shape.
        """
        added = torch.zeros_like(base)
        if self.dark is not None:
            dark = ((_BRIGHT - base) / (_BRIGHT - _DARK)).clamp(0, 1)
            added = added + _of_each(self.dark[index], base) * night(base) * dark
        if self.hot is not None:
            others = torch.stack([torch.cat((base[:k], base[k + 1 :])).amax(dim=0) for k in range(len(base))])
            mean, deviation = mean_and_deviation(base)
            least = _HOT + (_HOT_AT_NIGHT - _HOT) * night(others)
            hot = (base - mean) / (deviation + _EVEN) - least
            hotter = ((base - others) / _HOTTER).clamp(0, 1)
            added = added + _of_each(self.hot[index], base) * hot.clamp(0, 1) * hotter
        return added

    def has_residual(self, kinds: Kinds, count: int) -> bool:
        """Whether the decoder's image has a visible factor in some sample of `count` sources."""
        index = self.indices(kinds, self.log_gain.new_zeros(count, len(by_sample(kinds))))
        return bool((self.residual_gain(index, count) > _NOTHING).any())

    def residual_gain(self, index: Tensor, count: int) -> Tensor:
        """Factor of the decoder's image, (B, 1, 1, 1): the geometric mean over the `count` sources of each sample."""
        return self.log_gain[index, -1].unflatten(0, (count, -1)).mean(dim=0).exp()[:, None, None, None]


def by_sample(kinds: Kinds) -> list[tuple[str, ...]]:
    """The kinds of the sources of each sample; of one sample if all have the same."""
    batch = max(1 if isinstance(kind, str) else len(kind) for kind in kinds)
    return list(zip(*([kind] * batch if isinstance(kind, str) else kind for kind in kinds)))


def are_exposures(kinds: Kinds) -> list[bool]:
    """Whether all sources of a sample are exposures; one value per sample, or one for all, as `by_sample`."""
    return [set(sample) == {"exposure"} for sample in by_sample(kinds)]


def night(images: Tensor) -> Tensor:
    """1 for images (..., h, w) of a night, 0 for those of a day, (..., 1, 1)."""
    return ((_DAY - images.mean(dim=(-2, -1), keepdim=True)) / (_DAY - _NIGHT)).clamp(0, 1)


def _of_each(values: Tensor, base: Tensor) -> Tensor:
    """One value for each image (S*B,), for products with the base (S, B, 1, h, w)."""
    return values.view(*base.shape[:2], 1, 1, 1)
