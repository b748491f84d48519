"""The compared kinds of images (modalities): sources, baselines, fused images, and folders of other methods."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy import ndarray

from adasffuse.classical.baselines import BASELINES
from adasffuse.downstream.frames import Frame
from adasffuse.images.color import luminance, rebuild_color
from adasffuse.images.image import Image, ImageError
from adasffuse.images.notices import LOOKED_AT, notices_of_files, pick_evenly
from adasffuse.images.pairs import Scene, SceneFolder
from adasffuse.images.ranges import RangeSpec, resolve_range
from adasffuse.images.read import IMAGE_SUFFIXES, read_image
from adasffuse.images.write import quantise, write_image
from adasffuse.inference.folder import WantedResults, fuse_scenes
from adasffuse.inference.fuser import load_fuser
from adasffuse.inference.journal import Journal, stamps
from adasffuse.inference.work import Work
from adasffuse.messages import counted, printable
from adasffuse.models import RELEASED_SIZES
from adasffuse.models.weights import RUN_WEIGHTS, WeightsError, find_weights
from adasffuse.tasks import TASKS

SOURCES = ("infrared", "visible")

Windows = Sequence[tuple[float, float] | None]  # of each source the values of black and white; None: of each file


@dataclass(frozen=True)
class Modality:
    """One kind of image of every frame."""

    name: str
    folder: Path | None = None  # folder of images by another method
    weights: str | None = None  # weights of our network
    size: str | None = None  # size of our network; None: that of the weights, small for released ones


def parse_modality(text: str) -> Modality:
    """A modality from its name on the command line.

    Args:
        text: 'infrared', 'visible', a baseline ('average', 'max', ...), 'fused' or 'fused_SIZE' (the released weights),
            NAME=FOLDER of fused images, or NAME=WEIGHTS: a weights file, a run's folder or released weights.
    Raises:
        ValueError: none of these.
    """
    name, equals, value = text.partition("=")
    if equals:
        if not name or "/" in name or name.startswith("."):
            raise ValueError(f"{text}: expected NAME=FOLDER; the name becomes that of a folder")
        path = Path(value)
        if path.is_dir() and not (path / RUN_WEIGHTS).is_file():
            return Modality(name, folder=path)
        try:
            return Modality(name, weights=str(find_weights(value, "ivf")))
        except WeightsError as error:
            raise ValueError(f"{text}: no such folder of images, and {error}") from None
    if name in (*SOURCES, *BASELINES, "fused"):
        return Modality(name)
    if name.startswith("fused_") and name.removeprefix("fused_") in RELEASED_SIZES:
        return Modality(name, size=name.removeprefix("fused_"))
    known = [*SOURCES, *BASELINES, "fused", *(f"fused_{size}" for size in RELEASED_SIZES)]
    raise ValueError(f"{text}: unknown kind of image; choose {', '.join(known)}, or give NAME=FOLDER")


def windows_of(specs: Sequence[RangeSpec | None], frames: Sequence[Frame]) -> Windows:
    """The values of black and white of each source in all frames, as `resolve_range` finds them."""
    files = [[frame.images[source] for frame in frames if source in frame.images] for source in SOURCES]
    thermal = TASKS["ivf"].thermal
    return tuple(resolve_range(spec, some, None, hot) for spec, some, hot in zip(specs, files, thermal))


def source_notices(modalities: Sequence[Modality], frames: Sequence[Frame], windows: Windows) -> list[str]:
    """What a user should know of the sources that are compared, or fused for it: 16 frames, spread over all, are read.

    Raises:
        ImageError: a source cannot be read, or needs a range.
    """
    made = any(_stored(modality, frames) is None for modality in modalities)
    numbers = [number for number, name in enumerate(SOURCES) if made or Modality(name) in modalities]
    texts: list[tuple[Path, str]] = []
    for frame in pick_evenly(frames, LOOKED_AT):
        for number in numbers:
            path = frame.images[SOURCES[number]]
            texts += [(path, text.removeprefix(f"{path}: ")) for text in _read(number, path, windows[number]).notices]
    return notices_of_files(texts)


def _read(number: int, path: Path, window: tuple[float, float] | None) -> Image:
    """Source `number` as fusing reads it."""
    return read_image(path, window, thermal=TASKS["ivf"].thermal[number], option=f"--range_{'ab'[number]}")


def images_of(
    modality: Modality,
    frames: Sequence[Frame],
    folder: Path,
    device: str = "auto",
    windows: Windows = (None, None),
    notices: list[str] | None = None,
) -> dict[str, Path]:
    """The file of every frame in one modality; missing images are made.

    Args:
        folder: folder for images that are made; those of an earlier call are kept if their sources are unchanged.
        device: device of the fusion network.
        windows: as `windows_of` returns them; of a source that has one, images of 8 bits are made.
        notices: what a user should know of images that are fused is added to it.
    Returns:
        stem to file.
    Raises:
        ImageError: a frame has no such image, or could not be fused.
    """
    stored = _stored(modality, frames)
    number = SOURCES.index(modality.name) if modality.name in SOURCES else None
    if stored is not None and modality.folder is None and number is not None and windows[number] is not None:
        return _shown(number, frames, folder, windows[number])
    if stored is not None:
        return stored
    if _is_baseline(modality):
        return _combined(modality.name, frames, folder, windows)
    return _fused(modality, frames, folder, device, windows, [] if notices is None else notices)


def check_images(modality: Modality, frames: Sequence[Frame]) -> None:
    """Check that `images_of` will succeed, before anything is written.

    Raises:
        ImageError: a frame lacks the image, or one of the sources to make it.
        WeightsError: the weights are missing, damaged or made for another task.
    """
    if _stored(modality, frames) is None and not _is_baseline(modality):
        load_fuser("ivf", modality.size, modality.weights, "cpu")


def _is_baseline(modality: Modality) -> bool:
    return modality.name in BASELINES and modality.weights is None


def _stored(modality: Modality, frames: Sequence[Frame]) -> dict[str, Path] | None:
    """The files of a modality that exists as images; None for one that must be made."""
    if modality.folder is not None:
        return _given(modality, frames)
    if modality.weights is None and (modality.name in SOURCES or takes_stored(modality, frames)):
        missing = [frame.stem for frame in frames if modality.name not in frame.images]
        if missing:
            raise ImageError(f"no {modality.name} image of {counted(len(missing), 'frame')}, {missing[0]} for one")
        return {frame.stem: frame.images[modality.name] for frame in frames}
    for frame in frames:
        absent = [source for source in SOURCES if source not in frame.images]
        if absent:
            raise ImageError(f"{frame.stem}: no {absent[0]} image; {modality.name!r} is made of both sources")
    return None


def takes_stored(modality: Modality, frames: Sequence[Frame]) -> bool:
    """Whether 'fused' means the data set's own fused images: it does if every frame has one."""
    ours = modality.name == "fused" and modality.folder is None and modality.weights is None
    return ours and all("fused" in frame.images for frame in frames)


