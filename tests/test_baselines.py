"""Fusion without learning."""

import cv2
import numpy as np
import pytest

from adasffuse.classical.baselines import BASELINES, laplacian


@pytest.fixture
def sources():
    random = np.random.default_rng(0)
    return [cv2.GaussianBlur(random.random((70, 91), dtype=np.float32), (0, 0), 2) for _ in range(2)]


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("size", [(70, 91), (1, 1), (3, 64)])
def test_results_have_the_size_type_and_range_of_the_sources(name, size):
    a, b = np.random.default_rng(0).random((2, *size), dtype=np.float32)
    fused = BASELINES[name](a, b)
    assert fused.shape == size
    assert fused.dtype == np.float32
    assert fused.min() >= 0 and fused.max() <= 1


@pytest.mark.parametrize("name", ["average", "max", "laplacian", "gff"])
def test_identical_sources_come_back(name, sources):
    assert np.allclose(BASELINES[name](sources[0], sources[0]), sources[0], atol=1e-4)


@pytest.mark.parametrize("name", ["average", "max", "laplacian", "mertens"])
def test_order_of_the_sources_does_not_matter(name, sources):
    assert np.allclose(BASELINES[name](*sources), BASELINES[name](*sources[::-1]), atol=1e-5)


def test_average_and_max_by_hand():
    a, b = np.array([[0.0, 1.0]]), np.array([[0.5, 0.5]])
    assert BASELINES["average"](a, b).tolist() == [[0.25, 0.75]]
    assert BASELINES["max"](a, b).tolist() == [[0.5, 1.0]]


def test_guided_filter_fusion_keeps_each_half_that_is_sharp():
    """Multi-focus by construction: A is sharp on the left, B on the right."""
    sharp = np.random.default_rng(1).random((128, 256)).astype(np.float32)
    blurred = cv2.GaussianBlur(sharp, (0, 0), 3)
    left = np.arange(256) < 128
    fused = BASELINES["gff"](np.where(left, sharp, blurred), np.where(left, blurred, sharp))
    away = np.abs(np.arange(256) - 128) > 32
    assert np.abs(fused - sharp)[:, away].mean() < 0.1 * np.abs(blurred - sharp)[:, away].mean()


def test_mertens_prefers_what_is_well_exposed():
    shades = np.tile(np.linspace(0.2, 0.8, 64, dtype=np.float32), (64, 1))
    fused = BASELINES["mertens"](shades * 0.05, shades)
    assert np.abs(fused - shades).mean() < 0.1


@pytest.mark.parametrize("name", ["road09573_laplacian", "ctmri37009_laplacian"])
def test_laplacian_pyramid_equals_the_reference_images(metrics_reference, name):
    folder = metrics_reference / "cases" / name
    a, b, fused = (cv2.imread(str(folder / f"{letter}.png"), cv2.IMREAD_GRAYSCALE) for letter in "ABF")
    ours = np.rint(laplacian(a / 255, b / 255) * 255)
    assert np.abs(ours - fused).max() <= 1
