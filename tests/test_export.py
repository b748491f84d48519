"""Exported networks: the forms for any size, and files that give what the network gives without this package."""

import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage import data as photographs
from tiny import SHAPE, network, texture, write_weights

from adasffuse import models
from adasffuse.classical.pyramid import blend_pyramids
from adasffuse.cli import main
from adasffuse.cli.export import run
from adasffuse.export.color import fused_color, keep_hot_spots
from adasffuse.export.dense import (
    DenseSpectralFilter,
    blend_pyramids_dense,
    extend,
    longest_half,
    smooth_numbers,
)
from adasffuse.export.drift import equally_bright
from adasffuse.export.graph import ExportedFusion
from adasffuse.export.read import METADATA, METADATA_FILE, read_description
from adasffuse.export.write import (
    _CHECKED,
    WRITERS,
    Export,
    ExportError,
    _scenes,
    onnx_runner,
    write_onnx,
    write_pt2,
)
from adasffuse.files import replacing
from adasffuse.images import color
from adasffuse.images.image import Image
from adasffuse.images.write import write_image
from adasffuse.inference import drift
from adasffuse.installation import install_command
from adasffuse.models.network import pad_to_multiple
from adasffuse.models.spectral import REACH, SpectralFilter
from adasffuse.models.weights import load_weights, released_weights
from adasffuse.tasks import TASKS

SIZES = [(1, 1), (1, 7), (5, 3), (16, 16), (9, 20), (30, 41)]
ALL_PARTS = asdict(models.SIZES["tiny"]) | SHAPE  # all parts that released networks have, but for the people
DOCS = Path(__file__).resolve().parents[1] / "docs/export.md"


@pytest.mark.parametrize("height, width", SIZES)
def test_matrices_filter_as_the_fast_transform_does(height, width):
    layer, x = SpectralFilter(3), torch.randn(2, 3, height, width)
    torch.nn.init.normal_(layer.weight)
    torch.testing.assert_close(DenseSpectralFilter(layer)(x), layer(x), atol=1e-5, rtol=0)


def test_there_is_a_row_for_every_frequency():
    """No fast length is longer than the rows made for it."""
    fast = smooth_numbers(20000)
    for length in range(1, 20000):
        least = (length + 2 * min(REACH, length) + 1) // 2
        if least <= fast[-1]:
            assert fast[torch.searchsorted(fast, least)] <= longest_half(length)


