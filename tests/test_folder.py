"""Fusing a folder, some scenes at once: every scene is reported once, in order, and mistakes are refused or named."""

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch
from tiny import Mean, network, texture, write_ivf

from adasffuse.images.image import ImageError
from adasffuse.images.notices import few_of_each
from adasffuse.images.pairs import SceneFolder
from adasffuse.images.ranges import parse_range
from adasffuse.images.read import read_image
from adasffuse.images.write import write_image
from adasffuse.inference import results as results_module
from adasffuse.inference.dry_run import plan_scenes
from adasffuse.inference.folder import FolderReport, WantedResults, fuse_folder, fuse_scenes
from adasffuse.inference.fuser import Fuser
from adasffuse.inference.results import SaveError, alone_in
from adasffuse.inference.turns import Turns
from adasffuse.inference.work import find_work, work_of_files
from adasffuse.messages import counted
from adasffuse.tasks import TASKS


@pytest.fixture(scope="module")
def fuser() -> Fuser:
    return Fuser(network(), TASKS["ivf"], precision="float32")


def ivf_folder(root: Path) -> SceneFolder:
    return SceneFolder("IVF", (root / "IVF/infrared", root / "IVF/visible"))


def files(folder: Path) -> list[str]:
    """All files in a folder, hidden ones included: nothing half-written may be left."""
    return sorted(os.listdir(folder))


def test_pairs_that_fail_in_reading_or_writing_leave_the_others_whole(fuser, tmp_path):
    folders = ivf_folder(write_ivf(tmp_path, tuple("12345678"))).folders
    write_image(folders[1] / "3.png", texture(10, 10, seed=0))  # another size than its partner
    (folders[0] / "5.png").write_bytes(b"no image")
    (tmp_path / "fused/8.png").mkdir(parents=True)  # in the way, and the last one to be written
    report = fuse_folder(fuser, SceneFolder("IVF", folders), tmp_path / "fused")
    assert [pair.stem for pair in report.fused] == list("12467")
    assert {name: reason.split(":")[0].split(" ")[0] for name, reason in report.failed} == {
        "3": "sizes",
        "5": str(folders[0] / "5.png"),
        "8": "cannot",
    }
    assert files(tmp_path / "fused") == [f"{n}.png" for n in "124678"]
    for pair in report.fused:  # each file holds its own pair
        expected = fuser.fuse(pair.paths)
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

    def fuse(turns: Turns) -> int:
        with turns.one(640 * 480):
            meeting.wait()  # for the other one, which must have its turn now, too
            return torch.get_num_threads()

    with Turns(torch.device("cpu")) as turns, ThreadPoolExecutor(2) as pool:
        assert [job.result() for job in [pool.submit(fuse, turns) for _ in range(2)]] == [2, 2]
    assert torch.get_num_threads() == 4


