"""The form in which a caller gives images and gets the result back: array, tensor or PIL image, alone or in batches."""

from collections.abc import Iterator, MappingView, Sequence, Set
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import torch
from PIL import Image as pillow
from torch import Tensor

from adasffuse.images.color import color_givers
from adasffuse.images.image import Image, ImageError

_GRAY_MODES = ("1", "L", "LA", "La", "I", "F")  # of Pillow, and those that start with "I;16"


@dataclass(frozen=True)
class Form:
    """How a result is handed back."""

    kind: str  # 'array', 'tensor' or 'pil'
    channels: int  # at least: 0 for no axis of channels, 1 or 3
    dtype: Any = None  # of floating-point results, NumPy's or PyTorch's; None: float32
    device: torch.device | None = None  # of tensors


def form_of(sources: Sequence[Any], color: str, colored: bool = False) -> Form:
    """The form of a result: that of the first source that a caller holds in memory, an array where all are files.

    Args:
        sources: two or more images, see `adasffuse.images.arrays.as_image`.
        color: the task's colour rule, one of `COLOR_RULES`: the result has the channels of the sources that give
            colour, the most of them where they differ; RGBA counts as RGB.
        colored: the result is RGB whatever they have: gray sources were given false colours.
    """
    held = [source for source in sources if not isinstance(source, str | PathLike | Image)]
    channels = 3 if colored else max((_channels(source) for source in color_givers(color, sources)), default=0)
    first = held[0] if held else None
    kind = _kind_of(first)
    if kind == "pil":
        return Form(kind, channels)
    real = [one.dtype for one in held if _kind_of(one) == kind and _is_real(one)]
    return Form(kind, channels, real[0] if real else None, first.device if kind == "tensor" else None)


def restored(fused: np.ndarray, form: Form) -> np.ndarray | Tensor | pillow.Image:
    """A fused image, (H, W) or (H, W, 3) as `Fuser.finish` returns it, in the caller's form.

    Returns:
        array (H, W), (H, W, 1) or (H, W, 3); tensor with the channels first; PIL image of mode L, RGB, I;16 or F.
    Raises:
        ValueError: PIL has no mode for colour of 16 bits or floating point.
    """
    if fused.ndim == 2 and form.channels:
        fused = np.repeat(fused[..., None], form.channels, axis=2)
    if form.kind == "pil":
        if fused.ndim == 3 and fused.dtype != np.uint8:
            raise ValueError(f"PIL images have no mode for {fused.dtype} colour; give arrays, or depth='8'")
        return pillow.fromarray(fused)
    if form.kind == "tensor":
        values = torch.from_numpy(np.ascontiguousarray(np.moveaxis(fused, -1, 0) if fused.ndim == 3 else fused))
        return values.to(form.device, form.dtype if values.is_floating_point() else None)
    return fused.astype(form.dtype) if form.dtype is not None and fused.dtype.kind == "f" else fused


def in_order(sources: Sequence[Any]) -> Sequence[Any]:
    """The sources of one scene, that were given one by one or as one sequence.

    Raises:
        ValueError: one is an iterator, a set or a view of a dict.
    """
    for source in sources:
        is_file = hasattr(source, "read")  # open files are refused as images
        if isinstance(source, Iterator | Set | MappingView) and not is_file:
            raise ValueError(f"got a {type(source).__name__}; give a list, its order known")
    if len(sources) == 1 and isinstance(sources[0], Sequence) and not isinstance(sources[0], str):
        return sources[0]
    return sources


