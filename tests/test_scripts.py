"""The four fusion scripts through their `main(argv)`: built-in samples, real pairs, and every kind of bad input."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from tiny import rendered_samples, texture, write_ivf, write_weights

from adasffuse.data import samples
from adasffuse.data.samples import write_samples
from adasffuse.images.dataset_folders import scene_folders
from adasffuse.images.pairs import find_scenes
from adasffuse.images.read import read_image
from adasffuse.images.write import write_image
from adasffuse.inference import load_fuser
from adasffuse.tasks import TASKS

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.filterwarnings("ignore:.*undefined for these")  # small images on purpose; tables count them
METRICS = ("EN", "SD", "SF", "MI", "SCD", "VIFF", "Qabf", "SSIM")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights files of a tiny network, one per task."""
    folder = tmp_path_factory.mktemp("weights")
    return {task: write_weights(folder / f"{task}.safetensors", task) for task in TASKS}


@pytest.fixture(autouse=True)
def samples_are_rendered_once(monkeypatch):
    monkeypatch.setattr(samples, "sample_pairs", rendered_samples)


@pytest.fixture
def run(weights, tmp_path, capsys):
    """Call a task's script with a tiny network and results in `tmp_path/out`; status, standard output and errors."""

    def call(task: str, *arguments) -> tuple[int, str, str]:
        defaults = ["--model_path", weights[task], "--save_dir", tmp_path / "out"]
        main = import_module(f"test_{task.upper()}_RGB").main
        status = main([str(argument) for argument in (*defaults, *arguments)])
        return status, *capsys.readouterr()

    return call


def size_of(path: Path) -> tuple[int, int]:
    """(height, width) from an image's header."""
    with Image.open(path) as image:
        return image.height, image.width


def files(folder: Path) -> list[str]:
    """All files below a folder, hidden ones included: nothing half-written may be left."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("task", TASKS)
def test_without_data_the_samples_are_fused(task, run, tmp_path):
    scores = task == "mif"
    status, out, _ = run(task, *([] if scores else ["--no_scores"]))
    made = rendered_samples(task)
    assert status == 0 and len(made) >= 2
    assert out.startswith("built-in samples (no --root_path given):\n")
    for sample in made:
        assert f"  {sample.name}: {sample.title}" in out
        folder = tmp_path / "out/samples" / task.upper() / sample.subset / "fused"
        assert size_of(folder / f"{sample.name}.png") == sample.a.shape[:2]
    assert ("convention adasffuse, n = " in out) is scores
    if scores:
        assert all(f"\n{method} " in out for method in ("AdaSFFuse", "average", "max", "laplacian"))
        assert all(metric in out for metric in METRICS)


@pytest.mark.parametrize("task", TASKS)
def test_real_pairs(task, data_root, run, tmp_path):
    """The smallest pair of each folder of the task's test data."""
    expected = {}
    for folder in scene_folders(data_root / "test", task.upper()):
        pairs, _ = find_scenes(folder.folders)
        pair = min(pairs, key=lambda pair: np.prod(size_of(pair.paths[0])))
        for path, source in zip(pair.paths, folder.folders):
            target = tmp_path / "data" / source.relative_to(data_root / "test")
            target.mkdir(parents=True)
            shutil.copy(path, target)
        expected[f"{folder.name}/{pair.stem}.png"] = size_of(pair.paths[0])
    status, out, err = run(task, "--root_path", tmp_path / "data", *(["--no_scores"] if task != "ivf" else []))
    assert status == 0, out + err
    assert files(tmp_path / "out") == sorted(expected)
    assert {name: size_of(tmp_path / "out" / name) for name in expected} == expected
    assert out.count("1 pair fused") == len(expected) == (3 if task == "mif" else 1)
    assert ("convention adasffuse, n = 1" in out) is (task == "ivf")


