"""One FLIR radiometric JPEG as a pair: temperatures and photograph on one grid by the camera's own setting."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as pillow
from special_files import PLANCK, radiometric_jpeg
from tiny import texture, write_weights

from adasffuse.cli import compare, extract, fuse
from adasffuse.data.survey import survey_folders
from adasffuse.images import extras
from adasffuse.images.flir import Placement, read_shot
from adasffuse.images.formats import is_radiometric
from adasffuse.images.image import ImageError
from adasffuse.images.pairs import Scene
from adasffuse.images.ranges import parse_range, resolve_range, resolve_ranges
from adasffuse.images.read import read_image
from adasffuse.images.write import quantise, write_image
from adasffuse.installation import install_command
from adasffuse.metrics.folder import score_pairs
from adasffuse.metrics.job import Settings
from adasffuse.registration.camera import photograph_part, read_camera_pair, to_photograph

pytest.importorskip("flyr")
HALF = (2.0, 6, -4)  # Real2IR, OffsetX, OffsetY


def counts_of(seed: int = 0, height: int = 40, width: int = 48) -> np.ndarray:
    return (texture(height, width, seed).astype(np.uint16) * 8 + 18000).astype(np.uint16)


def photograph(height: int = 160, width: int = 192) -> np.ndarray:
    return cv2.GaussianBlur(np.dstack([texture(height, width, seed) for seed in (1, 2, 3)]), (0, 0), 2)


def shot(path: Path, placement=HALF, seed: int = 0, **changes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    given = {"counts": counts_of(seed), "photograph": photograph(), "placement": placement} | changes
    path.write_bytes(radiometric_jpeg(**given))
    return path


@pytest.fixture
def run(tmp_path, capsys):
    weights = write_weights(tmp_path / "weights.safetensors", "ivf")

    def call(*words):
        status = fuse.run([*map(str, words), "--weights", str(weights), "--precision", "float32"])
        out, err = capsys.readouterr()
        return status, out, err

    return call


def test_commands_beside_fuse_read_the_same_temperatures(tmp_path, capsys):
    (tmp_path / "ir").mkdir()
    for number in range(2):
        (tmp_path / "ir" / f"{number}.jpg").write_bytes(radiometric_jpeg(counts_of(number, 48, 64) + np.uint16(number)))
        write_image(tmp_path / "vis" / f"{number}.png", np.dstack([texture(48, 64, number)] * 3))
        shown = read_image(tmp_path / "ir" / f"{number}.jpg", None, thermal=True)
        write_image(tmp_path / "own" / f"{number}.png", quantise(shown.pixels, "8"))
    paths = [sorted((tmp_path / name).iterdir()) for name in ("ir", "vis")]
    window = resolve_range(parse_range("folder"), paths[0], thermal=True)
    assert resolve_ranges([parse_range("folder"), None], paths, [None, None]) == (window, None)
    survey = survey_folders([tmp_path / "ir", tmp_path / "vis"], "pairs")
    assert survey.sources[0].window == window and not survey.problems
    sources = [str(tmp_path / name) for name in ("ir", "vis", "own")]
    assert compare.run([*sources, "-o", str(tmp_path / "f"), "--height", "48", "--crop", "0", "0", "64", "48"]) == 0
    figure = read_image(tmp_path / "f" / "0.png").pixels
    own, first = (figure[26 + 72 : 26 + 72 + 48, 70 * k : 70 * k + 64] for k in (2, 0))  # what lies in the box
    np.testing.assert_allclose(own, first, atol=2 / 255)
    assert "temperatures of" in capsys.readouterr().err


def test_temperatures_and_photograph_of_a_file_made_here(tmp_path):
    one = read_shot(shot(tmp_path / "a.jpg"))
    kelvin = PLANCK["B"] / np.log(
        PLANCK["R1"] / (PLANCK["R2"] * (counts_of().astype(float) + PLANCK["O"])) + PLANCK["F"]
    )
    assert np.abs(one.celsius - (kelvin - 273.15)).max() < 0.01
    assert one.placement == Placement(*HALF)
    assert np.abs(one.photograph.astype(int) - photograph()).mean() < 3  # JPEG


def test_a_photograph_stored_as_png_is_y_cb_cr(tmp_path):
    rgb = np.zeros((40, 48, 3), np.uint8) + np.uint8([200, 40, 90])
    stored = np.asarray(pillow.fromarray(rgb).convert("YCbCr"))
    path = shot(tmp_path / "a.jpg", photograph=stored, photograph_format="PNG")
    assert np.abs(read_shot(path).photograph.astype(int) - rgb).max() <= 2


def test_where_the_thermal_image_lies():
    """Photograph 192 x 160, thermal image 48 x 40, half of its width: 2 pixels each, its middle 6 right and 4 up."""
    matrix = to_photograph(Placement(*HALF), (40, 48), (160, 192))
    middle = matrix @ [47 / 2, 39 / 2, 1]
    np.testing.assert_allclose(middle[:2], [191 / 2 + 6, 159 / 2 - 4])
    np.testing.assert_allclose(np.diag(matrix), [2, 2, 1])
    # centers of its outer pixels: 101.5 -+ 47 and 75.5 -+ 39, so 54.5..148.5 and 36.5..114.5
    assert photograph_part(Placement(*HALF), (40, 48), (160, 192)) == (55, 37, 149, 115)
    assert photograph_part(Placement(0.5, 0, 0), (40, 48), (160, 192)) == (0, 0, 192, 160)  # wider than the photograph
    assert photograph_part(Placement(2, 500, 0), (40, 48), (160, 192)) is None
    assert photograph_part(Placement(2, 0, 0), (48, 40), (160, 192)) is None  # one upright, one not


@pytest.mark.parametrize("grid", ["b", "a"])
def test_both_images_show_the_same_on_either_grid(tmp_path, grid):
    """Counts made from the photograph where the setting says that the thermal image lies."""
    gray = cv2.GaussianBlur(photograph()[..., 1], (0, 0), 3)
    x, y = np.meshgrid(54.5 + 2 * np.arange(48), 36.5 + 2 * np.arange(40))
    seen = cv2.remap(gray.astype(np.float32), x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR)
    path = tmp_path / "a.jpg"
    path.write_bytes(radiometric_jpeg((seen * 8 + 18000).astype(np.uint16), np.dstack([gray] * 3), HALF))
    infrared, visible = read_camera_pair(path, grid=grid)
    assert infrared.pixels.shape == visible.pixels.shape[:2] == {"b": (78, 94), "a": (40, 48)}[grid]
    assert infrared.valid is None and visible.valid is None
    luma = visible.pixels if visible.pixels.ndim == 2 else visible.pixels[..., 1]
    assert np.corrcoef(infrared.pixels.ravel(), luma.ravel())[0, 1] > 0.99
    shifted = np.corrcoef(infrared.pixels[:, 3:].ravel(), luma[:, :-3].ravel())[0, 1]
    assert shifted < 0.95  # 3 pixels would have been noticed
    assert any("is no registration" in notice for notice in infrared.notices)


def test_ranges_are_degrees_and_replace_the_percentiles(tmp_path):
    path = shot(tmp_path / "a.jpg")
    chosen, fixed = read_camera_pair(path)[0], read_camera_pair(path, ((0, 100), None), grid="a")[0]
    assert any("degrees C become black to white" in notice for notice in chosen.notices)
    assert fixed.window == (0, 100) and not any("become black" in notice for notice in fixed.notices)
    np.testing.assert_allclose(fixed.pixels, read_shot(path).celsius / 100, atol=1e-5)
    assert not any("become black" in notice for notice in read_image(path, (0, 100), thermal=True).notices)


def test_one_file_is_fused(run, tmp_path):
    path = shot(tmp_path / "shot.jpg")
    status, out, _ = run(path, "-o", tmp_path / "out.png", "--panel")
    assert status == 0 and "task ivf, infrared + visible (a radiometric JPEG holds both)" in out
    assert "degrees C become black to white; --range_a LOW HIGH chooses others" in out
    assert "is no registration" in out and read_image(tmp_path / "out.png").pixels.shape == (78, 94, 3)
    assert "--range_a LOW HIGH chooses others, 'folder' one range for all files" in out
    assert (tmp_path / "out_panel.png").exists()
    from adasffuse.inference.fuser import load_fuser

    fuser = load_fuser("ivf", weights=tmp_path / "weights.safetensors", precision="float32")
    again = fuser(*read_camera_pair(path))
    assert np.array_equal(cv2.imread(str(tmp_path / "out.png"))[..., ::-1], again)


def test_a_folder_and_a_pattern(run, tmp_path):
    for number in (1, 2):
        shot(tmp_path / f"cam/FLIR_{number}.jpg", seed=number)
    status, out, _ = run(tmp_path / "cam", "-o", tmp_path / "out", "--range_a", "folder", "--grid", "a")
    assert status == 0 and "2 pairs fused" in out
    assert read_image(tmp_path / "out/FLIR_2.png").pixels.shape[:2] == (40, 48)
    assert run(tmp_path / "cam", "-o", tmp_path / "out", "--range_a", "folder", "--resume")[0] == 0
    assert read_image(tmp_path / "out/FLIR_2.png").pixels.shape[:2] == (78, 94)  # another grid: fused again
    status, out, _ = run(tmp_path / "cam", "-o", tmp_path / "out", "--range_a", "folder", "--resume")
    assert status == 0 and "2 finished before" in out
    cv2.imwrite(str(tmp_path / "cam/DC_1.jpg"), photograph())
    status, _, err = run(tmp_path / "cam", "-o", tmp_path / "other")
    assert status == 1 and "2 of its images are radiometric JPEGs (FLIR_1.jpg), each a pair by itself, 1 are" in err
    assert run(tmp_path / "cam/FLIR_*.jpg", "-o", tmp_path / "other")[0] == 0
    assert sorted(path.name for path in (tmp_path / "other").glob("*.png")) == ["FLIR_1.png", "FLIR_2.png"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"photograph": None}, "holds temperatures, but no photograph that could be read"),
        ({"placement": None}, "does not say how its thermal image lies on its photograph; register them: --align af"),
        ({"placement": (float("nan"), 0, 0)}, "does not say how its thermal image lies"),
        (
            {"placement": (2, 900, 0)},
            "by its setting (Real2IR 2, OffsetX 900, OffsetY 0) the thermal image, 48x40, does not lie on",
        ),
    ],
)
def test_one_clear_line_for_a_file_that_is_no_pair(run, tmp_path, changes, words):
    shot(tmp_path / "cam/good.jpg")
    path = shot(tmp_path / "cam/bad.jpg", **changes)
    status, out, _ = run(tmp_path / "cam", "-o", tmp_path / "out")
    assert status == 1 and f"  failed: bad: {path}: {words}" in out and "1 pair fused" in out
    assert [file.name for file in (tmp_path / "out").glob("*.png")] == ["good.png"]


def test_without_raw_data_or_with_options_that_do_not_fit(run, tmp_path):
    path = shot(tmp_path / "a.jpg")
    data = (
        path.read_bytes()
        .replace(b"FLIR\0\1\0\0FFF", b"FLIR\0\1\0\0FFX")
        .replace(b"\0\x01\0\x01\0\0\0\x64", b"\0\x63\0\x01\0\0\0\x64")
    )
    (tmp_path / "noraw.jpg").write_bytes(data)
    status, out, _ = run(tmp_path / "noraw.jpg", "-o", tmp_path / "o.png")
    assert status == 1 and "noraw.jpg: no raw thermal data that could be read" in out
    cv2.imwrite(str(tmp_path / "plain.jpg"), photograph())
    status, _, err = run(tmp_path / "plain.jpg", "-o", tmp_path / "o.png")
    assert status == 1 and "only a FLIR radiometric JPEG is a pair by itself" in err
    for words, message in (
        (("--task", "mif"), "--task mif: a radiometric JPEG alone holds an infrared and a visible image"),
        (("--scores",), "--scores needs the sources as files: adasffuse extract"),
        (("--pattern_a", "*"), "--pattern_a is for folders; files belong together"),
        (("--resume",), "--resume is for folders"),
    ):
        status, _, err = run(path, "-o", tmp_path / "o.png", *words)
        assert status == 2 and message in err
    assert not (tmp_path / "o.png").exists() and not is_radiometric(tmp_path / "plain.jpg")


def test_alignment_applies_on_top_and_serves_where_the_file_says_nothing(run, tmp_path):
    for placement in (HALF, None):
        path = shot(tmp_path / "a.jpg", placement)
        gray = photograph()[..., 1]
        x, y = np.meshgrid(54.5 + 2 * np.arange(48), 36.5 + 2 * np.arange(40))
        seen = cv2.remap(gray.astype(np.float32), x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR)
        path.write_bytes(radiometric_jpeg((seen * 8 + 18000).astype(np.uint16), photograph(), placement))
        status, out, _ = run(path, "-o", tmp_path / "o.png", "--align", "affine", "--json")
        report = json.loads(out)
        if placement:  # small and blurred: what matters is that the two images came to the aligner on one grid
            assert status == 0 and read_image(tmp_path / "o.png").pixels.shape == (78, 94, 3)
            assert not any("no registration" in notice for notice in report["notices"])
        else:
            assert "does not say" not in str(report["failed"])


def test_the_camera_draws_the_same(data_root):
    """The rendering of this file has the photograph's edges drawn on the thermal image by the camera itself."""
    path = data_root / "raw/FLIR_example_rjpeg.jpg"
    drawn = read_image(path).pixels.mean(axis=2)
    visible = read_camera_pair(path, grid="a")[1].pixels.mean(axis=2)
    drawn = cv2.resize(drawn, visible.shape[::-1], interpolation=cv2.INTER_AREA)
    edges = [np.abs(cv2.Laplacian(one, cv2.CV_32F)) for one in (drawn, visible)]
    edges = [cv2.GaussianBlur(one, (0, 0), 1.5)[60:-60, 40:-30] for one in edges]
    (x, y), _ = cv2.phaseCorrelate(
        *(one.astype(np.float64) for one in edges), cv2.createHanningWindow(edges[0].shape[::-1], cv2.CV_64F)
    )
    assert np.hypot(x, y) < 1, (x, y)


