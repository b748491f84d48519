"""A process's settings, printing and end: of programs alone, before PyTorch is loaded, never over the user's own."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest

import adasffuse
from adasffuse.inference.ranks import join_ranks
from adasffuse.process import run_program, world_size

PROGRAM = """
import os
import adasffuse, adasffuse.metrics
print(os.environ.get("GOMP_SPINCOUNT"))
from adasffuse.process import prepare_process
prepare_process()
print(os.environ.get("GOMP_SPINCOUNT"))
"""


@pytest.mark.parametrize("own, expected", [({}, ["None", "2000"]), ({"GOMP_SPINCOUNT": "7"}, ["7", "7"])])
def test_programs_set_what_the_user_left_open(own, expected):
    environment = {k: v for k, v in os.environ.items() if k != "GOMP_SPINCOUNT"} | own
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == expected


LOGGING = """
import logging
from adasffuse.process import show_messages
{own}
for _ in range(2):
    show_messages()
logging.getLogger("adasffuse.models.backends").info("scan on cuda:0")
logging.getLogger("another").info("nothing")
"""


OTHERS = """
import logging
from adasffuse.process import show_messages
show_messages()
logging.getLogger("another").addHandler(logging.NullHandler())  # as packages do that leave it to programs
logging.getLogger("another").error("theirs")
logging.getLogger("adasffuse").error("ours")
"""


def test_messages_of_other_packages_are_not_shown():
    with start("-c", OTHERS) as process:
        assert process.communicate(timeout=60) == (b"", b"ours\n")


@pytest.mark.parametrize("own, expected", [("", "scan on cuda:0\n"), ("logging.basicConfig()", "")])
def test_messages_are_shown_once_unless_logging_is_set_up(own, expected):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    program = [sys.executable, "-c", LOGGING.format(own=own)]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == expected and not done.stdout


def test_scripts_load_pytorch_after_the_settings():
    """Importing a script must not load PyTorch, or its OpenMP would read the variable too early."""
    scripts = ["train_AdaSFFuse", *(f"test_{task}_RGB" for task in ("IVF", "MEF", "MFF", "MIF"))]
    program = f"import sys, {', '.join(scripts)}; print('torch' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_processes_are_several_where_they_can_meet(monkeypatch):
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert world_size() == 1  # a cluster's
    with join_ranks() as ranks:
        assert ranks.main and ranks.share("abc") == list("abc")
    for name, value in (("RANK", "1"), ("MASTER_ADDR", "localhost"), ("MASTER_PORT", "29500")):
        monkeypatch.setenv(name, value)
    assert world_size() == 4
    monkeypatch.delenv("WORLD_SIZE")
    assert world_size() == 1


def start(*arguments: str, **settings) -> subprocess.Popen:
    """A Python process with arguments, such as `-c` and a program."""
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | settings
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | settings.pop("env", {})
    return subprocess.Popen([sys.executable, *arguments], env=environment, **settings)


WAITING = """
import sys, time
from adasffuse.process import run_program

def program():
    try:
        print("ready", flush=True)
        time.sleep(600)
    finally:
        print("tidied up", flush=True)

