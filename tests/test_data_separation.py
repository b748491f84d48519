"""No image that is scored is trained or validated on: by content, for every options file, on development data."""

import functools
import shutil
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tiny import write_ivf

from adasffuse.data import crops, luma
from adasffuse.data.mixture import MixedCrops
from adasffuse.images.image import Image
from adasffuse.images.read import IMAGE_SUFFIXES
from adasffuse.models.weights import file_sha256
from adasffuse.training import manifest
from adasffuse.training.options import Options, load_options

OPTIONS = sorted((Path(__file__).parents[1] / "options").glob("*.json"))
KEPT_OUT = ("test", "detection/LLVIP", "detection/M3FD", "segmentation/PST900")  # folders beside train/
LABELLED = ("detection/MSRS", "segmentation/MSRS")  # of which test.txt lists what is scored
SCORED_PHOTOGRAPHS = "urban_*"  # multi-focus pairs made from them are scored
sha256 = functools.cache(file_sha256)


@pytest.fixture(autouse=True)
def hash_only(monkeypatch):
    """Which files a run uses does not depend on their pixels: nothing is decoded, every file is hashed once."""
    black = Image(np.zeros((64, 64), np.float32))
    for module in (luma, crops):
        monkeypatch.setattr(module, "read_images", lambda paths, readings=(): [black] * len(paths))


def used_files(options: Options) -> dict[str, str]:
    """SHA-256 to name of every file that a run trains or validates on, as its manifest lists them."""
    return {
        file["sha256"]: file["name"]
        for file in manifest.data_files(SimpleNamespace(options=options), MixedCrops(options.parts), sha256)
    }


def hashes(files: Iterable[Path]) -> dict[str, Path]:
    return {sha256(file): file for file in files if file.suffix.lower() in IMAGE_SUFFIXES}


def shared(used: dict[str, str], kept_out: dict[str, Path]) -> list[str]:
    return [f"{used[sha]} is {kept_out[sha]}" for sha in used.keys() & kept_out.keys()]


def test_there_are_options():
    assert len(OPTIONS) >= 5


@pytest.mark.parametrize("path", OPTIONS, ids=lambda path: path.stem)
def test_no_scored_image_is_trained_or_validated_on(path, data_root, train_root):
    kept_out = hashes(file for folder in KEPT_OUT for file in (data_root / folder).rglob("*"))
    for labelled in LABELLED:
        stems = set((data_root / labelled / "test.txt").read_text().split())
        kept_out |= hashes(file for file in (data_root / labelled).rglob("*") if file.stem in stems)
    kept_out |= hashes((data_root / "train").rglob(f"{SCORED_PHOTOGRAPHS}.*"))
    assert len(kept_out) > 50
    used = used_files(load_options(path, str(train_root)))
    assert len(used) > 50
    assert not shared(used, kept_out)


@pytest.mark.parametrize("path", OPTIONS, ids=lambda path: path.stem)
def test_scored_photographs_are_excluded(path):
    for part in load_options(path).parts:
        if part.data.sharp_folder:
            assert SCORED_PHOTOGRAPHS in part.data.sharp_exclude


def test_a_shared_image_would_be_found(tmp_path):
    """Under another name, in training or in validation."""
    write_ivf(tmp_path / "train", stems=tuple("1234"))
    options = load_options(OPTIONS[0].with_name("train_AdaSFFuse_ivf_paper.json"), str(tmp_path / "train"))
    for stem in ("1", "FLIR_06506"):  # the second is validated on
        for folder in ("infrared", "visible"):
            source = tmp_path / "train/IVF" / folder / "1.png"
            if stem != "1":
                shutil.move(source, source.with_stem(stem))
            copy = tmp_path / "test" / folder / "other.png"
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source.with_stem(stem), copy)
        found = shared(used_files(options), hashes((tmp_path / "test").rglob("*")))
        assert sorted(line.split(" is ")[0] for line in found) == [
            f"IVF/{f}/{stem}.png" for f in ("infrared", "visible")
        ]