def split_batch(sources: Sequence[Any]) -> list[tuple[Any, ...]] | None:
    """The scenes of a batch, each a tuple of its sources; None where the sources are those of one scene.

    A batch is several lists, tensors (B, C, H, W) or arrays (B, H, W, C), one per source, or one list of scenes, each
    a list or tuple of its sources.

    Raises:
        ValueError: some sources are batches and others are not, their lengths differ, there is one batch, or lists hold
            numbers.
    """
    if any(_holds_numbers(source) for source in sources):
        raise ValueError("got lists of numbers; give each image as an array, numpy.asarray(image, numpy.uint8)")
    if len(sources) == 1 and _is_list(sources[0]):
        if not sources[0]:
            raise ValueError("the list of images is empty; give two or more sources, or a list of scenes")
        if not all(_is_list(scene) for scene in sources[0]):
            if any(_is_list(scene) for scene in sources[0]):
                raise ValueError("a list holds the images of one scene, or scenes that are lists themselves, not both")
            return split_batch(sources[0])
        return [tuple(scene) for scene in sources[0]]
    if len(sources) == 1 and getattr(sources[0], "ndim", 0) == 4:
        raise ValueError(
            f"fusing needs two or more sources, got one batch of shape {tuple(sources[0].shape)}; the images of one "
            "stack are given as a list, list(batch)"
        )
    batched = [_is_list(source) or getattr(source, "ndim", 0) == 4 for source in sources]
    if not any(batched):
        return None
    if not all(batched):
        single = [_shape_of(source) for source, batch in zip(sources, batched) if not batch]
        raise ValueError(
            f"either all sources are batches or none is, and of these one is a single image, {single[0]}; a batch of "
            "gray images is an array (B, H, W, 1) or a tensor (B, 1, H, W); an image of a batch is source[k]"
        )
    lengths = [len(source) for source in sources]
    if len(set(lengths)) > 1:
        raise ValueError(f"batches must have one length, got {', '.join(map(str, lengths))}")
    if not lengths[0]:
        raise ValueError("the batch is empty")
    return list(zip(*sources))


def joined(results: list[Any], sources: Sequence[Any]) -> Any:
    """The results of a batch: one tensor or array where all sources were, else a list.

    Raises:
        ValueError: results that would be one array have different shapes.
    """
    if len(sources) == 1 and _is_list(sources[0]):
        sources = sources[0]
    if any(_is_list(source) for source in sources):
        return results
    if len({(result.shape, result.dtype) for result in results}) > 1:
        raise ValueError("the results of this batch differ in shape or type; give it as lists of images")
    return torch.stack(results) if isinstance(results[0], Tensor) else np.stack(results)


def of_scene(error: ValueError, number: int, count: int) -> ValueError:
    """An error with the number, from 0, of the scene that it concerns."""
    kind = ImageError if isinstance(error, ImageError) else ValueError
    return kind(f"scene [{number}] of {count}: {error}")


def _holds_numbers(source: Any) -> bool:
    """Whether a list, or the first of the lists in it, holds numbers in place of images."""
    while _is_list(source) and source:
        source = source[0]
        if isinstance(source, int | float):
            return True
    return False


def _shape_of(source: Any) -> str:
    shape = getattr(source, "shape", None)
    return f"of shape {tuple(shape)}" if shape is not None else f"a {type(source).__name__}"


def _is_list(source: Any) -> bool:
    return isinstance(source, list | tuple)


def _kind_of(source: Any) -> str:
    """The kind of a form, see `Form`."""
    if isinstance(source, Tensor):
        return "tensor"
    return "pil" if isinstance(source, pillow.Image) else "array"


def _is_real(source: Any) -> bool:
    """Whether a tensor or array holds floating-point numbers."""
    if isinstance(source, Tensor):
        return source.is_floating_point()
    return hasattr(source, "dtype") and source.dtype.kind == "f"


def _channels(source: Any) -> int:
    """Channels of an image in memory, without alpha; 0 for no axis of channels, and for files."""
    if isinstance(source, str | PathLike | Image):
        return 0
    if isinstance(source, pillow.Image):
        return 0 if source.mode in _GRAY_MODES or source.mode.startswith("I;16") else 3
    shape = np.shape(source)
    if len(shape) != 3:
        return 0
    return min(shape[0] if isinstance(source, Tensor) else shape[-1], 3)
