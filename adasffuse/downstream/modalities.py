"""The compared kinds of images (modalities): sources, baselines, fused images, and folders of other methods."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adasffuse.classical.baselines import BASELINES
from adasffuse.downstream.frames import Frame
from adasffuse.files import printable
from adasffuse.images.color import luminance, rebuild_color
from adasffuse.images.image import ImageError
from adasffuse.images.pairs import Scene, SceneFolder
from adasffuse.images.read import IMAGE_SUFFIXES, read_image
from adasffuse.images.write import write_image
from adasffuse.inference.folder import fuse_scenes
from adasffuse.inference.fuser import load_fuser
from adasffuse.inference.journal import Journal, stamps
from adasffuse.inference.work import Work
from adasffuse.models import RELEASED_SIZES
from adasffuse.models.weights import RUN_WEIGHTS, WeightsError, find_weights

SOURCES = ("infrared", "visible")


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
    name = {"maximum": "max"}.get(name, name)
    if name in (*SOURCES, *BASELINES, "fused"):
        return Modality(name)
    if name.startswith("fused_") and name.removeprefix("fused_") in RELEASED_SIZES:
        return Modality(name, size=name.removeprefix("fused_"))
    known = [*SOURCES, *BASELINES, "fused", *(f"fused_{size}" for size in RELEASED_SIZES)]
    raise ValueError(f"{text}: unknown kind of image; choose {', '.join(known)}, or give NAME=FOLDER")


def images_of(modality: Modality, frames: Sequence[Frame], folder: Path, device: str = "auto") -> dict[str, Path]:
    """The file of every frame in one modality; missing images are made.

    Args:
        folder: folder for images that are made; those of an earlier call are kept if their sources are unchanged.
        device: device of the fusion network.
    Returns:
        stem to file.
    Raises:
        ImageError: a frame has no such image, or could not be fused.
    """
    stored = _stored(modality, frames)
    if stored is not None:
        return stored
    if _is_baseline(modality):
        return _combined(modality.name, frames, folder)
    return _fused(modality, frames, folder, device)


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
            raise ImageError(f"{len(missing)} frames have no {modality.name} image, {missing[0]} for one")
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
            f"{modality.folder}: no image of {len(missing)} of {len(frames)} frames, {missing[0]} for one; files must "
            "be named like the frames"
        )
    return {frame.stem: files[frame.stem] for frame in frames}


def _combined(name: str, frames: Sequence[Frame], folder: Path) -> dict[str, Path]:
    """A baseline's luminance with the visible images' colours; finished images of unchanged sources are kept."""
    files = {}
    folder.mkdir(parents=True, exist_ok=True)
    with Journal(folder, name, resume=True) as journal:
        for scene in map(_scene, frames):
            path = journal.finished(scene)
            if path is None:
                path, before = folder / f"{scene.stem}.png", stamps(scene.paths)
                a, b = (read_image(source).pixels for source in scene.paths)
                luma = np.clip(BASELINES[name](luminance(a), luminance(b)), 0, 1).astype(np.float32)
                write_image(path, rebuild_color(luma, (a, b), "b"))
                journal.note(scene, before, [path])
            files[scene.stem] = path
    return files


def _scene(frame: Frame) -> Scene:
    return Scene(frame.stem, tuple(frame.images[source] for source in SOURCES))


def _fused(modality: Modality, frames: Sequence[Frame], folder: Path, device: str) -> dict[str, Path]:
    scenes = tuple(map(_scene, frames))
    work = Work(SceneFolder(modality.name, tuple(path.parent for path in scenes[0].paths)), scenes, (), folder)
    fuser = load_fuser("ivf", modality.size, modality.weights, device)
    report = fuse_scenes(fuser, work, resume=True)
    if report.failed:
        name, reason = report.failed[0]
        raise ImageError(f"{len(report.failed)} frames could not be fused, {name} for one: {printable(reason)}")
    return {frame.stem: report.files[frame.stem] for frame in frames}