def test_false_colours_of_gray_scans(run, weights, tmp_path):
    """Those of PET as `fuse` makes them; a CT has none, and other tasks have no such option."""
    for subset, names in (("CT-MRI", ("CT", "MRI")), ("PET-MRI", ("PET", "MRI"))):
        for seed, name in enumerate(names):
            write_image(tmp_path / "data/MIF" / subset / name / "1.png", texture(40, 48, seed))
    status, out, err = run("mif", "--root_path", tmp_path / "data", "--palette", "hot")
    assert status == 2 and "--palette hot is for the activity in PET and SPECT, and the names say ct; leave it" in err
    assert "MIF/PET-MRI: no scores, source A as stored is not in the colours of 'hot'" in out
    fused = read_image(tmp_path / "out/MIF/PET-MRI/1.png").pixels
    pair = [tmp_path / "data/MIF/PET-MRI" / name / "1.png" for name in ("PET", "MRI")]
    assert np.array_equal(np.rint(fused * 255), load_fuser("mif", weights=weights["mif"]).fuse(*pair, palette="hot"))
    with pytest.raises(SystemExit):
        run("ivf", "--palette", "hot")


def test_one_empty_subset_does_not_stop_the_others(run, tmp_path):
    write_samples(tmp_path / "data", "mif")
    (broken,) = (tmp_path / "data/MIF/PET-MRI/MRI").iterdir()
    broken.unlink()
    status, out, err = run("mif", "--root_path", tmp_path / "data", "--no_scores")
    assert status == 1 and f"error: no images in {broken.parent}" in err
    assert "MIF/CT-MRI: 1 pair fused" in out and "MIF/SPECT-MRI: 1 pair fused" in out


@pytest.mark.parametrize(
    "made, arguments, results",
    [
        ("IVF", [], "IVF"),
        ("VIF", [], "IVF"),
        ("IVF_NIGHT", ["--dataset", "IVF_NIGHT"], "IVF_NIGHT"),
        ("IVF", ["--dataset", "VIF"], "VIF"),
    ],
)
def test_names_of_data_sets(run, tmp_path, made, arguments, results):
    root = write_ivf(tmp_path / "data", ("1",))
    if made != "IVF":
        (root / "IVF").rename(root / made)
    status, _, err = run("ivf", "--root_path", root, "--no_scores", *arguments)
    assert status == 0, err
    (name,) = files(tmp_path / "out")
    assert name in (f"{results}/1.png", f"{made}/1.png")


@pytest.mark.parametrize("full_paths", [False, True])
def test_folders_of_other_names(run, tmp_path, full_paths):
    base = write_ivf(tmp_path / "data", ("1",)) / "IVF"
    (base / "infrared").rename(base / "thermal")
    folder = base / "thermal" if full_paths else "thermal"
    status, _, err = run("ivf", "--root_path", tmp_path / "data", "--A_dir", folder, "--no_scores")
    assert status == 0, err
    assert files(tmp_path / "out") == ["IVF/1.png"]


def test_bad_pairs_do_not_stop_the_rest(run, tmp_path):
    bad = ("alone", "empty", "float", "size", "text", "torn", "twice")
    base = write_ivf(tmp_path / "data", (*bad, "good", "zebra")) / "IVF"
    a, b = base / "infrared", base / "visible"
    (b / "alone.png").unlink()
    (b / "empty.png").write_bytes(b"")
    (a / "float.png").unlink()
    cv2.imwrite(str(a / "float.tiff"), np.full((40, 48), 300.5, np.float32))
    write_image(b / "size.png", texture(9, 14, seed=1))
    (b / "text.png").write_text("I am not an image")
    (a / "torn.png").write_bytes((a / "torn.png").read_bytes()[:500])
    shutil.copy(a / "good.png", a / "twice.bmp")
    status, out, _ = run("ivf", "--root_path", tmp_path / "data", "--no_scores")
    assert status == 1
    assert "IVF: 2 pairs fused, " in out and f", {len(bad)} failed -> {tmp_path}/out/IVF" in out
    for reason in (
        f"alone: {a}/alone.png has no partner in {b}",
        f"empty: {b}/empty.png: the file is empty; expected a PNG",
        f"float: {a}/float.tiff: float32 values have no fixed black and white; give ",
        f"size: sizes differ: {a}/size.png is 48x40, {b}/size.png is 14x9 pix",
        f"text: {b}/text.png: not a readable image; expected a PNG",
        f"torn: {a}/torn.png: damaged or truncated (",
        f"twice: twice.bmp and twice.png in {a} share one stem; keep one of them",
    ):
        assert f"  failed: {reason}" in out
    assert files(tmp_path / "out") == ["IVF/good.png", "IVF/zebra.png"]


