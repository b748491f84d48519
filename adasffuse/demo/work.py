"""What the web page does with images, without any page: fuse, score, and say which command does the same."""

import os
import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy import ndarray

from adasffuse.choices import DEFAULT_MEGAPIXELS
from adasffuse.images.color import luminance
from adasffuse.images.false_colors import in_palette
from adasffuse.images.formats import is_radiometric, open_image
from adasffuse.images.image import Image, ImageError
from adasffuse.images.notices import infrared_notices
from adasffuse.images.ranges import RangeSpec, resolve_range
from adasffuse.images.read import read_image, uses_little
from adasffuse.images.write import quantise, result_depth, suffix_of, write_image
from adasffuse.inference.fuser import STRENGTH_TASK, Fuser, load_fuser
from adasffuse.inference.misalignment import seen_misalignment
from adasffuse.inference.stack import StackOptions, fuse_stack
from adasffuse.metrics import DEFAULT_METRICS, evaluate
from adasffuse.registration.aligner import Aligner, measure_of
from adasffuse.registration.camera import read_camera_pair
from adasffuse.tasks import Task, find_task

_KEPT = 4  # fusers in memory
_EQUAL = 4  # gray levels of difference up to which sources do not tell whose share a pixel is
_FEWEST = 8  # pixels per side that are scored


@dataclass(frozen=True)
class Result:
    """A fused image, and what is shown of it."""

    file: Path  # at full depth
    fused: ndarray  # uint8, (H, W) or (H, W, 3)
    sources: tuple[ndarray, ...]  # the same
    share: ndarray | None  # (H, W, 3) uint8: where the result is as bright as the first source; of two sources
    scores: dict[str, float]  # of two sources
    notices: tuple[str, ...]
    command: str


@dataclass(frozen=True)
class Choices:
    """What is chosen on the page; the defaults are those of the command."""

    task: str
    size: str
    align: str = "none"  # or how two images are registered first, see `adasffuse.registration.aligner`
    palette: str = "none"  # false colours of a gray PET or SPECT image, as in `Fuser.fuse`
    strength: float = 1.0  # of infrared + visible, as in `Fuser`
    denoise: float = 0.0  # the same

    def of_task(self) -> "Choices":
        """Without what the task does not have."""
        task = find_task(self.task)
        chosen = self if task.color == "a" else replace(self, palette="none")
        return chosen if task.id == STRENGTH_TASK else replace(chosen, strength=1.0, denoise=0.0)

    def options(self) -> dict[str, str | float]:
        """Options of the command, beside task and size, that are not its defaults."""
        default = asdict(Choices(self.task, self.size))
        return {name: value for name, value in asdict(self).items() if value != default[name]}


def fuse_files(
    choices: Choices, files: Sequence[str | Path | None], folder: Path, megapixels: float = DEFAULT_MEGAPIXELS
) -> Result:
    """Fuse some files; the result lies in a new folder of its own below `folder`.

    Args:
        files: two or more; None for a field of the page that was left empty.
        megapixels: of the largest image that is taken.
    Raises:
        ImageError: fewer than two files, but for one radiometric JPEG of infrared + visible, a pair by itself; a file
            that cannot be read or is too large, sizes differ, or the images cannot be registered.  Errors and notices
            name files without their folders, which are those of the server.
    """
    paths, choices = [Path(file) for file in files if file], choices.of_task()
    try:
        made = _fuse(choices, paths, megapixels)
    except ImageError as error:
        raise ImageError(_without_folders(str(error), paths)) from error
    file = Path(tempfile.mkdtemp(dir=folder)) / f"fused{suffix_of(made.depth)}"
    write_image(file, made.pixels, made.depth)
    shown = quantise(made.pixels, "8") if made.pixels.dtype == np.float32 else _eight_bits(made.pixels)
    scores, share = {}, None
    if len(made.sources) == 2:
        share = share_of_first(*made.sources, shown)
        if choices.palette == "none" and min(shown.shape[:2]) >= _FEWEST:
            scores = evaluate(*made.sources, shown, metrics=DEFAULT_METRICS)
    notices = tuple(_without_folders(notice, paths) for notice in made.notices)
    return Result(file, shown, made.sources, share, scores, notices, _command(choices, paths, made.windows, file.name))


@dataclass(frozen=True)
class _Made:
    """A fused image, and what it was made from."""

    pixels: ndarray  # uint8, uint16 or float32 in [0, 1]
    depth: str
    sources: tuple[ndarray, ...]  # uint8, as they are shown
    windows: list[tuple[float, float] | None]  # ranges that were needed: of each of two sources, or of a stack
    notices: tuple[str, ...]


