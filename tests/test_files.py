"""Files that are whole or not there at all, and names for the terminal."""

import os
from pathlib import Path

import pytest

from adasffuse.files import (
    in_latex,
    in_markdown,
    not_written,
    printable,
    replacing,
    told,
    write_bytes,
    write_text,
    write_with,
)


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


def test_a_folder_is_not_replaced(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError):
        write_text(tmp_path / "a", "text")
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that takes no files, of root's either")
def test_a_folder_that_takes_no_file_is_told_with_the_name_that_was_asked_for():
    with pytest.raises(FileNotFoundError, match=r"'/proc/a\.csv'"):
        write_text("/proc/a.csv", "text")


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
    taken = FileExistsError(17, "File exists", "x")
    assert not_written("x", taken) == "cannot write x: File exists; something else is in its place; choose another"
