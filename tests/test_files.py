"""Files that are whole or not there at all, and names for the terminal."""

import errno
import os
from pathlib import Path

import cv2
import pytest
import torch
from tiny import writing

from adasffuse.files import (
    FILE_ENDINGS,
    check_outputs,
    name_of,
    remove_abandoned,
    replacing,
    replacing_all,
    write_bytes,
    write_text,
    write_with,
)
from adasffuse.images.frames import OTHER_VIDEO_SUFFIXES, VIDEO_SUFFIXES
from adasffuse.images.read import IMAGE_SUFFIXES
from adasffuse.inference.work import RESULT_SUFFIXES
from adasffuse.messages import first_of, in_latex, in_markdown, not_written, printable, told


def test_long_lists_are_cut():
    assert first_of(["a", "b", "c"]) == "a, b, c" and first_of(["a", "b", "c"], 2) == "a, b and 1 more"


def test_a_file_is_written_with_its_folders(tmp_path):
    write_text(tmp_path / "new/folder/a.csv", "ä\n")
    assert (tmp_path / "new/folder/a.csv").read_bytes() == b"\xc3\xa4\n"
    write_bytes(tmp_path / "new/folder/a.csv", b"other")
    assert (tmp_path / "new/folder/a.csv").read_bytes() == b"other"
    assert [file.name for file in (tmp_path / "new/folder").iterdir()] == ["a.csv"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError("bad")])
def test_an_older_file_survives_what_fails(tmp_path, error):
    path = tmp_path / "a.csv"
    path.write_text("old")

    def fail(temporary: Path) -> None:
        temporary.write_text("ne")
        raise error

    with pytest.raises(type(error)):
        write_with(path, fail)
    assert path.read_text() == "old" and [file.name for file in tmp_path.iterdir()] == ["a.csv"]


def test_an_error_names_the_file_that_was_asked_for(tmp_path):
    def fail(raised: Exception) -> Exception:
        with pytest.raises(type(raised)) as caught, replacing(tmp_path / "out.png"):
            raise raised
        return caught.value

    full = OSError(errno.ENOSPC, "No space left on device")  # as writing to an open file raises it
    assert told(fail(full)) == f"{tmp_path}/out.png: No space left on device; free some space"
    other = fail(FileNotFoundError(errno.ENOENT, "No such file", "source.png"))
    assert told(other) == "source.png: No such file; check the name"
    with pytest.raises(ValueError) as caught, replacing(tmp_path / "out.png") as temporary:
        raise ValueError(f"cannot write {temporary}: it is damaged", 3)
    assert caught.value.args == (f"cannot write {tmp_path}/out.png: it is damaged", 3)


def test_nobody_sees_half_a_file(tmp_path):
    path = tmp_path / "a.csv"
    with replacing(path, sync=True) as temporary:
        temporary.write_text("half")
        assert not path.exists() and temporary.parent == path.parent
        temporary.write_text("whole")
    assert path.read_text() == "whole"


@pytest.mark.skipif(os.name != "posix", reason="names of other systems are text")
@pytest.mark.parametrize("name", [b"n" * 251 + b".csv", b"caf\xe9.csv", b"a\nb.csv"])
def test_any_name_that_the_system_allows(tmp_path, name):
    write_text(tmp_path / os.fsdecode(name), "text")
    assert os.listdir(os.fsencode(tmp_path)) == [name]


def test_folders_that_were_made_for_nothing_go(tmp_path):
    (tmp_path / "here").mkdir()
    with pytest.raises(OSError, match="name too long"):
        write_text(tmp_path / "here/new" / ("n" * 300) / "a.csv", "text")
    with pytest.raises(ValueError), replacing(tmp_path / "here/new/folder/a.csv"):
        raise ValueError
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "here"]


