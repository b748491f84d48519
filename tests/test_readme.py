"""README and docs: links lead somewhere, and the Python lines of the README run.  Commands: test_commands.py."""

import re
from pathlib import Path

import numpy as np
import pytest

from adasffuse.images.write import write_image

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "README.zh-CN.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [
    (page, language, text)
    for page in PAGES
    for language, text in re.findall(r"^```(\w+)\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
]


def test_the_readme_is_short():
    text = PAGES[0].read_text(encoding="utf-8")
    words = re.sub(r"```.*?```|<!-- table.*?<!-- end -->", "", text, flags=re.S).split()
    assert len(words) < 800


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def test_python_lines_of_the_readme_run(tmp_path, monkeypatch):
    (code,) = [text for page, language, text in BLOCKS if page == PAGES[0] and language == "python"]
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    images = {name: rng.integers(0, 256, (32, 40), np.uint8) for name in ("infrared", "visible", "dark", "middle")}
    images["bright"] = images["dark"] // 2
    write_image(tmp_path / "infrared.tif", images["infrared"].astype(np.uint16) * 4 + 7200, "16")
    write_image(tmp_path / "visible.png", images["visible"])
    values = dict(images)
    exec(compile(code, "README.md", "exec"), values)
    assert values["fused"].shape == (32, 40)
