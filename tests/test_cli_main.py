"""The `adasffuse` command: its verbs, their help, completion, and what `info` says."""

import importlib
import json
import os
import subprocess
import sys
from fractions import Fraction
from importlib import metadata
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile
import torch
from example_files import radiometric_jpeg
from PIL import ImageCms
from tiny import SHAPE, network, texture, write_weights

import adasffuse
from adasffuse.cli import completion, fuse, info, score, train
from adasffuse.cli.main import COMMANDS, main
from adasffuse.files import keeping_others_out
from adasffuse.images.video_writing import write_video
from adasffuse.images.volumes import write_volume
from adasffuse.images.write import write_image
from adasffuse.installation import install_command
from adasffuse.registration.aligner import Calibration
from adasffuse.registration.transform import Transform
from adasffuse.training.checkpoint import save_checkpoint
from adasffuse.training.options import parse_options
from adasffuse.training.processes import Processes
from adasffuse.training.run import Run


def call(capsys, *words: object) -> tuple[int, str, str]:
    status = main([str(word) for word in words])
    return status, *capsys.readouterr()


@pytest.mark.parametrize("verb", ["fuse", "align", "check", "compare", "score", "video"])
def test_commands_name_the_patterns_that_pair_two_folders(tmp_path, capsys, verb):
    for folder, name in (("flir", "FLIR1.png"), ("webcam", "frame_1.png")):
        (tmp_path / folder).mkdir()
        PIL.Image.new("L", (8, 8)).save(tmp_path / folder / name)
    rest = {"fuse": ["-o", tmp_path / "out"], "video": ["-o", tmp_path / "out"], "align": [], "check": []}
    rest |= {"compare": [f"mine={tmp_path / 'webcam'}", "-o", tmp_path / "out"], "score": ["--baselines", "max"]}
    status, _, error = call(capsys, verb, tmp_path / "flir", tmp_path / "webcam", *rest[verb])
    assert status == 1 and "try --pattern_a 'FLIR*' --pattern_b 'frame_*'" in error


