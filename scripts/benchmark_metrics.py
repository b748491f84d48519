"""Time the twelve default-convention metrics on one thread, side by side with a naive NumPy/SciPy formulation.

    python scripts/benchmark_metrics.py [--size 480 640] [--repeats 7]

Both are checked to agree to 1e-9.  The naive side convolves with two-dimensional windows (scipy.signal.convolve2d) and
treats the two sources one after the other, as the definitions read.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable

import cv2
import numpy as np
from numpy import ndarray
from scipy.ndimage import uniform_filter
from scipy.signal import convolve2d

from adasffuse.cli.arguments import at_least
from adasffuse.metrics.conventions import definitions

TWELVE = ("EN", "SD", "SF", "AG", "MI", "MSE", "PSNR", "CC", "SCD", "VIFF", "Qabf", "SSIM")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--size",
        type=at_least(41),
        nargs=2,
        default=(480, 640),
        metavar=("HEIGHT", "WIDTH"),
        help="size of the images, 41 or more as VIFF needs (default: 480 640)",
    )
    parser.add_argument(
        "--repeats", type=at_least(1), default=7, help="number of times; the fastest counts (default: %(default)s)"
    )
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)  # the rest of both sides has one thread anyway: neither calls BLAS on large arrays
    images = scene(*args.size)
    total_ours = total_naive = 0.0
    print(f"{args.size[1]}x{args.size[0]} px, one thread, fastest of {args.repeats}, load {os.getloadavg()[0]:.1f}")
    print(f"{'metric':8} {'ours ms':>9} {'naive ms':>9} {'ratio':>7} {'difference':>11}")
    for name, definition in definitions(TWELVE, "adasffuse").items():
        ours, value = fastest(lambda d=definition: d.score(images), args.repeats)
        naive, expected = fastest(lambda n=name: NAIVE[n](*images.values()), min(args.repeats, 3))
        difference = abs(value - expected) / abs(expected)
        if not difference < 1e-9:
            print(f"error: {name} is {value}, the naive formulation gives {expected}", file=sys.stderr)
            return 1
        print(f"{name:8} {ours:9.2f} {naive:9.1f} {naive / ours:7.1f} {difference:11.0e}")
        total_ours, total_naive = total_ours + ours, total_naive + naive
    print(f"{'all':8} {total_ours:9.2f} {total_naive:9.1f} {total_naive / total_ours:7.1f}")
    return 0


def scene(height: int, width: int) -> dict[str, ndarray]:
    """Two textured images and their mean, float64 whole numbers on 0..255."""
    random = np.random.default_rng(0)
    a, b = (
        sum(cv2.GaussianBlur(random.normal(size=(height, width)), (0, 0), sigma) * 40 * sigma for sigma in (1, 4, 16))
        for _ in range(2)
    )
    a, b = (np.clip(np.rint(128 + x), 0, 255) for x in (a, b))
    return {"a": a, "b": b, "fused": np.rint((a + b) / 2)}


def fastest(function: Callable[[], float], repeats: int) -> tuple[float, float]:
    """(milliseconds, value) of the fastest call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        value = function()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times), value


def naive_entropy(a: ndarray, b: ndarray, f: ndarray) -> float:
    p = np.histogram(f, bins=256, range=(0, 256))[0] / f.size
    return -sum(x * np.log2(x) for x in p if x > 0)


def naive_information(a: ndarray, b: ndarray, f: ndarray) -> float:
    total = 0.0
    for source in (a, b):
        joint = np.histogram2d(source.ravel(), f.ravel(), bins=256, range=((0, 256), (0, 256)))[0] / f.size
        outer = np.outer(joint.sum(axis=1), joint.sum(axis=0))
        total += np.sum(joint[joint > 0] * np.log(joint[joint > 0] / outer[joint > 0]))
    return total


def naive_mse(a: ndarray, b: ndarray, f: ndarray) -> float:
    return (np.mean((a - f) ** 2) + np.mean((b - f) ** 2)) / 2


