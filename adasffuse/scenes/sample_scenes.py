"""Rendered scenes for the built-in samples: a street at night and a head, each as two imagers might see it.

Nothing here is measured: the infrared, CT, MRI, PET and SPECT images are simulations that show what a fusion method
has to do, not how a scene of this kind looks to a real instrument.
"""

import cv2
import numpy as np
from skimage import data as photographs

from adasffuse.data.synthesis import smooth_noise

_PET_MAP = ((0, 0, 0), (20, 10, 120), (0, 110, 230), (0, 190, 120), (150, 220, 0), (250, 200, 0), (240, 50, 0))
_SPECT_MAP = ((0, 0, 0), (45, 10, 90), (120, 25, 130), (200, 60, 90), (245, 130, 30), (255, 210, 90), (255, 250, 210))

_CAFE = (  # strokes of the letters on a grid 2 wide and 3 high
    [[(2, 0), (0, 0), (0, 3), (2, 3)]],
    [[(0, 3), (0, 1), (1, 0), (2, 1), (2, 3)], [(0, 2), (2, 2)]],
    [[(2, 0), (0, 0), (0, 3)], [(0, 1.5), (1.5, 1.5)]],
    [[(2, 0), (0, 0), (0, 3), (2, 3)], [(0, 1.5), (1.5, 1.5)]],
)


# A street at night ------------------------------------------------------------------------------------------------


class _Canvas:
    """Three layers painted together: surface colour and emitted light, (H, W, 3) each, and heat, (H, W)."""

    def __init__(self, height: int, width: int) -> None:
        self.color, self.light = np.zeros((2, height, width, 3), np.float32)
        self.heat = np.zeros((height, width), np.float32)

    def polygon(self, points, color=(0, 0, 0), heat=0.0, light=(0, 0, 0)) -> None:
        corners = [np.rint(points).astype(np.int32)]
        for layer, value in ((self.color, color), (self.light, light), (self.heat, heat)):
            cv2.fillPoly(layer, corners, value)

    def box(self, x0, y0, x1, y1, **paint) -> None:
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], **paint)

    def ellipse(self, center, axes, color=(0, 0, 0), heat=0.0, light=(0, 0, 0)) -> None:
        self.polygon(cv2.ellipse2Poly(center, axes, 0, 0, 360, 6), color, heat, light)