def test_usage_version_and_unknown_verbs(capsys):
    status, out, _ = call(capsys, "--help")
    assert status == 0 and all(f"  {verb} " in out for verb in COMMANDS) and len(out.splitlines()) < 25
    assert call(capsys)[0] == 2
    assert call(capsys, "--version") == (0, f"adasffuse {adasffuse.__version__}\n", "")
    status, out, err = call(capsys, "fues", "a")
    assert (status, out) == (2, "") and err == "error: unknown command 'fues'; did you mean 'fuse'?\n"


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """Folders ir and vis of two pairs, results in fused, a radiometric JPEG in shots, and a data set, in the folder."""
    monkeypatch.chdir(tmp_path)
    for folder, seed in (("ir", 1), ("vis", 2), ("fused", 3)):
        for stem in ("1", "2"):
            write_image(Path(folder) / f"{stem}.png", texture(32, 32, seed))
    Path("shots").mkdir()
    Path("shots/s.jpg").write_bytes(radiometric_jpeg(np.full((8, 8), 14000, np.uint16)))
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        "fuse ir vis -o out --align affine --calibration c.json",
        "fuse ir vis -o out --grid a",
        "fuse ir vis -o out --range_a 9 3",
        "fuse ir vis -o out --tile 17",
        "fuse ir vis -o out --strength 2",
        "fuse ir vis -o out --denoise 1 --task mef",
        "fuse ir vis -o out --axis axial",
        "fuse ir vis -o out.png",
        "fuse ir vis -o out --resample b --align affine",
        "fuse ir/1.png vis/1.png -o x.png --resume",
        "fuse ir/1.png vis/1.png -o x.png --within 1",
        "fuse ir/1.png vis/1.png -o x.jpg",
        "fuse fused vis -o out",
        "fuse vis ir -o out",
        "stack ir -o x.png --task mef --images_per_stack 1",
        "stack ir -o x.png --task mff --ghosts remove",
        "stack ir -o x.png --task mff --resume",
        "stack ir vis -o x.png --task mff",
        "stack ir -o x.png --task mff --range 9 3",
        "video ir vis -o out --align affine --calibration c.json",
        "video ir vis -o out --range_frames 2",
        "video ir vis -o out --range_a 9 3",
        "video ir vis -o out --device gpu",
        "align ir vis --calibration c.json --method affine",
        "align ir vis --save c.json -o out",
        "align ir vis --save c.json --grid a",
        "align ir vis --save c.png",
        "align ir vis --fps 9",
        "align ir/1.png vis/1.png --pattern_a *",
        "compare ir vis fused -o x.png",
        "compare ir vis fused -o out --range_fused 1 0",
        "compare ir vis -o out",
        "compare ir vis fused -o out --size tiny",
        "check ir --within 1",
        "check ir --sheet x.jpg",
        "score ir vis",
        "score ir vis fused --metrics VIF,all",
        "score ir vis fused --metrics nonsense",
        "score ir vis fused --baselines nonsense",
        "score ir vis fused fused",
        "score ir vis fused --classes car",
        "score ir vis fused --csv x --json x",
        "score --explain nonsense",
        "data nonsense",
        "data --root r",
        "data LLVIP --source ir --download d --root r",
        "compare ir vis fused -o out --count 0",
        "compare ir vis fused -o out --task mif",
        "score ir vis fused --workers 0",
        "video ir vis -o out --quality 9",
        "video --camera_a 0 --camera_b 1 -o x.mp4 --within 1",
        "video ir vis -o out --range_frames -1",
        "export --task ivf --sources 1 -o x.onnx",
        "data LLVIP --download d --root r",
        "export --task mef --no_people -o x.onnx",
        "downstream ir --task segment --out out --size 33x33",
    ],
)
def test_wrong_use_of_options_ends_with_2(sources, capsys, words):
    before = sorted(sources.rglob("*"))
    try:
        status = main(words.split())
    except SystemExit as ending:  # of argparse
        status = ending.code
    assert status == 2 and "error: " in capsys.readouterr().err and sorted(sources.rglob("*")) == before


@pytest.mark.parametrize(
    "words",
    [
        "fuse ir nowhere -o out --task ivf",
        "fuse ir vis -o out --calibration nowhere.json",
        "fuse ir vis -o out --weights nowhere.safetensors",
        "stack nowhere -o x.png --task mef",
        "video nowhere.mp4 vis -o out",
        "align ir nowhere",
        "compare ir vis nowhere -o out",
        "compare ir vis fused -o out --crop 0 0 99 99",
        "check nowhere",
        "score ir nowhere fused",
        "score ir vis fused --reference nowhere",
        "extract ir -o out",
        "downstream nowhere --task segment --out out",
        "info nowhere",
    ],
)
def test_input_that_fails_ends_with_1(sources, capsys, words):
    assert main(words.split()) == 1 and "error: " in capsys.readouterr().err


def test_results_of_many_folders_are_scored_and_compared_with_their_sources(sources, capsys):
    """Results of one folder, as fuse writes them, and of as many folders as the sources have."""
    for scene in ("p1", "p2"):
        for folder, seed in (("ir", 1), ("vis", 2), ("other", 3)):
            for stem in ("1", "2"):
                write_image(Path("data") / scene / folder / f"{stem}.png", texture(32, 32, seed))
                write_image(Path("results") / f"{scene}_{stem}.png", texture(32, 32, 3))
    trees = ["data/*/ir", "data/*/vis"]
    words = ["results", "x=data/*/other", "data/*/other", "--metrics", "EN", "--csv", "s.csv", "--no_cache"]
    assert main(["score", *trees, *words]) == 0
    rows = [row.split(",") for row in Path("s.csv").read_text().splitlines()[1:]]
    assert [row[:2] for row in rows] == [
        [method, f"{scene}_{stem}"] for method in ("results", "x", "data") for scene in ("p1", "p2") for stem in "12"
    ]
    assert len({row[-1] for row in rows}) == 1
    capsys.readouterr()
    assert main(["compare", *trees, "results", "data/*/other", "-o", "figures", "--no_differences"]) == 0
    assert sorted(path.stem for path in Path("figures").iterdir()) == ["p1_1", "p1_2", "p2_1", "p2_2"]
    assert main(["score", *trees, "data/*/*/1.png", "--no_cache"]) == 1
    assert "'*' stands for other names than those of the sources" in capsys.readouterr().err
    assert main(["score", trees[0], "vis", "results", "--no_cache"]) == 2
    assert "data/*/ir is a pattern of paths; give one for each source, and no other pattern" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="folders are not locked on Windows")
