"""The metrics a second time, written from their equations in the plainest form, for tests to compare with.

Nothing here uses `adasffuse`.  Windows are cut out one by one and summed directly (never E[xy] - E[x] E[y]), histograms
are counted in dictionaries, filters are full 2-D convolutions of SciPy.  What each public code in circulation does
differently from the papers is described in docstrings of `adasffuse.metrics`; the same choices are made here.

Images are float64 (H, W) of whole numbers on 0..255: sources a and b, fused f.
"""

import math
from collections import Counter

import numpy as np
from numpy import ndarray
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import sobel
from scipy.signal import convolve2d

# Counting gray levels.


def probabilities(*images: ndarray) -> dict:
    """Share of every gray level, or of every tuple of levels at one place."""
    counts = Counter(zip(*(image.ravel().tolist() for image in images)))
    return {key: count / images[0].size for key, count in counts.items()}


def entropy(*images: ndarray) -> float:
    return -sum(p * math.log(p) for p in probabilities(*images).values())


def information(x: ndarray, y: ndarray) -> float:
    p, q = probabilities(x), probabilities(y)
    return sum(r * math.log(r / (p[u,] * q[v,])) for (u, v), r in probabilities(x, y).items())


def mutual_information(a, b, f) -> float:
    return information(a, f) + information(b, f)


def mutual_information_saturated(a, b, f) -> float:
    """Bits; 254 and 255 are one level in the joint histogram only."""
    joint = [entropy(np.minimum(x, 254), np.minimum(f, 254)) for x in (a, b)]
    return sum(entropy(x) + entropy(f) - h for x, h in zip((a, b), joint)) / math.log(2)


def normalized_mutual_information(a, b, f) -> float:
    return sum(2 * information(x, f) / (entropy(x) + entropy(f)) for x in (a, b))


def cross_entropy(a, b, f) -> float:
    q, total = probabilities(f), 0.0
    for x in (a, b):
        total += sum(p * math.log2(p / q[level]) for level, p in probabilities(x).items() if level in q)
    return total / 2


def nonlinear_correlation_entropy(a, b, f) -> float:
    correlation = [[1.0 if i == j else information(x, y) / math.log(256) for j, y in enumerate((a, b, f))]
                   for i, x in enumerate((a, b, f))]  # fmt: skip
    return 1 + sum(v / 3 * math.log(v / 3) / math.log(256) for v in np.linalg.eigvalsh(correlation))


def tsallis_information(a, b, f) -> float:
    total = 0.0
    for x in (a, b):
        p, q = probabilities(x), probabilities(f)
        power = sum(r**1.85 / (p[u,] * q[v,]) ** 0.85 for (u, v), r in probabilities(x, f).items())
        total += (1 - power) / (1 - 1.85)
    return total


def tsallis_information_transposed(a, b, f) -> float:
    """Of stretched images; the margins are exchanged, as in MEFB's code."""
    a, b, f = stretch(a), stretch(b), stretch(f)
    total = 0.0
    for x in (a, b):
        p, q, power = probabilities(x), probabilities(f), 0.0
        for (u, v), r in probabilities(x, f).items():
            outer = p.get((v,), 0) * q.get((u,), 0)
            if outer > 0:
                power += r**1.85 / outer**0.85
        total += (1 - power) / (1 - 1.85)
    return total


def stretch(image: ndarray, divisor: float = 1.0) -> ndarray:
    """Lowest level of image / divisor to 0, highest to 255, halves up."""
    image = image / divisor
    levels = (image - image.min()) / (image.max() - image.min()) * 255
    return np.where(levels - np.floor(levels) >= 0.5, np.ceil(levels), np.floor(levels))


# Edges and sharpness.


def spatial_frequency(f: ndarray, every_pixel: bool) -> float:
    rows = [(f[i, j] - f[i, j - 1]) ** 2 for i in range(f.shape[0]) for j in range(1, f.shape[1])]
    columns = [(f[i, j] - f[i - 1, j]) ** 2 for i in range(1, f.shape[0]) for j in range(f.shape[1])]
    if every_pixel:
        return math.sqrt((sum(rows) + sum(columns)) / f.size)
    return math.sqrt(sum(rows) / len(rows) + sum(columns) / len(columns))


