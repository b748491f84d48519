"""Fusing a folder, some pairs at once: every pair is reported once, in order."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from tiny import network, texture, write_ivf

from adasffuse.images.pairs import SceneFolder
from adasffuse.images.read import read_image, write_png
from adasffuse.inference.folder import _Turns, fuse_folder
from adasffuse.inference.fuser import Fuser
from adasffuse.tasks import TASKS


def test_pairs_that_fail_in_reading_or_writing_leave_the_others_whole(tmp_path):
    root = write_ivf(tmp_path, tuple("12345678")) / "IVF"
    folders = root / "infrared", root / "visible"
    write_png(folders[1] / "3.png", texture(10, 10, seed=0))  # another size than its partner
    (folders[0] / "5.png").write_bytes(b"no image")
    (tmp_path / "fused/8.png").mkdir(parents=True)  # in the way, and the last one to be written
    fuser = Fuser(network(), TASKS["ivf"], precision="float32")
    report = fuse_folder(fuser, SceneFolder("IVF", folders), tmp_path / "fused")
    assert [pair.stem for pair in report.fused] == list("12467")
    assert {name: reason.split(":")[0].split(" ")[0] for name, reason in report.failed} == {
        "3": "sizes",
        "5": str(folders[0] / "5.png"),
        "8": "cannot",
    }
    assert sorted(path.name for path in (tmp_path / "fused").iterdir()) == [f"{n}.png" for n in "124678"]
    for pair in report.fused:  # each file holds its own pair
        expected = fuser.fuse(*(read_image(path).pixels for path in pair.paths))
        saved = np.rint(read_image(tmp_path / f"fused/{pair.stem}.png").pixels * 255)
        assert np.array_equal(saved, expected)


@pytest.fixture
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_two_small_images_are_fused_at_once_with_half_of_the_threads_each(four_threads):
    meeting = threading.Barrier(2, timeout=30)

    def fuse(turns: _Turns) -> int:
        with turns.one(640 * 480):
            meeting.wait()  # for the other one, which must have its turn now, too
            return torch.get_num_threads()

    with _Turns(torch.device("cpu")) as turns, ThreadPoolExecutor(2) as pool:
        assert [job.result() for job in [pool.submit(fuse, turns) for _ in range(2)]] == [2, 2]
    assert torch.get_num_threads() == 4


def test_a_large_image_is_fused_alone_with_all_threads(four_threads):
    def fuse(turns: _Turns) -> int:
        with turns.one(4096 * 3072):
            return torch.get_num_threads()

    with _Turns(torch.device("cpu")) as turns, ThreadPoolExecutor(1) as pool:
        with turns.one(640 * 480):
            large = pool.submit(fuse, turns)
            with pytest.raises(TimeoutError):
                large.result(timeout=0.2)
        assert large.result(timeout=30) == 4
    assert torch.get_num_threads() == 4
