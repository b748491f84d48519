"""Cases that fusion of infrared and visible images gets wrong: lens glare over a pair, and rendered streets at night.

Images are float32 in [0, 1], (H, W) gray or (H, W, 3) RGB; masks are bool (H, W).  All randomness comes from the
caller's generator.  The streets are simulations: they show what a method has to do, not how a real instrument sees.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy import ndarray

from adasffuse.data.synthesis import RESPONSE
from adasffuse.images.color import luminance


@dataclass(frozen=True)
class GlareCase:
    """A pair with glare over the visible image."""

    infrared: ndarray
    visible: ndarray
    saturated: ndarray  # mask: glare has clipped the visible image


@dataclass(frozen=True)
class NightCase:
    """A rendered pair at night with headlights towards the camera, and what is where."""

    infrared: ndarray  # (H, W)
    visible: ndarray  # (H, W, 3)
    saturated: ndarray  # mask: glare has clipped the visible image
    targets: ndarray  # mask: people and warm vehicles, hot in infrared, outside the glare
    dark: ndarray  # mask: night in the visible image, ordinary gray in the infrared one, no target
    detail: ndarray  # mask: lit structure that only the visible image shows


# Glare ------------------------------------------------------------------------------------------------------------


def add_glare(
    visible: ndarray,
    rng: np.random.Generator,
    centers: Sequence[tuple[float, float]] | None = None,
    radius: tuple[float, float] = (0.05, 0.16),
    falloff: tuple[float, float] = (1.8, 3.0),
) -> tuple[ndarray, ndarray]:
    """Lights that shine into the lens: a clipped core with rays, and a veil that falls off with distance.

    At distance d every light adds (R / d)^n of the exposure that clips, before the camera's response; R, where the
    core ends, ripples with the direction.  A few milliseconds at most for a 128 x 128 crop.

    Args:
        visible: (H, W) luminance or (H, W, 3) RGB in [0, 1].
        rng: source of all randomness.
        centers: (x, y) of each light in pixels; by default one light, or two side by side as headlights are.
        radius: range of the core's radius as a share of the shorter side.
        falloff: range of n.
    Returns:
        The image with glare, float32 of the same shape, and the mask of pixels clipped in all channels, whatever
        clipped them.
    Raises:
        ValueError: `visible` is neither (H, W) nor (H, W, 3).
    """
    if visible.ndim != 2 and (visible.ndim != 3 or visible.shape[2] != 3):
        raise ValueError(f"add_glare needs (H, W) or (H, W, 3) pixels, got {visible.shape}")
    height, width = visible.shape[:2]
    core = max(1.0, rng.uniform(*radius) * min(height, width))
    if centers is None:
        centers = _light_positions(rng, height, width, core)
    power, phase = rng.uniform(*falloff), rng.uniform(0, 2 * np.pi, 5)
    waves = (1, 2, *(int(k) for k in rng.integers((4, 9, 17), (9, 17, 30))))  # rays: ripples of the core's outline
    veil = np.zeros((height, width), np.float32)
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    for center_x, center_y in centers:
        dx, dy = x - np.float32(center_x), y - np.float32(center_y)
        squared, angle = dx * dx + dy * dy, cv2.phase(*np.broadcast_arrays(dx, dy))
        reach = sum(
            s * np.cos(k * angle + np.float32(p)) for k, p, s in zip(waves, phase, (0.05, 0.07, 0.035, 0.035, 0.03))
        ) + np.float32(1)
        veil += cv2.pow(np.maximum(squared / (core * reach) ** 2, np.float32(1e-4)), -0.5 * power)
    tint = 1 + np.float32(rng.uniform(0, 0.35)) * rng.permutation(np.float32([0, 0.5, 1])) if visible.ndim == 3 else 1
    light = cv2.pow(visible.astype(np.float32, copy=False), RESPONSE)
    light = light + (veil[..., None] * tint if visible.ndim == 3 else veil)
    glared = cv2.pow(np.clip(light, 0, 1), 1 / RESPONSE).reshape(visible.shape)
    clipped = glared >= 1
    return glared, clipped if visible.ndim == 2 else clipped.all(axis=2)


def glare_pair(infrared: ndarray, visible: ndarray, rng: np.random.Generator) -> GlareCase:
    """A real pair with glare laid where the infrared image has something to show.

    Of 12 random places the one of highest contrast in the infrared image is taken, so that there is something to
    recover.  Arguments as in `add_glare`, `infrared` being registered to `visible`.

    Raises:
        ValueError: heights and widths differ.
    """
    if infrared.shape[:2] != visible.shape[:2]:
        raise ValueError(f"glare_pair needs one height and width, got {infrared.shape} and {visible.shape}")
    infrared = luminance(infrared)
    height, width = infrared.shape
    size = max(3, min(height, width) // 8)
    contrast = cv2.blur(infrared**2, (size, size)) - cv2.blur(infrared, (size, size)) ** 2
    places = rng.uniform(0.12, 0.88, (12, 2)) * (width, height)
    best = max(places, key=lambda place: contrast[int(place[1]), int(place[0])])
    centers = [tuple(best)]
    if rng.random() < 0.5:
        centers.append((best[0] + rng.choice([-1, 1]) * rng.uniform(0.18, 0.4) * min(height, width), best[1]))
    glared, saturated = add_glare(visible, rng, centers)
    return GlareCase(infrared, glared, saturated)


def _light_positions(rng: np.random.Generator, height: int, width: int, core: float) -> list[tuple[float, float]]:
    x, y = rng.uniform(0.1, 0.9) * width, rng.uniform(0.1, 0.9) * height
    return [(x, y)] if rng.random() < 0.5 else [(x, y), (x + rng.choice([-1, 1]) * rng.uniform(2, 5) * core, y)]


# A street at night: every pixel's ray meets ground, house fronts or sky; people and cars are painted over it ---------

_UP, _LEFT_FRONT, _RIGHT_FRONT, _END = range(4)  # surfaces: ground, fronts at the left and right, front at the end
_NORMALS = np.float32([(0, 1, 0), (1, 0, 0), (-1, 0, 0), (0, 0, -1)])
_SUPERSAMPLING = 2
_SEGMENTS = dict(  # of a seven-segment display: ends on a grid 1 wide and 2 high; OpenCV's fonts differ by version
    a=((0, 0), (1, 0)),
    b=((1, 0), (1, 1)),
    c=((1, 1), (1, 2)),
    d=((0, 2), (1, 2)),
    e=((0, 1), (0, 2)),
    f=((0, 0), (0, 1)),
    g=((0, 1), (1, 1)),
)
_LETTERS = dict(
    A="abcefg", C="adef", E="adefg", F="aefg", H="bcefg", L="def", O="abcdef", P="abefg", S="acdfg", U="bcdef"
)
_WORDS = ("CAFE", "SHOP", "SALE", "HALL", "HOUSE", "PLUS", "LACE", "PUFF")
_NEON = ((1, 0.25, 0.2), (0.25, 0.9, 1), (0.4, 1, 0.5), (1, 0.9, 0.7), (1, 0.6, 0.15))


@dataclass
class _Lamp:
    position: ndarray  # metres: to the right, up, away from the camera
    power: ndarray  # RGB
    beam: ndarray | None = None  # direction of a headlight's beam


@dataclass
class _Street:
    """Camera, what stands in the street, and the layers of the image; world units are metres."""

    rng: np.random.Generator
    height: int
    width: int
    focal: float
    vanishing: tuple[float, float]  # x, y in pixels
    eye: float  # height of the camera
    sides: tuple[float, float]  # x of the fronts at the left and at the right
    lamps: list[_Lamp] = field(default_factory=list)
    people: list[tuple[float, float]] = field(default_factory=list)  # x, z
    radiance: ndarray | None = None  # (H, W, 3)
    heat: ndarray | None = None  # (H, W)
    targets: ndarray | None = None  # (H, W) bool

    def project(self, points) -> ndarray:
        """(N, 2) pixels of (N, 3) metres."""
        x, y, z = np.asarray(points, np.float64).T
        return np.stack(
            [self.vanishing[0] + self.focal * x / z, self.vanishing[1] - self.focal * (y - self.eye) / z], axis=1
        )


def night_scene(rng: np.random.Generator, size: tuple[int, int] = (240, 320)) -> NightCase:
    """A rendered street at night: house fronts, few lamps and signs, an oncoming car, people in the dark.

    Visible: lamps light patches of road and wall, the rest is night with sensor noise; the oncoming car's headlights
    glare.  Infrared: fronts and road are gray with warm and cool patches, people and the moving car are hot, lettering
    and lane marks have no heat of their own.

    Args:
        rng: source of all randomness.
        size: (height, width) in pixels, at least 64 each.
    Raises:
        ValueError: `size` is smaller.
    """
    if min(size) < 64:
        raise ValueError(f"night_scene needs at least 64 x 64 pixels, got {size[0]} x {size[1]}")
    height, width = (side * _SUPERSAMPLING for side in size)
    street = _Street(
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
    _render_surroundings(street)
    objects = [(place[1], _paint_person, (*place,)) for place in street.people]
    objects += [(car[2], _paint_car, (car, True)), (parked[2], _paint_car, (parked, False))]
    for _, paint, arguments in sorted(objects, key=lambda item: -item[0]):  # the nearest last
        paint(street, *arguments)

    infrared = _thermal_image(street)
    lights = street.project([car + np.array([side * 0.68, 0.68, 0]) for side in (-1, 1)]) / _SUPERSAMPLING - 0.25
    visible, saturated = add_glare(_photograph(street), rng, lights, radius=(0.04, 0.085), falloff=(2.4, 3.2))
    targets = _reduced(street.targets.astype(np.float32)) > 0.5
    masks = _measured_masks(infrared, luminance(visible), targets, saturated)
    return NightCase(infrared, visible, saturated, targets & ~_grown(saturated, 9), *masks)


def _places_of_people(street: _Street, car: ndarray) -> list[tuple[float, float]]:
    """One person beside the headlights, where they dazzle, the others on pavements and road."""
    rng = street.rng
    places = [(car[0] + rng.choice([-1, 1]) * rng.uniform(1.3, 1.7), car[2] - rng.uniform(0.3, 1.5))]
    for _ in range(int(rng.integers(2, 5))):
        z = rng.uniform(7, 22)
        side = street.sides[int(rng.random() < 0.5)]
        places.append((side - np.sign(side) * rng.uniform(0.6, 2.4) if rng.random() < 0.75 else rng.uniform(0, 2), z))
    return places


def _set_lamps(street: _Street, car: ndarray) -> None:
    """Lamp posts along both kerbs, few of them alight, and the beam of the car."""
    rng = street.rng
    for number, z in enumerate(np.arange(rng.uniform(9, 16), 60, 17)):
        if number == 0 or rng.random() < 0.4:
            x = street.sides[number % 2] * 0.62
            color = np.array([1.0, rng.uniform(0.62, 0.85), rng.uniform(0.3, 0.65)])
            street.lamps.append(_Lamp(np.array([x, 5.6, z]), color * rng.uniform(14, 26)))
    street.lamps.append(
        _Lamp(car + np.array([0, 0.7, -0.3]), np.array([2.0, 2.1, 2.3]), np.array([0.05, -0.12, -0.99]))
    )


def _render_surroundings(street: _Street) -> None:
    """Light and heat of ground, fronts and sky at every pixel, by intersecting its ray with their planes."""
    rng = street.rng
    columns = ((np.arange(street.width) - street.vanishing[0]) / street.focal).astype(np.float32)[None]
    rows = ((street.vanishing[1] - np.arange(street.height)) / street.focal).astype(np.float32)[:, None]
    end = rng.uniform(45, 70)
    with np.errstate(divide="ignore"):
        hits = [
            np.where(rows < 0, -street.eye / rows, np.inf),
            np.where(columns < 0, street.sides[0] / columns, np.inf),
        ]
        hits += [np.where(columns > 0, street.sides[1] / columns, np.inf), np.array([[end]])]
    hits = np.stack(np.broadcast_arrays(*hits)).astype(np.float32)
    surface, depth = hits.argmin(axis=0), hits.min(axis=0)
    point = np.stack([columns * depth, street.eye + rows * depth, depth], axis=-1)
    grain = depth**2 / (street.focal * np.where(surface == _UP, street.eye, 6.0)).astype(np.float32)

    street.heat = np.full(depth.shape, 0.05, np.float32)
    albedo = np.zeros((*depth.shape, 3), np.float32)
    emitted = np.zeros_like(albedo)
    ground = surface == _UP
    _paint_ground(street, ground, point, grain, albedo)
    sky = np.zeros_like(ground)
    for side in (_LEFT_FRONT, _RIGHT_FRONT, _END):
        sky |= _paint_front(street, side, surface == side, point, grain, albedo, emitted)
    light = _irradiance(street, point, _NORMALS[surface], street.people)
    street.radiance = albedo * light + emitted
    street.radiance[sky] = (0.0012, 0.0015, 0.0024)
    street.targets = np.zeros(depth.shape, bool)
    for lamp in street.lamps:
        if lamp.beam is None:
            _paint_post(street, lamp)


def _irradiance(street: _Street, point: ndarray, normal: ndarray, people: Sequence[tuple[float, float]]) -> ndarray:
    """RGB light of all lamps on surface points, with the soft shadows that people at (x, z) cast."""
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


def _paint_ground(street: _Street, ground: ndarray, point: ndarray, grain: ndarray, albedo: ndarray) -> None:
    """Asphalt with patches, lane marks and a crossing; pavements of slabs behind a kerb."""
    rng = street.rng
    x, z, fade = point[ground, 0], point[ground, 2], grain[ground]
    texture = _fractal(x, z, fade, (2.5, 0.8, 0.25, 0.09), rng)
    patches = _fractal(x, z, fade, (7.0, 2.5), rng)
    value = 0.16 * np.exp(0.3 * texture + 0.15 * patches)
    heat = 0.36 + 0.03 * patches + 0.012 * texture
    kerb = [side * 0.6 for side in street.sides]
    pavement = (x < kerb[0]) | (x > kerb[1])
    joints = np.minimum(_lines(x, 0.6, 0.03, fade), _lines(z, 0.6, 0.03, fade))
    value = np.where(pavement, 0.24 * np.exp(0.2 * texture) * (0.55 + 0.45 * joints), value)
    heat = np.where(pavement, 0.42 + 0.02 * patches + 0.01 * texture - 0.02 * (1 - joints), heat)
    edge = np.minimum(np.abs(x - kerb[0]), np.abs(x - kerb[1])) < 0.09
    value, heat = np.where(edge, 0.34, value), np.where(edge, 0.45, heat)
    crossing = rng.uniform(6, 11)
    striped = (np.abs(z - crossing) < 1.3) & (np.mod(x, 1.0) < 0.5) & (np.abs(x) < kerb[1] - 0.4)
    lane = (np.abs(x) < 0.07) & (np.mod(z, 5) < 2.6) & (np.abs(z - crossing) > 2.2)
    paint = (striped | lane) & ~pavement
    value = np.where(paint, 0.62 * np.exp(0.18 * np.minimum(texture, 0.5)), value)
    tracks = np.exp(-(((np.abs(np.abs(x) - 1.7) - 0.75) / 0.25) ** 2)) * ~pavement  # tyres polish and warm the road
    albedo[ground] = value[:, None] * np.float32([1.0, 0.98, 0.94])
    street.heat[ground] = heat + 0.035 * tracks


def _paint_front(
    street: _Street,
    side: int,
    front: ndarray,
    point: ndarray,
    grain: ndarray,
    albedo: ndarray,
    emitted: ndarray,
) -> ndarray:
    """House fronts of one side, painted by their coordinates along the street and up; returns the sky above them."""
    rng = street.rng
    s, y, fade = point[front, 0 if side == _END else 2], point[front, 1], grain[front]
    borders = np.cumsum(rng.uniform(7, 13, 12)) - 14
    house = np.searchsorted(borders, s) % 13
    storey, bay = rng.uniform(2.9, 3.5, 13)[house], rng.uniform(1.9, 2.8, 13)[house]
    top = (rng.integers(3, 5, 13)[house] * storey + 0.6).astype(np.float32)
    tone = rng.uniform(0.12, 0.42, (13, 1)) * rng.uniform((0.9, 0.7, 0.5), (1.0, 0.9, 0.85), (13, 3))
    texture = _fractal(s, y, fade, (2.0, 0.6, 0.2, 0.08), rng)
    stains = _fractal(s, 0.35 * y, fade, (4.0, 1.5), rng)
    row = np.floor(y / 0.24)
    brick = np.minimum(_lines(y, 0.24, 0.03, fade), _lines(s + 0.25 * np.mod(row, 2), 0.5, 0.03, fade))
    brick = np.where((rng.random(13) < 0.6)[house], brick, 1)
    value = np.exp(0.22 * texture + 0.15 * stains) * (0.65 + 0.35 * brick)
    heat = rng.uniform(0.4, 0.52, 13)[house] + 0.025 * stains + 0.01 * texture - 0.012 * (1 - brick)
    heat -= 0.035 * np.exp(-((top - y) ** 2) / 0.2) - 0.05 * np.exp(-y / 0.4)  # cold cornice, warm foot

    column, floor = np.floor(s / bay), np.floor(y / storey)
    u, v = s / bay - column, y / storey - floor
    shop = floor == 0
    window = (np.abs(u - 0.5) < np.where(shop, 0.4, 0.22)) & (np.abs(v - np.where(shop, 0.42, 0.55)) < 0.28)
    rim = (np.abs(u - 0.5) < np.where(shop, 0.44, 0.27)) & (np.abs(v - np.where(shop, 0.42, 0.55)) < 0.32) & ~window
    window &= y < top - 0.7
    rim &= y < top - 0.7
    dice = rng.random((64, 8))[column.astype(int) % 64, floor.astype(int) % 8]
    lit = window & (dice < np.where(shop, 0.16, 0.1))
    frame = (np.abs(u - 0.5) < 0.02) | (np.abs(v - 0.66) < 0.015)
    curtain = (0.6 + 0.4 * np.cos(2 * np.pi * s / 0.16 + 3 * dice * v)) * (0.35 + 0.65 * np.abs(u - 0.5) / 0.22)
    goods = 0.55 + 0.45 * np.tanh(2.5 * _fractal(s, y, fade, (0.35, 0.16), rng)) - 0.25 * (np.mod(v, 0.19) < 0.025)
    inside = np.where(shop, goods, np.where(np.mod(dice * 997, 1) < 0.5, curtain, 0.75 - 0.5 * v + 0.12 * goods))
    glow = (0.2 + 4 * dice) * np.clip(inside, 0.05, 1) * np.where(frame, 0.12, 1)
    warm = np.where(np.mod(dice * 131, 1)[:, None] < 0.6, np.float32([1, 0.7, 0.36]), np.float32([0.85, 0.95, 1.0]))

    color = tone[house] * value[:, None]
    color[rim] = 0.3 * color[rim] + 0.22
    color[window] = 0.03
    heat = np.where(window, np.where(lit, heat + 0.01, heat - 0.1 - 0.03 * v), heat + 0.03 * rim)
    shine = lit[:, None] * glow[:, None] * warm
    for start in np.arange(5, 35, 9) + rng.uniform(0, 5):
        _paint_sign(street, s - start, y - 2.8, color, shine, backwards=side == _RIGHT_FRONT)
    sky = y > top
    albedo[front], emitted[front] = np.where(sky[:, None], 0, color), np.where(sky[:, None], 0, shine)
    street.heat[front] = np.where(sky, 0.05 + 0.1 * np.exp(-np.maximum(y, 0) / 25), heat)
    above = np.zeros_like(front)
    above[front] = sky
    return above


def _paint_sign(street: _Street, s: ndarray, y: ndarray, color: ndarray, shine: ndarray, backwards: bool) -> None:
    """Perhaps a board with bright lettering; (s, y) are metres from its lower corner, s leftwards if `backwards`."""
    rng = street.rng
    word, tone = str(rng.choice(_WORDS)), np.float32(_NEON[int(rng.integers(len(_NEON)))])
    if rng.random() < 0.45:
        return
    plate = np.zeros((64, 44 * len(word) + 16), np.float32)
    for place, letter in enumerate(word):
        for segment in _LETTERS[letter]:
            start, stop = ((14 + 44 * place + 26 * column, 12 + 20 * line) for column, line in _SEGMENTS[segment])
            cv2.line(plate, start, stop, 1.0, 7)
    plate = cv2.GaussianBlur(plate, (0, 0), 1.2) + 0.25 * cv2.GaussianBlur(plate, (0, 0), 7)
    scale = 64 / 0.75
    board = (s > 0) & (s < plate.shape[1] / scale) & (y > 0) & (y < 0.75)
    if backwards:
        s = plate.shape[1] / scale - s
    color[board] = 0.05
    letters = _sampled(plate, (s * scale)[board], (64 - y * scale)[board])
    shine[board] = letters[:, None] * tone * np.float32(rng.uniform(0.35, 0.8)) + 0.012


def _paint_post(street: _Street, lamp: _Lamp) -> None:
    """A lamp post with its arm and its bright head."""
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


def _paint_person(street: _Street, x: float, z: float) -> None:
    """Someone walking, in dark clothes: legs, trunk, arms and head with their own warmth, rounded by soft shading."""
    rng = street.rng
    unit = street.focal / z  # pixels per metre
    base = street.project([(x, 0.0, z)])[0]
    stature, stride, turn = rng.uniform(0.92, 1.06), rng.uniform(0.08, 0.32), rng.choice([-1, 1])
    parts = np.zeros((street.height, street.width), np.uint8)

    def limb(part: int, width: float, *joints: tuple[float, float]) -> None:
        places = [np.rint(base + np.array([turn * dx, -dy * stature]) * unit).astype(int) for dx, dy in joints]
        for start, stop in zip(places, places[1:] or places):
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
    folds = _fractal(columns / unit, rows / unit, np.float32(1.5 / unit), (0.3, 0.12), rng)
    warmth = np.float32([0, 0.74, 0.8, 0.78, 0.97])[parts[body]]
    street.heat[body] = warmth * (0.78 + 0.22 * round_shade) + 0.03 * folds * (parts[body] < 4)
    clothes = rng.uniform(0.02, 0.1, (5, 3)) * (1 - 0.3 * rng.random((5, 1)))
    clothes[4] = (0.24, 0.16, 0.12)
    points = np.stack([np.full(rows.shape, x), (base[1] - rows) / unit, np.full(rows.shape, z - 0.1)], axis=-1)
    light = _irradiance_at(street, points.astype(np.float32))
    shade = (0.45 + 0.55 * round_shade) * np.exp(0.2 * folds)
    street.radiance[body] = clothes[parts[body]] * light * shade[:, None]
    street.targets |= body


def _irradiance_at(street: _Street, points: ndarray) -> ndarray:
    """Light on a rounded thing's near side, without shadows of people (it would stand in its own)."""
    normals = np.float32([(0, 0.3, -0.95), (0.7, 0.3, -0.6), (-0.7, 0.3, -0.6)])
    return np.mean([_irradiance(street, points, normal, []) for normal in normals], axis=0)