def average_gradient(f: ndarray, every_pixel: bool) -> float:
    total = np.sqrt(sum(g**2 for g in np.gradient(f)) / 2).sum()
    return total / (f.size if every_pixel else (f.shape[0] - 1) * (f.shape[1] - 1))


def edge_intensity(f: ndarray) -> float:
    return np.hypot(sobel(f, 0, mode="nearest"), sobel(f, 1, mode="nearest")).mean()


def edge_preservation_with_equal_as_1(a, b, f) -> float:
    kept = weight = 0.0
    strength_f, angle_f = _polar(f)
    for x in (a, b):
        strength, angle = _polar(x)
        ratio = relative(strength, strength_f)
        ratio[strength == strength_f] = 1
        turn = 1 - np.abs(angle - angle_f) / (np.pi / 2)
        q = 0.9994 / (1 + np.exp(-15 * (ratio - 0.5))) * 0.9879 / (1 + np.exp(-22 * (turn - 0.8)))
        kept += (q * strength).sum()
        weight += strength.sum()
    return kept / weight


def relative(strength: ndarray, strength_f: ndarray) -> ndarray:
    """The smaller over the larger, 0 where both are 0."""
    larger = np.maximum(strength, strength_f)
    return np.minimum(strength, strength_f) / np.where(larger > 0, larger, 1)


def _polar(image: ndarray) -> tuple[ndarray, ndarray]:
    across = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    gx, gy = convolve2d(image, across, mode="same"), convolve2d(image, -across.T, mode="same")
    upright = gx == 0
    return np.sqrt(gx**2 + gy**2), np.where(upright, np.pi / 2, np.arctan(gy / np.where(upright, 1, gx)))


def fusion_artifacts(a, b, f) -> float:
    """Nabf: what F adds where its edges are stronger than both sources'."""
    maps = []
    for image in (a, b, f):
        gx, gy = (sobel(image, axis, mode="mirror") / 8 for axis in (1, 0))
        angle = np.arctan2(gx, gy)
        angle = np.where(angle > np.pi / 2, angle - np.pi, np.where(angle < -np.pi / 2, angle + np.pi, angle))
        maps.append((np.sqrt(gx**2 + gy**2), angle))
    (strength_a, _), (strength_b, _), (strength_f, angle_f) = maps
    lost = weight = 0.0
    for strength, angle in maps[:2]:
        ratio = relative(strength, strength_f)
        turn = np.abs(np.abs(angle - angle_f) - np.pi / 2) / (np.pi / 2)
        q = np.sqrt(0.9999 / (1 + np.exp(-19 * (ratio - 0.5))) * 0.9995 / (1 + np.exp(-22 * (turn - 0.5))))
        w = np.where(strength >= 2, strength**1.5, 0.001)
        lost += ((1 - q) * w)[(strength_f > strength_a) & (strength_f > strength_b)].sum()
        weight += w.sum()
    return lost / weight


# Pixel values.


def mean_squared_error(a, b, f) -> float:
    return (np.mean((a - f) ** 2) + np.mean((b - f) ** 2)) / 2


def root_error_of_vifb(a, b, f) -> float:
    return sum(math.sqrt(((x - f) ** 2).sum()) / f.size for x in (a, b)) / 2


def decibel(peak: float, error: float) -> float:
    return 20 * math.log10(peak) - 10 * math.log10(error)


# Structure in windows.