@pytest.mark.parametrize(
    "missing, message",
    [
        ("IVF", "no source folders for IVF: looked for {base}/infrared, {base}/visible"),
        ("IVF/visible", "{base}/visible"),
    ],
)
def test_missing_folders(run, tmp_path, missing, message):
    root = write_ivf(tmp_path / "data")
    shutil.rmtree(root / missing)
    status, out, err = run("ivf", "--root_path", root)
    assert status == 1 and err.startswith("error: ") and message.format(base=root / "IVF") in err
    assert out == "" and not (tmp_path / "out").exists()


def test_a_folder_without_images(run, tmp_path):
    root = write_ivf(tmp_path / "data", ("1",))
    (root / "IVF/visible/1.png").unlink()
    status, _, err = run("ivf", "--root_path", root)
    assert status == 1 and f"error: no images in {root}/IVF/visible" in err


def test_results_below_a_file(run, tmp_path):
    """One error, whatever the number of pairs."""
    root = write_ivf(tmp_path / "data", ("1", "2", "3"))
    (tmp_path / "file").touch()
    status, out, err = run("ivf", "--root_path", root, "--save_dir", tmp_path / "file")
    assert status == 1 and out == ""
    assert err.startswith(f"error: --save_dir {tmp_path}/file: is no folder, ") and err.count("\n") == 1
    status, _, err = run("ivf", "--save_dir", tmp_path / "file")
    assert status == 1 and f"error: --save_dir {tmp_path}/file: is no folder" in err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_output_folder(run, tmp_path):
    root = write_ivf(tmp_path / "data", ("1",))
    (tmp_path / "locked").mkdir(mode=0o500)
    status, out, err = run("ivf", "--root_path", root, "--save_dir", tmp_path / "locked")
    assert status == 1 and out == "" and "--save_dir" in err and "Permission denied" in err
    assert files(tmp_path / "locked") == []


def truncated_weights(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def foreign_weights(path: Path) -> None:
    torch.save({"model": {}}, path)


def weights_of_another_task(path: Path) -> None:
    write_weights(path, "mef")


@pytest.mark.parametrize(
    "damage, message",
    [
        (Path.unlink, "weights file {path} does not exist"),
        (truncated_weights, "{path} is no whole safetensors file ("),
        (foreign_weights, "{path} is no whole safetensors file ("),
        (weights_of_another_task, "{path} was trained for task 'mef', not 'ivf'"),
    ],
)
def test_bad_weights_fuse_nothing(run, tmp_path, damage, message):
    path = write_weights(tmp_path / "my.safetensors", "ivf")
    damage(path)
    status, out, err = run("ivf", "--root_path", write_ivf(tmp_path / "data"), "--weights", path)
    assert status == 1 and err.startswith("error: " + message.format(path=path))
    assert out == "" and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--dataset", "MEF"], "--dataset MEF is no IVF data set; use its own test script"),
        (["--dataset", "XYZ"], "unknown task 'XYZ'"),
        (["--dataset", "IVF/../../elsewhere"], "--dataset IVF/../../elsewhere leaves the folder of data sets"),
        (
            ["--tile", "100"],
            "tile and tile_overlap must be multiples of 16 with tile > tile_overlap (or tile 0), got 100",
        ),
        (["--tile", "64", "--tile_overlap", "64"], "got 64 and 64"),
        (["--device", "gpu"], "unknown device 'gpu'; use auto, cpu, cuda or cuda:N"),
        (["--range_a", "5"], "error: --range_a: "),
        (["--range_b", "auto"], "error: --range_b: "),
        (["--range_a", "9", "3"], "error: --range_a: "),
        (["--range_b", "nan", "3"], "error: --range_b: "),
    ],
)
def test_impossible_arguments(run, tmp_path, arguments, message):
    status, out, err = run("ivf", "--root_path", write_ivf(tmp_path / "data", ("1",)), *arguments)
    assert status == 2 and err.startswith("error: ") and message in err
    assert out == "" and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--range", "0", "9"],
        ["--save_dir", ""],
        ["--weights", ""],
        ["--rootpath", "x"],
        ["--size", "large"],
        ["--tile", "big"],
    ],
)
def test_unknown_arguments(run, arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        run("mef", *arguments)
    assert caught.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_two_folders_without_a_root(run, tmp_path):
    """Never the built-in samples: what was named is fused, or nothing."""
    base = write_ivf(tmp_path / "data", ("1",)) / "IVF"
    folders = ["--A_dir", base / "infrared", "--B_dir", base / "visible"]
    status, out, err = run("ivf", "--no_scores", *folders)
    assert (status, err) == (0, "") and "samples" not in out and files(tmp_path / "out") == ["IVF/1.png"]
    assert run("ivf", "--no_scores", "--dataset", "IVF_MINE", *folders)[0] == 0
    assert files(tmp_path / "out") == ["IVF/1.png", "IVF_MINE/1.png"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--A_dir", "{base}/infrared"], "--A_dir needs --root_path, or both --A_dir and --B_dir; without any of them"),
        (["--B_dir", "visible"], "--B_dir needs --root_path, or both"),
        (["--dataset", "IVF_MINE"], "--dataset needs --root_path, or both"),
        (["--pattern_b", "VIS_*"], "--pattern_b needs --root_path, or both"),
        (
            ["--A_dir", "{base}/infrared", "--B_dir", "{base}/vis"],
            "no folder {base}/vis; {base} holds infrared/",
        ),
        (["--A_dir", "{base}/infrared", "--B_dir", "{base}/link"], "two sources are one and the same folder"),
        (["--root_path", "{base}/..", "--B_dir", "infrared"], "two sources are one and the same folder"),
        (["--root_path", "{base}/..", "--pattern_a", "IR"], "a pattern has one '*'"),
    ],
)
def test_mistakes_that_are_refused(run, tmp_path, arguments, message):
    base = write_ivf(tmp_path / "data") / "IVF"
    link = base / "link"
    link.symlink_to(base / "infrared")
    status, out, err = run("ivf", *(argument.format(base=base) for argument in arguments))
    of_options = "needs --root_path" in message or "a pattern has" in message
    assert status == (2 if of_options else 1) and out == "", err
    assert err.startswith("error: " + message.format(base=base)), err
    assert not (tmp_path / "out").exists()