def _paint_car(street: _Street, place: ndarray, driving: bool) -> None:
    """A car seen from the front: body and cabin as projected boxes, face with grille, lamps, plate and wheels."""
    rng = street.rng
    unit = street.focal / place[2]
    paint = rng.uniform(0.03, 0.25) * rng.uniform(0.5, 1.0, 3)
    warm = (lambda hot, cold: hot) if driving else (lambda hot, cold: cold)
    light = _irradiance_at(street, np.float32([place + np.array([0, 1.0, -0.3])]))[0]
    cover = np.zeros((street.height, street.width), np.uint8)

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
    cabin = [(x, y, z) for x, y, z in box(0.62, 1.42, 1.42, 1.9, 3.4)] + box(0.78, 0.9, 0.9, 1.1, 4.0)
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
    street.heat[body] = soft[body] + 0.012 * _fractal(
        columns / unit, rows / unit, np.float32(1 / unit), (0.5, 0.2), rng
    )
    street.targets[body] = driving


def _photograph(street: _Street) -> ndarray:
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


def _thermal_image(street: _Street) -> ndarray:
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
    busy = _grown(targets | saturated, 9)
    smooth_infrared, smooth_visible = (cv2.GaussianBlur(image, (0, 0), 2.5) for image in (infrared, visible))
    dark = (smooth_visible < 0.18) & (smooth_infrared - smooth_visible > 0.15) & ~busy
    smooth_infrared, smooth_visible = (cv2.GaussianBlur(image, (0, 0), 1.2) for image in (infrared, visible))
    contrasts = []
    for image in (smooth_infrared, smooth_visible):
        mean, square = (cv2.blur(x.astype(np.float64), (7, 7)) for x in (image, image**2))
        contrasts.append(np.sqrt(np.maximum(square - mean**2, 0)))
    strong = (contrasts[1] > 0.04) & (contrasts[1] > 2.5 * contrasts[0]) & (smooth_visible > 0.15)
    detail = cv2.morphologyEx(strong.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8)) > 0
    return dark, detail & ~busy & ~_grown(saturated, 41)  # the rim of the glare is no detail