def window(size: int, sigma: float) -> ndarray:
    """2-D Gaussian of sum 1."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    weights = np.exp(-(x**2 + y**2) / (2 * sigma**2))
    return weights / weights.sum()


def local(x: ndarray, y: ndarray, weights: ndarray) -> tuple[ndarray, ndarray, ndarray, ndarray, ndarray]:
    """Means, variances and covariance in every window, from the deviations themselves."""
    x, y = (sliding_window_view(image, weights.shape) for image in (x, y))
    mx, my = (np.einsum("ijkl,kl", w, weights) for w in (x, y))
    dx, dy = x - mx[..., None, None], y - my[..., None, None]
    return mx, my, *(np.einsum("ijkl,ijkl,kl->ij", p, q, weights) for p, q in ((dx, dx), (dy, dy), (dx, dy)))


def ssim_maps(x, y, weights=None, scale: float = 255.0) -> tuple[ndarray, ndarray]:
    """SSIM and its contrast-structure factor in every window."""
    c1, c2 = ((0.01 * scale) ** 2, (0.03 * scale) ** 2) if scale else (2e-16, 2e-16)
    mx, my, vx, vy, vxy = local(x, y, window(11, 1.5) if weights is None else weights)
    structure = (2 * vxy + c2) / (vx + vy + c2)
    return (2 * mx * my + c1) / (mx**2 + my**2 + c1) * structure, structure


def ssim(x: ndarray, y: ndarray) -> float:
    return ssim_maps(x, y)[0].mean()


def ssim_of_tang(a, b, f) -> float:
    """Constants for a range of 1 on images of range 255, borders replicated."""
    a, b, f = (np.pad(x, 5, mode="edge") for x in (a, b, f))
    return sum(ssim_maps(x, f, scale=1.0)[0].mean() for x in (a, b)) / 2


def halve(image: ndarray) -> ndarray:
    image = np.pad(image, [(0, side % 2) for side in image.shape], mode="edge")
    return image.reshape(image.shape[0] // 2, 2, image.shape[1] // 2, 2).mean(axis=(1, 3))


def ms_ssim(x: ndarray, y: ndarray) -> float:
    product = 1.0
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        if scale:
            x, y = halve(x), halve(y)
        similarity, structure = (part.mean() for part in ssim_maps(x, y))
        product *= (similarity if scale == 4 else structure) ** weight
    return product


def mef_ssim(a, b, f) -> float:
    weights = np.array([0.0448, 0.2856, 0.3001])
    product = 1.0
    for scale, weight in enumerate(weights / weights.sum()):
        if scale:
            a, b, f = halve(a), halve(b), halve(f)
        blocks = [sliding_window_view(x, (11, 11)).reshape(-1, 11, 11) for x in (a, b, f)]
        product *= np.mean([_mef_block(*block) for block in zip(*blocks)]) ** weight
    return product


def _mef_block(a: ndarray, b: ndarray, f: ndarray) -> float:
    """Contrast and structure of a block of F against the ideal block, which is made here pixel by pixel."""
    eps = np.finfo(float).eps
    centered = [x - x.mean() for x in (a, b)]
    contrasts = [np.linalg.norm(x) + 0.001 for x in centered]
    agreement = (np.linalg.norm(sum(centered)) + eps) / (sum(np.linalg.norm(x) for x in centered) + eps)
    power = min(math.tan(math.pi / 2 * min(max(agreement, eps), 1 - eps)), 10)
    weights = [(c / 11) ** power + eps for c in contrasts]
    ideal = sum(w / sum(weights) * x / c for w, x, c in zip(weights, centered, contrasts))
    length = np.linalg.norm(ideal)
    if length > 0:
        ideal = ideal / length * max(contrasts)
    w = window(11, 1.5)
    dr, df = (x - (w * x).sum() for x in (ideal, f))
    c2 = (0.03 * 255) ** 2
    return (2 * (w * dr * df).sum() + c2) / ((w * dr * dr).sum() + (w * df * df).sum() + c2)


def piella(a, b, f, weighted: bool = False) -> float:
    _, _, va, vb, _ = local(a, b, window(11, 1.5))
    with_a, with_b = ssim_maps(a, f)[0], ssim_maps(b, f)[0]
    values = []
    for x, y, qa, qb in zip(va.ravel(), vb.ravel(), with_a.ravel(), with_b.ravel()):
        x, y = (0.5, 0.5) if x + y == 0 else (x, y)
        values.append((x / (x + y) * qa + y / (x + y) * qb, max(x, y) if weighted else 1.0))
    return sum(q * w for q, w in values) / sum(w for _, w in values)


def prewitt(image: ndarray) -> ndarray:
    step = np.array([[-1, 0, 1]] * 3)
    return np.hypot(convolve2d(image, step, mode="same"), convolve2d(image, step.T, mode="same"))


def piella_of_edges(a, b, f) -> float:
    return piella(prewitt(a), prewitt(b), prewitt(f), weighted=True)


def yang(a, b, f) -> float:
    """Windows in which both sources are flat do not count."""
    w = window(7, 1.5)
    _, _, va, vb, _ = local(a, b, w)
    with_a, with_b, agree = (ssim_maps(x, y, w, 0)[0] for x, y in ((a, f), (b, f), (a, b)))
    values = []
    for x, y, qa, qb, both in zip(va.ravel(), vb.ravel(), with_a.ravel(), with_b.ravel(), agree.ravel()):
        if both < 0.75:
            values.append(max(qa, qb))
        elif x + y > 1e-8:
            values.append((x * qa + y * qb) / (x + y))
    return float(np.mean(values))


def cvejic(a, b, f) -> float:
    """Windows without covariance do not count; a share of the covariance beyond 0..1 makes the window 0 or 1."""
    w = window(7, 1.5)
    covariances = [local(x, f, w)[4] for x in (a, b)]
    with_a, with_b = (ssim_maps(x, f, w, 0)[0] for x in (a, b))
    values = []
    for x, y, qa, qb in zip(*(m.ravel() for m in (*covariances, with_a, with_b))):
        x, y = (0.0 if abs(v) < 1e-8 else v for v in (x, y))
        if x == 0 and y == 0:
            continue
        share = x / (x + y) if x + y != 0 else math.copysign(math.inf, x)
        values.append(0.0 if share < 0 else 1.0 if share > 1 else share * qa + (1 - share) * qb)
    return float(np.mean(values))


def han_information_fidelity(a, b, f) -> float:
    """Han's VIFF: in every window the source with the smaller gain counts."""
    total = 0.0
    noise = 0.005 * 255**2
    for size, weight in ((17, 1 / 2.15), (9, 0.0), (5, 0.15 / 2.15), (3, 1 / 2.15)):
        w = window(size, size / 5)
        if size < 17:
            a, b, f = (convolve2d(x, w, mode="valid")[::2, ::2] for x in (a, b, f))
        parts = []
        for x in (a, b):
            _, _, vx, vf, vxf = local(x, f, w)
            vx = np.where(vx < 1e-10, 0, vx)
            gain = np.where((vx < 1e-10) | (vf < 1e-10), 0, np.maximum(vxf / (vx + 1e-10), 0))
            left = np.maximum(vf - gain * vxf, 1e-10)
            parts.append((gain, np.log10(1 + gain**2 * vx / (left + noise)), np.log10(1 + vx / noise)))
        first = parts[0][0] < parts[1][0]
        kept, full = (np.where(first, p, q) + 1e-7 for p, q in zip(parts[0][1:], parts[1][1:]))
        total += weight * kept.sum() / full.sum()
    return total


