"""Structural similarity.  Images are float64 (H, W) on 0..255."""

from numpy import ndarray

from adasffuse.metrics.windows import LocalMoments, fits, uniform


def structural_similarity(a: ndarray, b: ndarray, fused: ndarray) -> float:
    """SSIM(A, F) + SSIM(B, F)."""
    if not fits(fused, 7):
        return float("nan")
    moments = LocalMoments(uniform(7), a=a, b=b, fused=fused)
    return sum(float(_ssim_map(moments, source, "fused", 49 / 48).mean()) for source in ("a", "b"))


def _ssim_map(moments: LocalMoments, x: str, y: str, correction: float) -> ndarray:
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mx, my = moments.mean(x), moments.mean(y)
    structure = (2 * correction * moments.covariance(x, y) + c2) / (
        correction * (moments.covariance(x, x) + moments.covariance(y, y)) + c2
    )
    return (2 * mx * my + c1) / (mx * mx + my * my + c1) * structure