def _grown(mask: ndarray, size: int) -> ndarray:
    return cv2.dilate(mask.astype(np.uint8), np.ones((size, size), np.uint8)) > 0


def _reduced(image: ndarray) -> ndarray:
    size = (image.shape[1] // _SUPERSAMPLING, image.shape[0] // _SUPERSAMPLING)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _fractal(u, v, footprint, cells: Sequence[float], rng: np.random.Generator) -> ndarray:
    """Noise of about unit variance at world coordinates, one octave per cell size, which fades where pixels are larger.

    Args:
        u, v: (N,) metres.
        footprint: metres that a pixel covers.
        cells: sizes of the noise's cells in metres, the coarsest first.
    """
    total = np.zeros(len(u), np.float32)
    for cell in cells:
        table = np.pad(rng.standard_normal((127, 127), dtype=np.float32), (0, 1), mode="wrap")
        at = [np.mod(np.asarray(w, np.float32) / np.float32(cell), 127) for w in (u, v)]
        total += _sampled(table, *at) * np.clip(cell / np.maximum(footprint, 1e-6) - 0.5, 0, 1) * 1.5
    return total / np.float32(np.sqrt(len(cells)))


def _sampled(table: ndarray, columns: ndarray, rows: ndarray) -> ndarray:
    """Bilinear values of a table at (N,) positions, its last column and row repeated (cv2.remap stops at 32767)."""
    column, row = (np.clip(w, 0, side - 1.001) for w, side in ((columns, table.shape[1]), (rows, table.shape[0])))
    left, top = column.astype(int), row.astype(int)
    right, down = (column - left).astype(np.float32), (row - top).astype(np.float32)
    upper, lower = (table[top + i, left] * (1 - right) + table[top + i, left + 1] * right for i in (0, 1))
    return upper * (1 - down) + lower * down


def _lines(w: ndarray, period: float, width: float, footprint: ndarray) -> ndarray:
    """1, and 0 on thin lines every `period` metres, faded where a pixel is wider than they are."""
    inside = np.mod(w, period) < np.maximum(width, 0.5 * footprint)
    return 1 - inside * np.clip(1.5 * width / np.maximum(footprint, 1e-6), 0, 1)