# What the eye sees.


def contrast_filtered(image: ndarray, part: float, response) -> ndarray:
    """Multiply the spectrum by a response of the radius, frequencies being -1..1 times `part` of the sides."""
    height, width = image.shape
    v, u = np.meshgrid(
        np.fft.fftfreq(height) * 2 * height * part, np.fft.fftfreq(width) * 2 * width * part, indexing="ij"
    )
    return np.fft.ifft2(np.fft.fft2(image) * response(np.sqrt(u**2 + v**2))).real


def chen_varshney(a, b, f) -> float:
    def mannos_sakrison(r: ndarray) -> ndarray:
        return 2.6 * (0.0192 + 0.144 * r) * np.exp(-((0.144 * r) ** 1.1))

    a, b, f = stretch(a), stretch(b), stretch(f)
    error = weight = 0.0
    for x in (a, b):
        step = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
        strength = np.hypot(convolve2d(x, step, mode="same"), convolve2d(x, step.T, mode="same"))
        seen = contrast_filtered(x - f, 1 / 8, mannos_sakrison) ** 2
        for top in range(0, x.shape[0], 16):
            for left in range(0, x.shape[1], 16):
                block = slice(top, top + 16), slice(left, left + 16)
                saliency = (strength[block] ** 5).sum()
                error += saliency * seen[block].sum() / 256
                weight += saliency
    return error / weight


