"""Where commands and scripts cannot write: one line that names the option, before any work, and nothing is left."""

import json
import os
import shlex
import socket
from fractions import Fraction
from importlib import import_module

import numpy as np
import pytest
from example_files import radiometric_jpeg
from tiny import texture, write_ivf, writing

from adasffuse.cli import demo
from adasffuse.cli.main import main
from adasffuse.images.video_writing import write_video
from adasffuse.images.write import write_image


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """What the commands below read, and a file that is in the way."""
    for package, extra in (("av", "video"), ("onnx", "export")):
        pytest.importorskip(package, reason=f"needs {package} (extra '{extra}')")
    root = tmp_path_factory.mktemp("inputs")
    write_ivf(root)
    for number in (1, 2, 3):
        write_image(root / "stack" / f"{number}.png", texture(40, 48, number))
    for name in ("a", "b"):
        with write_video(root / f"{name}.mp4", 40, 48, Fraction(25), Fraction(1, 25)) as video:
            video.write(texture(40, 48, ord(name)), 0)
            video.finish(1 / 25)
    (root / "shots").mkdir()
    (root / "shots/1.jpg").write_bytes(
        radiometric_jpeg(np.full((8, 8), 18000, np.uint16), np.zeros((8, 8, 3), np.uint8))
    )
    (root / "options.json").write_text(
        '{"name": "x", "task": "ivf", "size": "tiny", "data": {"root_path": ".", "datasets": ["IVF"]}}'
    )
    (root / "file").touch()
    return root


PAIR = "IVF/infrared IVF/visible"
FOLDERS = (  # a folder is needed
    f"fuse {PAIR} -o",
    "stack stack --task mef -o",
    "video a.mp4 b.mp4 -o",
    f"align {PAIR} -o",
    f"compare {PAIR} stack -o",
    f"compare {PAIR} --save_features",
    "extract shots -o",
    "score --source_a IVF/infrared --source_b IVF/visible --baselines average --plots",
    "train --opt options.json --root_path . --out_dir",
    "downstream IVF --task segment --out",
    "data MSRS --source . --root",
    "score_weights.py --root_path . --datasets IVF --out",
    "leave_one_camera_out.py --opt options.json --root_path . --out",
    "render_objects.py",
)
FILES = (  # a file is needed; ends with the suffix that it must have
    "fuse IVF/infrared/1.png IVF/visible/1.png -o .png",
    "stack stack --task mef -o .tif",
    "video a.mp4 b.mp4 -o .mp4",
    f"align {PAIR} --save .json",
    "compare IVF/infrared/1.png IVF/visible/1.png IVF/visible/2.png -o .png",
    f"check {PAIR} --sheet .png",
    f"check {PAIR} --json .json",
    "score --source_a IVF/infrared --source_b IVF/visible --baselines average --csv .csv",
    "export --task ivf --format onnx -o .onnx",
    "mix_weights.py general_tiny=1 --out .safetensors",
    "score_weights.py --root_path . --datasets IVF --json .json",
)


@pytest.mark.parametrize(
    ("words", "target"),
    [
        *((words, "file/new") for words in (*FOLDERS, *FILES)),
        *((FOLDERS[0], target) for target in ("file", "n" * 300)),
        (FILES[0], "new/" + "n" * 300),
    ],
)
def test_a_target_that_cannot_be_written(inputs, monkeypatch, capsys, words, target):
    monkeypatch.chdir(inputs)
    before = sorted(inputs.rglob("*"))
    *words, last = shlex.split(words)
    words = [*words, target + last] if last.startswith(".") else [*words, last, target]
    status, err = called(words, capsys)
    option = words[-2] if words[-2].startswith("-") else "out"
    assert status == 1 and err.startswith(f"error: {option} ") and err.count("\n") == 1
    assert "choose a" in err and sorted(inputs.rglob("*")) == before


