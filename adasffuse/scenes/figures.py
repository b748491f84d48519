"""Lamp posts, people and cars of a rendered street, painted over its surroundings."""

import itertools

import cv2
import numpy as np
from numpy import ndarray

from adasffuse.scenes.texture import fractal_noise
from adasffuse.scenes.world import Lamp, Street, irradiance_on_figures


def paint_post(street: Street, lamp: Lamp) -> None:
    """A lamp post with its arm and its bright head.

    Args:
        street: its layers are painted on.
        lamp: position and colour.
    """
    x, y, z = lamp.position
    foot = x + np.sign(x) * 0.7
    for start, stop, metres in (((foot, 0, z), (foot, y, z), 0.13), ((foot, y, z), (x, y + 0.1, z), 0.09)):
        ends = np.rint(street.project([start, stop])).astype(int)
        width = max(1, round(metres * street.focal / z))
        cv2.line(street.radiance, ends[0], ends[1], (0.003, 0.003, 0.003), width)
        cv2.line(street.heat, ends[0], ends[1], 0.33, width)
    head = np.rint(street.project([lamp.position]))[0].astype(int)
    axes = [max(1, round(metres * street.focal / z)) for metres in (0.32, 0.1)]
    cv2.ellipse(street.radiance, head, axes, 0, 0, 360, (8 * lamp.power / lamp.power.max()).tolist(), -1)
    cv2.ellipse(street.heat, head, axes, 0, 0, 360, 0.62, -1)


def paint_person(street: Street, x: float, z: float) -> None:
    """Someone walking, in dark clothes: legs, trunk, arms and head with their own warmth, rounded by soft shading.

    Args:
        street: its layers are painted on.
        x, z: place in metres, to the right and away from the camera.
    """
    rng = street.rng
    unit = street.focal / z  # pixels per metre
    base = street.project([(x, 0.0, z)])[0]
    stature, stride, turn = rng.uniform(0.92, 1.06), rng.uniform(0.08, 0.32), rng.choice([-1, 1])
    parts = np.zeros((street.height, street.width), np.uint8)  # 1 legs, 2 arms, 3 trunk, 4 neck and head, 0 elsewhere

    def limb(part: int, width: float, *joints: tuple[float, float]) -> None:
        places = [np.rint(base + np.array([turn * dx, -dy * stature]) * unit).astype(int) for dx, dy in joints]
        for start, stop in itertools.pairwise(places):
            cv2.line(parts, start, stop, part, max(1, round(width * unit)))

    limb(1, 0.13, (-0.07, 0.86), (-stride * 0.5, 0.48), (-stride, 0.06))
    limb(1, 0.13, (0.07, 0.86), (stride * 0.7, 0.48), (stride * 0.8, 0.06))
    limb(2, 0.1, (-0.17, 1.36), (-0.2 - stride * 0.3, 1.08), (-0.12 - stride * 0.4, 0.84))
    limb(3, 0.3, (0.0, 1.0), (0.0, 1.27))
    limb(3, 0.36, (0.0, 1.22), (0.0, 1.27))
    limb(2, 0.1, (0.17, 1.36), (0.19 + stride * 0.2, 1.08), (0.12 + stride * 0.6, 0.86))
    limb(4, 0.1, (0.0, 1.42), (0.0, 1.54))
    limb(4, 0.2, (0.02, 1.6), (0.02, 1.66))
    body = parts > 0
    if not body.any():
        return
    depth = cv2.distanceTransform(body.astype(np.uint8), cv2.DIST_L2, 3)[body] / (0.11 * unit)
    round_shade = np.sqrt(np.minimum(depth, 1))
    rows, columns = np.nonzero(body)
    folds = fractal_noise(columns / unit, rows / unit, np.float32(1.5 / unit), (0.3, 0.12), rng)
    warmth = np.float32([0, 0.74, 0.8, 0.78, 0.97])[parts[body]]
    street.heat[body] = warmth * (0.78 + 0.22 * round_shade) + 0.03 * folds * (parts[body] < 4)
    clothes = rng.uniform(0.02, 0.1, (5, 3)) * (1 - 0.3 * rng.random((5, 1)))
    clothes[4] = (0.24, 0.16, 0.12)
    points = np.stack([np.full(rows.shape, x), (base[1] - rows) / unit, np.full(rows.shape, z - 0.1)], axis=-1)
    light = irradiance_on_figures(street, points.astype(np.float32))
    shade = (0.45 + 0.55 * round_shade) * np.exp(0.2 * folds)
    street.radiance[body] = clothes[parts[body]] * light * shade[:, None]
    street.targets |= body