def chen_blum(a, b, f, divisor: float = 1.0) -> float:
    """Of images over a divisor, which moves exact halves in stretching."""

    def sensitivity(r: ndarray) -> ndarray:
        return np.exp(-((r / 15.3870) ** 2)) - 0.7622 * np.exp(-((r / 1.3456) ** 2))

    contrasts = []
    for image in (a, b, f):
        seen = contrast_filtered(stretch(image, divisor), 1 / 30, sensitivity)
        y, x = np.mgrid[-15:16, -15:16]
        means = [
            convolve2d(seen, np.exp(-(x**2 + y**2) / (2 * s * s)) / (2 * np.pi * s * s), mode="same") for s in (2, 4)
        ]
        contrast = np.abs(means[0] / means[1] - 1)
        contrasts.append(contrast**3 / (contrast**2 + 0.0001))
    ca, cb, cf = contrasts
    kept_a, kept_b = (np.where(c < cf, c / cf, cf / c) for c in (ca, cb))
    return np.mean((ca**2 * kept_a + cb**2 * kept_b) / (ca**2 + cb**2))


# Feature mutual information.


def feature_information(a, b, f, feature) -> float:
    a, b, f = feature(a), feature(b), feature(f)
    total = 0.0
    for x in (a, b):
        windows = [sliding_window_view(image, (3, 3)).reshape(-1, 3, 3) for image in (x, f)]
        total += np.mean([_window_information(u.T.ravel(), v.T.ravel()) for u, v in zip(*windows)])
    return total / 2


def _window_information(x: ndarray, y: ndarray) -> float:
    """2 I / (H + H) of one window, its nine values read as distributions of 1..9 with the values' correlation."""
    if (x == y).all():
        return 1.0
    p, q = _distribution(x), _distribution(y)
    spread = math.sqrt(max(_variance(p), 0) * max(_variance(q), 0))
    correlation = 0.0
    dp, dq = p - p.mean(), q - q.mean()
    if (dp @ dq) != 0 and (dp @ dp) * (dq @ dq) > 0:
        correlation = (dp @ dq) / math.sqrt((dp @ dp) * (dq @ dq))
    bound, covariance = np.zeros((10, 10)), 0.0
    for i in range(1, 10):
        for j in range(1, 10):
            u, v = p[:i].sum(), q[:j].sum()
            bound[i, j] = min(u, v) if correlation >= 0 else max(u + v - 1, 0)
            covariance += bound[i, j] - u * v
    mixing = correlation * spread / covariance if correlation != 0 and spread > 0 and covariance != 0 else 0.0
    joint = mixing * np.diff(np.diff(bound, axis=0), axis=1) + (1 - mixing) * np.outer(p, q)
    shared = _entropy(p) + _entropy(q) - _entropy(joint)
    return 2 * shared / (_entropy(p) + _entropy(q)) if shared != 0 else 0.0


def _distribution(values: ndarray) -> ndarray:
    spread = values.max() - values.min()
    scaled = (values - values.min()) / spread if spread > 0 else np.ones(9)
    return scaled / scaled.sum()


def _variance(p: ndarray) -> float:
    index = np.arange(1, 10)
    return (p * index**2).sum() - (p * index).sum() ** 2


def _entropy(p: ndarray) -> float:
    return -sum(v * math.log2(abs(v)) for v in p.ravel() if v != 0)


def cosine_transform(image: ndarray) -> ndarray:
    """2-D DCT-II, orthonormal, as a product with its matrix."""

    def matrix(n: int) -> ndarray:
        k, x = np.mgrid[:n, :n]
        return np.where(k == 0, math.sqrt(1 / n), math.sqrt(2 / n)) * np.cos(np.pi * (2 * x + 1) * k / (2 * n))

    return matrix(image.shape[0]) @ image @ matrix(image.shape[1]).T


