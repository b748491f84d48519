"""The package's public names: all listed, none imported before it is used."""

import importlib
import itertools
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import adasffuse
from adasffuse import installation
from adasffuse.installation import install_command

ROOT = Path(__file__).resolve().parents[1]
NAMES = ["AdaSFFuse", "Fuser", "TASKS", "evaluate", "load_fuser"]

FRESH = """
import importlib, sys
import adasffuse

heavy = {"torch", "cv2", "numpy"} & set(sys.modules)
assert not heavy, heavy
listed = [name for name in dir(adasffuse) if not name.startswith("_")]
before = adasffuse.TASKS
assert importlib.reload(adasffuse) is adasffuse and adasffuse.TASKS is before
print(*listed)
print(adasffuse.__version__)
"""


def test_public_names_are_listed_and_imported_on_first_use():
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", FRESH], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    names, version = done.stdout.splitlines()
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert names.split() == NAMES and version == stated


def test_a_star_imports_all_public_names():
    found = {}
    exec("from adasffuse import *", found)
    assert set(NAMES) <= set(found) and found["load_fuser"] is adasffuse.load_fuser


@pytest.mark.parametrize("stub", sorted((ROOT / "adasffuse").rglob("__init__.pyi")), ids=lambda stub: stub.parent.name)
def test_every_name_of_a_stub_is_there(stub):
    room = importlib.import_module(".".join(stub.parent.relative_to(ROOT).parts))
    names = re.findall(r"^from \S+ import (\w+) as \1$", stub.read_text(encoding="utf-8"), re.M)
    assert names and set(names) == set(room.__all__) and all(hasattr(room, name) for name in names)


FIRST = {  # the first releases that work: most with NumPy 2, which imagecodecs needs; tried with each
    "numpy": "2.0",
    "scipy": "1.13",
    "opencv-python-headless": "4.10.0.84",
    "scikit-image": "0.23.1",
    "tensorboard": "2.17.1",
    "matplotlib": "3.8.4",
    "rawpy": "0.22",
    "flyr": "4.0",  # has `flyr.records`
    "gradio": "6.0.2",  # takes the pillow that is asked for
}


def test_no_release_is_allowed_that_does_not_work():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    lists.append(re.findall(r"^\w.*$", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.M))
    found = [one for one in map(Requirement, itertools.chain(*lists)) if one.name in FIRST]
    assert {one.name for one in found} == set(FIRST)
    for one in found:
        (floor,) = one.specifier
        assert floor.operator == ">=" and Version(floor.version) >= Version(FIRST[one.name]), one


def test_the_command_that_installs_an_extra(tmp_path, monkeypatch):
    """A clone is named by its folder, since the package is in no index; pip finds an installed package by its name."""
    monkeypatch.setattr(installation, "_TOP", tmp_path)
    assert install_command("video") == 'pip install "adasffuse[video]"'
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "adasffuse"\n', encoding="utf-8")
    assert install_command("video") == f'pip install -e "{tmp_path}[video]"'
    monkeypatch.chdir(tmp_path)
    assert install_command("video") == 'pip install -e ".[video]"'
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "other"\n', encoding="utf-8")
    assert install_command("video") == 'pip install "adasffuse[video]"'


def test_every_message_about_a_missing_package_uses_that_command():
    written = [path for path in (ROOT / "adasffuse").rglob("*.py") if "adasffuse[" in path.read_text(encoding="utf-8")]
    assert written == [ROOT / "adasffuse/installation.py"]