class WatchedCondition(threading.Condition):
    """Says when a thread begins to wait for its turn."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.set()
        return super().wait(timeout)


def test_a_large_image_is_fused_alone_with_all_threads(four_threads):
    def fuse(turns: Turns) -> int:
        with turns.one(4096 * 3072):
            return torch.get_num_threads()

    with Turns(torch.device("cpu")) as turns, ThreadPoolExecutor(1) as pool:
        turns._changed = condition = WatchedCondition()
        with turns.one(640 * 480):
            large = pool.submit(fuse, turns)
            assert condition.waits.wait(timeout=60) and not large.done()
        assert large.result(timeout=60) == 4
    assert torch.get_num_threads() == 4


@pytest.mark.parametrize("count", [3, 5])
def test_any_number_of_sources(tmp_path, count):
    folders = tuple(tmp_path / str(number) for number in range(count))
    for number, folder in enumerate(folders):
        write_image(folder / "1.png", np.uint8([[20 * number, 0, 255, 90]]))
    report = fuse_folder(Fuser(Mean(), TASKS["mef"]), SceneFolder("MEF", folders), tmp_path / "out")
    assert report.failed == [] and report.ranges == (None,) * count
    assert (np.rint(read_image(report.files["1"]).pixels * 255) == [[10 * (count - 1), 0, 255, 90]]).all()
    with pytest.raises(ValueError, match=f"{count} source folders need as many ranges, got 2"):
        fuse_folder(Fuser(Mean(), TASKS["mef"]), SceneFolder("MEF", folders), tmp_path / "out", ranges=(None, None))


@pytest.mark.parametrize(
    "options, said",
    [
        ({"depth": "32"}, "depth must be"),
        ({"align": "affine"}, "Aligner"),
        ({"ranges": [(0, 1), None]}, r"ranges\[0\] must be a RangeSpec"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_any_work(fuser, tmp_path, options, said):
    folder = ivf_folder(write_ivf(tmp_path, ("1",)))
    with pytest.raises(ValueError, match=said):
        fuse_folder(fuser, folder, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_nothing_is_printed_by_the_package(fuser, tmp_path, capsys):
    write_ivf(tmp_path)
    (tmp_path / "IVF/visible/2.png").write_bytes(b"no image")
    assert len(fuse_folder(fuser, ivf_folder(tmp_path), tmp_path / "out").failed) == 1
    assert capsys.readouterr() == ("", "")


def test_fusing_in_a_thread(fuser, tmp_path):
    write_ivf(tmp_path)
    here = fuse_folder(fuser, ivf_folder(tmp_path), tmp_path / "here")
    with ThreadPoolExecutor(1) as pool:
        there = pool.submit(fuse_folder, fuser, ivf_folder(tmp_path), tmp_path / "there").result(timeout=60)
    assert here.failed == there.failed == [] and len(there.files) == 3
    assert all(path.read_bytes() == there.files[stem].read_bytes() for stem, path in here.files.items())


def test_names_of_any_bytes_and_any_length(fuser, tmp_path):
    write_ivf(tmp_path, ("1",))
    names = [b"caf\xe9", "ü→".encode(), b"\x1b[31m", b"x" * 251]
    for folder in ivf_folder(tmp_path).folders:
        for name in names:
            os.link(folder / "1.png", os.fsencode(folder) + b"/" + name + b".png")
    report = fuse_folder(fuser, ivf_folder(tmp_path), tmp_path / "out")
    assert report.failed == [] and sorted(map(os.fsencode, files(tmp_path / "out"))) == sorted(
        name + b".png" for name in [*names, b"1"]
    )


@pytest.mark.parametrize(
    "depth, name, kind", [("auto", "1.png", "uint16"), ("8", "1.png", "uint8"), ("float", "1.tif", "float32")]
)
def test_depth_of_the_results(fuser, tmp_path, depth, name, kind):
    for folder, seed in zip(ivf_folder(tmp_path).folders, (1, 2)):
        write_image(folder / "1.png", texture(40, 48, seed).astype(np.uint16) * 257)
    report = fuse_folder(fuser, ivf_folder(tmp_path), tmp_path / "out", depth=depth)
    assert report.files == {"1": tmp_path / "out" / name} and files(tmp_path / "out") == [name]
    stored = tifffile.imread(report.files["1"]) if name.endswith("tif") else cv2.imread(str(report.files["1"]), -1)
    assert stored.dtype == kind and stored.shape == (40, 48)
    if kind != "uint8":
        assert len(np.unique(stored)) > 256


def test_each_source_has_its_own_range_and_the_chosen_window_is_told(fuser, tmp_path):
    celsius, luma = texture(40, 48, 1), texture(40, 48, 2)
    celsius[:2, :4] = 0, 0, 255, 255
    infrared, visible = ivf_folder(tmp_path).folders
    write_image(infrared / "1.png", celsius)
    write_image(visible / "1.png", luma)
    plain = fuse_folder(fuser, ivf_folder(tmp_path), tmp_path / "out").files["1"].read_bytes()
    (infrared / "1.png").unlink()
    tifffile.imwrite(infrared / "1.tif", (18 + celsius / 255 * 20).astype(np.float32))
    for words in (["18", "38"], "folder"):
        report = fuse_folder(fuser, ivf_folder(tmp_path), tmp_path / "deep", ranges=(parse_range(words), None))
        assert report.ranges == ((18, 38), None) and report.files["1"].read_bytes() == plain
        assert report.notices == (
            [f"{infrared}: the values 18 to 38 become black to white"] if words == "folder" else []
        )
    one_pair = work_of_files((infrared / "1.tif", visible / "1.png"), tmp_path / "fused.png")
    told = fuse_scenes(fuser, one_pair, WantedResults(ranges=(parse_range("folder"), None))).notices
    assert told == [f"{infrared}/1.tif: the values 18 to 38 become black to white"]


def test_results_never_lie_among_the_sources_nor_replace_one(fuser, tmp_path):
    write_ivf(tmp_path)
    folder = ivf_folder(tmp_path)
    (tmp_path / "link").symlink_to(folder.folders[1])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.png")}
    for place in (folder.folders[0], tmp_path / "link", tmp_path / "IVF/infrared/../visible"):
        with pytest.raises(
            ImageError, match=r"results would lie among the sources in .*IVF/(infrared|visible); choose"
        ):
            fuse_folder(fuser, folder, place)
    # The sources are links to files in another folder.
    store = tmp_path / "store"
    store.mkdir()
    os.replace(folder.folders[1] / "2.png", store / "2.png")
    (folder.folders[1] / "2.png").symlink_to(store / "2.png")
    with pytest.raises(ImageError, match=rf"the result {store}/2\.png would overwrite a source; choose another folder"):
        fuse_folder(fuser, folder, store)
    assert [path.read_bytes() for path in sorted(before)] == [content for _, content in sorted(before.items())]


def write_folder(folder: Path, images: list[np.ndarray]) -> None:
    for number, image in enumerate(images):
        write_image(folder / f"{number}.png", image)


def iron(seed: int) -> np.ndarray:
    """An image in false colours, as thermal cameras show them."""
    colors = cv2.applyColorMap(cv2.GaussianBlur(texture(40, 48, seed), (0, 0), 3), cv2.COLORMAP_INFERNO)
    return np.ascontiguousarray(colors[..., ::-1])


GRAY, COLORS = [texture(40, 48, seed) for seed in (0, 1)], [iron(seed) for seed in (2, 3)]


@pytest.mark.parametrize(
    "infrared, visible, notice",
    [
        (GRAY, COLORS, ""),
        (GRAY, GRAY[::-1], ""),
        (
            COLORS,
            GRAY,
            "all images in {visible} are gray and all in {infrared} have colour: the folders may be swapped",
        ),
        (
            [*COLORS, GRAY[0]],
            [*GRAY, GRAY[1]],
            "all images in {visible} are gray and 2 of 3 in {infrared} have colour: the folders may be swapped",
        ),
        (COLORS, COLORS[::-1], "2 of 2 images in {infrared} have colour, 0.png for one: false colours are no temp"),
        ([GRAY[0], COLORS[0]], COLORS, "1 of 2 images in {infrared} have colour, 1.png for one: false colours are no"),
        (GRAY, GRAY, "the sources of every scene are equal, pixel by pixel"),
    ],
)
def test_swapped_sources_false_colors_and_equal_sources_are_named(fuser, tmp_path, infrared, visible, notice):
    folder = ivf_folder(tmp_path)
    write_folder(folder.folders[0], infrared)
    write_folder(folder.folders[1], visible)
    plan = plan_scenes(fuser, find_work(folder, tmp_path / "out"), WantedResults())
    report = fuse_folder(fuser, folder, tmp_path / "out")
    assert len(report.fused) == len(infrared) and len(report.notices) == bool(notice) and plan.notices == report.notices
    expected = notice.format(infrared=folder.folders[0], visible=folder.folders[1])
    assert expected in "".join(report.notices)


def test_a_pair_that_seems_swapped_is_named_by_its_files(fuser, tmp_path):
    """Two files may lie in one folder, whose name tells nothing."""
    folder = ivf_folder(tmp_path)
    write_folder(folder.folders[0], COLORS[:1])
    write_folder(folder.folders[1], GRAY[:1])
    (notice,) = fuse_folder(fuser, folder, tmp_path / "out").notices
    infrared, visible = (place / "0.png" for place in folder.folders)
    assert notice == f"{visible} is gray and {infrared} has colour: the two may be swapped"


def test_colors_of_medical_images_belong_to_the_functional_one(tmp_path):
    fuser = Fuser(network(), TASKS["mif"], precision="float32")
    write_folder(tmp_path / "PET", COLORS)
    write_folder(tmp_path / "MRI", GRAY)
    right, swapped = (tmp_path / "PET", tmp_path / "MRI"), (tmp_path / "MRI", tmp_path / "PET")
    assert fuse_folder(fuser, SceneFolder("MIF", right), tmp_path / "out").notices == []
    (notice,) = fuse_folder(fuser, SceneFolder("MIF", swapped), tmp_path / "out").notices
    assert notice.endswith(f"{tmp_path}/PET have colour: the folders may be swapped")


def test_harmless_files_are_notices(fuser, tmp_path):
    write_ivf(tmp_path)
    infrared, visible = ivf_folder(tmp_path).folders
    (visible / "1.txt").write_text("0 0.5 0.5 0.1 0.2")
    write_image(infrared / "older/7.png", GRAY[0])
    os.mkfifo(infrared / "9.png")
    report = fuse_folder(fuser, ivf_folder(tmp_path), tmp_path / "out")
    assert len(report.fused) == 3 and report.failed == []
    assert [notice.split(": ")[0].removeprefix(str(tmp_path)) for notice in report.notices] == [
        f"{infrared}/9.png is no regular file (a pipe), it is left out".removeprefix(str(tmp_path)),
        f"images in sub-folders of {infrared} are left out",
        f"{visible} also holds 1.txt, no image by name".removeprefix(str(tmp_path)),
    ]


def test_one_notice_for_many_files(fuser, tmp_path):
    write_ivf(tmp_path)
    for path in (tmp_path / "IVF/visible").iterdir():
        cv2.imwrite(str(path), np.dstack([iron(1), 0 * GRAY[0]]))
    (notice,) = fuse_folder(fuser, ivf_folder(tmp_path), tmp_path / "out").notices
    assert notice == f"{tmp_path}/IVF/visible/1.png: alpha channel dropped: it is 0 everywhere (and 2 more files)"


def test_a_full_disk_is_one_error_and_keeps_what_was_written(fuser, tmp_path, monkeypatch):
    write_ivf(tmp_path, tuple("123456"))

    def write(path: Path, pixels: np.ndarray, depth: str, metadata: object) -> None:
        if path.stem not in "12":
            raise ImageError(f"cannot write {path}") from OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_image(path, pixels, depth)

    monkeypatch.setattr(results_module, "write_image", write)
    with pytest.raises(SaveError, match=r"cannot write .*out/[3-6]\.png: No space left on device; results written bef"):
        fuse_folder(fuser, ivf_folder(tmp_path), tmp_path / "out")
    assert set(files(tmp_path / "out")) <= {"1.png", "2.png"}


def test_a_folder_that_cannot_be_written(fuser, tmp_path):
    write_ivf(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(
        SaveError, match=r"cannot write results to .*file/out: Not a directory; something else is in its place"
    ):
        fuse_folder(fuser, ivf_folder(tmp_path), tmp_path / "file/out")


def test_numbers_of_things():
    assert [counted(number, "pair") for number in (0, 1, 2)] == ["0 pairs", "1 pair", "2 pairs"]
    assert counted(2, "box") == "2 boxes" and counted(1, "more file") == "1 more file"


def test_failures_of_one_kind_are_told_a_few_times_and_counted():
    wrong = [(f"n{k}", f"sizes differ: a/n{k}.png is {k}x9, b/n{k}.png is 2x2 pixels") for k in range(13)]
    other = ("cat", "a/cat.png: damaged")
    assert few_of_each([*wrong[:4], other]) == [": ".join(one) for one in (*wrong[:4], other)]
    told = few_of_each([wrong[0], other, *wrong[1:]])
    assert told[:3] == [": ".join(one) for one in wrong[:3]] and told[4:] == ["cat: a/cat.png: damaged"]
    assert told[3] == "n3, n4, n5, n6, n7, n8, n9, n10 and 2 more: the same, but for names and numbers"
    notices = [("", f"{name}.png and {name}.tif share one stem") for name in ("ant", "bee", "cat", "dog", "eel")]
    assert few_of_each(notices)[3:] == ["and 2 more that differ in names and numbers only"]
    assert few_of_each([("trip", "trip: holds 3 scenes")]) == ["trip: holds 3 scenes"]
    lines = FolderReport("f", Path("out"), "cpu", failed=wrong).summary().splitlines()
    assert lines[0] == "f: 0 pairs fused, 13 failed" and len(lines) == 5
    assert lines[4].startswith("  failed: n3, n4, ")


def test_a_process_that_is_done_early_leaves_the_folder_to_the_others(tmp_path):
    work = find_work(ivf_folder(write_ivf(tmp_path)), tmp_path / "fused")
    with alone_in(work, rank=1):
        pass
    assert work.save_dir.is_dir()
    work.save_dir.rmdir()
    with alone_in(work, rank=0):
        pass
    assert not work.save_dir.exists()
