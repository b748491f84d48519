"""What every released weights file keeps to, whatever the images show; on rendered samples, as `load_fuser` fuses."""

from functools import cache

import cv2
import numpy as np
import pytest
from tiny import rendered_samples

from adasffuse.images.arrays import as_image
from adasffuse.images.color import luminance
from adasffuse.inference import Fuser, load_fuser
from adasffuse.models.weights import released_names
from adasffuse.tasks import GENERAL, TASKS

TASKS_OF = {name: [*TASKS] if name.startswith(GENERAL) else [name.split("_")[0]] for name in released_names()}
FILES = [(name, task) for name, tasks in TASKS_OF.items() for task in tasks]  # weights, and a task they are used for
LEVELS = {"ivf": (0, 64, 128, 224, 255), "mef": (0, 255), "mff": (), "mif": (0,)}  # of flat frames


@pytest.fixture(scope="module", params=FILES, ids=lambda file: f"{file[0]}-{file[1]}")
def fuser(request) -> Fuser:
    name, task = request.param
    return load_fuser(task, weights=name, device="cpu")


@cache
def sources(task: str) -> tuple[np.ndarray, ...]:
    """The first sample of a task, reduced to 80 x 48 pixels: uint8, (H, W) or (H, W, 3)."""
    sample = rendered_samples(task)[0]
    return tuple(cv2.resize(x, (80, 48), interpolation=cv2.INTER_AREA) for x in (sample.a, sample.b))


def gray(image: np.ndarray) -> np.ndarray:
    """Luminance in grey levels."""
    return luminance(as_image(image).pixels) * 255


def psnr(image: np.ndarray, expected: np.ndarray) -> float:
    error = np.square(gray(image) - gray(expected)).mean()
    return 10 * np.log10(255**2 / max(error, 1e-9))


def test_an_image_fused_with_itself_stays_as_it_is(fuser):
    most = 3 if len(fuser.task.kinds) == 1 else 2
    for count, image in zip((2, most), sources(fuser.task.id)):
        assert abs(fuser.fuse(count * [image]).astype(int) - image).max() <= 1


def test_the_result_lies_between_the_sources_but_for_a_residual_as_large_as_their_difference(fuser):
    lumas = [gray(x).astype(np.float32) / 255 for x in sources(fuser.task.id)]
    fused, darkest, brightest = fuser.fuse_luminance(*lumas), np.minimum(*lumas), np.maximum(*lumas)
    slack = brightest - darkest if fuser.model.decode is not None else 0
    assert (fused >= darkest - slack - 0.5 / 255).all() and (fused <= brightest + slack + 0.5 / 255).all()


def test_black_in_all_sources_stays_black(fuser):
    images = [x.copy() for x in sources(fuser.task.id)]
    for image in images:
        image[8:40, 24:64] = 0
    assert fuser.fuse(images)[8:40, 24:64].max() <= 1


def test_a_source_without_content_leaves_the_other_one(fuser):
    rng = np.random.default_rng(0)
    for side, image in enumerate(sources(fuser.task.id)):
        for level in LEVELS[fuser.task.id]:
            noise = (level % 3) * rng.standard_normal(image.shape[:2])  # none, or that of a sensor
            flat = np.full(image.shape[:2], level) + noise
            pair = [image, image]
            pair[1 - side] = flat.clip(0, 255).round().astype(np.uint8)
            assert psnr(fuser.fuse(pair), image) >= 35, (side, level)


def test_where_a_source_holds_no_data_the_other_one_is_shown_without_ring_and_seam(fuser):
    """A warped source, black or NaN outside of its view, half-dark at the rim as interpolation leaves it."""
    a, b = (gray(x).astype(np.float32) / 255 for x in sources(fuser.task.id))
    inside = np.zeros(a.shape, np.float32)
    inside[:, 50:] = 1
    inside = cv2.warpAffine(
        inside, np.float32([[1, 0, 0.5], [0, 1, 0]]), a.shape[::-1], borderMode=cv2.BORDER_REPLICATE
    )
    warped = np.where(inside > 0, a * inside, np.nan)
    for missing, pair in ((0, (warped, b)), (1, (b, warped))):
        fused = fuser.fuse(*pair, depth="float")
        missing_part, rim = fused[:, :48], fused[:, 48:54]
        assert abs(missing_part - b[:, :48]).max() <= 1.5 / 255, missing
        assert abs(rim - b[:, 48:54]).mean() <= 6 / 255, missing  # the fade starts inside of the view


@pytest.mark.parametrize("size", [(1, 1), (37, 75)])
def test_any_size(fuser, size):
    a, b = (x[: size[0], : size[1]] for x in sources(fuser.task.id))
    assert fuser.fuse(a, b).shape[:2] == size


def test_order_matters_only_between_kinds(fuser):
    fuser = Fuser(fuser.model, fuser.task, precision="float32")
    a, b = (gray(x).astype(np.float32) / 255 for x in sources(fuser.task.id))
    third = b[:, ::-1].copy()
    first, second = fuser.fuse_luminance(a, b, third), fuser.fuse_luminance(a, third, b)
    assert abs(first - second).max() <= 1 / 255
    if len(fuser.task.kinds) == 1:
        assert abs(fuser.fuse_luminance(b, third, a) - first).max() <= 1 / 255
        assert abs(fuser.fuse_luminance(a, b) - fuser.fuse_luminance(b, a)).max() <= 1 / 255
