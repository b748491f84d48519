"""scripts/torture.py: malformed files are refused in one clear error, and what is not refused so is noticed."""

import re
from pathlib import Path

import pytest
import torture


def counts(text: str) -> dict[str, list[int]]:
    """Cases, refused, accepted and FAILED by kind."""
    return {kind: [int(n) for n in numbers.split()] for kind, numbers in re.findall(r"^(\w+) +([\d ]+)$", text, re.M)}


@pytest.mark.slow
def test_malformed_files_are_refused_in_one_clear_error(capfd):
    status = torture.main([])
    out = capfd.readouterr().out
    assert status == 0, out
    found = counts(out)
    assert found.keys() == {*torture.KINDS, "all"} and found["all"][0] >= 1000 and found["all"][3] == 0
    assert all(refused for _, refused, _, _ in found.values())


def test_some_of_each_kind(capfd):
    """The quick form; the same seed draws the same cases."""
    arguments = ["--count", "6", "--kinds", "weights", "checkpoints", "options", "special"]
    assert torture.main(arguments) == 0
    first = counts(capfd.readouterr().out)
    assert first["all"][0] > 60 and torture.main(arguments) == 0
    assert counts(capfd.readouterr().out) == first


@pytest.mark.parametrize(
    "error, reason",
    [
        (KeyError("x"), "KeyError: 'x'"),
        (MemoryError(), "MemoryError"),
        (ValueError(""), "a message of 0 characters"),
        (ValueError("x" * 9999), "a message of 9999 characters"),
    ],
)
def test_what_is_no_clear_error_fails(tmp_path, error, reason):
    def failing(path: Path) -> None:
        raise error

    door = torture.Door(failing, (ValueError,), ".x", ())
    outcome, why = torture.bring(torture.Case("x", "x", door, Path.touch), tmp_path, 60)
    assert outcome == "FAILED" and why.startswith(reason)
    assert not list(tmp_path.iterdir())


def test_what_does_not_end_fails(tmp_path):
    def endless(path: Path) -> None:
        while True:
            try:
                path.stat()
            except Exception:  # a door that takes everything for a damaged file
                return

    door = torture.Door(endless, (Exception,), ".x", ())
    outcome, why = torture.bring(torture.Case("x", "x", door, Path.touch), tmp_path, 0.05)
    assert (outcome, why.split(" (")[0]) == ("FAILED", "TooLong: more than 0.05 s")
