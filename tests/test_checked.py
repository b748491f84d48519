"""Arguments of public functions: a wrong type is one line that names the argument and what was expected."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import Mean, network, texture

from adasffuse import AdaSFFuse, Fuser, evaluate, load_fuser
from adasffuse.arguments import checked
from adasffuse.images.frame_folders import FrameFolder
from adasffuse.images.frames import VideoFile
from adasffuse.images.image import Image, ImageError
from adasffuse.images.pairs import SceneFolder
from adasffuse.images.read import read_image
from adasffuse.images.write import quantise, write_image
from adasffuse.inference.folder import WantedResults, fuse_folder, fuse_scenes
from adasffuse.inference.fuser import settings_of
from adasffuse.inference.stack import StackOptions, fuse_stack
from adasffuse.inference.video import fuse_video
from adasffuse.inference.volume import WantedVolumes, fuse_volumes
from adasffuse.inference.work import find_work, work_of_files
from adasffuse.losses.fusion import LossOptions, fusion_loss
from adasffuse.metrics.folder import score_folders
from adasffuse.metrics.job import Settings
from adasffuse.models import ModelOptions
from adasffuse.models.weights import WeightsError, digest, find_weights, load_weights, save_weights
from adasffuse.registration.aligner import Aligner, Calibration, calibrate, load_calibration
from adasffuse.registration.camera import read_camera_pair
from adasffuse.registration.estimate import estimate, misalignment
from adasffuse.registration.stacks import register_to
from adasffuse.registration.transform import Transform, warp_image
from adasffuse.tasks import TASKS, find_task
from adasffuse.training import train
from adasffuse.training.options import load_options

IVF = TASKS["ivf"]


@checked
def everything(
    whole: int = 1,
    number: float = 1.0,
    flag: bool = False,
    text: str = "auto",
    path: str | Path = "",
    place: Path | None = None,
    pair: tuple[float, float] | None = None,
    names: Sequence[str] = (),
    table: Mapping[str, float] | None = None,
    **others,
):
    return whole, number, flag, text, path, place, pair, names, table


@pytest.mark.parametrize(
    "name, value, said",
    [
        ("whole", 1.0, "must be a whole number, got 1.0"),
        ("whole", True, "must be a whole number, got True"),
        ("number", "1", "must be a number, got '1'"),
        ("number", None, "must be a number, got None"),
        ("flag", 1, "must be True or False, got 1"),
        ("text", 8, "must be text such as 'auto', got 8"),
        ("path", 3, "must be text or a path, got 3"),
        ("pair", (1,), r"must be \(a number, a number\), got \(1,\)"),
        ("pair", {1, 2}, r"must be \(a number, a number\) or None, got builtins.set"),
        ("names", "VIFF", "must be a list, each text, got 'VIFF'"),
        ("table", [1], r"must be a dict or None, got \[1\]"),
        ("number", np.zeros(3), "must be a number, got numpy.ndarray"),
    ],
)
def test_another_type_is_refused_in_one_line(name, value, said):
    with pytest.raises(ValueError, match=f"^everything: {name} {said}$"):
        everything(**{name: value})


def test_the_number_of_an_entry_is_named():
    with pytest.raises(ValueError, match=r"^everything: names\[1\] must be text, got 3$"):
        everything(names=["a", 3])


def test_what_serves_is_taken():
    """NumPy's numbers as Python's, which JSON can hold; text as a path; iterables with an order as lists."""
    given = (np.int64(3), np.float32(0.5), np.bool_(True), "x", Path("p"), "q", np.array([1, 2]), (n for n in "ab"))
    taken = everything(*given)
    assert taken[:8] == (3, 0.5, True, "x", Path("p"), Path("q"), (1, 2), ["a", "b"])
    assert [type(value) for value in taken[:3]] == [int, float, bool]
    assert json.dumps(taken[:4])


def test_pythons_own_errors_of_calls_stay():
    with pytest.raises(TypeError, match="unexpected keyword argument 'tsk'"):
        load_fuser(tsk="ivf")


def test_fields_of_a_dataclass_are_arguments():
    @checked
    @dataclass(frozen=True)
    class Box:
        width: int
        name: str = "box"

    assert Box(np.int32(2)) == Box(2, "box")
    with pytest.raises(ValueError, match=r"^Box: width must be a whole number, got 2.5$"):
        Box(2.5)


def calls(fuser: Fuser, folder: SceneFolder, here: Path) -> list:
    """Calls that no one can mean, each with what its error says."""
    work, image = find_work(folder, here / "out"), texture(8, 8, 0)
    paths = [path for place in folder.folders for path in sorted(place.iterdir())]
    frames, options, luma = FrameFolder(paths), ModelOptions(), torch.rand(1, 1, 16, 16)
    return [
        (lambda: load_fuser(None), "task must be text, got None"),
        (lambda: load_fuser("ivf", weights=7), "weights must be text or a path or None, got 7"),
        (lambda: load_fuser("ivf", device=None), "device must be a device (torch) or text such as 'auto', got None"),
        (lambda: load_fuser("ivf", people="no"), "people must be True or False, got 'no'"),
        (lambda: Fuser(Mean(), "ivf"), "task must be a Task (adasffuse.tasks), got 'ivf'"),
        (lambda: Fuser(Mean(), IVF, device="gpu"), "unknown device 'gpu'"),
        (lambda: fuser(image, image, align=True), "align must be an Aligner (adasffuse.registration.aligner) or None"),
        (lambda: fuser.fuse(image, image, stretch="no"), "stretch must be True or False"),
        (lambda: fuser(torch.rand(8, 8).to_sparse(), image), "source A: is of layout torch.sparse_coo"),
        (
            lambda: fuser(torch.rand(8, 8, device="meta"), image),
            "source A: is a tensor on the device 'meta', without values",
        ),
        (lambda: fuse_folder(fuser, folder, here / "out", ranges=[]), "2 source folders need as many ranges, got 0"),
        (lambda: fuse_folder(fuser, folder, here / "out", no_data=("0", None)), "no_data[0] must be a number or None"),
        (lambda: fuse_scenes(fuser, work, resume="yes"), "resume must be True or False or None, got 'yes'"),
        (lambda: fuse_scenes(fuser, work, WantedResults(metadata="all")), "metadata must be one of none, exif, gps"),
        (lambda: fuse_scenes(fuser, work, WantedResults(grid="c")), "grid must be one of b, a, got 'c'"),
        (lambda: SceneFolder("x", "ir"), "folders must be a list, each a path, got 'ir'"),
        (lambda: work_of_files([], here / "o.png"), "a file for each of two or more sources, got 0"),
        (lambda: StackOptions(no_data="x"), "no_data must be a number or None, got 'x'"),
        (lambda: fuse_stack(fuser, "folder"), "paths must be a list of (text or a path), got 'folder'"),
        (
            lambda: fuse_stack(fuser, paths, {}),
            "options must be a StackOptions (adasffuse.inference.stack_images) or None",
        ),
        (lambda: fuse_video(fuser, "a.mp4", frames, here / "v"), "a must be a VideoFile"),
        (lambda: fuse_video(fuser, frames, frames, here / "v", audio="c"), "audio must be one of auto, a, b, none"),
        (lambda: fuse_video(fuser, frames, frames, here / "v", quality=99), "quality must lie in 0..51, got 99"),
        (lambda: VideoFile(b"a.mp4"), "path must be text or a path, got b'a.mp4'"),
        (lambda: FrameFolder(paths, range_frames=-1), "range_frames is a number of frames, got -1"),
        (lambda: fuse_volumes(fuser, paths[:2], here / "o.nii.gz", "b"), "wanted must be a WantedVolumes"),
        (lambda: WantedVolumes(axis=2), "axis must be text such as 'third', got 2"),
        (lambda: read_image(paths[0], no_data="0"), "no_data must be a number or None, got '0'"),
        (lambda: write_image(here / "w.png", [[1]]), "pixels must be a ndarray (numpy), got [[1]]"),
        (lambda: write_image(here / "w.png", image, "12"), "depth must be '8', '16' or 'float', got '12'"),
        (lambda: quantise(None, "8"), "pixels must be a ndarray (numpy), got None"),
        (lambda: find_task(3), "name must be text, got 3"),
        (lambda: find_weights(None, "xyz"), "unknown task 'xyz'; it is one of ivf, mef, mff, mif, general"),
        (lambda: load_weights(None), "path must be text or a path, got None"),
        (lambda: save_weights(here / "w", {}, options, "ivf"), "missing tensors"),
        (
            lambda: AdaSFFuse({"patch": 4}),
            "options must be a ModelOptions (adasffuse.models.options), got {'patch': 4}",
        ),
        (lambda: AdaSFFuse.from_pretrained(None), "name must be text or a path, got None"),
        (lambda: ModelOptions(channels="64"), "channels must be a whole number, got '64'"),
        (lambda: network()(luma, None), "AdaSFFuse needs floating-point tensors in [0, 1], got NoneType"),
        (
            lambda: network()(luma.byte(), luma.byte()),
            "AdaSFFuse needs floating-point tensors in [0, 1], got torch.uint8",
        ),
        (lambda: LossOptions(ssim="a"), "ssim must be a number, got 'a'"),
        (lambda: LossOptions.for_task("ivf"), "task must be a Task (adasffuse.tasks), got 'ivf'"),
        (lambda: fusion_loss(luma, [luma], LossOptions()), "needs a result and two or more sources (B, 1, H, W)"),
        (lambda: fusion_loss(luma, [luma, luma.byte()], LossOptions()), "fusion_loss needs floating-point tensors in"),
        (lambda: fusion_loss(image, [luma, luma], LossOptions()), "fused must be a Tensor (torch), got numpy.ndarray"),
        (lambda: train({"name": "x"}), "options must be an Options (adasffuse.training.options), got {'name': 'x'}"),
        (lambda: load_options({}), "path must be text or a path, got {}"),
        (lambda: evaluate(image, image, image, metrics=None), "metrics must be a list, each text, got None"),
        (lambda: score_folders("a", "b", "c"), "fused must be a dict, got 'c'"),
        (lambda: Settings(per_channel=1), "per_channel must be True or False, got 1"),
    ]


def registration_calls(here: Path) -> list:
    """The same for what aligns images."""
    pixels, matrix = np.zeros((64, 64), np.float32), np.eye(3)
    image, size = Image(pixels), (64, 64)
    known = Transform("affine", matrix, size, size)
    return [
        (lambda: Aligner(3), "Aligner: method must be text such as 'affine', got 3"),
        (lambda: Aligner("afine"), "unknown method of alignment 'afine'; choose translation"),
        (lambda: Aligner().transform(pixels, image), "a must be an Image (adasffuse.images.image), got numpy.ndarray"),
        (lambda: Aligner().align([image, "b.png"]), "Aligner.align: images[1] must be an Image"),
        (lambda: calibrate("pairs"), "calibrate: pairs must be an iterable, each (text, an Image"),
        (lambda: calibrate(iter([("1", image, pixels)])), "calibrate: pairs[0][2] must be an Image"),
        (lambda: Calibration(matrix, 1, 0.0), "Calibration: transform must be a Transform"),
        (lambda: Calibration(known, 1, 0.0).save(None), "Calibration.save: path must be text or a path, got None"),
        (lambda: load_calibration(None), "load_calibration: path must be text or a path, got None"),
        (lambda: Transform("affine", [[1]], size, size), "Transform: matrix must be a ndarray (numpy), got [[1]]"),
        (lambda: Transform("affine", matrix[:2], size, size), "Transform: matrix must be (3, 3), got (2, 3)"),
        (lambda: Transform("afine", matrix, size, size), "Transform: method must be one of translation"),
        (lambda: warp_image(pixels, known), "warp_image: image must be an Image"),
        (lambda: estimate(image, pixels), "estimate: target must be an Image"),
        (lambda: misalignment(image, None), "misalignment: b must be an Image"),
        (lambda: register_to(pixels, image, "translation"), "register_to: moving must be a ndarray"),
        (lambda: register_to(pixels, pixels[:32], "translation"), "register_to needs two images (H, W) of one size"),
        (lambda: read_camera_pair(here, grid="c"), "read_camera_pair: grid must be 'b' or 'a', got 'c'"),
        (lambda: read_camera_pair(here, ranges=[]), "read_camera_pair: ranges must be two"),
        (lambda: read_camera_pair(here, no_data=("0", None)), "no_data[0] must be a number or None, got '0'"),
    ]


def test_public_functions_name_the_argument(tmp_path):
    folder = SceneFolder("IVF", (tmp_path / "infrared", tmp_path / "visible"))
    for place in folder.folders:
        write_image(place / "1.png", texture(8, 8, len(place.name)))
    fuser = Fuser(Mean(), IVF, precision="float32")
    for number, (call, said) in enumerate([*calls(fuser, folder, tmp_path), *registration_calls(tmp_path)]):
        with pytest.raises(ValueError) as caught:
            call()
        assert said in str(caught.value) and "\n" not in str(caught.value), f"call {number}"
    assert not (tmp_path / "out").exists() and not (tmp_path / "v").exists()


def test_weights_that_could_not_be_read_are_not_written(tmp_path):
    model = network()
    state = model.state_dict()
    name = next(iter(state))
    for values, task, record in (
        (state, "xyz", {}),
        ({**state, "other": torch.zeros(1)}, "ivf", {}),
        ({**state, name: torch.zeros(1)}, "ivf", {}),
        (state, "ivf", {"steps": Path("x")}),
    ):
        with pytest.raises(WeightsError, match="cannot write"):
            save_weights(tmp_path / "w.safetensors", values, model.options, task, **record)
    assert not list(tmp_path.iterdir())


def test_numpy_numbers_serve_where_a_journal_keeps_them():
    plain = Fuser(network(targets=False), IVF, precision="float32", strength=0.5, tile=64, tile_overlap=16)
    numpys = Fuser(plain.model, IVF, precision="float32", strength=np.float32(0.5), tile=np.int64(64), tile_overlap=16)
    assert settings_of(numpys) == settings_of(plain)


def test_resuming_knows_networks_that_compute_otherwise_with_the_same_tensors():
    plain, unshaded = (network(kinds=("infrared",), unshaded=unshaded) for unshaded in (False, True))
    assert digest(plain.state_dict()) == digest(unshaded.state_dict())
    assert settings_of(Fuser(plain, IVF)) != settings_of(Fuser(unshaded, IVF))


def test_a_warning_points_at_the_caller():
    deep = np.arange(64, dtype=np.uint16).reshape(8, 8)
    with pytest.warns(UserWarning, match="uses only") as caught:
        Fuser(Mean(), TASKS["mff"]).fuse(deep, deep)
    assert caught[0].filename == __file__


def test_strings_serve_as_folders(tmp_path):
    assert SceneFolder("x", ["a", "b"]) == SceneFolder("x", (Path("a"), Path("b")))
    with pytest.raises(ImageError, match="no such"):
        read_image(str(tmp_path / "none.png"))