@pytest.mark.parametrize(
    "words",
    [
        "fuse ir vis -o out --size tiny",
        "stack ir -o out --task mff --size tiny",
        "video ir vis -o out --size tiny",
        "align ir vis -o out",
        "compare ir vis fused -o out",
        "compare ir vis --save_features out --size tiny",
        "extract shots -o out",
        "score ir vis fused --plots out --no_cache",
        "data LLVIP --source ir --root out",
    ],
)
def test_a_folder_that_another_run_writes_to_is_refused(sources, capsys, words):
    out = sources / "out"
    out.mkdir()
    with keeping_others_out(out):
        assert main(words.split()) == 1
    assert "another run is writing results to" in capsys.readouterr().err
    assert not list(out.iterdir())


@pytest.mark.parametrize(
    "words", ["fuse a", "fuse a b -o c --size huge", "stack a -o b", "video a b", "info --nonsense"], ids=str
)
@pytest.mark.parametrize("option", ["--json", "--js"])
def test_impossible_arguments_are_reported_as_json_too(capsys, words, option):
    with pytest.raises(SystemExit) as caught:
        main([*words.split(), option])
    out, err = capsys.readouterr()
    said = json.loads(out)
    assert caught.value.code == 2 and said["ok"] is False and f"error: {said['error']}\n" in err
    for more in ([], ["--", "--json"]):  # behind -- is a file of that name
        with pytest.raises(SystemExit):
            main([*words.split(), *more])
        assert capsys.readouterr().out == ""


def test_every_verb_with_json_reports_interruptions_too():
    for verb, command in COMMANDS.items():
        parser = importlib.import_module(f"adasffuse.cli.{command.module}").make_parser()
        flags = [action for action in parser._actions if "--json" in action.option_strings and action.nargs == 0]
        assert bool(flags) == command.reports, verb


WITHOUT_PYTORCH = """
import importlib, sys
from adasffuse.cli.main import COMMANDS, main

for verb, command in COMMANDS.items():
    importlib.import_module(f"adasffuse.cli.{command.module}").make_parser(verb)
    assert "torch" not in sys.modules, verb
importlib.import_module("adasffuse.cli.task_script")
assert main(["fuse", "absent.png", "absent.png", "-o", "x.png"]) == 1
assert "torch" not in sys.modules
assert main(["info", sys.argv[1]]) == 0
assert "torch" not in sys.modules
"""


def test_names_of_files_keep_their_hyphens_behind_two(capsys):
    assert main(["fuse", "-o", "out.png", "--", "--ir-1.png", "--vis-1.png"]) == 1
    assert "--ir-1.png: no such file" in capsys.readouterr().err


def test_arguments_and_images_are_read_without_pytorch():
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    program = [sys.executable, "-c", WITHOUT_PYTORCH, Path(__file__).parent / "reference" / "head_A.png"]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stderr == "error: absent.png: no such file or folder\n", done.stderr