def _given(modality: Modality, frames: Sequence[Frame]) -> dict[str, Path]:
    files = {path.stem: path for path in sorted(modality.folder.iterdir()) if path.suffix.lower() in IMAGE_SUFFIXES}
    missing = [frame.stem for frame in frames if frame.stem not in files]
    if missing:
        raise ImageError(
            f"{modality.folder}: no image of {len(missing)} of {counted(len(frames), 'frame')}, {missing[0]} for "
            "one; files must "
            "be named like the frames"
        )
    return {frame.stem: files[frame.stem] for frame in frames}


def _combined(name: str, frames: Sequence[Frame], folder: Path, windows: Windows) -> dict[str, Path]:
    """A baseline's luminance with the visible images' colours."""

    def combine(scene: Scene) -> ndarray:
        a, b = (_read(number, path, windows[number]).pixels for number, path in enumerate(scene.paths))
        luma = np.clip(BASELINES[name](luminance(a), luminance(b)), 0, 1).astype(np.float32)
        return rebuild_color(luma, (a, b), "b")

    return _made(list(map(_scene, frames)), folder, _settings(name, windows), combine)


def _shown(number: int, frames: Sequence[Frame], folder: Path, window: tuple[float, float]) -> dict[str, Path]:
    """A source at 8 bits, with black and white at the values of its window."""
    scenes = [Scene(frame.stem, (frame.images[SOURCES[number]],)) for frame in frames]
    settings = _settings(SOURCES[number], [window])
    return _made(scenes, folder, settings, lambda scene: quantise(_read(number, scene.paths[0], window).pixels, "8"))


def _settings(name: str, windows: Windows) -> str:
    """What images are made with, for their journal."""
    return f"{name} {list(windows)}" if any(windows) else name


def _made(scenes: Sequence[Scene], folder: Path, settings: str, make: Callable[[Scene], ndarray]) -> dict[str, Path]:
    """The images that `make` makes, by stem; finished ones of unchanged sources and settings are kept."""
    files = {}
    folder.mkdir(parents=True, exist_ok=True)
    with Journal(folder, settings, resume=True) as journal:
        for scene in scenes:
            path = journal.finished(scene)
            if path is None:
                path, before = folder / f"{scene.stem}.png", stamps(scene.paths)
                write_image(path, make(scene))
                journal.note(scene, before, [path])
            files[scene.stem] = path
    return files


def _scene(frame: Frame) -> Scene:
    return Scene(frame.stem, tuple(frame.images[source] for source in SOURCES))


def _fused(
    modality: Modality, frames: Sequence[Frame], folder: Path, device: str, windows: Windows, notices: list[str]
) -> dict[str, Path]:
    scenes = tuple(map(_scene, frames))
    work = Work(SceneFolder(modality.name, tuple(path.parent for path in scenes[0].paths)), scenes, (), folder)
    fuser = load_fuser("ivf", modality.size, modality.weights, device)
    specs = [None if one is None else RangeSpec("fixed", min(one), max(one), one[0] > one[1]) for one in windows]
    report = fuse_scenes(fuser, work, WantedResults(ranges=specs), resume=True)
    if report.failed:
        name, reason = report.failed[0]
        raise ImageError(
            f"{counted(len(report.failed), 'frame')} could not be fused, {name} for one: {printable(reason)}"
        )
    of_files = tuple(str(path) for scene in scenes for path in scene.paths)  # `source_notices` tells these
    notices += [f"{modality.name}: {notice}" for notice in report.notices if not notice.startswith(of_files)]
    return {frame.stem: report.files[frame.stem] for frame in frames}
