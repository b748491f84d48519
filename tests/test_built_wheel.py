"""The built wheel, installed away from the repository and without network, fuses with its own weights."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

FUSE = """
import socket

def refuse(*_):
    raise OSError("no network in this test")

socket.socket.connect = socket.getaddrinfo = refuse

import adasffuse
from adasffuse.data.samples import sample_pairs

print(adasffuse.__file__)
sample = sample_pairs("mef")[0]
for task in adasffuse.TASKS:
    print(task, adasffuse.load_fuser(task).fuse(sample.a[:64, :80], sample.b[:64, :80]).shape[:2])
"""


@pytest.mark.slow
def test_wheel_fuses_offline(tmp_path: Path):
    source = tmp_path / "source"  # building in the repository would leave build/ behind
    source.mkdir()
    for name in ("adasffuse", "tests", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path, source]
    subprocess.run(build, check=True, capture_output=True)  # the wheel from the source distribution
    (sources,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sources) as archive:  # tests need the whole repository
        assert not [name for name in archive.getnames() if "/tests/" in name]
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stat().st_size < 25e6

    with zipfile.ZipFile(wheel) as archive:  # a pure Python wheel is installed by unpacking it
        stubs = {path.relative_to(ROOT).as_posix() for path in (ROOT / "adasffuse").rglob("*.pyi")}
        assert {"adasffuse/py.typed", "adasffuse/inference/__init__.pyi"} | stubs <= set(archive.namelist())
        archive.extractall(tmp_path / "site")
    # The dependencies come from this environment's folder; its editable install of the project does not (PYTHONPATH
    # entries do not run .pth files), which the printed location proves.
    path = os.pathsep.join([str(tmp_path / "site"), sysconfig.get_paths()["purelib"]])
    environment = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, "-S", "-c", FUSE]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    location, *fused = done.stdout.splitlines()
    assert Path(location).is_relative_to(tmp_path / "site")
    assert fused == [f"{task} (64, 80)" for task in ("ivf", "mef", "mff", "mif")]