def _fuse(choices: Choices, paths: Sequence[Path], megapixels: float) -> _Made:
    """Read and fuse the files, as a stack or as a pair; errors as of `fuse_files`."""
    task = find_task(choices.task)
    camera = task.id == STRENGTH_TASK and len(paths) == 1 and is_radiometric(paths[0])
    _check_count(task, 2 if camera else len(paths), choices.align)
    for path in paths:
        with open_image(path) as file:
            _check_size(path, file.height, file.width, megapixels)
    fuser = cached_fuser(task.id, choices.size, choices.strength, choices.denoise)
    if _is_stack(choices):
        return _fuse_stack(fuser, paths)
    aligner = None if choices.align == "none" else Aligner(choices.align, measure=measure_of(task.id))
    if not camera:
        return _fuse_pair(fuser, paths, *_read(task, paths), aligner, choices.palette)
    images = read_camera_pair(paths[0], need_placement=aligner is None)
    for image in images:
        _check_size(paths[0], *image.pixels.shape[:2], megapixels)
    return _fuse_pair(fuser, paths, images, [None, None], aligner, choices.palette)


def _is_stack(choices: Choices) -> bool:
    """Whether 'adasffuse stack' does the same: of sources of one kind that are not registered, even of two."""
    return len(find_task(choices.task).kinds) == 1 and choices.align == "none"


def _fuse_pair(
    fuser: Fuser,
    paths: Sequence[Path],
    images: list[Image],
    windows: list[tuple[float, float] | None],
    aligner: Aligner | None,
    palette: str,
) -> _Made:
    """Fuse two images, as 'adasffuse fuse' does; `paths` are those of both, or of a file that holds both."""
    task = fuser.task
    images = images if aligner is None else aligner.align(images)
    if len({image.pixels.shape[:2] for image in images}) > 1:
        listed = ", ".join(f"{p.name} {i.pixels.shape[1]}x{i.pixels.shape[0]}" for p, i in zip(paths, images))
        cure = "choose a registration"
        if task.id == "mif":
            cure += ", or place DICOM slices by what their files say: adasffuse fuse A B -o OUT --resample b"
        raise ImageError(f"sizes differ: {listed} pixels; {cure}")
    notices = _notices(task, images, aligner)
    notices += infrared_notices([fuser.look_at(paths[0], images)], fuser.denoise)
    images[0] = in_palette(images[0], palette, paths[0])
    prepared = fuser.prepare(*images)
    fused = fuser.finish(fuser.fuse_prepared(prepared), prepared)
    depth = result_depth("auto", [image.depth for image in images])
    sources = tuple(quantise(image.pixels, "8") for image in images)
    return _Made(fused, depth, sources, windows, (*prepared.notices, *notices))


def _fuse_stack(fuser: Fuser, paths: Sequence[Path]) -> _Made:
    """Fuse exposures or focus settings, as 'adasffuse stack' does."""
    window = _needed_range(paths, thermal=False)
    fused = fuse_stack(fuser, paths, StackOptions(range=RangeSpec("folder") if window else None))
    sources = tuple(quantise(read_image(path, window).pixels, "8") for path in paths)
    return _Made(fused.pixels, fused.depth, sources, [window], tuple(fused.notices))


def _check_count(task: Task, count: int, align: str) -> None:
    """Raise ImageError for fewer images than two, or more than the task or a registration takes."""
    if count < 2:
        alone = "; only a FLIR radiometric JPEG is a pair by itself" if task.id == STRENGTH_TASK else ""
        raise ImageError(f"give at least two images of the scene, got {count}{alone}")
    if count > 2 and len(task.kinds) > 1:
        raise ImageError(f"{task.title} takes two images, got {count}; stacks are exposures or focus settings")
    if count > 2 and align != "none":
        raise ImageError(
            f"registration is for two images, got {count}; choose none, or use the command adasffuse stack --align"
        )


def _read(task: Task, paths: Sequence[Path]) -> tuple[list[Image], list[tuple[float, float] | None]]:
    """Two images, and the ranges that they needed."""
    thermal = task.thermal or (False, False)
    windows = [_needed_range([path], hot) for path, hot in zip(paths, thermal)]
    return [read_image(path, window, thermal=hot) for path, window, hot in zip(paths, windows, thermal)], windows


