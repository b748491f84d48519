"""Ground and house fronts of a rendered street: what their points reflect and emit, and how warm they are."""

import cv2
import numpy as np
from numpy import ndarray

from adasffuse.scenes.texture import fractal_noise, sampled, thin_lines
from adasffuse.scenes.world import Street, irradiance

_UP, _LEFT_FRONT, _RIGHT_FRONT, _END = range(4)  # surfaces: ground, fronts at the left and right, front at the end
_NORMALS = np.float32([(0, 1, 0), (1, 0, 0), (-1, 0, 0), (0, 0, -1)])
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


def render_surroundings(street: Street) -> None:
    """Light and heat of ground, fronts and sky at every pixel, by intersecting its ray with their planes.

    Args:
        street: gets its layers `radiance`, `heat` and `targets`, the latter empty.
    """
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
    light = irradiance(street, point, _NORMALS[surface], street.people)
    street.radiance = albedo * light + emitted
    street.radiance[sky] = (0.0012, 0.0015, 0.0024)
    street.targets = np.zeros(depth.shape, bool)


def _paint_ground(street: Street, ground: ndarray, point: ndarray, grain: ndarray, albedo: ndarray) -> None:
    """Asphalt with patches, lane marks and a crossing; pavements of slabs behind a kerb."""
    rng = street.rng
    x, z, fade = point[ground, 0], point[ground, 2], grain[ground]
    texture = fractal_noise(x, z, fade, (2.5, 0.8, 0.25, 0.09), rng)
    patches = fractal_noise(x, z, fade, (7.0, 2.5), rng)
    value = 0.16 * np.exp(0.3 * texture + 0.15 * patches)
    heat = 0.36 + 0.03 * patches + 0.012 * texture
    kerb = [side * 0.6 for side in street.sides]
    pavement = (x < kerb[0]) | (x > kerb[1])
    joints = np.minimum(thin_lines(x, 0.6, fade), thin_lines(z, 0.6, fade))
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
    street: Street,
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
    texture = fractal_noise(s, y, fade, (2.0, 0.6, 0.2, 0.08), rng)
    stains = fractal_noise(s, 0.35 * y, fade, (4.0, 1.5), rng)
    row = np.floor(y / 0.24)
    brick = np.minimum(thin_lines(y, 0.24, fade), thin_lines(s + 0.25 * np.mod(row, 2), 0.5, fade))
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
    goods = 0.55 + 0.45 * np.tanh(2.5 * fractal_noise(s, y, fade, (0.35, 0.16), rng)) - 0.25 * (np.mod(v, 0.19) < 0.025)
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


def _paint_sign(street: Street, s: ndarray, y: ndarray, color: ndarray, shine: ndarray, backwards: bool) -> None:
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
    letters = sampled(plate, (s * scale)[board], (64 - y * scale)[board])
    shine[board] = letters[:, None] * tone * np.float32(rng.uniform(0.35, 0.8)) + 0.012
