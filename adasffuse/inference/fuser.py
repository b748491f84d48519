"""The fuser: network, task and colour rule together, from two or more images to one."""

import copy
import functools
import hashlib
import importlib
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from adasffuse.arguments import CALLER, checked
from adasffuse.choices import DEFAULT_OVERLAP, DEFAULT_TILE
from adasffuse.device import pick_device, pick_precision
from adasffuse.images.arrays import as_image
from adasffuse.images.color import COLOR_MARGIN, is_colorful, keep_hot_spots, rebuild_color
from adasffuse.images.content import choose_sources, measure_content
from adasffuse.images.false_colors import check_palette, in_palette
from adasffuse.images.image import Image, ImageNotice
from adasffuse.images.levels import compacted, expanded, is_large, luma_of, made_in_bands, release_if_large
from adasffuse.images.no_data import Gap, blend_empty, complete
from adasffuse.images.noise import denoised, noise_levels
from adasffuse.images.notices import InfraredLook
from adasffuse.images.plane import check_order, check_same_places, modality_of
from adasffuse.images.write import quantise, result_depth
from adasffuse.inference.drift import equally_bright
from adasffuse.inference.forms import form_of, in_order, joined, of_scene, restored, split_batch
from adasffuse.inference.remarks import remarks_on_content, remarks_on_scan
from adasffuse.inference.tiling import fuse_tiled, on_grid
from adasffuse.models import AdaSFFuse
from adasffuse.models.hub import load_network
from adasffuse.models.reduced import reduction
from adasffuse.models.tiles import GRID
from adasffuse.models.weights import digest
from adasffuse.process import keep_freed_memory, release_freed_memory
from adasffuse.registration.aligner import Aligner
from adasffuse.tasks import TASKS, Task, find_task

STRENGTH_TASK = "ivf"
_FALSE_COLORS = "has colour; false colours are no temperature, luminance is used"
_SWAPPED = "; source B has none: the two may be swapped"