def naive_vif(source: ndarray, f: ndarray) -> float:
    kept = full = 0.0
    for scale, size in enumerate((17, 9, 5, 3)):
        x = np.arange(size) - size // 2
        window = np.exp(-(x[:, None] ** 2 + x**2) / (2 * (size / 5) ** 2))
        window /= window.sum()

        def mean(image: ndarray, window: ndarray = window) -> ndarray:
            return convolve2d(image, window, mode="valid")

        if scale:
            source, f = mean(source)[::2, ::2], mean(f)[::2, ::2]
        mean_s, mean_f = mean(source), mean(f)
        variance_s = np.maximum(mean(source * source) - mean_s**2, 0)
        variance_f = np.maximum(mean(f * f) - mean_f**2, 0)
        covariance = mean(source * f) - mean_s * mean_f
        gain = np.where((variance_s < 1e-10) | (variance_f < 1e-10), 0, covariance / (variance_s + 1e-10))
        distortion = np.where(gain < 0, variance_f, variance_f - gain * covariance)
        gain = np.maximum(gain, 0)
        kept += np.log10(1 + gain**2 * variance_s / (np.maximum(distortion, 1e-10) + 2)).sum()
        full += np.log10(1 + variance_s / 2).sum()
    return kept / full


def naive_edge_preservation(a: ndarray, b: ndarray, f: ndarray) -> float:
    across = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    maps = []
    for image in (a, b, f):
        gx, gy = convolve2d(image, across, mode="same"), convolve2d(image, -across.T, mode="same")
        angle = np.where(gx == 0, np.pi / 2, np.arctan(gy / np.where(gx == 0, 1, gx)))
        maps.append((np.sqrt(gx**2 + gy**2), angle))
    kept = 0.0
    for strength, angle in maps[:2]:
        strength_f, angle_f = maps[2]
        largest = np.maximum(strength, strength_f)
        ratio = np.minimum(strength, strength_f) / np.where(largest > 0, largest, 1)
        ratio = np.where(strength == strength_f, strength_f, ratio)
        turn = 1 - np.abs(angle - angle_f) / (np.pi / 2)
        kept += np.sum(
            strength * 0.9994 / (1 + np.exp(-15 * (ratio - 0.5))) * 0.9879 / (1 + np.exp(-22 * (turn - 0.8)))
        )
    return kept / (maps[0][0].sum() + maps[1][0].sum())


def naive_ssim(x: ndarray, y: ndarray) -> float:
    def mean(image: ndarray) -> ndarray:
        return uniform_filter(image, 7)[3:-3, 3:-3]

    mx, my, n = mean(x), mean(y), 49 / 48
    variances, covariance = n * (mean(x * x) - mx**2 + mean(y * y) - my**2), n * (mean(x * y) - mx * my)
    above = (2 * mx * my + 2.55**2) * (2 * covariance + 7.65**2)
    return float(np.mean(above / ((mx**2 + my**2 + 2.55**2) * (variances + 7.65**2))))


def pearson(x: ndarray, y: ndarray) -> float:
    return np.corrcoef(x.ravel(), y.ravel())[0, 1]


NAIVE: dict[str, Callable[[ndarray, ndarray, ndarray], float]] = {
    "EN": naive_entropy,
    "SD": lambda a, b, f: np.std(f),
    "SF": lambda a, b, f: np.sqrt(np.mean(np.diff(f, axis=0) ** 2) + np.mean(np.diff(f, axis=1) ** 2)),
    "AG": lambda a, b, f: np.mean(np.sqrt(sum(g**2 for g in np.gradient(f)) / 2)),
    "MI": naive_information,
    "MSE": naive_mse,
    "PSNR": lambda a, b, f: 10 * np.log10(f.max() ** 2 / naive_mse(a, b, f)),
    "CC": lambda a, b, f: (pearson(a, f) + pearson(b, f)) / 2,
    "SCD": lambda a, b, f: pearson(f - b, a) + pearson(f - a, b),
    "VIFF": lambda a, b, f: naive_vif(a, f) + naive_vif(b, f),
    "Qabf": naive_edge_preservation,
    "SSIM": lambda a, b, f: naive_ssim(a, f) + naive_ssim(b, f),
}

if __name__ == "__main__":
    sys.exit(main())