def test_without_the_package(run, tmp_path, monkeypatch):
    path = shot(tmp_path / "a.jpg")
    real = extras.importlib.import_module

    def absent(name):
        if name == "flyr":
            raise ModuleNotFoundError(name=name)
        return real(name)

    monkeypatch.setattr(extras.importlib, "import_module", absent)
    status, out, _ = run(path, "-o", tmp_path / "o.png")
    assert status == 1 and install_command("thermal") in out
    with pytest.raises(ImageError):
        read_camera_pair(path)


def test_scores_are_of_the_temperatures(tmp_path):
    """Not of the file's rendering: as if the temperatures had been given as a PNG."""
    path, other = shot(tmp_path / "ir/1.jpg"), tmp_path / "1.png"
    write_image(other, quantise(read_image(path, thermal=True).pixels, "8"))
    visible, fused = tmp_path / "visible.png", tmp_path / "fused.png"
    for number, target in ((5, visible), (6, fused)):
        write_image(target, texture(40, 48, number).astype(np.uint8))
    settings = Settings(metrics=("SSIM", "SCD"))
    tables = [
        score_pairs([Scene("1", (first, visible))], {"m": {"1": fused}}, settings=settings, workers=1, progress=False)
        for first in (path, other)
    ]
    ours, same = ([tables[k].rows[0].scores[name] for name in settings.metrics] for k in (0, 1))
    assert ours == pytest.approx(same, abs=5e-3)


def test_an_empty_file_fails_alone(run, tmp_path):
    shot(tmp_path / "in/a.jpg")
    (tmp_path / "in/empty.jpg").touch()
    status, out, _ = run(tmp_path / "in", "-o", tmp_path / "out")
    assert status == 1 and "1 pair fused" in out and "empty.jpg: the file is empty" in out
    assert (tmp_path / "out/a.png").exists()


def test_files_of_the_system_are_not_extracted(tmp_path, capsys):
    shot(tmp_path / "in/a.jpg")
    (tmp_path / "in/._a.jpg").write_bytes(b"\0\5\x16\7")  # what macOS puts beside it
    (tmp_path / "in/b.jpg").mkdir()
    assert extract.run([str(tmp_path / "in"), "-o", str(tmp_path / "out")]) == 0
    assert "files with temperatures: 1, with a photograph: 1, failed: 0" in capsys.readouterr().out