def _uncompiled(method: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a method that runs as it is where `torch.compile` would trace it, and fail at NumPy and files."""

    @functools.wraps(method)
    def call(*args: Any, **options: Any) -> Any:
        if torch.compiler.is_compiling():
            return torch.compiler.disable(method)(*args, **options)
        return method(*args, **options)

    return call


class Fuser:
    """Fuses registered images of one task.  Threads may share a fuser.

    What all sources agree on stays as it is.  Where a source holds no data, and where it has no content at all (a flat
    frame), the others are shown; see `adasffuse.images.no_data`.

    On a CPU with glibc, making a fuser sets glibc to keep freed memory (`adasffuse.process.keep_freed_memory`), for the
    whole process; without that, each image takes 1.5 to 2 times as long.  Results do not depend on it.

    Args:
        model: the network, of which the fuser takes a copy, in float32: whatever happens to either later, the other
            stays.
        task: gives the colour rule.
        device: where the network runs: 'auto' (the GPU where there is one), 'cpu', 'cuda' or 'cuda:N'.
        tile: images of more than tile x tile pixels are fused in tiles of that area, as wide as the image where
            possible; a multiple of 16; 0 never.
        tile_overlap: pixels that neighbouring tiles share, a multiple of 16.
        precision: of the network's arithmetic, 'float32', 'bfloat16', or 'auto', the faster one of this machine.
        strength: share of the network's change to the visible image, 0 to 1, of infrared + visible alone: the result's
            luminance is visible + strength * (fused - visible).
        people: whether people are raised in infrared + visible, see `adasffuse.models.targets`.
        denoise: share of the sources' noise that is removed before fusing, 0 to 1, of infrared + visible alone; see
            `adasffuse.images.noise`.
        keep_brightness: whether focus settings are fused as bright as they are; otherwise they are made equally bright
            where their exposure has drifted, see `adasffuse.inference.drift`.
    Raises:
        ValueError: a wrong type, impossible tile size, unknown precision or device, or a strength, people, denoise
            or keep_brightness where the task has none.
    """

    @checked
    def __init__(
        self,
        model: AdaSFFuse,
        task: Task,
        device: torch.device | str = "cpu",
        tile: int = DEFAULT_TILE,
        tile_overlap: int = DEFAULT_OVERLAP,
        precision: str = "auto",
        strength: float = 1.0,
        people: bool = True,
        denoise: float = 0.0,
        keep_brightness: bool = False,
    ) -> None:
        for name, value in (("strength", strength), ("denoise", denoise)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is a number from 0 to 1, got {value}")
        own = {"strength": strength != 1, "people=False, --no_people,": not people, "denoise": denoise != 0}
        for name, chosen in own.items():
            if chosen and task.id != STRENGTH_TASK:
                raise ValueError(f"{name} is for infrared + visible, this is {task.title}")
        if keep_brightness and not task.equally_bright:
            titles = " or ".join(one.title for one in TASKS.values() if one.equally_bright)
            raise ValueError(f"keep_brightness is for {titles}; {task.title} images stay as bright as they are anyway")
        if tile < 0 or tile % GRID or tile_overlap < 0 or tile_overlap % GRID or 0 < tile <= tile_overlap:
            raise ValueError(
                f"tile and tile_overlap must be multiples of {GRID} with tile > tile_overlap (or tile 0), "
                f"got {tile} and {tile_overlap}"
            )
        used_tile, used_overlap, grid = on_grid(model, tile, tile_overlap)
        if tile and used_tile <= used_overlap:
            raise ValueError(
                f"this network counts tile and tile_overlap in multiples of {grid}, which leaves nothing of a tile of "
                f"{tile} beside an overlap of {tile_overlap}; choose a larger tile"
            )
        self.device = pick_device(device)
        self.precision = pick_precision(precision, self.device)
        self.model = copy.deepcopy(model).to(self.device, torch.float32, memory_format=torch.channels_last).eval()
        self._finder = self.model.targets  # of people, also where they are not raised
        if not people:
            self.model.targets = None
        self.task, self.tile, self.tile_overlap = task, tile, tile_overlap
        self.strength, self.denoise = strength, denoise
        self.evens = task.equally_bright and not keep_brightness  # sources whose exposure has drifted
        if self.device.type == "cpu":
            keep_freed_memory()

    def __repr__(self) -> str:
        parameters = sum(one.numel() for one in self.model.parameters())
        return f"<Fuser: {self.task.title}, {parameters:,} parameters, {self.precision} on {self.device}>"

    @_uncompiled
    @checked
    def __call__(
        self,
        *sources: Any,
        depth: str = "auto",
        range_a: tuple[float, float] | None = None,
        range_b: tuple[float, float] | None = None,
        no_data_a: float | None = None,
        no_data_b: float | None = None,
        align: Aligner | None = None,
        palette: str = "none",
    ) -> Any:
        """Fuse images, or a batch of them, and hand the result back in the form in which the sources came.

        Args:
            sources: two or more images as in `fuse`, one by one or as one sequence: `fuser(a, b)`, `fuser([a, b, c])`;
                or a batch: `fuser([(a1, b1), (a2, b2)])`, `fuser([a1, a2], [b1, b2])`, tensors (B, C, H, W) or arrays
                (B, H, W, C).
            depth, range_a, range_b, no_data_a, no_data_b, align, palette: as in `fuse`.
        Returns:
            For arrays, and where all sources are files, an array; for tensors a tensor on their device, without
            gradient; for PIL images a PIL image.  Of several forms the first source that is no file decides.  Values
            are as deep as the shallowest source's: uint8, uint16, or the sources' own floating-point type on [0, 1].
            The result has as many channels as the sources that give it colour (RGBA counts as RGB, one channel keeps
            its axis), also where they show no colour.  A batch of lists gives a list, of tensors or arrays one of them.
        Raises:
            ImageError, ValueError: as `fuse`; of a batch with the number of the scene, from 0.
        Warns:
            ImageNotice: as `fuse`.
        """
        options = {"range_a": range_a, "range_b": range_b, "no_data_a": no_data_a, "no_data_b": no_data_b}
        options |= {"align": align, "palette": palette}
        scenes = split_batch(sources)
        results = []
        for number, scene in enumerate([sources] if scenes is None else scenes):
            try:
                images = in_order(scene)
                fused = self._fused(images, options, depth)
                results.append(restored(fused, form_of(images, self.task.color, palette != "none")))
            except ValueError as error:
                if scenes is None:
                    raise
                raise of_scene(error, number, len(scenes)) from error
        return results[0] if scenes is None else joined(results, sources)

    @_uncompiled
    @checked
    def fuse(
        self,
        *sources: Any,
        stretch: bool = False,
        depth: str = "auto",
        range_a: tuple[float, float] | None = None,
        range_b: tuple[float, float] | None = None,
        no_data_a: float | None = None,
        no_data_b: float | None = None,
        align: Aligner | None = None,
        palette: str = "none",
    ) -> np.ndarray:
        """Fuse registered images in colour.

        Args:
            sources: two or more images of one height and width, one by one or as one sequence, in the task's order
                (infrared, visible): arrays, tensors, PIL images, paths or `Image`, see `adasffuse.images.arrays`.
            stretch: spread the result's luminance to 0..255, only to reproduce published numbers.
            depth: of the result, '8', '16', 'float' or 'auto': 8 bits unless all sources are deeper.
            range_a, range_b: the values in the sources' units that become black and white, of the first source and of
                the others.  8 bits always span 0..255; the higher one first, of 8 bits (255, 0), inverts an image.
            no_data_a, no_data_b: values that mean "no data", of the first source and of the others.
            align: registers two sources, whose sizes may differ then; None: they are fused as they are.
            palette: 'hot' or 'inferno': the first source, a gray PET or SPECT image, is shown in these false colours,
                so that activity can be told from bright tissue; 'none': as it is.  For 'mif'.
        Returns:
            (H, W, 3) RGB, or (H, W) gray where the sources that give colour have none: uint8, uint16, or float32 in
            [0, 1].  0 where no source holds data.
        Raises:
            ImageError: a source is none of these images, DICOM slices show different places, the sources cannot be
                registered (AlignmentError), or one has colour already, or is a CT, that is to be in a palette.
            ValueError: fewer than two sources, or more where the task takes two, sizes differ, unknown depth or
                palette, a palette where the task has none, or an argument of a wrong type.
        Warns:
            ImageNotice: what is used, but perhaps not as it was meant: a hardly used range, false colours as thermal, a
                source without content.
        """
        options = {"range_a": range_a, "range_b": range_b, "no_data_a": no_data_a, "no_data_b": no_data_b}
        return self._fused(sources, options | {"align": align, "palette": palette}, depth, stretch)

    def _fused(
        self, sources: Sequence[Any], options: Mapping[str, Any], depth: str, stretch: bool = False
    ) -> np.ndarray:
        """The three steps of `fuse`, with a warning for each notice; options: of `prepare`."""
        prepared = self.prepare(*sources, **options)
        for notice in prepared.notices:
            warnings.warn(notice, ImageNotice, stacklevel=CALLER + 2)  # from beyond both decorators
        return self.finish(self.fuse_prepared(prepared), prepared, stretch, depth)

    @checked
    def prepare(
        self,
        *sources: Any,
        range_a: tuple[float, float] | None = None,
        range_b: tuple[float, float] | None = None,
        no_data_a: float | None = None,
        no_data_b: float | None = None,
        align: Aligner | None = None,
        palette: str = "none",
    ) -> "Prepared":
        """The first step of `fuse`, before the network; arguments and errors as there."""
        sources = in_order(sources)
        self.task.check_count(len(sources))
        check_palette(palette, self.task)
        images = [
            as_image(
                source, source_name(k), range_b if k else range_a, no_data_b if k else no_data_a, self._is_thermal(k)
            )
            for k, source in enumerate(sources)
        ]
        colored = [k for k, image in enumerate(images) if self._is_thermal(k) and is_colorful(image.pixels)]
        swapped = "" if not colored or is_colorful(images[1].pixels) else _SWAPPED
        names = [source if isinstance(source, str | PathLike) else source_name(k) for k, source in enumerate(sources)]
        check_order(names, [modality_of(image) for image in images], self.task.kinds)
        if align is not None:
            images = align.align(images)
        _check_same_size(images)
        check_same_places(names, images)
        notices = [notice for image in images for notice in image.notices]
        notices += [f"{source_name(k)}: {_FALSE_COLORS}{swapped}" for k in colored]
        images[0] = in_palette(images[0], palette, names[0])
        release_if_large(images[0].pixels.shape)
        contents = [measure_content(image.pixels, image.valid) for image in images]
        images, drift = equally_bright(images, contents) if self.evens else (images, [])
        stored, valids = [image.pixels for image in images], [image.valid for image in images]
        if min(contents) < 1:  # values of one are mixed into the other
            stored = [expanded(one) for one in stored]
        used = choose_sources(contents)
        pixels, known, gaps = complete(*([values[k] for k in used] for values in (stored, valids, contents)))
        remarks = [(0, text) for text in drift] + remarks_on_content(valids, contents, dict(zip(used, gaps)))
        if self.task.color == "a":
            remarks += [(0, text) for text in remarks_on_scan(stored[0], *pixels)]
        notices += [f"{source_name(k)}: {text}" for k, text in remarks]
        if is_large(pixels[0].shape):
            pixels = [compacted(one) for one in pixels]
        return Prepared(pixels, known, tuple(image.depth for image in images), gaps, tuple(notices), tuple(remarks))

    def _is_thermal(self, k: int) -> bool:
        """Whether source number k is a thermal image."""
        return k < len(self.task.thermal) and self.task.thermal[k]

    @torch.inference_mode()
    def look_at(self, path: Path | None, images: Sequence[Image]) -> InfraredLook | None:
        """What the infrared image of a pair is looked at for; None of other tasks.

        Args:
            path: of the infrared image; None of a frame.
            images: of one size, as read, in the task's order.
        """
        if len(images) != 2 or self.task.id != STRENGTH_TASK:
            return None
        return InfraredLook(
            path, self._looks_black_hot(images), 255 * float(np.linalg.norm(noise_levels(luma_of(images[0].pixels))))
        )

    def _looks_black_hot(self, images: Sequence[Image]) -> bool:
        """Whether hot things seem to be dark in an infrared image, as a camera set to black-hot shows them.

        People are looked for in a small copy of its negative, as where they are raised.  Of pairs without people, and
        of networks that know nobody, nothing is known: False.
        """
        if self._finder is None:
            return False
        height, width = images[0].pixels.shape[:2]
        factor = reduction(height, width)
        size = (-(-width // factor), -(-height // factor))
        small = (cv2.resize(image.pixels, size, interpolation=cv2.INTER_AREA) for image in images)
        return bool(self._finder.looks_black_hot(*(self._to_tensor(luma_of(one)) for one in small)))

    def fuse_prepared(self, prepared: "Prepared") -> np.ndarray:
        """The second step of `fuse`: fused luminance (H, W) float32 in [0, 1].

        Where a source holds no data, the fusion of the others is shown; of one other, that one.
        """
        release_if_large(prepared.pixels[0].shape)
        lumas, gaps = [denoised(luma, self.denoise) for luma in prepared.lumas], prepared.gaps
        extended = (luma if gap is None else denoised(gap.extended, self.denoise) for luma, gap in zip(lumas, gaps))
        fused = self.fuse_luminance(*extended)
        for k, gap in enumerate(gaps):
            if gap is not None:
                pair = len(lumas) == 2
                shown = lumas[1 - k] if pair else self.fuse_luminance(*lumas[:k], gap.others, *lumas[k + 1 :])
                fused = gap.fade(fused, shown)
        return fused

    def finish(self, luma: np.ndarray, prepared: "Prepared", stretch: bool = False, depth: str = "auto") -> np.ndarray:
        """The last step of `fuse`: fused luminance (H, W) in [0, 1] with the sources' chroma; arguments as there."""
        release_if_large(luma.shape)
        if prepared.known is not None:
            luma = np.where(prepared.known, luma, 0)
        if stretch:
            luma = (luma - luma.min()) / max(float(np.ptp(luma)), 1e-12)
        depth = result_depth(depth, prepared.depths)

        def part(rows: slice) -> np.ndarray:
            return self._coloured(luma[rows], [pixels[rows] for pixels in prepared.pixels], depth)

        return made_in_bands(luma.shape, COLOR_MARGIN, part)

    def _coloured(self, luma: np.ndarray, pixels: Sequence[np.ndarray], depth: str) -> np.ndarray:
        """Luminance with the sources' chroma, rounded to a depth."""
        sources = [expanded(one) for one in pixels]
        if self.task.color == "a":
            luma = keep_hot_spots(luma, sources[0])
        return quantise(rebuild_color(luma, sources, self.task.color, depth), depth)

    def needs_tiles(self, shape: tuple[int, ...]) -> bool:
        """Whether images of shape (H, W) are fused in tiles."""
        return bool(self.tile) and shape[0] * shape[1] > self.tile**2

    @torch.inference_mode()
    def fuse_luminance(self, *lumas: np.ndarray) -> np.ndarray:
        """Fuse luminance (H, W) float32 in [0, 1] of two or more sources; the result is clamped to [0, 1].

        Raises:
            ValueError: fewer than two sources, or the shapes differ.
        """
        contents = [measure_content(luma) for luma in lumas]
        used = choose_sources(contents)
        shown = blend_empty([lumas[k] for k in used], [contents[k] for k in used])
        sources = [self._to_tensor(luma) for luma in shown]
        kinds = self.task.kinds_of(len(sources))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            if self.needs_tiles(lumas[0].shape):
                release_freed_memory()  # of reading: the network asks for blocks of other sizes
                fused = fuse_tiled(self.model, sources, self.tile, self.tile_overlap, kinds)
            else:
                fused = self.model(sources, kinds=kinds)
        luma = fused[0, 0].float().clamp_(0, 1).cpu().numpy()
        if self.strength != 1:
            visible = lumas[-1]
            luma = visible + np.float32(self.strength) * (luma - visible)
        return luma

    def _to_tensor(self, luma: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(luma, dtype=np.float32))[None, None].to(self.device)


@dataclass(frozen=True)
class Prepared:
    """Sources as the network takes them."""

    pixels: list[np.ndarray]  # per fused source (H, W) or (H, W, 3), completed by others: float32 in [0, 1], or levels
    known: np.ndarray | None  # (H, W) bool, False where no source holds data; None: data everywhere
    depths: tuple[str, ...]  # of the sources
    gaps: list[Gap | None]  # per fused source its regions without data, None for none
    notices: tuple[str, ...]  # what a user should know about the sources
    remarks: tuple[tuple[int, str], ...] = ()  # those about what sources add to the result, with their numbers

    @property
    def lumas(self) -> list[np.ndarray]:
        """Luminance of each source, (H, W) float32."""
        return [luma_of(pixels) for pixels in self.pixels]


def _check_same_size(images: Sequence[Image]) -> None:
    """Raise ValueError where sources differ in height or width."""
    sizes = [image.pixels.shape[:2] for image in images]
    if len(set(sizes)) > 1:
        listed = ", ".join(f"{source_name(k)} {width}x{height}" for k, (height, width) in enumerate(sizes))
        raise ValueError(
            f"the sources must have one height and width, got {listed}; register them first, or give align, an Aligner "
            "of adasffuse.registration.aligner"
        )


def source_name(k: int) -> str:
    """What messages call source number k: 'source A', 'source B', ..., then by number."""
    return f"source {chr(ord('A') + k) if k < 26 else k + 1}"


@checked
def load_fuser(
    task: str,
    size: str | None = None,
    weights: str | Path | None = None,
    device: torch.device | str = "auto",
    tile: int = DEFAULT_TILE,
    tile_overlap: int = DEFAULT_OVERLAP,
    precision: str = "auto",
    strength: float = 1.0,
    people: bool = True,
    denoise: float = 0.0,
    keep_brightness: bool = False,
) -> Fuser:
    """Fuser of a task with released weights, or with a weights file of your own.

    Args:
        task: 'ivf', 'mef', 'mff' or 'mif'.
        size: 'tiny', 'small' or 'base', which released weights to take (None: small).  Other weights must have the
            size that is given here.
        weights: other weights than the default ones: a file, a folder, the name of released ones, or
            'organisation/repository' on the Hugging Face Hub; see `adasffuse.models.hub.find_pretrained`.
        device, tile, tile_overlap, precision, strength, people, denoise, keep_brightness: as in `Fuser`.
    Raises:
        ValueError: a wrong type, unknown task, size or precision, impossible tile size or strength.
        WeightsError: no such weights, damaged or foreign ones, made for another task, or of another size.
    """
    chosen = find_task(task)
    model, _ = load_network(chosen.id, weights, size)
    return Fuser(model, chosen, device, tile, tile_overlap, precision, strength, people, denoise, keep_brightness)


def settings_of(fuser: Fuser, **choices: Any) -> str:
    """SHA-256, in hexadecimal, of all that decides on a result besides its sources.

    Args:
        choices: JSON values: depth, ranges and the like.
    """
    values = {
        "version": importlib.import_module("adasffuse").__version__,
        "task": fuser.task.id,
        "model": asdict(fuser.model.options),  # some change what the same tensors compute
        "weights": digest(fuser.model.state_dict()),
        "tile": [fuser.tile, fuser.tile_overlap],
        "strength": fuser.strength,
        "denoise": fuser.denoise,
        "evens": fuser.evens,
        "arithmetic": [fuser.precision, fuser.device.type],
        **choices,
    }
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