@pytest.mark.parametrize(
    "words",
    [
        f"fuse {PAIR} --dry_run --json -o",
        f"fuse {PAIR} --size tiny --json -o",
        "stack stack --task mef --size tiny --json -o",
        "video a.mp4 b.mp4 --task ivf --json -o",
        f"align {PAIR} --method translation --json -o",
        "info a.mp4 --json",
        "info --json",
        f"check {PAIR} --json r.json",
        f"score {PAIR} --baselines average --json r.json",
    ],
)
def test_all_reports_for_programs_have_one_shape(inputs, tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    for path in inputs.iterdir():
        (tmp_path / path.name).symlink_to(path)
    words = [*shlex.split(words), *(["out"] if words.endswith("-o") else [])]
    status, out = main(words), capsys.readouterr().out
    report = json.loads((tmp_path / "r.json").read_text() if words[-1] == "r.json" else out)
    assert report["ok"] is (status == 0) and (report["failed"] == []) is report["ok"]
    assert all({"name", "reason"} <= one.keys() for one in report["failed"])
    assert all(isinstance(notice, str) for notice in report["notices"])


def called(words: list[str], capsys) -> tuple[int, str]:
    """The exit status of a command or script, and what it says on standard error."""
    module, is_script, _ = words[0].rpartition(".py")
    run, words = (import_module(module).main, words[1:]) if is_script else (main, words)
    return run(words), capsys.readouterr().err


EMPTY = ("check", f"score {PAIR} --reference", f"fuse {PAIR} -o out --pattern_a", "export --task ivf --weights")


@pytest.mark.parametrize("words", [*FOLDERS, "demo --host", *EMPTY])
def test_an_empty_value_is_refused(inputs, monkeypatch, capsys, words):
    monkeypatch.chdir(inputs)
    with pytest.raises(SystemExit, match="2"):
        called([*shlex.split(words), ""], capsys)
    option = shlex.split(words)[-1]
    expected = f"argument {option}: the value is empty" if option.startswith("-") else "an argument is empty"
    assert expected in capsys.readouterr().err


def test_a_tilde_that_the_shell_left_alone_is_the_home_folder(inputs, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").symlink_to(inputs)
    assert called(["extract", "~/in/shots", "--out=~/out"], capsys)[0] == 0
    words = ["score", "~/in/IVF/infrared", "~/in/IVF/visible", "ours=~/in/IVF/visible", "--metrics", "EN"]
    assert called(words, capsys)[0] == 0
    assert (tmp_path / "out/infrared/1.tif").is_file() and not (tmp_path / "~").exists()


def test_files_of_a_shells_pattern_are_extracted(inputs, tmp_path, capsys):
    shot = inputs / "shots/1.jpg"
    other = tmp_path / "2.jpg"
    other.write_bytes(shot.read_bytes())
    assert called(["extract", str(shot), str(other), "-o", str(tmp_path / "out")], capsys)[0] == 0
    assert sorted(path.name for path in (tmp_path / "out/infrared").iterdir()) == ["1.tif", "2.tif"]
    status, err = called(["extract", str(shot), str(tmp_path), "-o", str(tmp_path / "new")], capsys)
    assert status == 1 and "is a folder; give files, or one folder" in err


def test_radiometric_files_are_not_paired_by_times(inputs, tmp_path, capsys):
    status, err = called(["fuse", str(inputs / "shots"), "--within", "1", "-o", str(tmp_path / "out")], capsys)
    assert status == 2 and "each radiometric JPEG in" in err and "is a pair by itself" in err


@pytest.mark.parametrize(
    "words, near", [("video a b --output x.mp4", "--out"), ("fuse a b -o x --dryrun", "--dry_run")]
)
def test_an_unknown_option_is_answered_with_the_one_that_it_is_most_like(words, near, capsys):
    with pytest.raises(SystemExit, match="2"):
        called(shlex.split(words), capsys)
    assert f"; did you mean {near}?\n" in capsys.readouterr().err


@pytest.mark.parametrize("words", FOLDERS[:3])
def test_an_address_is_no_path(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        main([*shlex.split(words), "https://host/a.png"])
    assert "https://host/a.png: files are read and written on this computer" in capsys.readouterr().err


def test_a_panel_that_cannot_be_written_leaves_no_result(inputs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(inputs)
    (tmp_path / "x_panel.png").mkdir()
    out = tmp_path / "x.png"
    status, err = called(["fuse", "IVF/infrared/1.png", "IVF/visible/1.png", "-o", str(out), "--panel"], capsys)
    assert status == 1 and f"--panel {tmp_path}/x_panel.png: is a folder" in err and not out.exists()


def test_what_is_extracted_never_lies_among_the_files_it_comes_from(inputs, tmp_path, capsys):
    shot = tmp_path / "visible/1.jpg"
    shot.parent.mkdir()
    shot.write_bytes((inputs / "shots/1.jpg").read_bytes())
    status, err = called(["extract", str(shot.parent), "-o", str(tmp_path)], capsys)
    assert status == 1 and "visible: holds inputs, and outputs would lie among them" in err
    assert sorted(tmp_path.rglob("*")) == [shot.parent, shot]


@pytest.mark.skipif(os.name != "posix", reason="files are not locked on Windows")
@pytest.mark.parametrize("words, name", [(f"align {PAIR} -o", "infrared/1.png"), ("extract shots -o", "visible/1.png")])
def test_what_a_run_that_was_killed_left_of_many_files_is_removed_by_the_next(inputs, tmp_path, capsys, words, name):
    with writing(tmp_path / name, "die") as process:
        process.communicate(timeout=60)
    assert len(list(tmp_path.rglob(".part-*"))) == 1
    verb, *sources, option = shlex.split(words)
    called([verb, *(str(inputs / source) for source in sources), option, str(tmp_path)], capsys)
    assert not list(tmp_path.rglob(".part-*"))


def test_an_address_that_the_page_cannot_have(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert demo.run(["--port", str(port)]) == 1
    said = f"error: --host 127.0.0.1 --port {port}: the port is taken; give another --port, or 0 for a free one\n"
    assert capsys.readouterr().err == said
    for host in ("203.0.113.7", "x" * 300, os.fsdecode(b"caf\xe9"), "a\nb"):
        assert demo.run(["--host", host, "--port", "0"]) == 1
        err = capsys.readouterr().err
        assert "no address of this computer; give another --host, such as 127.0.0.1" in err and err.count("\n") == 1


@pytest.mark.skipif(os.name != "posix", reason="names of other systems are text")
def test_a_run_whose_log_could_not_be_written_leaves_no_folder(inputs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(inputs)
    out = tmp_path / os.fsdecode(b"caf\xe9")
    (tmp_path / "train").symlink_to(inputs, target_is_directory=True)
    status, err = called(
        ["train", "--opt", "options.json", "--root_path", str(tmp_path), "--out_dir", str(out)], capsys
    )
    assert status == 1 and r"caf\xe9/x: TensorBoard writes to folders whose names are UTF-8; choose anot" in err
    assert not out.exists()


def test_a_name_with_a_line_break_is_told_on_one_line(inputs, tmp_path, capsys):
    out = tmp_path / "a\nb"
    assert main(["extract", str(inputs / "shots"), "-o", str(out)]) == 0
    assert capsys.readouterr().out.count("\n") == 1 and (out / "infrared/1.tif").is_file()
