"""The web page in a headless Chromium; skipped where gradio, Playwright or a browser is missing."""

import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from importlib.util import find_spec

import cv2
import numpy as np
import pytest
from tiny import texture

from adasffuse import load_fuser
from adasffuse.images.write import write_image

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
LACKING = [name for name in ("playwright", "gradio") if find_spec(name) is None]  # imported only if tests are run
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(LACKING), reason=f"needs {' and '.join(LACKING)}"),
    pytest.mark.skipif(BROWSER is None, reason="no Chromium"),
]
PATIENCE = 120_000  # milliseconds; on a free machine each step takes a second or two


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Where the page is served, by a process of its own, which tells errors on the page, not on its terminal."""
    command = [sys.executable, "-m", "adasffuse", "demo", "--port", "0", "--megapixels", "1"]
    log = tmp_path_factory.mktemp("demo") / "log"
    with (
        log.open("w") as stderr,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=os.environ) as process,
    ):
        line = process.stdout.readline()
        yield re.match(r"(http://127\.0\.0\.1:\d+)/", line)[1]
        process.send_signal(signal.SIGINT)
        assert process.wait(60) in (0, 130)
    assert "Traceback" not in log.read_text()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as running:
        started = running.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def pair(tmp_path):
    files = [tmp_path / "infrared.png", tmp_path / "visible.png"]
    write_image(files[0], texture(96, 128, 1))
    write_image(files[1], np.stack([texture(96, 128, seed) for seed in (2, 3, 4)], axis=2))
    return files


def opened(browser, address, **size):
    page = browser.new_page(**size)
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    page.locator("#fuse").wait_for()
    return page


def upload(page, *files):
    for place, file in zip(("#first", "#second"), files):
        page.locator(f"{place} input[type=file]").set_input_files(str(file))
        page.locator(place).get_by_text(file.stem, exact=False).first.wait_for()


def test_upload_fuse_and_download(browser, address, pair, tmp_path):
    page = opened(browser, address)
    upload(page, *pair)
    page.locator("#fuse").click()
    page.locator("#message", has_text="Fused 2 images of 128x96 pixels").wait_for()
    assert page.locator("#slider_first img").count() >= 2 and page.locator("#slider_second img").count() >= 2
    assert "VIFF" in page.locator("#scores").inner_text()
    command = page.locator("#command textarea, #command input").first.input_value()
    assert command == "adasffuse fuse infrared.png visible.png -o fused.png --task ivf --size small"
    with page.expect_download() as waiting:
        page.locator("#download a").first.click()
    waiting.value.save_as(tmp_path / "down.png")
    saved = cv2.imread(str(tmp_path / "down.png"))[..., ::-1]
    assert np.array_equal(saved, load_fuser("ivf").fuse(*pair))
    page.close()


def test_a_wrong_file_and_a_large_one_are_explained(browser, address, pair, tmp_path):
    page = opened(browser, address)
    (tmp_path / "notes.png").write_text("no image")
    upload(page, pair[0], tmp_path / "notes.png")
    page.locator("#fuse").click()
    page.get_by_text("notes.png: not a readable image").first.wait_for()
    page.close()
    page = opened(browser, address)
    write_image(tmp_path / "large.png", np.zeros((1000, 1100), np.uint8))
    upload(page, tmp_path / "large.png", pair[1])
    page.locator("#fuse").click()
    page.get_by_text("large.png has 1.1 megapixels, this page takes up to 1").first.wait_for()
    page.close()


def test_a_sample_on_a_phone(browser, address):
    page = opened(browser, address, viewport={"width": 390, "height": 844})
    page.locator("#sample").click()
    page.locator("#second").get_by_text("second", exact=False).first.wait_for()
    page.locator("#fuse").click()
    page.locator("#message", has_text="Fused 2 images").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()


def test_no_other_file_is_served(address):
    for path in ("/etc/passwd", "../../../../etc/passwd", os.path.abspath("pyproject.toml")):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{address}/gradio_api/file={path}")
        assert refused.value.code in (403, 404)