def test_what_is_advised_works(run, tmp_path):
    """Names that differ in their beginning, images in sub-folders, and both sources in one folder."""
    base = write_ivf(tmp_path / "data") / "IVF"
    for number in "123":
        (base / f"infrared/{number}.png").rename(base / f"infrared/IR_{number}.png")
        (base / f"visible/{number}.png").rename(base / f"visible/VIS_{number}.png")
    root = ["--root_path", tmp_path / "data", "--no_scores"]

    def advice() -> list[str]:
        status, _, err = run("ivf", *root)
        assert status == 1 and err.startswith("error: ") and err.count("\n") == 1
        return shlex.split(err.partition("; try ")[2])

    def advised(count: int) -> None:
        status, out, err = run("ivf", *root, *advice())
        assert status == 0 and f"{count} pairs fused" in out, err

    assert advice() == ["--pattern_a", "IR_*", "--pattern_b", "VIS_*"]
    advised(3)
    assert files(tmp_path / "out") == ["IVF/1.png", "IVF/2.png", "IVF/3.png"]
    for name in ("infrared", "visible"):
        (base / name / "test set").mkdir()
        for path in (base / name).glob("*.png"):
            path.rename(base / name / "test set" / f"0{path.stem[-1]}.png")
    folders = [base / name / "test set" for name in ("infrared", "visible")]
    assert advice() == ["--A_dir", str(folders[0]), "--B_dir", str(folders[1])]
    advised(3)
    for folder, word in zip(folders, ("ir", "co")):
        for path in folder.iterdir():
            path.rename(base / f"{path.stem}_{word}.png")
    shutil.rmtree(base / "infrared")
    shutil.rmtree(base / "visible")
    both = ["--A_dir", str(base), "--B_dir", str(base)]
    assert advice() == [*both, "--pattern_a", "*_ir", "--pattern_b", "*_co"]
    advised(3)


@pytest.mark.parametrize("name", ["MIF/PET-MRI", "MIF\\PET-MRI"])  # the second as on Windows
def test_one_subset_by_name(run, tmp_path, name):
    write_samples(tmp_path / "data", "mif")
    assert run("mif", "--root_path", tmp_path / "data", "--dataset", name, "--no_scores")[0] == 0
    assert [name.split("/")[1] for name in files(tmp_path / "out")] == ["PET-MRI"]