def test_what_torchrun_cannot_share(monkeypatch, capsys):
    pytest.importorskip("shtab", reason="needs shtab (extra 'completion')")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert call(capsys, "completion", "bash")[0] == 0  # the environment of a cluster, without torchrun
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert call(capsys, "video", "a.mp4", "b.mp4", "-o", "out") == (2, "", "")
    monkeypatch.setenv("RANK", "0")
    status, _, err = call(capsys, "video", "a.mp4", "b.mp4", "-o", "out")
    assert status == 2 and "each of these 2 processes would do all that 'video' does" in err


@pytest.mark.parametrize("module", [completion, fuse, info, score, train], ids=lambda module: module.__name__)
def test_verbs_call_themselves_by_the_command(module, capsys):
    verb = module.__name__.rpartition(".")[2]
    with pytest.raises(SystemExit) as caught:
        main([verb, "--help"])
    assert caught.value.code == 0 and f"usage: adasffuse {verb}" in capsys.readouterr().out


def test_the_help_of_fuse_begins_with_what_is_needed(capsys):
    with pytest.raises(SystemExit):
        main(["fuse", "--help"])
    screen = "\n".join(capsys.readouterr().out.splitlines()[:24])
    assert "adasffuse fuse A B -o OUT [options]" in screen and "-o OUT" in screen and "--task" in screen
    assert "--tile" not in screen


def test_bash_completes_verbs_options_choices_and_files(capsys, tmp_path):
    pytest.importorskip("shtab", reason="needs shtab (extra 'completion')")
    status, script, _ = call(capsys, "completion", "bash")
    assert status == 0
    ask = 'COMP_WORDS=({words}); COMP_CWORD={last}; _shtab_adasffuse; echo "${{COMPREPLY[@]}}"'

    def completed(*words: str) -> list[str]:
        line = ask.format(words=" ".join(map(repr, words)), last=len(words) - 1)
        done = subprocess.run(["bash", "-c", f"{script}\n{line}"], capture_output=True, text=True)
        return done.stdout.split()

    assert "fuse" in completed("adasffuse", "fu")
    assert "--dry_run" in completed("adasffuse", "fuse", "--dr")
    assert set(completed("adasffuse", "fuse", "--task", "")) >= {"ivf", "mef", "mff", "mif"}
    (tmp_path / "thermal.png").touch()
    assert completed("adasffuse", "fuse", str(tmp_path / "the")) == [str(tmp_path / "thermal.png")]


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_every_shell_has_a_script_that_knows_the_verbs(shell, capsys):
    pytest.importorskip("shtab", reason="needs shtab (extra 'completion')")
    status, script, _ = call(capsys, "completion", shell)
    assert status == 0 and "dry_run" in script and "precision" in script


