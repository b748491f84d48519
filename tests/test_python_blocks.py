"""Python blocks of README and docs: all but those of `NOT_RUN` are executed, on rendered files."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from example_files import ROOT, write_example_files

from adasffuse.images.image import ImageNotice
from adasffuse.images.read import read_image

PAGES = [ROOT / "README.md", ROOT / "README.zh-CN.md", *sorted((ROOT / "docs").glob("*.md"))]
SIZE = (80, 104)  # height, width

# Why a block is not run here: page and first line.
NOT_RUN = {
    ("export.md", "import cv2"): "tests/test_export.py runs it, on a network that it exports",
    ("python.md", 'model.push_to_hub("organisation/repository", task="ivf")'): "needs the network",
}


def blocks_on(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)


def blocks_to_run() -> dict[Path, list[str]]:
    """Of each page, those of which `NOT_RUN` says nothing."""
    found = {page: [b for b in blocks_on(page) if (page.name, b.splitlines()[0]) not in NOT_RUN] for page in PAGES}
    return {page: blocks for page, blocks in found.items() if blocks}


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    """Folder of example files."""
    for package in ("av", "flyr", "nibabel", "pydicom"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("examples")
    write_example_files(folder, SIZE)
    (folder / "infrared.tif").symlink_to("thermal.tif")  # the README's
    return folder


def arrays_of(folder: Path) -> dict[str, object]:
    """What the pages call by names: images that a reader has in memory."""
    images = {name: read_image(folder / f"{name}.png").pixels for name in ("infrared", "visible")}
    names = zip(("dark", "middle", "bright"), "abc")
    images |= {name: read_image(folder / "bracket" / f"{letter}.png").pixels for name, letter in names}
    for number, stem in ((1, "7"), (2, "8")):
        images[f"ir{number}"] = read_image(folder / "infrared" / f"{stem}.png").pixels
        images[f"vis{number}"] = read_image(folder / "visible" / f"{stem}.png").pixels
    images["infrared_batch"] = torch.from_numpy(np.stack([images["ir1"], images["ir2"]]))[:, None]
    images["visible_batch"] = torch.from_numpy(np.stack([images["vis1"], images["vis2"]])).permute(0, 3, 1, 2)
    return images


def test_what_is_not_run_is_on_a_page():
    there = {(page.name, block.splitlines()[0]) for page in PAGES for block in blocks_on(page)}
    assert set(NOT_RUN) <= there


@pytest.mark.filterwarnings("ignore", category=ImageNotice)
@pytest.mark.parametrize(("page", "blocks"), blocks_to_run().items(), ids=[page.name for page in blocks_to_run()])
def test_python_blocks_run(page, blocks, examples, tmp_path, monkeypatch):
    """One after the other in one namespace, as a reader of the page does."""
    values = arrays_of(examples)
    folder = tmp_path / "reader"
    folder.mkdir()
    for path in examples.iterdir():
        (folder / path.name).symlink_to(path)
    monkeypatch.chdir(folder)
    for block in blocks:
        exec(compile(block, page.name, "exec"), values)
    fused = values.get("fused")
    if fused is not None:
        pixels = getattr(fused, "pixels", fused)
        assert pixels.shape[:2] == SIZE and pixels.std() > 0
