"""Built-in sample pairs of all four tasks, made on the fly from photographs that scikit-image installs, or rendered.

Sources and their licences, as scikit-image's documentation states them: astronaut (NASA, public domain), rocket
(SpaceX, public domain), chelsea, coffee, camera, brick and gravel (CC0).  None is downloaded.  Titles of simulated
samples say so: no sample was taken by an infrared camera or a medical scanner.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from skimage import data as photographs

from adasffuse.data.synthesis import RESPONSE, expose, focus_far, focus_near, smooth_noise
from adasffuse.images.write import quantise, write_image
from adasffuse.scenes.head import head
from adasffuse.scenes.street import night_scene
from adasffuse.tasks import find_task

_OUTLINED = 0.625  # scale of photographs of which an outline is drawn
# Outlines of foreground objects, (x, y) in pixels of the full photograph.
_ASTRONAUT = (
    "155,70 175,25 230,12 285,30 302,75 290,115 262,130 258,170 300,210 305,250 340,265 355,310 362,345 400,340 "
    "450,360 485,395 500,440 512,470 512,512 15,512 20,430 40,340 45,270 75,225 120,205 115,185 145,155 190,150 "
    "175,120 158,105"
)
_CAMERAMAN = (
    "0,350 20,235 55,170 105,130 150,108 160,85 200,62 245,72 272,105 268,140 262,185 318,172 332,205 302,226 302,270 "
    "288,300 245,315 205,298 160,362 145,405 152,512 95,512 97,445 85,512 0,512"
)
_CAMERAMAN_FACE = "185,135 200,120 235,120 268,110 268,140 258,150 245,185 225,200 195,185"


@dataclass(frozen=True)
class Sample:
    """One registered pair, uint8, (H, W) gray or (H, W, 3) RGB."""

    name: str  # stem of the files
    title: str  # with the word 'simulated' if it is
    a: np.ndarray
    b: np.ndarray
    note: str  # origin, and what each image shows
    subset: str = ""  # folder below the task's: 'PET-MRI'


def sample_pairs(task_id: str) -> list[Sample]:
    """The task's sample pairs, always the same; a few hundred pixels wide.

    Raises:
        ValueError: no task has that id.
    """
    return [make() for make in _SAMPLES[find_task(task_id).id]]


def write_samples(root: str | Path, task_id: str) -> list[Sample]:
    """Write a task's samples as PNG in the layout of data sets: `<root>/IVF/infrared/NAME.png`, `MIF/PET-MRI/PET/...`.

    Returns:
        The samples.
    Raises:
        ImageError: a file cannot be written.
        ValueError: no task has that id.
    """
    task, samples = find_task(task_id), sample_pairs(task_id)
    for sample in samples:
        sources = next(one for one in task.sources if one.subset == sample.subset)
        for folder, image in zip(sources.folders, (sample.a, sample.b)):
            write_image(Path(root, task.folder, sample.subset, folder, f"{sample.name}.png"), image)
    return samples


def _street() -> Sample:
    scene = night_scene(np.random.default_rng(14), (256, 352))  # a seed with people, signs and windows in full view
    note = "Rendered by AdaSFFuse. People are hot but dark; signs, crossing and lit windows show only to the eye."
    infrared, visible = quantise(scene.infrared, "8"), quantise(scene.visible, "8")
    return Sample("street", "Night street, simulated infrared, rendered scene", infrared, visible, note)


def _smoke() -> Sample:
    """The cameraman photograph behind drifting smoke, and heat made up from the outline of the man."""
    rng = np.random.default_rng(2)
    photo = _photograph("camera", _OUTLINED)
    height, width = photo.shape
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    smoke = 0.95 - 1.7 * np.abs(down - 0.6) + 0.18 * smooth_noise(height, width, (5, 5), rng)
    smoke = np.clip(smoke, 0, 0.94)
    visible = 0.62 * photo**1.2 * (1 - smoke) + 0.4 * smoke  # dusk

    man = cv2.medianBlur(_outline(_CAMERAMAN, photo.shape) * np.uint8(photo < 0.45), 5)
    face = _outline(_CAMERAMAN_FACE, photo.shape)
    inside = np.minimum(cv2.distanceTransform(np.maximum(man, face), cv2.DIST_L2, 5) / 25, 1)
    folds = cv2.GaussianBlur(photo, (0, 0), 1.5) - cv2.GaussianBlur(photo, (0, 0), 8)
    coat = 0.62 + 0.2 * inside + 0.8 * folds + 0.03 * smooth_noise(height, width, (12, 12), rng)
    ground = np.where(down > 0.46, 0.28, np.where(photo < 0.62, 0.3, 0.06)) + 0.05 * photo  # grass, skyline, sky
    coat += cv2.GaussianBlur(face.astype(np.float32), (0, 0), 2) * 0.25
    heat = np.where(man | face, coat, ground).astype(np.float32)
    infrared = cv2.GaussianBlur(heat, (0, 0), 1.0) + 0.01 * rng.standard_normal(photo.shape, dtype=np.float32)
    note = (
        "Photograph 'camera' (CC0). Smoke hides the man from the eye, not his heat; the skyline shows only to the eye."
    )
    return Sample(
        "smoke", "Man behind smoke, simulated infrared", quantise(infrared, "8"), quantise(visible, "8"), note
    )


def _lit_from_one_side() -> Sample:
    """The cat by a window: five stops from the bright to the dark side, more than one exposure holds."""
    photo = _photograph("chelsea", 0.75)
    across = np.linspace(1, -1, photo.shape[1], dtype=np.float32)[:, None]
    scene = photo * 2 ** (2.5 * across / RESPONSE)
    note = "Photograph 'chelsea' (CC0), side light added. Each exposure clips what the other keeps."
    return _exposures("cat", "Cat by a window, simulated exposures", scene, (-2.2, 1.8), note)


def _launch_pad() -> Sample:
    """The rocket at dusk, its foot in a floodlight three stops brighter."""
    photo = _photograph("rocket", 0.5625)
    y, x = np.mgrid[-0.95 : 0.05 : photo.shape[0] * 1j, -0.75 : 0.75 : photo.shape[1] * 1j].astype(np.float32)
    floodlight = np.exp(-((x / 0.6) ** 2) - (y / 0.25) ** 2)[..., None]
    note = "Photograph 'rocket' (SpaceX, public domain), floodlight added. Pad clips in one, towers drown in the other."
    scene = photo * 2 ** (3 * floodlight / RESPONSE)
    return _exposures("rocket", "Rocket at dusk, simulated exposures", scene, (-2, 1.5), note)


def _exposures(name: str, title: str, scene: np.ndarray, stops: tuple[float, float], note: str) -> Sample:
    rng = np.random.default_rng(3)
    low, over = (quantise(expose(scene, s, noise=0.0004, rng=rng), "8") for s in stops)
    return Sample(name, title, low, over, note)


def _portrait() -> Sample:
    photo = _photograph("astronaut", _OUTLINED)
    near = _outline(_ASTRONAUT, photo.shape)
    note = "Photograph 'astronaut' (NASA, public domain). Person sharp in A, flag and shuttle sharp in B."
    return _focus("portrait", "Portrait, simulated focus", photo, near, 4.0, note)


def _coffee() -> Sample:
    photo = _photograph("coffee", 0.6)
    near = np.zeros(photo.shape[:2], np.uint8)
    cv2.ellipse(near, (167, 133), (121, 97), 0, 0, 360, 1, -1)  # saucer
    cv2.ellipse(near, (174, 70), (71, 60), 0, 0, 360, 1, -1)  # cup
    note = "Photograph 'coffee' (CC0). Cup and saucer sharp in A, table sharp in B."
    return _focus("coffee", "Coffee, simulated focus", photo, near, 3.0, note)


def _focus(name: str, title: str, photo: np.ndarray, near: np.ndarray, radius: float, note: str) -> Sample:
    near = cv2.GaussianBlur(near.astype(np.float32), (0, 0), 1.0)
    a, b = (quantise(focus(photo, near, radius), "8") for focus in (focus_near, focus_far))
    return Sample(name, title, a, b, note)


def _head(seed: int, modality: str, gain: str) -> Sample:
    images = head(seed)
    title = f"Head, simulated {modality} and MRI, rendered phantom"
    note = f"Rendered by AdaSFFuse, no patient. {gain}"
    return Sample(f"head{seed}", title, images[modality], images["MRI"], note, f"{modality}-MRI")


def _photograph(name: str, scale: float) -> np.ndarray:
    """A photograph of scikit-image as float32 in [0, 1], reduced by `scale`."""
    image = getattr(photographs, name)().astype(np.float32) / 255
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def _outline(points: str, shape: tuple[int, ...]) -> np.ndarray:
    """(H, W) uint8 mask, 1 inside the polygon 'x,y x,y ...' given in pixels of the unscaled photograph."""
    corners = np.array([point.split(",") for point in points.split()], float) * _OUTLINED
    return cv2.fillPoly(np.zeros(shape[:2], np.uint8), [np.rint(corners).astype(np.int32)], 1)


_SAMPLES: dict[str, tuple[Callable[[], Sample], ...]] = {
    "ivf": (_street, _smoke),
    "mef": (_lit_from_one_side, _launch_pad),
    "mff": (_portrait, _coffee),
    "mif": (
        functools.partial(_head, 4, "CT", "Bone and a bleeding from CT, soft tissue from MRI."),
        functools.partial(_head, 5, "PET", "Metabolism in colour from PET, anatomy from MRI."),
        functools.partial(_head, 6, "SPECT", "Blood flow in colour from SPECT, anatomy from MRI."),
    ),
}
