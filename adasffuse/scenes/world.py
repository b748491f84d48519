"""The world of a rendered street: camera, lamps and the light that falls on a point.  World units are metres."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy import ndarray


@dataclass
class Lamp:
    """A source of light, in all directions or as a beam."""

    position: ndarray  # metres: to the right, up, away from the camera
    power: ndarray  # RGB
    beam: ndarray | None = None  # direction of a headlight's beam


@dataclass
class Street:
    """Camera, what stands in the street, and the layers of the image; world units are metres."""

    rng: np.random.Generator
    height: int
    width: int
    focal: float  # pixels
    vanishing: tuple[float, float]  # x, y in pixels
    eye: float  # metres, height of the camera
    sides: tuple[float, float]  # metres, x of the fronts at the left and at the right
    lamps: list[Lamp] = field(default_factory=list)
    people: list[tuple[float, float]] = field(default_factory=list)  # x, z in metres
    radiance: ndarray | None = None  # (H, W, 3) linear light
    heat: ndarray | None = None  # (H, W) infrared radiation
    targets: ndarray | None = None  # (H, W) bool, people and warm vehicles

    def project(self, points) -> ndarray:
        """(N, 2) pixels of (N, 3) metres.

        Args:
            points: (N, 3) metres to the right, up and away from the camera.
        Returns:
            (N, 2) pixels, x and y.
        """
        x, y, z = np.asarray(points, np.float64).T
        return np.stack(
            [self.vanishing[0] + self.focal * x / z, self.vanishing[1] - self.focal * (y - self.eye) / z], axis=1
        )


def irradiance(street: Street, point: ndarray, normal: ndarray, people: Sequence[tuple[float, float]]) -> ndarray:
    """RGB light of all lamps on surface points, with the soft shadows that people at (x, z) cast.

    Args:
        street: its lamps.
        point: (..., 3) metres.
        normal: (..., 3) or (3,) unit vectors.
        people: (x, z) in metres.
    Returns:
        (..., 3) float32 RGB.
    """
    total = np.full(point.shape, 0.007, np.float32) * np.float32([0.8, 0.9, 1.2])
    for lamp in street.lamps:
        way = lamp.position.astype(np.float32) - point
        distance = np.maximum(np.sqrt(np.einsum("...i,...i", way, way)), 0.3)
        strength = np.maximum(np.einsum("...i,...i", way, normal) / distance, 0) / distance**2
        if lamp.beam is not None:
            cosine = -np.einsum("...i,i", way, lamp.beam.astype(np.float32)) / distance
            strength = strength * np.exp(-(1 - cosine) / 0.06) * 6
        for x, z in people:
            to_person = np.float32([x, z]) - point[..., [0, 2]]
            plan = np.maximum(way[..., 0] ** 2 + way[..., 2] ** 2, 1e-3)
            share = np.clip((to_person[..., 0] * way[..., 0] + to_person[..., 1] * way[..., 2]) / plan, 0.0, 0.97)
            off = (share * way[..., 0] - to_person[..., 0]) ** 2 + (share * way[..., 2] - to_person[..., 1]) ** 2
            passing = point[..., 1] + share * way[..., 1]  # height at which the ray of light passes the person
            strength = strength * (
                1 - 0.85 * np.exp(-off / 0.06) / (1 + np.exp(np.minimum((passing - 1.75) / 0.08, 50)))
            )
        total += strength[..., None] * lamp.power.astype(np.float32)
    for x, z in people:  # what little comes from the sky does not reach the ground between the feet
        near = (point[..., 0] - np.float32(x)) ** 2 + (point[..., 2] - np.float32(z)) ** 2
        total *= 1 - 0.5 * np.exp(-near / 0.12 - point[..., 1] / 0.5)[..., None]
    return total


def irradiance_on_figures(street: Street, points: ndarray) -> ndarray:
    """Light on a rounded thing's near side, without shadows of people (it would stand in its own).

    Args:
        street: its lamps.
        points: (..., 3) metres.
    Returns:
        (..., 3) float32 RGB.
    """
    normals = np.float32([(0, 0.3, -0.95), (0.7, 0.3, -0.6), (-0.7, 0.3, -0.6)])
    return np.mean([irradiance(street, points, normal, []) for normal in normals], axis=0)