def sobel_edges(image: ndarray) -> ndarray:
    """Local maxima, across the stronger direction, of a Sobel power above four times its mean."""
    gx, gy = (np.abs(sobel(image, axis, mode="nearest") / 8) for axis in (1, 0))
    power, edges = gx**2 + gy**2, np.zeros(image.shape)
    for i in range(1, image.shape[0] - 1):
        for j in range(1, image.shape[1] - 1):
            if power[i, j] <= 4 * power.mean():
                continue
            upright = gx[i, j] >= gy[i, j] - 2.3e-14 and power[i, j - 1] <= power[i, j] > power[i, j + 1]
            flat = gy[i, j] >= gx[i, j] - 2.3e-14 and power[i - 1, j] <= power[i, j] > power[i + 1, j]
            edges[i, j] = upright or flat
    return edges


def meyer_transform(image: ndarray) -> ndarray:
    """One level of the Meyer wavelet of 62 taps, as PyWavelets decimates with half-sample symmetric borders."""
    omega = 2 * np.pi * (np.arange(5000) + 0.5) / 5000 - np.pi
    x = np.clip(3 * np.abs(omega) / np.pi - 1, 0, 1)
    spectrum = math.sqrt(2) * np.cos(np.pi / 2 * x**4 * (35 - 84 * x + 70 * x**2 - 20 * x**3))
    low = np.array([0.0, *(np.mean(spectrum * np.cos(k * omega)) for k in range(-30, 31))])
    high = -low[::-1] * (-1.0) ** np.arange(62)
    for _ in range(2):  # columns, then rows
        n = len(image)
        extended = np.concatenate([image, image[::-1]])  # repeats with period 2 n
        bands = [
            [sum(t * extended[(2 * i + 1 - k) % (2 * n)] for k, t in enumerate(taps)) for i in range((n + 61) // 2)]
            for taps in (low, high)
        ]
        image = np.array(bands[0] + bands[1]).T
    return image


# Scores of this project.


def spurious(a, b, f) -> float:
    """Two-dimensional Gaussian of standard deviation s, then central differences times s."""
    s = math.sqrt(f.size) / 64
    radius = math.ceil(4 * s)
    x, y = np.meshgrid(*[np.arange(-radius, radius + 1)] * 2)
    window = np.exp(-(x**2 + y**2) / (2 * s**2))
    window /= window.sum()
    gradients = []
    for image in (a, b, f):
        coarse = np.pad(convolve2d(np.pad(image, radius, "edge"), window, "valid"), 1, "edge")
        gx, gy = (coarse[1:-1, 2:] - coarse[1:-1, :-2]) / 2, (coarse[2:, 1:-1] - coarse[:-2, 1:-1]) / 2
        gradients.append(s * np.sqrt(gx**2 + gy**2))
    return float(np.mean([max(0, gf - max(ga, gb)) for ga, gb, gf in zip(*(g.ravel() for g in gradients))]))


TARGETS = [  # class, left, top, right, bottom; each is bright in one of the images that tests use
    ("Person", 46, 54, 58, 67),
    ("person", 43, 33, 56, 46),
    ("people", 38, 6, 48, 18),
    ("car", 30, 50, 48, 60),
]


def retention(a, b, f) -> float:
    """Of those among TARGETS that are people, pixel by pixel; their contrast in A has to be 10 or more."""
    height, width = a.shape
    kept = shown = 0.0
    for _, left, top, right, bottom in TARGETS[:3]:
        contrasts = []
        for image in (a, f):
            inside, around = [], []
            for y in range(height):
                for x in range(width):
                    if left <= x < right and top <= y < bottom:
                        inside.append(image[y, x])
                    elif (
                        left - (right - left) / 2 <= x + 0.5 < right + (right - left) / 2
                        and top - (bottom - top) / 2 <= y + 0.5 < bottom + (bottom - top) / 2
                        and not any(l <= x < r and t <= y < u for _, l, t, r, u in TARGETS)
                    ):
                        around.append(image[y, x])
            contrasts.append(sum(inside) / len(inside) - sum(around) / len(around))
        if contrasts[0] >= 10:
            shown += contrasts[0]
            kept += contrasts[1]
    return kept / shown


# Convention to metric to function of (a, b, f).  The authors' twelve metrics of 'adasffuse' are in
# reference/values.json; QP and CIEDE2000 have no second form here, of FMI_wavelet the transform has one.
_SHARED = {
    "EN": lambda a, b, f: entropy(f) / math.log(2),
    "SD": lambda a, b, f: math.sqrt(np.mean((f - f.mean()) ** 2)),
    "EI": lambda a, b, f: edge_intensity(f),
    "NMI": normalized_mutual_information,
    "CE": cross_entropy,
    "Qncie": nonlinear_correlation_entropy,
    "TE": tsallis_information,
    "FMI_pixel": lambda a, b, f: feature_information(a, b, f, np.asarray),
    "FMI_gradient": lambda a, b, f: feature_information(a, b, f, lambda x: np.gradient(x, axis=1)),
    "FMI_edge": lambda a, b, f: feature_information(a, b, f, sobel_edges),
    "FMI_dct": lambda a, b, f: feature_information(a, b, f, cosine_transform),
    "Nabf": fusion_artifacts,
    "MS_SSIM": lambda a, b, f: (ms_ssim(a, f) + ms_ssim(b, f)) / 2,
    "MEF_SSIM": mef_ssim,
    "Q": piella,
    "Qw": lambda a, b, f: piella(a, b, f, weighted=True),
    "Qe": lambda a, b, f: piella(a, b, f, weighted=True) * piella_of_edges(a, b, f),
    "Qy": yang,
    "Qc": cvejic,
    "Qcv": chen_varshney,
    "Qcb": chen_blum,
    "PSNR_GT": lambda a, b, f: decibel(255, np.mean((b - f) ** 2)),  # b stands for the true image
    "SSIM_GT": lambda a, b, f: ssim(b, f),
    "Spurious": spurious,
    "Retention": retention,
}
_BENCHMARK = {
    **{name: _SHARED[name] for name in ("Qcb", "Qcv", "EN", "EI", "SD", "CE")},
    "AG": lambda a, b, f: average_gradient(f, every_pixel=False),
    "SF": lambda a, b, f: spatial_frequency(f, every_pixel=True),
    "PSNR": lambda a, b, f: decibel(255, root_error_of_vifb(a, b, f)),
}
PLAIN = {
    "adasffuse": _SHARED,
    "vifb": {
        **_BENCHMARK,
        "RMSE": root_error_of_vifb,
        "MI": mutual_information,
        "SSIM": lambda a, b, f: ssim(a, f) + ssim(b, f),
    },
    "mefb": {
        **_BENCHMARK,
        **{name: _SHARED[name] for name in ("NMI", "Qncie", "FMI_edge", "MEF_SSIM", "Q", "Qc", "Qy")},
        "Qcb": lambda a, b, f: chen_blum(a, b, f, divisor=255),
        "TE": tsallis_information_transposed,
        "Qw": piella_of_edges,
        "VIFF": han_information_fidelity,
    },
    "tang": {
        "AG": _BENCHMARK["AG"],
        "MI": mutual_information_saturated,
        "MSE": lambda a, b, f: mean_squared_error(a, b, f) / 255**2,
        "PSNR": lambda a, b, f: decibel(255, mean_squared_error(a, b, f) / 255**2),
        "SSIM": ssim_of_tang,
        "MS_SSIM": mef_ssim,
        "Nabf": fusion_artifacts,
        "FMI_pixel": _SHARED["FMI_edge"],
        "FMI_dct": _SHARED["FMI_dct"],
    },
    "clean": {
        **{name: _SHARED[name] for name in ("EN", "SD", "NMI", "Qncie", "TE", "FMI_gradient", "Nabf", "MS_SSIM")},
        **{name: _SHARED[name] for name in ("MEF_SSIM", "Qy", "PSNR_GT", "SSIM_GT")},
        "SF": _BENCHMARK["SF"],
        "MI": lambda a, b, f: mutual_information(a, b, f) / math.log(2),
        "VIFF": han_information_fidelity,
        "Qabf": edge_preservation_with_equal_as_1,
        "SSIM": lambda a, b, f: (ssim(a, f) + ssim(b, f)) / 2,
    },
}