sys.exit(run_program(program))
"""


@pytest.mark.parametrize("number, status, line", [(signal.SIGINT, 130, b"interrupted"), (signal.SIGTERM, 143, b"term")])
def test_signals_end_a_program_with_one_line(number, status, line):
    with start("-c", WAITING) as process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == status and out == b"tidied up\n"
    assert err.startswith(line) and err.count(b"\n") == 1


def test_the_end_by_a_signal_is_reported_as_json():
    waiting = WAITING.replace("run_program(program)", "run_program(program, as_json=True)")
    with start("-c", waiting) as process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    report = json.loads(out.splitlines()[-1])
    assert (report["ok"], report["interrupted"], report["error"]) == (False, True, err.decode().strip())


def test_nothing_is_begun_in_a_folder_that_was_removed(tmp_path, monkeypatch, capsys):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    status = run_program(lambda: pytest.fail("begun"), as_json=True)
    out, err = capsys.readouterr()
    said = "the current folder is not there or cannot be read (No such file or directory); change to another one by cd"
    assert (status, json.loads(out), err) == (1, {"ok": False, "error": said}, f"error: {said}\n")


@pytest.mark.parametrize("error, said", [(MemoryError(), "out of memory"), (KeyError("a"), "KeyError: 'a'")], ids=repr)
def test_an_error_that_a_program_lets_through_is_reported_as_json(error, said, capsys):
    def program():
        raise error

    ended = contextlib.nullcontext() if isinstance(error, MemoryError) else pytest.raises(KeyError)
    with ended:
        assert run_program(program, as_json=True) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False and report["error"].startswith(said)


def test_a_signal_within_a_text_that_is_executed_ends_a_program_as_any(tmp_path):
    """As in a dataclass that is being made; of `python -m` Python itself would end by the signal."""
    text = """exec('print("ready", flush=True); time.sleep(600)')"""
    (tmp_path / "waiting.py").write_text(WAITING.replace('print("ready", flush=True)', text))
    with start("-m", "waiting", cwd=tmp_path) as process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130


def test_a_second_signal_kills():
    stuck = WAITING.replace('print("tidied up", flush=True)', 'print("tidying", flush=True); time.sleep(600)')
    with start("-c", stuck) as process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == b"tidying\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == -signal.SIGTERM


def test_the_handlers_of_before_come_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert run_program(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        run_program(lambda: 1 // 0)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_program_runs_in_a_thread_and_handles_no_signals_there():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def program() -> int:
        seen.append(signal.getsignal(signal.SIGTERM))
        return 0

    thread = threading.Thread(target=lambda: seen.append(run_program(program)))
    thread.start()
    thread.join(60)
    assert seen == [before, 0]


SAYING = r"""
import sys
from adasffuse.process import run_program, say

def program():
    for _ in range(3):
        say("EN\u2191 caf\udce9 \x1b[31m")
    say("to standard error", sys.stderr)
    return 5

sys.exit(run_program(program))
"""


def test_what_the_encoding_lacks_is_replaced_and_control_characters_are_escaped():
    with start("-c", SAYING, env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 5 and err == b"to standard error\n"
    assert out == b"EN? caf\\xe9 \\x1b[31m\n" * 3


def test_an_output_that_takes_nothing_is_no_error():
    reading, writing = os.pipe()
    os.close(reading)
    with start("-c", SAYING, stdout=writing) as process:
        os.close(writing)
        assert process.communicate(timeout=60)[1] == b"to standard error\n" and process.returncode == 5


FULL = Path("/dev/full")  # takes nothing, as a full disk


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full")
@pytest.mark.parametrize(
    "arguments, status, first",
    [
        (["-c", SAYING], 5, b"to standard error\n"),
        (["-c", SAYING.replace("return 5", "return 0")], 1, b"to standard error\n"),
        *[(["-m", "adasffuse", *words], 1, b"") for words in (["--help"], ["--version"], ["info", "--help"])],
    ],
)
def test_an_output_that_cannot_be_written_is_told_and_no_success(arguments, status, first):
    with FULL.open("w") as full, start(*arguments, stdout=full) as process:
        err = process.communicate(timeout=60)[1]
    told = b"error: cannot write standard output: No space left on device; free some space\n"
    assert (process.returncode, err) == (status, first + told)


def test_help_into_a_closed_pipe_is_quiet():
    reading, writing = os.pipe()
    os.close(reading)
    with start("-m", "adasffuse", "info", "--help", stdout=writing) as process:
        os.close(writing)
        assert process.communicate(timeout=60)[1] == b"" and process.returncode == 0


def test_warnings_of_the_package_are_notices(tmp_path, capsys):
    def program() -> int:
        for place in (adasffuse.__file__, str(tmp_path / "other.py")):
            warnings.warn_explicit("the images differ", UserWarning, place, 7)
        return 0

    before = warnings.showwarning
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda *words, **more: print("Python's", words[2])
        assert run_program(program) == 0
    out, err = capsys.readouterr()
    assert err == "notice: the images differ\n" and out == f"Python's {tmp_path / 'other.py'}\n"
    assert warnings.showwarning is before


def test_a_process_without_output():
    """What is opened next must not become its standard error."""
    program = f"import os; os.close(1); os.close(2); os.execv({sys.executable!r}, ['python', '-c', {SAYING!r}])"
    with start("-c", program) as process:
        assert process.communicate(timeout=60) == (b"", b"") and process.returncode == 5


def test_a_program_that_lacks_memory_says_so(capsys):
    def program() -> int:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes.")

    assert run_program(program) == 1
    assert re.fullmatch(r"error: out of memory; .*--tile.*\n", capsys.readouterr().err)