@pytest.mark.parametrize("height, width", [*SIZES, (2, 9), (3, 3), (70, 3)])
def test_matrices_blend_as_the_pyramid_does(height, width):
    images, weights = torch.rand(3, 2, 1, height, width), torch.rand(3, 2, 1, height, width).softmax(dim=0)
    torch.testing.assert_close(
        blend_pyramids_dense(images, weights), blend_pyramids(images, weights), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("height, width", [(1, 1), (3, 16), (9, 20), (33, 5)])
def test_indices_extend_as_padding_does(height, width):
    x = torch.rand(2, 1, height, width)
    assert torch.equal(extend(x, 16), pad_to_multiple(x, 16))


@pytest.mark.parametrize(
    "rule, channels", [("a", (3, 1)), ("b", (1, 3)), ("exposed", (3, 3, 3)), ("nearest", (3, 3, 3))]
)
def test_color_is_that_of_the_package(rule, channels):
    sources, y = [torch.rand(1, planes, 20, 30) for planes in channels], torch.rand(1, 1, 20, 30)
    if len(sources) > 2:
        sources[1][:] = sources[1][:, :1]  # a gray one, which gives no colour
    arrays = [source[0].permute(1, 2, 0).squeeze(-1).numpy() for source in sources]
    fused = y[0, 0].numpy()
    expected = color.rebuild_color(fused, arrays, rule, "float")
    np.testing.assert_allclose(fused_color(y, sources, rule)[0].permute(1, 2, 0), expected, atol=2e-6)


@pytest.mark.parametrize("planes", [1, 3])
def test_hot_spots_are_kept_as_by_the_package(planes):
    y, source = torch.rand(2, 1, 20, 30), torch.rand(2, planes, 20, 30)
    for k in range(2):
        functional = source[k].permute(1, 2, 0).squeeze(-1).numpy()
        expected = color.keep_hot_spots(y[k, 0].numpy(), functional)
        np.testing.assert_allclose(keep_hot_spots(y, source)[k, 0], expected, atol=2e-6)


@pytest.mark.parametrize("rule", color.COLOR_RULES)
def test_gray_sources_give_gray_results_of_the_fused_luminance(rule):
    sources, y = [torch.rand(2, 1, 9, 9).expand(-1, 3, -1, -1) for _ in range(2)], torch.rand(2, 1, 9, 9)
    torch.testing.assert_close(fused_color(y, sources, rule), y.expand(-1, 3, -1, -1), atol=1e-6, rtol=0)


@pytest.mark.parametrize("task, count, batch", [("ivf", 2, 1), ("mif", 2, 3), ("mef", 3, 2), ("mff", 2, 1)])
def test_the_module_that_is_captured_equals_the_network(task, count, batch):
    model = network(**ALL_PARTS)
    sources = list(0.7 * torch.rand(count, batch, 1, 37, 53))  # between day and night
    expected = model(sources, kinds=TASKS[task].kinds_of(count)).clamp(0, 1)
    if task == "mif":
        expected = keep_hot_spots(expected, sources[0])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.testing.assert_close(ExportedFusion(model, TASKS[task], count)(*sources), expected, atol=1e-5, rtol=0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("darker", [(1, 0.8), (0.6, 1, 0.9), (1, 0.98, 1.0), (1, 0.4), (1, 1)])
def test_focus_settings_are_made_equally_bright_as_by_the_package(darker):
    """Each sample of a batch by itself: the second one has not drifted."""
    scene = cv2.resize(photographs.coffee()[:320, :400], (101, 77)).astype(np.float32) * np.float32(0.8 / 255)
    images = [cv2.GaussianBlur(scene, (0, 0), 1 + k) * np.float32(factor) for k, factor in enumerate(darker)]
    still = [cv2.GaussianBlur(scene, (0, 0), 1 + k) for k in range(len(darker))]
    sources = [torch.from_numpy(np.stack(both)).permute(0, 3, 1, 2) for both in zip(images, still)]
    evened = equally_bright(sources)
    expected, _ = drift.equally_bright([Image(image) for image in images], [1] * len(images))
    for given, one, source in zip(evened, expected, sources):
        np.testing.assert_allclose(given[0].permute(1, 2, 0), one.pixels, atol=2e-3)
        assert torch.equal(given[1], source[1])


def test_highlights_are_not_clipped_and_small_or_flat_images_stay():
    ramp, dark = torch.linspace(0.1, 0.9, 64).repeat(1, 1, 48, 1), torch.zeros(1, 1, 48, 64)
    darker = 0.8 * ramp
    ramp[..., :2, :2] = darker[..., :2, :2] = 1  # white in both
    new, same = equally_bright([ramp, darker])
    torch.testing.assert_close(same, darker)
    torch.testing.assert_close(new, 0.8 * ramp)
    for sources in ([ramp, dark], [dark, dark], [ramp[..., :1, :1], 0.8 * ramp[..., :1, :1]], [ramp, 1 - ramp]):
        assert all(torch.equal(new, old) for new, old in zip(equally_bright(sources), sources))


def test_what_is_checked_has_drifted():
    """Otherwise a file that does not make focus settings equally bright would pass."""
    for size in _CHECKED:
        for count in (2, 3, 5):
            sources = _scenes((1,) * count, *size)
            assert all((new != old).any() for new, old in zip(equally_bright(sources), sources))


@pytest.mark.parametrize("keep", [False, True])
def test_the_captured_module_makes_focus_settings_equally_bright_unless_it_is_not_to(keep):
    export, sources = Export(network(**ALL_PARTS), TASKS["mff"], keep_brightness=keep), _scenes((1, 1), 2, 37, 53)
    module = ExportedFusion(export.model, export.task, evens=export.evens)
    expected = export.model(*(sources if keep else equally_bright(sources)), kinds=("focus", "focus")).clamp(0, 1)
    torch.testing.assert_close(module(*sources), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(export.reference(sources), expected, atol=1e-5, rtol=0)
    assert export.describe()["equally_bright"] is not keep


def test_released_weights_give_the_same_through_the_module():
    model, _ = load_weights(released_weights("general", "tiny"))
    sources = list(0.5 * torch.rand(2, 1, 1, 70, 90))  # at night
    with torch.no_grad():
        expected = model(sources, kinds=("infrared", "visible")).clamp(0, 1)
        torch.testing.assert_close(ExportedFusion(model, TASKS["ivf"])(*sources), expected, atol=1e-4, rtol=0)
        model.targets = None  # people are not raised
        expected = model(sources, kinds=("infrared", "visible")).clamp(0, 1)
        torch.testing.assert_close(ExportedFusion(model, TASKS["ivf"])(*sources), expected, atol=1e-4, rtol=0)


def test_impossible_arguments_and_missing_packages_are_named(tmp_path, capsys, monkeypatch):
    with pytest.raises(SystemExit, match="2"):
        run(["--format", "onnx", "--task", "ivf", "-o", str(tmp_path / "a.pt2")])
    assert "must end with .onnx" in capsys.readouterr().err
    for words in ([], ["-o", str(tmp_path / "a.pth")]):
        with pytest.raises(SystemExit, match="2"):
            run(["--task", "ivf", *words])
        assert "give --format onnx or pt2, or -o with such a suffix" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        run(["--format", "onnx", "--task", "ivf", "--sources", "1"])
    assert "expected a whole number, 2 or more" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        run(["--format", "onnx", "--task", "mef", "--no_people"])
    assert "--no_people is for infrared + visible" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        run(["--format", "onnx", "--task", "mef", "--keep_brightness"])
    assert "--keep_brightness is for multi-focus" in capsys.readouterr().err
    for task in ("ivf", "mif"):
        assert run(["--format", "onnx", "--task", task, "--sources", "3", "-o", str(tmp_path / "a.onnx")]) == 2
        assert "takes two sources, got 3; any number is for task mef" in capsys.readouterr().err
    weights = write_weights(tmp_path / "mff.safetensors", "mff")
    assert run(["--format", "onnx", "--task", "ivf", "--weights", str(weights), "-o", str(tmp_path / "a.onnx")]) == 1
    assert "was trained for task 'mff', not 'ivf'" in capsys.readouterr().err
    for name in ("onnx", "pt2"):  # before the network is captured
        monkeypatch.setattr("adasffuse.export.write.captured", None)
        assert run(["--task", "ivf", "-o", str(weights / f"a.{name}")]) == 1
        assert (
            "mff.safetensors/a." in (text := capsys.readouterr().err) and "is no folder; choose another place" in text
        )
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert run(["--format", "onnx", "--task", "ivf", "-o", str(tmp_path / "a.onnx")]) == 1
    assert install_command("export") in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mff.safetensors"]


def test_files_are_called_by_task_and_size_and_say_which_weights_they_hold(tmp_path, monkeypatch):
    """The writer is replaced: a real one takes minutes."""
    exports = []

    def write(path: Path, export: Export, tell) -> dict[str, float]:
        exports.append(export)
        path.write_bytes(b"network")
        return {}

    monkeypatch.setitem(WRITERS, "onnx", write)
    monkeypatch.chdir(tmp_path)
    weights = write_weights(tmp_path / "mine.safetensors", "ivf")
    with replacing(tmp_path / "ivf_mine.onnx") as partial:
        left = tmp_path / partial.name
        copy = left.read_bytes()
    left.write_bytes(copy)  # of a process that was killed: nobody holds its lock
    (tmp_path / "run").mkdir()
    write_weights(tmp_path / "run/weights.safetensors", "ivf", channels=16)
    tiny = ["--size", "tiny", "--no_people"]
    for words in (tiny, ["--weights", "general_base"], ["--weights", str(weights)], ["--weights", "run"]):
        assert run(["--format", "onnx", "--task", "ivf", *words]) == 0
    names = [path.name for path in sorted(tmp_path.iterdir())]
    assert names == ["ivf_base.onnx", "ivf_mine.onnx", "ivf_run.onnx", "ivf_tiny.onnx", "mine.safetensors", "run"]
    assert [export.describe()["weights"] for export in exports] == ["general_tiny", "general_base", "mine", "run"]
    assert [export.describe()["people"] for export in exports] == [False, True, False, False]
    assert exports[2].describe()["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()


@pytest.fixture
def captures_a_mean(monkeypatch) -> None:
    """In place of the network's graph, which takes minutes."""

    class Mean(torch.nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return (a + b) / 2

    dims = {0: torch.export.Dim.AUTO, 2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
    program = torch.export.export(Mean(), (torch.rand(2, 1, 8, 9), torch.rand(2, 1, 8, 9)), dynamic_shapes=(dims, dims))
    monkeypatch.setattr("adasffuse.export.write.captured", lambda export: program)


def test_pt2_says_nothing_of_where_it_was_made(tmp_path, monkeypatch, captures_a_mean):
    monkeypatch.setattr(Export, "reference", lambda self, sources: sum(sources) / 2)
    write_pt2(tmp_path / "mean.pt2", Export(network(), TASKS["ivf"]))
    with zipfile.ZipFile(tmp_path / "mean.pt2") as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    assert not any(Path(__file__).name.encode() in content for content in contents.values())
    assert not any("sample_inputs" in name and content for name, content in contents.items())


def test_info_says_what_an_exported_file_says(tmp_path, capsys):
    """Of an ONNX file and of a pt2 file, as they are laid out; a file of another program is refused."""
    onnx = pytest.importorskip("onnx", reason="needs onnx (extra 'export')")
    said = Export(network(**ALL_PARTS), TASKS["mif"], weights="mine").describe()
    graph = onnx.helper.make_graph([], "empty", [], [])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "other.onnx")
    model = onnx.helper.make_model(graph)
    onnx.helper.set_model_props(model, {METADATA: json.dumps(said)})
    onnx.save(model, tmp_path / "a.onnx")
    with zipfile.ZipFile(tmp_path / "a.pt2", "w") as archive:
        archive.writestr(f"archive/extra/{METADATA_FILE}", json.dumps(said))
    files = [str(tmp_path / name) for name in ("a.onnx", "a.pt2")]
    assert main.main(["info", "--json", *files]) == 0
    for found in json.loads(capsys.readouterr().out)["files"]:
        assert found["what"].startswith("exported network") and said.items() <= found.items()
    assert main.main(["info", str(tmp_path / "other.onnx")]) == 1
    assert "other.onnx: damaged, or no network that adasffuse export has written" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a.onnx", "a.pt2"])
def test_progress_is_told_on_standard_error_and_not_with_json(tmp_path, monkeypatch, captures_a_mean, name, capsys):
    if name == "a.onnx":
        pytest.importorskip("onnx", reason="needs onnx (extra 'export')")
    monkeypatch.setattr(Export, "reference", lambda self, sources: sum(sources) / 2)
    weights = write_weights(tmp_path / "mine.safetensors", "ivf")
    words = ["--task", "ivf", "--weights", str(weights), "-o", str(tmp_path / name)]
    assert run(words) == 0
    said = capsys.readouterr().err
    for step in ("capturing the network's graph", "to ONNX" if name == "a.onnx" else "writing it", "at 2x80x96"):
        assert re.search(rf"^ +\d+ s: .*{step}$", said, re.M)
    assert run([*words, "--json"]) == 0
    output = capsys.readouterr()
    values = json.loads(output.out)
    assert values["ok"] and values["file"] == str(tmp_path / name) and max(values["differences"].values()) < 1e-5
    assert values["description"]["task"] == "ivf" and " s: " not in output.err
    assert run(["--task", "mef", *words[2:], "--json"]) == 1
    assert "trained for task 'ivf', not 'mef'" in json.loads(capsys.readouterr().out)["error"]


def test_a_file_that_differs_is_not_written(tmp_path, captures_a_mean):
    pytest.importorskip("onnx", reason="needs onnx (extra 'export')")
    for write, name in ((write_onnx, "a.onnx"), (write_pt2, "a.pt2")):
        with pytest.raises(ExportError, match=f"{name} is not written: at 1x53x37 it differs from PyTorch by"):
            write(tmp_path / name, Export(network(), TASKS["ivf"]))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with ivf_rgb.onnx, in colour, as the command writes it: minutes."""
    folder = tmp_path_factory.mktemp("export")
    weights = write_weights(folder / "w.safetensors", "ivf", **ALL_PARTS)
    words = ["export", "--format", "onnx", "--task", "ivf", "--colour", "--weights", str(weights)]
    assert main.main([*words, "-o", str(folder / "ivf_rgb.onnx")]) == 0
    return folder


@pytest.mark.slow
def test_onnx_equals_the_network_at_any_size(folder):
    export, once = Export(network(**ALL_PARTS), TASKS["ivf"], colour=True), onnx_runner(folder / "ivf_rgb.onnx", 1)
    for batch, height, width in [(1, 1, 1), (1, 37, 53), (2, 96, 160), (3, 200, 131), (1, 480, 640), (1, 7, 3)]:
        sources = [torch.rand(batch, 1, height, width), torch.rand(batch, 3, height, width)]
        torch.testing.assert_close(once(sources), export.reference(sources).detach(), atol=1e-3, rtol=0)


@pytest.mark.slow
def test_onnx_says_what_it_is_and_nothing_of_where_it_was_made(folder):
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / "ivf_rgb.onnx", providers=["CPUExecutionProvider"])
    said = json.loads(session.get_modelmeta().custom_metadata_map[METADATA])
    assert read_description(folder / "ivf_rgb.onnx") == said
    assert (said["task"], said["color"], said["range"], said["output"]) == ("ivf", "b", [0, 1], "rgb")
    assert said["inputs"] == [one.name for one in session.get_inputs()] == ["infrared", "visible"]
    assert [one.shape for one in session.get_inputs()] == [["batch", n, "height", "width"] for n in said["channels"]]
    assert b".py" not in (folder / "ivf_rgb.onnx").read_bytes()


@pytest.mark.slow
def test_the_lines_of_the_docs_run_without_the_package(folder, tmp_path):
    (code,) = re.findall(r"^```python\n(.*?)^```", DOCS.read_text(encoding="utf-8"), re.M | re.S)
    color = np.stack([texture(37, 53, seed) for seed in (1, 2, 3)], axis=2)
    write_image(tmp_path / "infrared.png", texture(37, 53, 0))
    write_image(tmp_path / "visible.png", color)
    (tmp_path / "ivf_rgb.onnx").symlink_to(folder / "ivf_rgb.onnx")
    code += "\nimport sys\nassert not {'torch', 'adasffuse'} & set(sys.modules)\nnp.save('fused.npy', fused)\n"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    a = torch.from_numpy(texture(37, 53, 0) / np.float32(255))[None, None]
    b = torch.from_numpy(color / np.float32(255)).permute(2, 0, 1)[None]
    expected = Export(network(**ALL_PARTS), TASKS["ivf"], colour=True).reference([a, b]).detach()
    np.testing.assert_allclose(np.load(tmp_path / "fused.npy"), expected, atol=1e-3)
    assert (tmp_path / "fused.png").is_file()


@pytest.mark.slow
def test_pt2_equals_the_network_at_any_size_and_says_what_it_is(tmp_path):
    export = Export(network(**ALL_PARTS), TASKS["mef"], count=3)
    write_pt2(tmp_path / "mef.pt2", export)
    extra = {METADATA_FILE: ""}
    module = torch.export.load(str(tmp_path / "mef.pt2"), extra_files=extra).module()
    assert read_description(tmp_path / "mef.pt2") == json.loads(extra[METADATA_FILE])
    assert json.loads(extra[METADATA_FILE])["inputs"] == ["source_1", "source_2", "source_3"]
    for batch, height, width in [(1, 1, 1), (2, 96, 160), (1, 200, 131)]:
        sources = list(torch.rand(3, batch, 1, height, width))
        torch.testing.assert_close(module(*sources), export.reference(sources).detach(), atol=1e-4, rtol=0)


def test_a_file_may_lie_where_names_are_no_utf8(tmp_path):
    helper = pytest.importorskip("onnx", reason="needs onnx (extra 'export')").helper
    pytest.importorskip("onnxruntime", reason="needs onnxruntime (extra 'export')")
    sides = [helper.make_tensor_value_info(name, 1, [1, 1, None, None]) for name in ("A", "B", "fused")]
    graph = helper.make_graph([helper.make_node("Add", ["A", "B"], ["fused"])], "sum", sides[:2], sides[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    file = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.onnx"))
    file.write_bytes(model.SerializeToString())
    assert onnx_runner(file)([torch.ones(1, 1, 2, 2)] * 2).sum() == 8