@pytest.mark.skipif(os.name != "posix", reason="files are not locked on Windows")
def test_what_a_killed_process_left_of_a_file_is_removed(tmp_path):
    one, other = tmp_path / "one.mp4", tmp_path / "other.mp4"
    for path in (one, other):
        with writing(path, "die") as process:
            process.communicate(timeout=60)
    with writing(one, "live") as process:
        assert process.stdout.readline() == b"writing\n"
        (tmp_path / ".part-0123456789abcdef01234567.mp4").touch()
        before = set(os.listdir(tmp_path))
        remove_abandoned([one])
        gone = before - set(os.listdir(tmp_path))
        assert len(before) == 4 and len(gone) == 1
        with replacing(one) as temporary:
            remove_abandoned([one])
            temporary.write_bytes(b"whole")
        assert one.read_bytes() == b"whole" and len(os.listdir(tmp_path)) == 4
        process.communicate(timeout=60)
    remove_abandoned([one, other])
    assert sorted(os.listdir(tmp_path)) == [".part-0123456789abcdef01234567.mp4", "one.mp4"]


def test_files_that_belong_together(tmp_path):
    """None is there before all are written, and none where one fails."""
    (tmp_path / "a").write_text("old")
    with pytest.raises(ValueError), replacing_all() as new:
        new(tmp_path / "a").write_text("new")
        new(tmp_path / "new/b").write_text("new")
        raise ValueError
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "a"] and (tmp_path / "a").read_text() == "old"
    with replacing_all() as new:
        new(tmp_path / "a").write_text("new")
        new(tmp_path / "new/b").write_text("new")
        assert (tmp_path / "a").read_text() == "old" and not (tmp_path / "new/b").exists()
    assert (tmp_path / "a").read_text() == (tmp_path / "new/b").read_text() == "new"


@pytest.mark.skipif(os.name != "posix", reason="has no pipes with names")
@pytest.mark.parametrize(
    ("files", "folders", "said"),
    [
        ({"--csv": "folder"}, {}, "--csv folder: is a folder, and a file is written here; choose another name"),
        ({"--csv": "pipe"}, {}, "--csv pipe: is a device or a pipe, and a file is written here"),
        ({"--csv": "file/a/b"}, {}, "--csv file/a/b: {here}/file is no folder; choose another place"),
        ({"--csv": "new/{long}/a"}, {}, "--csv new/{long}/a: File name too long; choose a shorter name"),
        ({"--csv": "new/{long}"}, {}, "--csv new/{long}: File name too long; choose a shorter name"),
        ({"--csv": "a", "--json": "folder/../a"}, {}, "--csv and --json name one file, folder/../a; each needs"),
        ({"--csv": "link"}, {}, "--csv link: would overwrite an input; choose another name"),
        ({}, {"-o": "file"}, "-o file: is no folder, and a folder is needed here; choose another name"),
        ({}, {"-o": "file/new"}, "-o file/new: {here}/file is no folder; choose another place"),
        ({}, {"-o": "new/{long}"}, "-o new/{long}: File name too long; choose a shorter name"),
        ({"--csv": "a"}, {"--plots": "a"}, "--plots a: is the file of --csv, and a folder is needed here"),
    ],
)
def test_outputs_that_cannot_be_written_are_found_before_any_work(tmp_path, monkeypatch, files, folders, said):
    monkeypatch.chdir(tmp_path)
    words = {"long": "n" * 300, "here": tmp_path}
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "pipe")
    before = sorted(tmp_path.rglob("*"))
    given = [{option: Path(path.format(**words)) for option, path in some.items()} for some in (files, folders)]
    with pytest.raises(ValueError) as caught:
        check_outputs(*given, inputs=[Path("file")])
    assert str(caught.value).startswith(said.format(**words)) and sorted(tmp_path.rglob("*")) == before


def test_an_output_on_a_drive_that_does_not_exist_is_refused(monkeypatch):
    """Where nothing exists, not even the root, as below Z: on Windows."""
    monkeypatch.setattr(os.path, "exists", lambda path: False)
    monkeypatch.setattr(Path, "is_dir", lambda path: False)
    with pytest.raises(ValueError, match=r"--out /z/a\.png: / is no folder; choose another place"):
        check_outputs({"--out": Path("/z/a.png")})


