"""Thermal images in false colours: of two palettes the order of temperatures is known."""

import importlib.util
import io
import shutil
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data as photographs
from tiny import Mean

from adasffuse.cli import compare
from adasffuse.cli.arguments import thermal_by_names
from adasffuse.data.survey import survey_folders
from adasffuse.images.false_colors import SteadyPalette, palette_of, palette_places
from adasffuse.images.frame_folders import FrameFolder
from adasffuse.images.frames import VideoFile
from adasffuse.images.read import read_image
from adasffuse.images.video_writing import write_video
from adasffuse.inference import Fuser
from adasffuse.metrics.folder import score_folders
from adasffuse.metrics.job import Settings
from adasffuse.tasks import TASKS

MAPS = {"jet": cv2.COLORMAP_JET, "turbo": cv2.COLORMAP_TURBO}


def coloured(gray: np.ndarray, palette: str, quality: int | None = None) -> np.ndarray:
    """A gray image (H, W) uint8 in false colours, compressed by JPEG where a quality is given."""
    image = np.ascontiguousarray(cv2.applyColorMap(gray, MAPS[palette])[..., ::-1])
    if quality is None:
        return image
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


@pytest.mark.parametrize("palette", MAPS)
@pytest.mark.parametrize("quality", [None, 95, 50])
def test_values_come_back(palette, quality):
    """Within a cell of the table; compressed, within a few levels on the mean."""
    gray = cv2.GaussianBlur(photographs.camera(), (0, 0), 2)  # as smooth as infrared images are
    image = coloured(gray, palette, quality)
    assert (
        palette_of(image) == palette_of(image / np.float32(255)) == palette_of(image.astype(np.uint16) * 257) == palette
    )
    error = np.abs(palette_places(image, palette).astype(int) - gray)
    assert error.mean() < (1 if quality is None else 3) and (quality or error.max() <= 6)
    real = palette_places(image / np.float32(255), palette)
    np.testing.assert_array_equal(np.rint(real * 255), palette_places(image, palette))


def test_other_images_are_of_no_palette():
    for image in (photographs.astronaut(), photographs.coffee(), photographs.chelsea(), photographs.rocket()):
        assert palette_of(image) is None
    assert palette_of(photographs.camera()) is None
    iron = cv2.applyColorMap(photographs.camera(), cv2.COLORMAP_INFERNO)[..., ::-1]
    assert palette_of(iron) is None


@pytest.mark.parametrize("palette", ["HOT", "HSV", "AUTUMN", "VIRIDIS", "COOL"])
def test_palettes_that_share_colours_are_not_mistaken(palette):
    """A cold scene in 'hot' is dark red, which is the hottest of 'jet': its negative would be shown."""
    cold = cv2.GaussianBlur(photographs.camera(), (0, 0), 2) // 4 + 16
    for gray in (cold, photographs.camera()):
        image = cv2.applyColorMap(gray, getattr(cv2, f"COLORMAP_{palette}"))[..., ::-1]
        assert palette_of(np.ascontiguousarray(image)) is None


def test_the_infrared_source_is_read_in_its_order(tmp_path):
    """Of infrared images alone; what has no data does not count."""
    gray = np.tile(np.arange(256, dtype=np.uint8), (64, 1))
    image = coloured(gray, "jet")
    image[:, :80] = 0
    Image.fromarray(image).save(tmp_path / "a.png")
    hot = read_image(tmp_path / "a.png", thermal=True)
    assert "false colours of the palette 'jet': their order is taken" in hot.notices[0]
    np.testing.assert_allclose(hot.pixels[:, 80:] * 255, gray[:, 80:], atol=4)
    assert not hot.valid[:, :80].any() and hot.valid[:, 80:].all()
    assert read_image(tmp_path / "a.png").pixels.ndim == 3
    with pytest.warns(UserWarning, match="source A: false colours of the palette 'jet'"):
        fused = Fuser(Mean(), TASKS["ivf"]).fuse(coloured(gray, "jet"), gray)
    np.testing.assert_allclose(fused, gray, atol=3)