def paint_car(street: Street, place: ndarray, driving: bool) -> None:
    """A car seen from the front: body and cabin as projected boxes, face with grille, lamps, plate and wheels.

    Args:
        street: its layers are painted on.
        place: (3,) metres, the middle of its front on the ground.
        driving: engine and tyres are warm, headlights on.
    """
    rng = street.rng
    unit = street.focal / place[2]
    paint = rng.uniform(0.03, 0.25) * rng.uniform(0.5, 1.0, 3)
    light = irradiance_on_figures(street, np.float32([place + np.array([0, 1.0, -0.3])]))[0]
    cover = np.zeros((street.height, street.width), np.uint8)

    def warm(hot: float, cold: float) -> float:
        return hot if driving else cold

    def fill(points, albedo, heat: float, emitted=(0, 0, 0)) -> None:
        corners = street.project(np.asarray(points, float) + place)
        hull = np.rint(cv2.convexHull(corners.astype(np.float32))[:, 0]).astype(np.int32)
        value = np.asarray(albedo, float) * light + emitted
        cv2.fillConvexPoly(street.radiance, hull, value.tolist())
        cv2.fillConvexPoly(street.heat, hull, heat)
        cv2.fillConvexPoly(cover, hull, 1)

    def box(half: float, low: float, high: float, near: float, far: float):
        return [(x, y, z) for x in (-half, half) for y in (low, high) for z in (near, far)]

    def disc(x: float, y: float, radius_x: float, radius_y: float):
        angle = np.linspace(0, 2 * np.pi, 24)
        return np.stack([x + radius_x * np.cos(angle), y + radius_y * np.sin(angle), np.zeros(24)], axis=1)

    for side in (-1, 1):  # tyres
        fill(box(0.11, 0, 0.3, 0.1, 0.7) + np.array([side * 0.74, 0, 0]), (0.02,) * 3, warm(0.72, 0.34))
    fill(box(0.88, 0.25, 0.88, 0.15, 4.2), 0.6 * paint, warm(0.5, 0.3))
    cabin = box(0.62, 1.42, 1.42, 1.9, 3.4) + box(0.78, 0.9, 0.9, 1.1, 4.0)
    fill(cabin, 0.9 * paint, warm(0.44, 0.27))
    fill([(-0.72, 0.93, 1.15), (0.72, 0.93, 1.15), (0.58, 1.38, 1.8), (-0.58, 1.38, 1.8)], (0.02,) * 3, warm(0.3, 0.2))
    bonnet = [(-0.86, 0.8, 0.05), (0.86, 0.8, 0.05), (0.76, 0.95, 1.15), (-0.76, 0.95, 1.15)]
    fill(bonnet, 1.2 * paint, warm(0.74, 0.26))
    fill(
        [(-0.86, 0.3, 0), (0.86, 0.3, 0), (0.9, 0.55, 0), (0.85, 0.82, 0), (-0.85, 0.82, 0), (-0.9, 0.55, 0)],
        paint,
        warm(0.6, 0.31),
    )
    fill(
        [(-0.42, 0.5, -0.01), (0.42, 0.5, -0.01), (0.46, 0.74, -0.01), (-0.46, 0.74, -0.01)],
        (0.03,) * 3,
        warm(0.9, 0.3),
    )
    for height in (0.55, 0.61, 0.67):
        fill(box(0.42, height, height + 0.025, -0.02, -0.02), (0.3,) * 3, warm(0.8, 0.3))
    fill(box(0.26, 0.34, 0.45, -0.02, -0.02), (0.6,) * 3, warm(0.5, 0.31))
    for side in (-1, 1):
        emitted = (6, 6.2, 6.6) if driving else (0, 0, 0)
        fill(disc(side * 0.68, 0.68, 0.14, 0.09), (0.2,) * 3, warm(0.82, 0.29), emitted)
    body = cover > 0
    soft = cv2.GaussianBlur(street.heat, (0, 0), max(0.5, 0.035 * unit))  # heat spreads through sheet metal
    rows, columns = np.nonzero(body)
    street.heat[body] = soft[body] + 0.012 * fractal_noise(
        columns / unit, rows / unit, np.float32(1 / unit), (0.5, 0.2), rng
    )
    street.targets[body] = driving
