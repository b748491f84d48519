"""Process settings: made by programs alone, before PyTorch is loaded, and never over the user's own."""

import os
import subprocess
import sys

import pytest

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
