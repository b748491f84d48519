"""A rendered street at night as an infrared and a visible camera see it, and what is where.

Images are float32 in [0, 1], masks bool (H, W).  All randomness comes from the caller's generator.  The street is a
simulation: it shows what a fusion method has to do, not how a real instrument sees.  Every pixel's ray meets ground,
house fronts or sky; people and cars are painted over them.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy import ndarray

from adasffuse.images.color import luminance
from adasffuse.images.masks import dilate
from adasffuse.scenes.figures import paint_car, paint_person, paint_post
from adasffuse.scenes.glare import RESPONSE, add_glare
from adasffuse.scenes.surfaces import render_surroundings
from adasffuse.scenes.world import Lamp, Street

_SUPERSAMPLING = 2


@dataclass(frozen=True)
class NightCase:
    """A rendered pair at night with headlights towards the camera, and what is where."""

    infrared: ndarray  # (H, W)
    visible: ndarray  # (H, W, 3)
    saturated: ndarray  # mask: glare has clipped the visible image
    targets: ndarray  # mask: people and warm vehicles, hot in infrared, outside the glare
    dark: ndarray  # mask: night in the visible image, ordinary gray in the infrared one, no target
    detail: ndarray  # mask: lit structure that only the visible image shows


def night_scene(rng: np.random.Generator, size: tuple[int, int] = (240, 320)) -> NightCase:
    """A rendered street at night: house fronts, few lamps and signs, an oncoming car, people in the dark.

    Visible: lamps light patches of road and wall, the rest is night with sensor noise; the oncoming car's headlights
    glare.  Infrared: fronts and road are gray with warm and cool patches, people and the moving car are hot, lettering
    and lane marks have no heat of their own.

    Args:
        rng: source of all randomness.
        size: (height, width) in pixels, at least 64 each.
    Returns:
        float32 images in [0, 1] and bool masks, all of that size.
    Raises:
        ValueError: `size` is smaller.
    """
    if min(size) < 64:
        raise ValueError(f"night_scene needs at least 64 x 64 pixels, got {size[0]} x {size[1]}")
    height, width = (side * _SUPERSAMPLING for side in size)
    street = Street(
        rng,
        height,
        width,
        focal=rng.uniform(0.85, 1.15) * max(height, width),
        vanishing=(rng.uniform(0.38, 0.62) * width, rng.uniform(0.4, 0.5) * height),
        eye=rng.uniform(1.7, 2.6),
        sides=(-rng.uniform(5.5, 8), rng.uniform(5.5, 8)),
    )
    car = np.array([-1.7, 0.0, rng.uniform(11, 17)])  # drives on the other lane
    parked = np.array([street.sides[1] - 3.1, 0.0, rng.uniform(9, 20)])
    street.people = _places_of_people(street, car)
    _set_lamps(street, car)
    render_surroundings(street)
    for lamp in street.lamps:
        if lamp.beam is None:
            paint_post(street, lamp)
    objects = [(z, paint_person, (x, z)) for x, z in street.people]
    objects += [(car[2], paint_car, (car, True)), (parked[2], paint_car, (parked, False))]
    for _, paint, arguments in sorted(objects, key=lambda item: -item[0]):  # the nearest last
        paint(street, *arguments)

    infrared = _thermal_image(street)
    lights = street.project([car + np.array([side * 0.68, 0.68, 0]) for side in (-1, 1)])
    lights = (lights + 0.5) / _SUPERSAMPLING - 0.5  # coordinates are those of pixels' centres
    visible, saturated = add_glare(_photograph(street), rng, lights, radius=(0.04, 0.085), falloff=(2.4, 3.2))
    targets = _reduced(street.targets.astype(np.float32)) > 0.5
    masks = _measured_masks(infrared, luminance(visible), targets, saturated)
    return NightCase(infrared, visible, saturated, targets & ~dilate(saturated, 4), *masks)


def _places_of_people(street: Street, car: ndarray) -> list[tuple[float, float]]:
    """One person beside the headlights, where they dazzle, the others on pavements and road."""
    rng = street.rng
    places = [(car[0] + rng.choice([-1, 1]) * rng.uniform(1.3, 1.7), car[2] - rng.uniform(0.3, 1.5))]
    for _ in range(int(rng.integers(2, 5))):
        z = rng.uniform(7, 22)
        side = street.sides[int(rng.random() < 0.5)]
        places.append((side - np.sign(side) * rng.uniform(0.6, 2.4) if rng.random() < 0.75 else rng.uniform(0, 2), z))
    return places


def _set_lamps(street: Street, car: ndarray) -> None:
    """Lamp posts along both kerbs, few of them alight, and the beam of the car."""
    rng = street.rng
    for number, z in enumerate(np.arange(rng.uniform(9, 16), 60, 17)):
        if number == 0 or rng.random() < 0.4:
            x = street.sides[number % 2] * 0.62
            color = np.array([1.0, rng.uniform(0.62, 0.85), rng.uniform(0.3, 0.65)])
            street.lamps.append(Lamp(np.array([x, 5.6, z]), color * rng.uniform(14, 26)))
    street.lamps.append(Lamp(car + np.array([0, 0.7, -0.3]), np.array([2.0, 2.1, 2.3]), np.array([0.05, -0.12, -0.99])))


def _photograph(street: Street) -> ndarray:
    """The visible image, RGB: bloom of bright lights, exposure, noise of the sensor, response."""
    light = np.minimum(street.radiance, 8)
    bright = np.maximum(light - 0.2, 0)
    scale = street.height / 480
    bloom = sum(w * cv2.GaussianBlur(bright, (0, 0), sigma * scale) for w, sigma in ((0.25, 3), (0.12, 12), (0.08, 45)))
    rng = street.rng
    exposure = _reduced(light + bloom) * np.float32(rng.uniform(0.4, 1.0))
    noise = np.sqrt(0.00025 * exposure + 0.0007**2) * rng.standard_normal(exposure.shape, dtype=np.float32)
    noise = 0.6 * noise + 0.7 * cv2.GaussianBlur(noise, (0, 0), 0.8)  # interpolated colour makes it coarser
    return np.power(np.clip(exposure + noise, 0, 1), np.float32(1 / RESPONSE))


def _thermal_image(street: Street) -> ndarray:
    """The infrared image: blur of the optics, columns of unequal gain, noise."""
    rng, heat = street.rng, cv2.GaussianBlur(street.heat, (0, 0), 0.8 * _SUPERSAMPLING)
    heat = _reduced(heat)
    heat += 0.004 * rng.standard_normal((1, heat.shape[1]), dtype=np.float32)
    heat += 0.008 * rng.standard_normal(heat.shape, dtype=np.float32)
    return np.clip(heat, 0, 1)


def _measured_masks(
    infrared: ndarray, visible: ndarray, targets: ndarray, saturated: ndarray
) -> tuple[ndarray, ndarray]:
    """Dark background and lit detail by what both images show, without noise, away from targets and glare."""
    busy = dilate(targets | saturated, 4)
    smooth_infrared, smooth_visible = (cv2.GaussianBlur(image, (0, 0), 2.5) for image in (infrared, visible))
    dark = (smooth_visible < 0.18) & (smooth_infrared - smooth_visible > 0.15) & ~busy
    smooth_infrared, smooth_visible = (cv2.GaussianBlur(image, (0, 0), 1.2) for image in (infrared, visible))
    contrasts = []
    for image in (smooth_infrared, smooth_visible):
        mean, square = (cv2.blur(x.astype(np.float64), (7, 7)) for x in (image, image**2))
        contrasts.append(np.sqrt(np.maximum(square - mean**2, 0)))
    strong = (contrasts[1] > 0.04) & (contrasts[1] > 2.5 * contrasts[0]) & (smooth_visible > 0.15)
    detail = cv2.morphologyEx(strong.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8)) > 0
    return dark, detail & ~busy & ~dilate(saturated, 20)  # the rim of the glare is no detail


def _reduced(image: ndarray) -> ndarray:
    """A rendered layer at the size of the images, each pixel the mean of the rendered ones in it."""
    size = (image.shape[1] // _SUPERSAMPLING, image.shape[0] // _SUPERSAMPLING)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