def ramps(folder) -> tuple[Path, Path]:
    """Folders `ir`, of a ramp in jet, and `vis`, of one in gray."""
    gray = np.tile(np.arange(256, dtype=np.uint8), (64, 1))
    for name, image in (("ir", coloured(gray, "jet")), ("vis", gray.T[:64].repeat(4, axis=0).reshape(64, 256))):
        (folder / name).mkdir()
        Image.fromarray(np.ascontiguousarray(image)).save(folder / name / "1.png")
    return folder / "ir", folder / "vis"


def test_scores_figures_and_surveys_read_them_as_fusing_does(tmp_path, capsys):
    """Where names tell that source A is infrared; the ramp in gray is the very same image."""
    ir, vis = ramps(tmp_path)
    shutil.copytree(vis, tmp_path / "x")
    gray = np.tile(np.arange(256, dtype=np.uint8), (64, 1))
    Image.fromarray(gray).save(tmp_path / "plain.png")
    thermal = thermal_by_names(ir, vis)
    assert thermal == thermal_by_names(ir / "1.png", vis / "1.png") == (True, False)
    assert thermal_by_names(vis, ir) is None is thermal_by_names(tmp_path / "x", vis)
    scores = {}
    for name, a, hot in (("told", ir, thermal), ("not", ir, None), ("plain", tmp_path / "plain.png", None)):
        place = [a / "1.png" if a.is_dir() else a, vis / "1.png"]
        settings = Settings(metrics=("MSE",))
        table = score_folders(*place, {}, ["max"], settings=settings, workers=1, progress=False, thermal=hot)
        scores[name] = table.rows[0].scores["MSE"]
    assert scores["told"] == pytest.approx(scores["plain"], rel=0.01) != pytest.approx(scores["not"], rel=0.05)
    out = tmp_path / "f.png"
    assert compare.run([str(ir / "1.png"), str(vis / "1.png"), f"m={tmp_path / 'plain.png'}", "-o", str(out)]) == 0
    assert "palette 'jet'" in capsys.readouterr().err
    assert not survey_folders([ir, vis], "both", TASKS["ivf"]).sources[0].facts[0].colorful


def test_frames_of_a_video_and_of_a_folder_are_read_in_its_order(tmp_path):
    gray = np.tile(np.arange(256, dtype=np.uint8), (64, 1))
    image = coloured(gray, "jet")
    for number in range(2):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    folder = FrameFolder(sorted(tmp_path.glob("*.png")), thermal=True)
    sequences = [folder]
    if importlib.util.find_spec("av"):
        with write_video(tmp_path / "v.mp4", 64, 256, Fraction(10), Fraction(1, 10), 10) as writer:
            for number in range(2):
                writer.write(image, number)
            writer.finish(0.2)
        sequences.append(VideoFile(tmp_path / "v.mp4", (255, 0), thermal=True))
    for frames in sequences:
        for frame in frames:
            pixels = frame.image.pixels if frames is folder else 1 - frame.image.pixels
            assert np.abs(pixels * 255 - gray).mean() < 5 and "palette 'jet'" in frame.image.notices[0]


def test_frames_near_the_limit_do_not_flicker(tmp_path):
    """A logo comes and goes over frames in jet: hot is white in all of them, not dark in some."""
    gray = np.tile(np.arange(256, dtype=np.uint8), (64, 1))
    plain = coloured(gray, "jet")
    with_logo = plain.copy()
    with_logo[:8] = 255
    assert palette_of(plain) == "jet" and palette_of(with_logo) is None
    for number, image in enumerate((plain, with_logo, with_logo, plain)):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    for frame in FrameFolder(sorted(tmp_path.glob("*.png")), thermal=True):
        np.testing.assert_allclose(frame.image.pixels[8:] * 255, gray[8:], atol=4)


def test_another_palette_is_taken_where_it_stays():
    """A camera's title is shown first, or its user changes the palette; frames without colour tell nothing."""
    gray = np.tile(np.arange(256, dtype=np.uint8), (64, 1))
    title, jet = photographs.astronaut(), coloured(gray, "jet")
    palettes = SteadyPalette()
    assert palettes(gray) is None
    assert [palettes(title)] + [palettes(jet) for _ in range(17)] == [None] * 16 + ["jet"] * 2
    assert palettes(gray) is None and palettes(title) == "jet"