def test_without_shtab_the_command_to_install_it(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert call(capsys, "completion", "zsh") == (
        1,
        "",
        f"error: shell completion needs: {install_command('completion')}\n",
    )


def test_the_installation(capsys, monkeypatch):
    monkeypatch.setattr(
        metadata,
        "requires",
        lambda _: [
            "numpy>=1",
            'pillow>=12; extra == "plots"',
            'zzz-none>1 ; extra == "zzz"',
            'zzz-none>1 ; extra == "larger"',  # another extra that needs it as well
            'pytest; extra == "dev"',
        ],
    )
    status, out, _ = call(capsys, "info", "--json")
    values = json.loads(out)
    assert status == 0 and values["torch"] == torch.__version__ and values["threads"] == torch.get_num_threads()
    assert values["optional packages"] == {
        "pillow": metadata.version("pillow"),
        "zzz-none": f"absent; {install_command('zzz')}",
    }
    out = call(capsys, "info")[1]
    assert f"zzz-none: absent; {install_command('zzz')}" in out and "general_small" in out


def test_weights(capsys, tmp_path):
    path = write_weights(tmp_path / "mine.safetensors", "mef", kinds=("exposure",))
    status, out, _ = call(capsys, "info", "--json", path, "general_tiny")
    mine, released = json.loads(out)["files"]
    assert status == 0 and (mine["task"], mine["kinds"]) == ("mef", ["exposure"])
    assert mine["parameters"] == sum(p.numel() for p in network(kinds=("exposure",)).parameters())
    assert mine["training"] == {"steps": 0, "seed": 0} and mine["licence"] is None
    path.with_suffix(".json").write_text("[1]")  # of another program
    assert json.loads(call(capsys, "info", "--json", path)[1])["files"] == [mine]
    assert released["task"] == "general" and "research terms" in released["licence"]
    network().save_pretrained(tmp_path / "hub", "general")
    card = tmp_path / "hub/README.md"
    card.write_text(card.read_text().replace("---\n", "---\nlicense: cc-by-4.0\n", 1))
    assert json.loads(call(capsys, "info", "--json", tmp_path / "hub")[1])["files"][0]["licence"] == "cc-by-4.0"
    path.write_bytes(path.read_bytes()[:-10])
    status, out, err = call(capsys, "info", path, "general_tiny")
    assert status == 1 and f"error: {path} is no whole safetensors file" in err and "parameters" in out


def test_images(capsys, tmp_path):
    counts = np.full((6, 10), 7300, np.uint16)
    counts[0], counts[1] = 0, 7400
    tifffile.imwrite(tmp_path / "counts.tif", counts, extratags=[(42113, "s", 0, "0", True)])
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = PIL.Image.Exif()
    exif[274] = 6
    PIL.Image.new("RGB", (20, 10), (1, 2, 3)).save(tmp_path / "c.jpg", quality=100, icc_profile=profile, exif=exif)
    status, out, _ = call(capsys, "info", "--json", tmp_path / "counts.tif", tmp_path / "c.jpg")
    deep, color = json.loads(out)["files"]
    assert status == 0 and (deep["width"], deep["height"], deep["channels"], deep["depth"]) == (10, 6, 1, "16")
    assert deep["values"] == [7300, 7400] and deep["black and white"] == [0, 65535]
    assert deep["no data"] == 0 and deep["share without data"] == pytest.approx(1 / 6, abs=1e-6)
    assert (color["width"], color["height"], color["stored"]) == (10, 20, "on its side")
    assert "sRGB" in color["profile"] and color["channels"] == 3
    status, out, err = call(capsys, "info", tmp_path / "none.png", tmp_path / "c.jpg")
    assert status == 1 and "none.png: no such file" in err and "width" in out


def test_info_of_files_that_are_read_in_another_way(tmp_path, capsys):
    (tmp_path / "shot.jpg").write_bytes(radiometric_jpeg(np.full((8, 8), 18000, np.uint16)))
    status, out, _ = call(capsys, "info", tmp_path / "shot.jpg")
    assert status == 0 and "FLIR radiometric JPEG: fusing reads its temperatures" in out
    (tmp_path / "ct.nii").write_bytes(b"n")
    status, _, err = call(capsys, "info", tmp_path / "ct.nii")
    assert status == 1 and "ct.nii" in err and "NIfTI" in err
    status, _, err = call(capsys, "info", tmp_path)
    assert status == 1 and f"a folder of images, 1 of them; adasffuse check {tmp_path} says" in err


def run_options() -> dict:
    """Options of a run of one step, as JSON values."""
    data = {"root_path": "data", "datasets": ["IVF"], "crop": 16}
    return {"name": "mine", "task": "ivf", "data": data, "model": SHAPE, "train": {"steps": 1, "batch_size": 2}}


def test_what_belongs_to_training_and_cameras(tmp_path, capsys):
    """A run's folder before and after it has weights, its checkpoint and options, and a calibration."""
    options = parse_options(run_options())
    run = Run(options, Processes(0, 1, torch.device("cpu")))
    run.step = 7
    checkpoint = save_checkpoint(tmp_path / "run", 7, run.state(), keep=2)
    (tmp_path / "run/options.json").write_text(json.dumps(options.to_dict()))
    Calibration(Transform("affine", np.eye(3), (48, 64), (24, 32)), 5, 0.25).save(tmp_path / "c.json")
    names = [tmp_path / "run", checkpoint, tmp_path / "run/options.json", tmp_path / "c.json"]
    status, out, _ = call(capsys, "info", "--json", *names)
    folder, file, opt, calibration = json.loads(out)["files"]
    assert status == 0 and {k: v for k, v in folder.items() if k != "file"}.items() <= file.items()
    assert (file["what"], file["step"], file["run"], file["task"]) == ("training checkpoint", 7, "mine", "ivf")
    assert (opt["what"], opt["steps"], opt["crop"]) == ("options of a training run", 1, 16)
    assert (calibration["size of A"], calibration["size of B"], calibration["pairs"]) == ("32x24", "64x48", 5)
    write_weights(tmp_path / "run/weights.safetensors", "ivf")
    whole = json.loads(call(capsys, "info", "--json", tmp_path / "run")[1])["files"][0]
    assert (whole["what"], whole["newest checkpoint"]) == ("weights", "step_00000007.pt")


def test_a_volume_and_a_video(tmp_path, capsys):
    pytest.importorskip("nibabel", reason="needs nibabel (extra 'medical')")
    pytest.importorskip("av", reason="needs PyAV (extra 'video')")
    write_volume(tmp_path / "ct.nii.gz", np.arange(24, dtype=np.uint16).reshape(2, 3, 4), np.diag([1, 2, 3, 1]))
    with write_video(tmp_path / "v.mp4", 48, 64, Fraction(25), Fraction(1, 25)) as writer:
        for number in range(5):
            writer.write(np.full((48, 64), 40 * number, np.uint8), number)
        writer.finish(0.2)
    status, out, _ = call(capsys, "info", "--json", tmp_path / "ct.nii.gz", tmp_path / "v.mp4")
    volume, video = json.loads(out)["files"]
    assert status == 0 and (volume["voxels"], volume["mm"], volume["values"]) == ([2, 3, 4], [1, 2, 3], [0, 23])
    assert (video["width"], video["height"], video["frames per second"], video["seconds"]) == (64, 48, 25, 0.2)
    assert (video["depth"], video["notices"]) == ("8", [])


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("notes.txt", b"hello", "nothing that is known here; info takes images, videos, volumes, weights"),
        ("other.json", b'{"a": 1}', "JSON, but no options of a training run, no manifest and no calibration"),
        ("broken.json", b'{"a": ', "begins like JSON: not JSON"),
        ("old.pth", b"\x80\x02}q\x00.", "no whole checkpoint of this package's training (File is not a zip file)"),
        ("net.onnx", b"\x08\x0a", "damaged, or no network that adasffuse export has written"),
        ("net.pt2", b"PK\x03\x04", "damaged, or no network that adasffuse export has written"),
        ("empty.pth", b"", "the file is empty; info takes"),
        ("run.json", b'{"name": "x", "task": "abc"}', "run.json: task: unknown task 'abc'"),
        ("manifest.json", b'{"options": {}, "starts": [1], "data": {}}', "a manifest whose 'starts' were edited"),
        ("run.json", b'{"name": "x", "name": "y", "task": "ivf"}', "option 'name' stands twice"),  # as train says
    ],
)
def test_what_info_does_not_take_is_named(tmp_path, capsys, name, content, said):
    if name.endswith(".onnx"):
        pytest.importorskip("onnx", reason="needs onnx (extra 'export')")
    (tmp_path / name).write_bytes(content)
    status, _, err = call(capsys, "info", tmp_path / name)
    assert status == 1 and err.startswith(f"error: {tmp_path / name}: ") and said in err and err.count("\n") == 1


def test_a_name_that_is_nearly_that_of_released_weights(capsys):
    status, _, err = call(capsys, "info", "general_smal")
    assert (status, err) == (
        1,
        "error: general_smal: no such file or folder; did you mean the released weights 'general_small'?\n",
    )