def test_no_name_writes_control_characters_to_the_terminal(run, tmp_path):
    base = write_ivf(tmp_path / "data", ("1",)) / "IVF"
    (base / "visible/\x1b[2J\n.png").write_bytes(b"no image")
    (base / "infrared/\x1b[2J\n.png").write_bytes(b"no image")
    status, out, _ = run("ivf", "--root_path", tmp_path / "data", "--no_scores")
    assert status == 1 and "  failed: \\x1b[2J\\n: " in out and "\x1b" not in out and out.count("\n") == 2


@pytest.mark.parametrize("name", ["file", "run", "general", "general_small"])
def test_every_way_to_name_weights(run, tmp_path, weights, name):
    named = name
    if name in ("file", "run"):
        (tmp_path / "run").mkdir()
        shutil.copy(weights["ivf"], tmp_path / "run/weights.safetensors")
        named = tmp_path / "run" / ("weights.safetensors" if name == "file" else "")
    root = write_ivf(tmp_path / "data", ("1",))
    assert run("ivf", "--root_path", root, "--no_scores", "--weights", named)[0] == 0


def start_script(*arguments, **environment) -> subprocess.Popen:
    """The infrared-visible script as a process of its own."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])} | environment
    command = [sys.executable, ROOT / "test_IVF_RGB.py", *arguments]
    return subprocess.Popen(list(map(str, command)), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.parametrize(
    "number, status", [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_an_interrupted_run_leaves_whole_files(tmp_path, weights, number, status):
    base = write_ivf(tmp_path / "data", ("1",), (96, 128)) / "IVF"
    for folder in (base / "infrared", base / "visible"):
        for copy in range(1000):
            os.link(folder / "1.png", folder / f"c{copy}.png")
    arguments = ["--root_path", tmp_path / "data", "--save_dir", tmp_path / "out", "--weights", weights["ivf"]]
    with start_script(*arguments) as process:
        while process.poll() is None and not list(tmp_path.glob("out/IVF/*.png")):
            time.sleep(0.05)
        process.send_signal(number)
        out, err = process.communicate(timeout=120)
    assert process.returncode == status and out == b"", err
    assert err.count(b"\n") == 1 and b"files written so far are whole" in err
    names = files(tmp_path / "out/IVF")
    assert names and all(size_of(tmp_path / "out/IVF" / name) == (96, 128) for name in names)


def test_without_a_home_and_in_ascii(tmp_path, weights):
    root = write_ivf(tmp_path / "data", ("1",))
    arguments = ["--root_path", root, "--save_dir", tmp_path / "out", "--weights", weights["ivf"]]
    nowhere = {name: "/proc/nowhere" for name in ("HOME", "XDG_CACHE_HOME", "TMPDIR")}
    with start_script(*arguments, PYTHONIOENCODING="ascii", PYTHONUTF8="0", LC_ALL="C", **nowhere) as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert b"EN?" in out and b"AdaSFFuse" in out and files(tmp_path / "out") == ["IVF/1.png"]


def write_deep(root: Path, factor: float, kind=np.uint16, suffix: str = "png") -> Path:
    """Two gray pairs whose values are `factor` times 8-bit ones; the darkest is 0, the brightest 255 * factor."""
    for number, stem in enumerate("12"):
        for seed, name in ((number, "infrared"), (number + 2, "visible")):
            luma = texture(40, 48, seed)
            luma[:2, :4] = 0, 0, 255, 255  # blocks of 2 x 2: single pixels do not count
            (root / "IVF" / name).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / "IVF" / name / f"{stem}.{suffix}"), (luma.astype(float) * factor).astype(kind))
    return root


@pytest.mark.parametrize(
    "arguments, kind, suffix",
    [
        (["--range_a", "0", "2550", "--range_b", "0", "2550"], np.float32, "tiff"),
        (["--range_a", "folder", "--range_b", "folder"], np.uint16, "png"),
    ],
)
def test_a_value_range_gives_the_images_and_scores_of_8_bit_files(run, tmp_path, arguments, kind, suffix):
    """Values up to 2550 of 65535: nearly black without a range."""
    _, expected, _ = run("ivf", "--root_path", write_deep(tmp_path / "plain", 1, np.uint8))
    plain = {name: (tmp_path / "out" / name).read_bytes() for name in files(tmp_path / "out")}
    status, out, _ = run(
        "ivf", "--root_path", write_deep(tmp_path / "deep", 10, kind, suffix), "--depth", "8", *arguments
    )
    assert status == 0
    windows = [line for line in out.splitlines() if line.startswith("notice: ")]
    chosen = "the values 0 to 2550 become black to white"
    assert windows == (
        [f"notice: {tmp_path}/deep/IVF/{name}: {chosen}" for name in ("infrared", "visible")]
        if "folder" in arguments
        else []
    )
    assert {name: (tmp_path / "out" / name).read_bytes() for name in files(tmp_path / "out")} == plain
    table = expected[expected.index("convention") :]
    assert out[out.index("convention") :] == table


def test_a_narrow_16_bit_file_is_noticed(run, tmp_path):
    status, out, _ = run("ivf", "--root_path", write_deep(tmp_path / "deep", 10), "--no_scores")
    assert status == 0 and out.count("notice: ") == 2 == out.count("(and 1 more file)")  # one for each source
    for folder, option in (("infrared", "--range_a"), ("visible", "--range_b")):
        assert f"{folder}/1.png: uses only 0..2550 of 0..65535; give {option}, e.g. 0 2550" in out
    assert read_image(tmp_path / "out/IVF/1.png").pixels.max() < 0.5


def test_tiles_and_stretch_reach_the_fuser(run, tmp_path):
    root = write_ivf(tmp_path / "data", ("1",), (70, 90))
    results = {}
    for arguments in (["--tile", "0"], ["--tile", "48", "--tile_overlap", "32"], ["--stretch"]):
        assert run("ivf", "--root_path", root, "--no_scores", *arguments)[0] == 0
        results[arguments[-1]] = read_image(tmp_path / "out/IVF/1.png").pixels
    difference = abs(results["32"] - results["0"])
    assert difference.max() > 0 and 10 * np.log10(1 / np.square(difference).mean()) > 30
    assert results["--stretch"].min() == 0 and results["--stretch"].max() == 1


def test_a_second_run_replaces_its_results(run, tmp_path):
    root = write_ivf(tmp_path / "data", ("1",))
    for _ in range(2):
        assert run("ivf", "--root_path", root, "--no_scores")[0] == 0
        assert files(tmp_path / "out") == ["IVF/1.png"]
        before = (tmp_path / "out/IVF/1.png").read_bytes()
    (root / "IVF/visible/1.png").write_bytes(b"")
    assert run("ivf", "--root_path", root, "--no_scores")[0] == 1
    assert (tmp_path / "out/IVF/1.png").read_bytes() == before


@pytest.mark.parametrize("size", ["tiny", *(pytest.param(size, marks=pytest.mark.slow) for size in ("small", "base"))])
@pytest.mark.parametrize("task", TASKS)
def test_tiles_of_released_weights_agree_with_the_whole_image(task, size):
    """Within 50 dB and without a step, though these tiles have a tenth of the default ones' pixels."""
    sample = rendered_samples(task)[-1]
    a, b = (cv2.resize(x if x.ndim == 2 else x[..., 1], (640, 1024)) / np.float32(255) for x in (sample.a, sample.b))
    fuser = load_fuser(task, size, device="cpu", tile=640, precision="float32")
    tiled = fuser.fuse_luminance(a, b)
    fuser.tile = 0
    difference = tiled - fuser.fuse_luminance(a, b)
    assert 10 * np.log10(1 / np.square(difference).mean()) > 50
    assert abs(np.diff(difference, axis=1)).max() < 8 / 255


@pytest.mark.parametrize("arguments", [[], ["ROOT"]])
def test_pytest_never_collects_the_scripts(tmp_path, arguments):
    """The scripts at the top are called test_*.py; with this project's settings pytest leaves them alone."""
    for script in ROOT.glob("test_*.py"):
        (tmp_path / script.name).write_text("def test_script():\n    raise SystemExit('collected')\n")
    assert len(list(tmp_path.iterdir())) >= 5
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_real.py").write_text("def test_real():\n    pass\n")
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    arguments = [str(tmp_path) if argument == "ROOT" else argument for argument in arguments]
    done = subprocess.run([*command, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert [line for line in done.stdout.splitlines() if "::" in line] == ["tests/test_real.py::test_real"]
