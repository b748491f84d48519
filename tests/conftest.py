"""Shared fixtures.  Only this file knows where development images lie: $ADASFFUSE_DATA, else ../shared/data."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def same_random_numbers() -> None:
    """Tests draw the same numbers in any order and on any worker."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder with train/ and test/ in the layout of the README; tests that need it skip where it is absent."""
    root = Path(os.environ.get("ADASFFUSE_DATA", ROOT.parent / "shared" / "data"))
    if not (root / "test").is_dir():
        pytest.skip(f"no development images in {root}; set ADASFFUSE_DATA")
    return root


@pytest.fixture(scope="session")
def train_root(data_root: Path, tmp_path_factory) -> Path:
    """Folder of training data sets: train/, and IVF_MSRS, the frames that train.txt lists of each labelled set."""
    root = tmp_path_factory.mktemp("train")
    for folder in (data_root / "train").iterdir():
        (root / folder.name).symlink_to(folder)
    for folder in ("infrared", "visible"):
        (root / "IVF_MSRS" / folder).mkdir(parents=True)
        for labelled in ("segmentation/MSRS", "detection/MSRS"):
            for stem in (data_root / labelled / "train.txt").read_text().split():
                (image,) = (data_root / labelled / folder).glob(f"{stem}.*")
                (root / "IVF_MSRS" / folder / image.name).symlink_to(image)
    return root


@pytest.fixture(scope="session")
def metrics_reference(data_root: Path) -> Path:
    """Folder with reference metric values, beside the development images."""
    folder = data_root.parent / "metrics_reference"
    if not folder.is_dir():
        pytest.skip(f"no reference metric values in {folder}")
    return folder


DYING = """
import os, signal, sys
from adasffuse.cli import main
import {module} as module

save = module.{function}
def die(path, *rest):
    if os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    save(path, *rest)
module.{function} = die
sys.exit(main.main())
"""


@pytest.fixture
def dying(tmp_path: Path) -> Callable[[str, str], Path]:
    """Writes a program that is the command, but process 1 is killed where it would save a result."""

    def write(module: str, function: str) -> Path:
        path = tmp_path / "dying.py"
        path.write_text(DYING.format(module=module, function=function))
        return path

    return write


@pytest.fixture
def torchrun() -> Callable[..., subprocess.CompletedProcess]:
    """Runs a program in two real processes."""

    def run(*arguments: object) -> subprocess.CompletedProcess:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *arguments]
        return subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, timeout=300)

    return run