def _command(
    choices: Choices, paths: Sequence[Path], windows: Sequence[tuple[float, float] | None], result: str
) -> str:
    """The command that does the same.

    Args:
        windows: the ranges that two sources, or a stack, needed.
        result: name of the result's file.
    """
    stack = _is_stack(choices)
    words = ["adasffuse", "stack" if stack else "fuse", *_names(find_task(choices.task), paths), "-o", result]
    for option, window in zip(("--range",) if stack else ("--range_a", "--range_b"), windows):
        words += [option, "folder"] if window else []
    words += ["--task", choices.task, "--size", choices.size]
    for name, value in choices.options().items():
        words += [f"--{name}", value if isinstance(value, str) else f"{value:g}"]
    return shlex.join(words)


def _notices(task: Task, images: Sequence[Image], align: Aligner | None) -> list[str]:
    """What a user should know of images that may be the wrong ones, or not lie on each other."""
    notices = []
    if all(np.array_equal(images[0].pixels, image.pixels) for image in images[1:]):
        notices.append("the sources are equal, pixel by pixel; was one image given twice?")
    off = seen_misalignment(task, images, align)
    if off is not None and off.turned:
        notices.append(f"the first image seems to fit the second only if it is {off.turned}; turn it")
    elif off is not None and off.unlike:
        notices.append("the images seem to have nothing in common; are they of one scene?")
    elif off is not None and off.shift is not None:
        notices.append(f"the images seem not to lie on each other, by about {off.shift:.0f} pixels; try a registration")
    return notices


@lru_cache(maxsize=_KEPT)
def cached_fuser(task: str, size: str, strength: float = 1.0, denoise: float = 0.0) -> Fuser:
    """The fuser of a task, kept for the next request."""
    return load_fuser(task, size, strength=strength, denoise=denoise)


def share_of_first(first: ndarray, second: ndarray, fused: ndarray) -> ndarray:
    """Whose brightness a result has, as colours: orange the first source's, blue the second's; (H, W, 3) uint8.

    Where both sources have nearly the same brightness the map is gray.
    """
    a, b, f = (luminance(image.astype(np.float32) / 255) * 255 for image in (first, second, fused))
    difference = a - b
    told = np.abs(difference) > _EQUAL
    share = np.where(told, (f - b) / np.where(told, difference, 1), 0.5).clip(0, 1)[..., None]
    colours = share * np.float32([230, 140, 30]) + (1 - share) * np.float32([30, 110, 220])
    colours = np.where(told[..., None], colours, 128)
    return np.rint(colours).astype(np.uint8)


def _check_size(path: Path, height: int, width: int, megapixels: float) -> None:
    """Raise ImageError for an image, of a file, that is too large."""
    found = height * width / 1e6
    if found > megapixels:
        raise ImageError(
            f"{path.name} has {found:.1f} megapixels, this page takes up to {megapixels:g}; for larger images use the "
            "command adasffuse fuse, or start the page with --megapixels"
        )


def _without_folders(text: str, paths: Sequence[Path]) -> str:
    """A text with the names of files in place of their paths, and without the folder that holds them all."""
    for path in paths:
        text = text.replace(str(path), path.name)
    return text.removeprefix(f"{os.path.commonpath(path.parent for path in paths)}: ") if paths else text


def _names(task: Task, paths: Sequence[Path]) -> list[str]:
    """What the command calls the files: their names, in the folders of the task's sources where two are the same."""
    names = [path.name for path in paths]
    if len(paths) == 2 and names[0] == names[1]:
        return [f"{source}/{name}" for source, name in zip(task.sources[0].folders, names)]
    return names


def _needed_range(paths: Sequence[Path], thermal: bool) -> tuple[float, float] | None:
    """The window from the lowest to the highest value of deep files, of which a page cannot ask the user.

    None for files that say what is black and white, but for thermal ones that use little of that.
    """
    needed = False
    for path in paths:
        with open_image(path, thermal) as file:
            stored = None if file.depth == "8" else file.decode()
        if stored is not None and stored.span is None:
            needed = True
            finite = stored.values[np.isfinite(stored.values)]
            if finite.size == 0 or finite.min() == finite.max():
                raise ImageError(f"{path.name}: all its values are equal or missing; there is nothing to fuse")
        elif stored is not None and thermal and not stored.fixed:
            needed |= uses_little(stored.values.min(), stored.values.max(), stored.span)
    return resolve_range(RangeSpec("folder"), paths, thermal=thermal) if needed else None


def _eight_bits(pixels: ndarray) -> ndarray:
    return pixels if pixels.dtype == np.uint8 else cv2.convertScaleAbs(pixels, alpha=1 / 257)
