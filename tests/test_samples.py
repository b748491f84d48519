"""The built-in samples: complete, always the same, honest about what is simulated, and worth fusing."""

import cv2
import numpy as np
import pytest
from tiny import rendered_samples

from adasffuse.data import samples as samples_module
from adasffuse.data.samples import sample_pairs, write_samples
from adasffuse.images.color import luminance
from adasffuse.images.dataset_folders import scene_folders
from adasffuse.images.pairs import find_scenes, read_scene
from adasffuse.tasks import TASKS


def sharpness(image: np.ndarray) -> np.ndarray:
    """Local gradient energy of the luminance."""
    y = luminance(image.astype(np.float32) / 255)
    return cv2.blur(cv2.Sobel(y, -1, 1, 0) ** 2 + cv2.Sobel(y, -1, 0, 1) ** 2, (15, 15))


@pytest.mark.parametrize("task_id", TASKS)
def test_every_task_has_registered_pairs(task_id):
    samples = rendered_samples(task_id)
    assert len(samples) >= 2 and len({sample.name for sample in samples}) == len(samples)
    for sample in samples:
        assert sample.a.dtype == sample.b.dtype == np.uint8
        assert sample.a.shape[:2] == sample.b.shape[:2] and min(sample.a.shape[:2]) >= 200
        assert "simulated" in sample.title and sample.note


@pytest.mark.parametrize("task_id", ["ivf", "mef", "mff"])
def test_each_source_is_sharper_somewhere(task_id):
    for sample in rendered_samples(task_id):
        better = sharpness(sample.a) > sharpness(sample.b)
        assert 0.05 < better.mean() < 0.95, sample.name


def test_each_medical_source_is_brighter_somewhere():
    for sample in rendered_samples("mif"):
        difference = luminance(sample.a / np.float32(255)) - luminance(sample.b / np.float32(255))
        assert min((difference > 0.1).mean(), (difference < -0.1).mean()) > 0.05, sample.name


def test_medical_samples_cover_every_subset():
    assert [sample.subset for sample in rendered_samples("mif")] == ["CT-MRI", "PET-MRI", "SPECT-MRI"]
    assert [sample.a.ndim for sample in rendered_samples("mif")] == [2, 3, 3]


def test_samples_are_always_the_same():
    first = [sample for task_id in TASKS for sample in rendered_samples(task_id)]
    again = [sample for task_id in TASKS for sample in sample_pairs(task_id)]
    assert all(np.array_equal(x.a, y.a) and np.array_equal(x.b, y.b) for x, y in zip(first, again))


def test_people_in_the_street_are_hot_and_dark_and_signs_only_bright():
    street = rendered_samples("ivf")[0]
    visible = luminance(street.b.astype(np.float32) / 255)
    heat = street.a / np.float32(255)
    count, labels, areas, _ = cv2.connectedComponentsWithStats((heat > 0.7).astype(np.uint8))
    people = [labels == label for label in range(1, count) if areas[label, cv2.CC_STAT_AREA] > 100]
    dark = [np.median(visible[person]) < 0.2 for person in people]
    assert sum(dark) >= 2  # the one beside the headlights may be dazzled
    lit = (visible > 0.5) & (np.arange(visible.shape[0])[:, None] < 0.4 * visible.shape[0])  # lamps, signs, windows
    assert lit.sum() > 100 and (heat[lit] < 0.7).all()


def test_written_samples_are_found_as_pairs(tmp_path, monkeypatch):
    monkeypatch.setattr(samples_module, "sample_pairs", rendered_samples)
    for task in TASKS.values():
        samples = {sample.name: sample for sample in write_samples(tmp_path, task.id)}
        for folder in scene_folders(tmp_path, task.folder):
            pairs, problems = find_scenes(folder.folders)
            assert problems == []
            for pair in pairs:
                sample = samples.pop(pair.stem)
                for image, levels in zip(read_scene(pair), (sample.a, sample.b)):
                    assert np.array_equal(np.rint(image.pixels * 255), levels)
        assert samples == {}