def test_outputs_that_can_be_written(tmp_path):
    (tmp_path / "file").touch()
    check_outputs({"--csv": tmp_path / "file", "--json": tmp_path / "new/a", "--latex": None}, {"-o": tmp_path / "new"})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_all_that_is_read_or_written_has_the_ending_of_a_file():
    assert {*IMAGE_SUFFIXES, *VIDEO_SUFFIXES, *OTHER_VIDEO_SUFFIXES, *RESULT_SUFFIXES} <= FILE_ENDINGS


def test_a_folder_is_not_replaced(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError):
        write_text(tmp_path / "a", "text")
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that takes no files, of root's either")
def test_a_folder_that_takes_no_file_is_told_with_the_name_that_was_asked_for():
    with pytest.raises(FileNotFoundError, match=r"'/proc/a\.csv'"):
        write_text("/proc/a.csv", "text")
    with pytest.raises(ValueError, match=r"--csv /proc/a\.csv: cannot write to /proc: No such file or directory"):
        check_outputs({"--csv": Path("/proc/a.csv")})


def test_a_folder_is_called_as_it_is_named(tmp_path, monkeypatch):
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to("target")
    assert name_of(tmp_path / "link") == "link" and name_of(f"{tmp_path}/target/") == "target"
    monkeypatch.chdir(tmp_path / "target")
    assert name_of(".") == "target" and name_of("..") == tmp_path.name


def test_names_for_the_terminal():
    assert printable("plain ä.png\nnext line") == r"plain ä.png\nnext line"
    assert printable("\x1b[31mred\x07\r\x7f") == r"\x1b[31mred\x07\r\x7f"
    assert printable(b"caf\xe9".decode("utf-8", "surrogateescape")) == r"caf\xe9"  # a name that is no UTF-8
    assert printable(Path("a\u202eb")) == r"a\u202eb"  # turns the direction of text


def test_names_for_tables():
    assert in_latex("a_b & 50%") == r"a\_b \& 50\%" and in_latex("{~\\^\n}") == (
        r"\{\textasciitilde{}\textbackslash{}\textasciicircum{}\textbackslash{}n\}"
    )
    assert in_markdown("a|b\nc") == r"a\|b\nc"


def test_errors_of_the_system_are_told_without_their_numbers(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    for call, said in (
        (
            lambda: write_text(tmp_path / "file/x.txt", "text"),
            "File exists; something else is in its place; choose another",
        ),
        ((tmp_path / "loop").read_text, "it is a link that leads back to itself; remove it"),
        ((tmp_path / ("x" * 300)).read_text, "File name too long; choose a shorter name"),
    ):
        with pytest.raises(OSError) as caught:
            call()
        assert said in told(caught.value) and str(tmp_path) in told(caught.value) and "Errno" not in told(caught.value)
    assert told(OSError("our own words")) == "our own words" and told(ValueError("a\nb")) == "a\\nb"
    assert told(ValueError("2 faults:\n  a\tb\n  c")) == "2 faults:\n  a\\tb\n  c"  # one below the other
    taken = FileExistsError(17, "File exists", "x")
    large = OSError(errno.EFBIG, "File too large")
    assert not_written("x", large).endswith("raise the limit on file sizes (ulimit -f), or choose another disk")
    assert not_written("x", taken) == "cannot write x: File exists; something else is in its place; choose another"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "out of memory; "),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "out of memory; "),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried"),
            "out of memory; ",
        ),  # Windows
        (cv2.error("(-4:Insufficient memory) Failed to allocate 8 bytes"), "out of memory; "),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "out of memory of the GPU; "),
        (ValueError("not enough memory in this camera"), "not enough memory in this camera"),
    ],
)
def test_libraries_that_lack_memory_are_told_in_one_way(error, said):
    assert told(error).startswith(said) and ("--tile" in told(error)) == said.endswith("; ")