def night_street() -> tuple[np.ndarray, np.ndarray]:
    """Simulated infrared (256, 352) and visible (256, 352, 3) images of a street at night, uint8.

    People are hot and nearly invisible in the dark; lettering, lane marks, lit windows and brickwork have no heat.
    """
    rng = np.random.default_rng(1)
    canvas = _Canvas(512, 704)  # painted at twice the size, so that edges are antialiased
    _paint_houses(canvas)
    _paint_road(canvas)
    _paint_car(canvas)
    for x, foot, height in ((120, 420, 150), (176, 408, 140), (468, 356, 84), (568, 452, 176)):
        _paint_person(canvas, x, foot, height)
    for letter, strokes in enumerate(_CAFE):  # own strokes, because fonts differ between versions of OpenCV
        for stroke in strokes:
            corners = np.array(stroke) * (9, 13) + (32 + 36 * letter, 198)
            cv2.polylines(canvas.light, [corners.astype(np.int32)], False, (0.2, 0.9, 1.0), 4)

    glow = sum(
        weight * cv2.GaussianBlur(canvas.light, (0, 0), sigma) for weight, sigma in ((0.5, 6), (0.8, 40), (1.5, 110))
    )
    visible = canvas.color * (0.1 + 3 * glow) + canvas.light + 0.35 * glow
    visible = _noisy(cv2.resize(visible, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) ** 0.75, 0.012, rng)
    heat = cv2.resize(cv2.GaussianBlur(canvas.heat, (0, 0), 2), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    heat += 0.02 * smooth_noise(*heat.shape, (16, 22), rng)
    return _noisy(heat, 0.012, rng), visible


def _paint_houses(canvas: _Canvas) -> None:
    """Sky, two brick fronts that recede towards the middle, with windows lit and dark."""
    height, width = canvas.heat.shape
    canvas.box(0, 0, width, height, color=(0.03, 0.04, 0.08), heat=0.04)
    bricks = cv2.rotate(photographs.brick(), cv2.ROTATE_90_CLOCKWISE)[:, :, None] / np.float32(255)
    bricks = cv2.resize(bricks, (width, height))[..., None] * np.float32([1.0, 0.62, 0.5])
    for front in ([(0, -60), (290, 150), (290, 330), (0, 400)], [(704, -120), (420, 140), (420, 330), (704, 410)]):
        canvas.polygon(front, color=(1, 1, 1), heat=0.3)
    wall = canvas.color[..., 0] == 1
    canvas.color[wall] = bricks[wall]
    for column, lit in enumerate((True, False, True)):
        for row in range(2):
            x, top = 40 + 78 * column, 90 + 26 * column + 96 * row
            _paint_window(canvas, x, top, 34, 44 - 6 * column, lit != bool(row))
            _paint_window(canvas, 640 - 74 * column, top - 34 + 4 * column, 36, 50 - 6 * column, lit == bool(row))
    canvas.box(16, 186, 168, 250, color=(0.05, 0.05, 0.06), heat=0.26)  # the cafe's sign board


def _paint_window(canvas: _Canvas, x: int, y: int, width: int, height: int, lit: bool) -> None:
    glass = {"light": (0.95, 0.75, 0.4), "heat": 0.42} if lit else {"color": (0.15, 0.17, 0.2), "heat": 0.16}
    canvas.box(x, y, x + width, y + height, **glass)
    canvas.box(x + width // 2 - 1, y, x + width // 2 + 1, y + height, color=(0.3, 0.25, 0.2), heat=0.3)


def _paint_road(canvas: _Canvas) -> None:
    """Asphalt with lane marks and a crossing, pavements, two lamps with their light."""
    height, width = canvas.heat.shape
    canvas.polygon([(0, 396), (290, 326), (420, 326), (704, 404), (704, 512), (0, 512)], color=(2, 2, 2), heat=0.2)
    asphalt = canvas.color[..., 0] == 2
    gravel = cv2.resize(photographs.gravel(), (176, 128), interpolation=cv2.INTER_AREA) / np.float32(255)
    canvas.color[asphalt] = 0.4 * np.tile(gravel, (height // 128, width // 176))[asphalt, None]
    canvas.polygon([(-160, 512), (300, 328), (312, 328), (20, 512)], color=(0.36, 0.36, 0.38), heat=0.26)
    canvas.polygon([(410, 328), (400, 328), (690, 512), (860, 512)], color=(0.36, 0.36, 0.38), heat=0.26)
    for near, far in ((512, 456), (436, 404), (390, 368), (358, 346)):
        half_near, half_far = (near - 300) / 40, (far - 300) / 40
        marks = [(354 - half_near, near), (354 - half_far, far), (354 + half_far, far), (354 + half_near, near)]
        canvas.polygon(marks, color=(0.95, 0.95, 0.9), heat=0.2)
    for x in range(150, 560, 64):
        near, far = 354 + (x - 354) * 1.25, 354 + (x - 354) * 1.02
        canvas.polygon([(near, 496), (far, 456), (far + 26, 456), (near + 30, 496)], color=(0.9, 0.9, 0.88), heat=0.2)
    for x, top, foot in ((262, 96, 350), (452, 80, 356)):
        canvas.box(x - 3, top, x + 3, foot, color=(0.2, 0.2, 0.2), heat=0.22)
        canvas.ellipse((x, top), (15, 8), light=(1.9, 1.55, 1.0), heat=0.75)


def _paint_car(canvas: _Canvas) -> None:
    """A parked car from behind: red tail lamps to the eye, warm tyres, exhaust and engine to the infrared."""
    x, y = 392, 402
    canvas.polygon([(x - 60, y), (x - 54, y - 44), (x + 54, y - 44), (x + 60, y)], color=(0.1, 0.16, 0.3), heat=0.36)
    canvas.polygon(
        [(x - 48, y - 44), (x - 36, y - 80), (x + 36, y - 80), (x + 48, y - 44)], color=(0.1, 0.16, 0.3), heat=0.33
    )
    canvas.polygon(
        [(x - 38, y - 46), (x - 30, y - 74), (x + 30, y - 74), (x + 38, y - 46)], color=(0.3, 0.34, 0.4), heat=0.15
    )
    for side in (-1, 1):
        canvas.box(x + side * 46 - 8, y, x + side * 46 + 8, y + 14, color=(0.04, 0.04, 0.04), heat=0.78)
        canvas.ellipse((x + side * 46, y - 30), (9, 5), light=(1.2, 0.1, 0.06), heat=0.45)
    canvas.box(x - 20, y - 22, x + 20, y - 10, color=(0.9, 0.9, 0.8), heat=0.34)
    canvas.ellipse((x + 26, y + 2), (5, 4), color=(0.1, 0.1, 0.1), heat=1.0)


def _paint_person(canvas: _Canvas, x: int, foot: int, height: int) -> None:
    """A walking figure in dark clothes, `height` pixels tall."""
    unit = height / 100
    coat = {"color": (0.05, 0.05, 0.07)}

    def at(*points):
        return [(x + dx * unit, foot - dy * unit) for dx, dy in points]

    canvas.polygon(at((-9, 0), (-3, 0), (2, 48), (-8, 48)), heat=0.72, **coat)
    canvas.polygon(at((5, 0), (11, 0), (9, 48), (-2, 48)), heat=0.72, **coat)
    canvas.polygon(at((-13, 44), (-15, 78), (-8, 85), (8, 85), (15, 78), (12, 44)), heat=0.82, **coat)
    canvas.polygon(at((13, 80), (18, 60), (15, 42), (11, 44)), heat=0.85, **coat)
    canvas.ellipse((x, round(foot - 92 * unit)), (round(6.5 * unit), round(8 * unit)), (0.2, 0.15, 0.12), 0.98)


# A head -----------------------------------------------------------------------------------------------------------


def head(seed: int, size: int = 256) -> dict[str, np.ndarray]:
    """One simulated slice through a head as CT, MRI, PET and SPECT might show it, registered.

    Args:
        seed: picks folds of the cortex, position and size of a lesion.
        size: height and width in pixels.
    Returns:
        uint8 images: 'CT' and 'MRI' (size, size) gray, 'PET' and 'SPECT' (size, size, 3) in a rainbow-like and a
        purple-orange colour map on black.
    """
    rng = np.random.default_rng(seed)
    tissue, lesion = _tissues(rng, size)
    t2 = seed % 2  # every other slice has bright fluid
    ct = _image(tissue, scalp=0.32, skull=1.0, fluid=0.22, gray=0.42, white=0.37) + 0.5 * np.roll(lesion, size // 4, 1)
    fluid, gray, white = (0.95, 0.6, 0.38) if t2 else (0.1, 0.42, 0.72)
    mri = _image(tissue, scalp=0.8, skull=0.05, fluid=fluid, gray=gray, white=white) + 0.35 * lesion
    activity = _image(tissue, scalp=0.08, skull=0.04, fluid=0.05, gray=0.85, white=0.35)
    uptake = activity * (1 + 0.12 * smooth_noise(size, size, (6, 6), rng)) + 0.6 * lesion
    return {
        "CT": _noisy(cv2.GaussianBlur(ct, (0, 0), 0.9), 0.01, rng),
        "MRI": _noisy(cv2.GaussianBlur(mri, (0, 0), 0.6), 0.015, rng),
        "PET": _colored(cv2.GaussianBlur(uptake, (0, 0), size / 75), _PET_MAP),
        "SPECT": _colored(cv2.GaussianBlur(uptake, (0, 0), size / 40), _SPECT_MAP),
    }


def _tissues(rng: np.random.Generator, size: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Masks of scalp, skull, fluid, gray and white matter, and a lesion's weights in [0, 1]."""
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j].astype(np.float32)
    wobble = 0.012 * smooth_noise(size, size, (6, 6), rng)
    radius = np.hypot(x / (0.74 + 0.05 * y), y / 0.92) + wobble  # 1 at the skin
    folds = smooth_noise(size, size, (17, 17), rng)
    folds = folds + 0.8 * folds[:, ::-1]  # the two halves resemble each other
    brain = radius < 0.82
    sulci = (np.abs(folds) < 0.16) & (radius > 0.48 + 0.08 * smooth_noise(size, size, (9, 9), rng))
    fissure = (np.abs(x + 0.5 * wobble) < 0.012) & (np.abs(y) > 0.28)
    ventricles = np.hypot((np.abs(x) - 0.1 - 0.25 * np.abs(y)) / 0.06, y / 0.3) < 1
    fluid = (radius < 0.86) & (~brain | sulci | fissure | ventricles)
    depth = cv2.distanceTransform((brain & ~(sulci | fissure)).astype(np.uint8), cv2.DIST_L2, 5)
    nuclei = np.hypot((np.abs(x) - 0.25) / 0.09, (y - 0.06) / 0.16) < 1
    gray = brain & ~fluid & ((depth < size / 55) | nuclei)
    masks = {
        "scalp": (radius < 1) & (radius >= 0.95),
        "skull": (radius < 0.95) & (radius >= 0.86),
        "fluid": fluid,
        "gray": gray,
        "white": brain & ~fluid & ~gray,
    }
    spot = np.hypot(x + rng.uniform(0.22, 0.34), y - rng.uniform(-0.35, 0.35)) + wobble
    return masks, np.clip((rng.uniform(0.08, 0.13) - spot) / 0.02, 0, 1)


def _image(tissue: dict[str, np.ndarray], **values: float) -> np.ndarray:
    return sum(tissue[name] * np.float32(value) for name, value in values.items())


def _colored(values: np.ndarray, color_map: tuple) -> np.ndarray:
    """RGB uint8 of values in [0, 1] by linear interpolation in a colour map."""
    steps = np.linspace(0, 1, len(color_map))
    channels = [np.interp(values, steps, channel) for channel in zip(*color_map)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def _noisy(image: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """uint8 of an image in [0, 1] with Gaussian noise."""
    image = image + np.float32(sigma) * rng.standard_normal(image.shape, dtype=np.float32)
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
