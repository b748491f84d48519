"""The fuser: inputs of all kinds, colour by the task's rule, the whole image or tiles."""

import io
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np
import PIL.Image
import pytest
import torch
from tiny import Mean, network, rendered_samples, texture, write_weights

import adasffuse
from adasffuse.device import pick_device, pick_precision
from adasffuse.images import levels
from adasffuse.images.arrays import as_image
from adasffuse.images.color import luminance
from adasffuse.images.image import ImageNotice
from adasffuse.images.read import read_image
from adasffuse.images.write import write_image
from adasffuse.inference import Fuser, load_fuser
from adasffuse.inference.fuser import settings_of
from adasffuse.models import SIZES
from adasffuse.models.weights import WeightsError
from adasffuse.scenes.street import night_scene
from adasffuse.tasks import KINDS, TASKS


def color(height: int = 12, width: int = 20, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def gray(height: int = 12, width: int = 20, seed: int = 0) -> np.ndarray:
    return texture(height, width, seed)


@pytest.fixture
def weights(tmp_path):
    return write_weights(tmp_path / "ivf.safetensors", "ivf")


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (11, 1), (7, 13), (16, 16)])
def test_results_have_the_size_of_the_sources(weights, size):
    fuser = load_fuser("ivf", weights=weights, device="cpu")
    result = fuser.fuse(gray(*size), color(*size))
    assert result.shape == (*size, 3) and result.dtype == np.uint8
    assert fuser.fuse(gray(*size), gray(*size, seed=1)).shape == size


@pytest.mark.parametrize("task, colored", [("ivf", "b"), ("mif", "a"), ("mef", "ab"), ("mff", "ab")])
def test_colour_follows_the_tasks_rule(task, colored):
    fuser = Fuser(Mean(), TASKS[task])
    assert fuser.fuse(color(), gray()).ndim == (3 if "a" in colored else 2)
    assert fuser.fuse(gray(), color()).ndim == (3 if "b" in colored else 2)
    assert fuser.fuse(gray(), gray(seed=1)).ndim == 2


@pytest.mark.parametrize("task", ["ivf", "mef", "mff", "mif"])
def test_colour_of_large_images_is_that_of_small_ones(task, monkeypatch):
    """It is added a band of rows at a time; pixels at the ends of a band depend on those beyond."""
    fuser = Fuser(Mean(), TASKS[task])
    prepared = fuser.prepare(color(40, 30), color(40, 30, seed=1))
    luma = 0.8 * prepared.lumas[0] + 0.2 * prepared.lumas[1]  # the first one is nearer, which counts in the colour
    whole = fuser.finish(luma, prepared, depth="float")
    monkeypatch.setattr(levels, "_STEP", 210)  # 7 rows
    assert np.allclose(fuser.finish(luma, prepared, depth="float"), whole, atol=1e-6)


def test_luminance_is_that_of_the_network():
    a, b = gray(), color(seed=2)
    result = Fuser(Mean(), TASKS["ivf"]).fuse(a, b)
    expected = (a / 255 + luminance(b / np.float32(255))) / 2
    assert abs(luminance(result / np.float32(255)) - np.rint(expected * 255) / 255).max() < 1 / 255


def test_results_are_clamped_and_rounded_never_stretched():
    class Fixed(Mean):
        def forward(self, sources, kinds=()):
            return torch.tensor([[[[-0.5, 0.25, 0.5019, 1.7]]]])

    fuser, source = Fuser(Fixed(), TASKS["ivf"]), np.zeros((1, 4), np.uint8)
    assert fuser.fuse(source, source).tolist() == [[0, 64, 128, 255]]
    fuser.model = Mean()
    narrow = np.array([[100, 110, 120]], np.uint8)
    assert fuser.fuse(narrow, narrow).tolist() == [[100, 110, 120]]
    assert fuser.fuse(narrow, narrow, stretch=True).tolist() == [[0, 128, 255]]
    assert fuser.fuse(source, source, stretch=True).tolist() == [[0, 0, 0, 0]]  # flat: nothing to spread


def test_types_give_the_same_result(tmp_path):
    fuser = Fuser(network(), TASKS["ivf"])
    a, b = gray(), color()
    expected = fuser.fuse(a, b)
    for kind in (np.float32, np.float64):
        assert np.array_equal(fuser.fuse(a.astype(kind) / 255, b.astype(kind) / 255, depth="8"), expected)
    assert np.array_equal(fuser.fuse(a.astype(np.uint16) * 257, b), expected)  # 65535 / 255
    assert np.array_equal(fuser.fuse(a[::-1][::-1], np.asfortranarray(b)), expected)
    assert np.array_equal(fuser.fuse(torch.from_numpy(a), torch.from_numpy(b).permute(2, 0, 1)), expected)
    assert np.array_equal(fuser.fuse([PIL.Image.fromarray(a), PIL.Image.fromarray(b)]), expected)
    write_image(tmp_path / "a.png", a)
    assert np.array_equal(fuser.fuse(tmp_path / "a.png", read_image(tmp_path / "a.png")), fuser.fuse(a, a))


def test_results_are_as_deep_as_the_shallowest_source_or_as_asked_for():
    fuser = Fuser(Mean(), TASKS["ivf"])
    deep, real = gray().astype(np.uint16) * 200, gray() / np.float32(300)
    assert [fuser.fuse(a, b).dtype for a, b in ((gray(), deep), (deep, deep), (deep, real), (real, real))] == [
        np.uint8,
        np.uint16,
        np.uint16,
        np.float32,
    ]
    assert np.array_equal(fuser.fuse(deep, deep), deep)
    np.testing.assert_allclose(fuser.fuse(real, real), real, atol=1e-6)
    assert fuser.fuse(deep, deep, depth="8").dtype == np.uint8


def test_ranges_and_no_data_are_of_the_source_they_are_given_for():
    fuser = Fuser(Mean(), TASKS["mff"])
    counts = np.array([[7200, 7710, 8220, 8220]], np.uint16)
    other = np.array([[0, 0.5, 1, 0.2]], np.float32)
    np.testing.assert_allclose(fuser.fuse(counts, other, range_a=(7200, 8220), depth="float")[0, :3], [0, 0.5, 1])
    same = fuser.fuse(other, counts, range_b=(7200, 8220), depth="float")
    assert np.array_equal(same, fuser.fuse(counts, other, range_a=(7200, 8220), depth="float"))
    missing = fuser.fuse(other, np.array([[0, 0.5, -1, -1]], np.float32), range_b=(0, 1), no_data_b=-1)
    np.testing.assert_allclose(missing, other, atol=1e-6)
    assert np.array_equal(fuser.fuse(255 - gray(), gray(), range_a=(255, 0)), gray())  # black-hot


def test_what_is_used_but_perhaps_not_meant_is_a_warning():
    fuser, counts = Fuser(Mean(), TASKS["ivf"]), gray().astype(np.uint16) + 7200
    with pytest.warns(ImageNotice, match=r"source A: uses only 7200\.\.\d+ of 0\.\.65535; give a value range"):
        fuser.fuse(counts, color())
    with pytest.warns(ImageNotice, match="source A: has colour; false colours are no temperature.*used$"):
        fuser.fuse(color(), color(seed=1))
    with pytest.warns(ImageNotice, match="source A: has colour; .*; source B has none: the two may be swapped"):
        fuser.fuse(color(), gray())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fuser.fuse(counts, color(), range_a=(7200, 7455))


def test_two_fusers_of_one_network_do_not_change_each_other():
    model = network(patch=2, kinds=KINDS)
    plain, other = Fuser(model, TASKS["ivf"]), Fuser(model, TASKS["mff"])
    a, b = gray(48, 64), gray(48, 64, seed=1) // 4
    expected = plain.fuse(a, b)
    assert not np.array_equal(other.fuse(a, b), expected)
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda k: (other if k % 2 else plain).fuse(a, b), range(8)))
    assert all(np.array_equal(result, results[k % 2]) for k, result in enumerate(results))
    model.half().train()  # what becomes of the network later is no matter, and a fuser leaves it as it is
    assert np.array_equal(results[0], expected) and np.array_equal(plain.fuse(a, b), expected)
    assert not plain.model.training and model.training


def test_sources_are_left_untouched():
    a, b = gray().astype(np.float32) / 255, color().astype(np.float32) / 255
    before = a.copy(), b.copy()
    Fuser(network(), TASKS["mef"]).fuse(a, b)
    assert np.array_equal(a, before[0]) and np.array_equal(b, before[1])


@pytest.mark.parametrize(
    "pixels, message",
    [
        (np.zeros((4, 4, 5), np.uint8), r"source A: must be \(H, W\) or \(H, W, C\) .*, got shape \(4, 4, 5\)"),
        (np.zeros((3, 4, 5), np.uint8), r"got shape \(3, 4, 5\); move the channels last"),
        (torch.zeros(5, 6, 3), r"got shape \(5, 6, 3\); move the channels first"),
        (np.zeros(4, np.uint8), r"got shape \(4,\)"),
        (np.zeros((4, 4), np.int32), "source A: int32 values have no fixed black and white; give a value range"),
        (np.zeros((4, 4), bool), "source A: has values of type bool; give uint8, uint16 or float"),
        (np.full((4, 4), 255.0), r"source A: has float values 255 to 255, outside \[0, 1\]; scale it, or give"),
        (np.full((4, 4), -0.1), "outside"),
        (PIL.Image.new("LAB", (4, 4)), "source A: is a PIL image of mode LAB; convert it to RGB first"),
        (PIL.Image.new("L", (4, 0)), "source A: is a PIL image of 4x0 pixels, without any"),
        (b"P5", r"source A: is the content of a file, of type bytes; give its path, or what PIL.Image.open"),
        (4, "source A: is of type int; give a path"),
        (np.zeros((4, 5), np.uint8), "one height and width, got source A 5x4, source B 4x4; register them first"),
        ("nowhere.png", "nowhere.png: no such file"),
        (None, "source A: is of type NoneType; give a path, an array, a tensor or a PIL image"),
        (io.BytesIO(b"P5"), r"source A: is the content of a file, of type BytesIO; give its path, or what PIL.Image"),
        (np.ma.masked_less(np.arange(16, dtype=np.uint8).reshape(4, 4), 3), "source A: is a masked array, whose mask"),
    ],
)
def test_sources_that_cannot_be_used(pixels, message):
    with pytest.raises(ValueError, match=message):
        Fuser(Mean(), TASKS["ivf"]).fuse(pixels, np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match="fusing needs two or more sources, got 1"):
        Fuser(Mean(), TASKS["ivf"]).fuse([np.zeros((4, 4), np.uint8)])


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")  # deprecated, and still met
def test_quantised_tensors_are_refused():
    quantised = torch.quantize_per_tensor(torch.zeros(4, 4), 1.0, 0, torch.quint8)
    with pytest.raises(ValueError, match="source A: is a quantised tensor; give its values"):
        Fuser(Mean(), TASKS["ivf"]).fuse(quantised, np.zeros((4, 4), np.uint8))


@pytest.mark.parametrize("mode", ["1", "P", "LA", "La", "RGBA", "HSV", "YCbCr", "CMYK", "I;16", "F"])
def test_pil_images_of_other_modes_are_what_they_show(mode):
    levels = np.zeros((8, 12, 3), np.uint8)
    levels[:, 4:8], levels[:, 8:] = (255, 0, 0), 255  # black, red, white
    if mode in ("I;16", "F", "1", "LA", "La"):
        levels[:, 4:8] = 0
    if mode == "I;16":
        image = PIL.Image.fromarray(levels[..., 0].astype(np.uint16) * 257)
    elif mode == "F":
        image = PIL.Image.fromarray(levels[..., 0] / np.float32(255))
    else:
        image = PIL.Image.fromarray(levels).convert("LA" if mode == "La" else mode).convert(mode)
    fused = Fuser(Mean(), TASKS["mff"]).fuse(image, image, depth="8")
    expected = levels if (levels != levels[..., :1]).any() else levels[..., 0]
    assert abs(fused.astype(int) - expected).max() <= 2  # rounding of HSV and YCbCr


def test_the_order_of_bytes_is_of_no_account():
    deep = np.arange(96, dtype=np.uint16).reshape(8, 12) * 600
    fuser = Fuser(Mean(), TASKS["mff"])
    assert np.array_equal(fuser.fuse(deep.astype(">u2"), deep), fuser.fuse(deep, deep))
    real = deep / np.float32(65535)
    assert np.array_equal(fuser.fuse(real.astype(">f4"), real), fuser.fuse(real, real))


def test_a_masked_array_that_masks_nothing_is_an_array():
    image = gray()
    assert np.array_equal(Fuser(Mean(), TASKS["mff"]).fuse(np.ma.array(image), image), image)


@pytest.mark.parametrize("value_range", ["folder", "12", 5, (5,), (5, 5), (1, 2, 3), (None, 3), (1, float("nan"))])
def test_what_is_no_range(value_range):
    words = r"source A: a value range is two numbers, the values of black and of white, got|range_a(\[0\])? must be"
    with pytest.raises(ValueError, match=words):
        Fuser(Mean(), TASKS["ivf"]).fuse(gray().astype(np.uint16), gray(), range_a=value_range)


def test_the_name_of_a_method_is_no_aligner():
    with pytest.raises(
        ValueError, match=r"align must be an Aligner \(adasffuse.registration.aligner\) or None, got 'affine'"
    ):
        Fuser(Mean(), TASKS["ivf"]).fuse(gray(), gray(), align="affine")


def test_only_larger_images_are_tiled():
    sizes, model = [], network()
    weight_maps = model.weight_maps

    def record(sources, kinds):
        sizes.append(tuple(sources.shape[-2:]))
        return weight_maps(sources, kinds)

    model.weight_maps = record
    fuser = Fuser(model, TASKS["ivf"], tile=32, tile_overlap=16, precision="float32")
    a, b = (gray(32, 90, seed) / np.float32(255) for seed in (0, 1))
    fuser.fuse_luminance(a[:, :32], b[:, :32])
    assert sizes == [(32, 32)]
    sizes.clear()
    tiled = fuser.fuse_luminance(a, b)
    assert len(sizes) > 1 and max(max(size) for size in sizes) <= 32
    sizes.clear()
    fuser.tile = 0
    whole = fuser.fuse_luminance(a, b)
    assert sizes == [(32, 90)] and 0 < abs(tiled - whole).mean() < 0.01


def test_tiles_are_refused_before_anything_is_fused_where_the_network_takes_larger_steps():
    with pytest.raises(
        ValueError, match=r"in multiples of 32, .* a tile of 208 beside an overlap of 192; choose a larger"
    ):
        load_fuser("ivf", size="tiny", tile=208, tile_overlap=192)
    assert load_fuser("ivf", size="tiny", tile=224, tile_overlap=192).tile == 224


@pytest.mark.parametrize("tile, overlap", [(-16, 0), (40, 16), (32, 8), (32, 32), (32, -16)])
def test_impossible_tiles(tile, overlap):
    with pytest.raises(ValueError, match=rf"multiples of 16 with tile > tile_overlap .* got {tile} and {overlap}"):
        Fuser(Mean(), TASKS["ivf"], tile=tile, tile_overlap=overlap)


def test_load_fuser(weights):
    fuser = load_fuser("ivf", weights=str(weights), device="cpu", tile=64, tile_overlap=16)
    assert fuser.task is TASKS["ivf"] and (fuser.tile, fuser.tile_overlap) == (64, 16)
    expected = Fuser(network(), TASKS["ivf"]).fuse(gray(), color())
    assert np.array_equal(fuser.fuse(gray(), color()), expected)
    assert adasffuse.load_fuser is load_fuser


def test_weights_of_another_task_are_refused(weights, tmp_path):
    with pytest.raises(WeightsError, match=r"ivf\.safetensors was trained for task 'ivf', not 'mef'"):
        load_fuser("mef", weights=weights)
    general = write_weights(tmp_path / "general.safetensors", "general")
    assert load_fuser("mef", weights=general, device="cpu").task.id == "mef"


def test_unknown_task_and_device(weights):
    with pytest.raises(ValueError, match="unknown task 'xyz'; use one of ivf, mef, mff, mif"):
        load_fuser("xyz", weights=weights)
    with pytest.raises(ValueError, match="unknown device 'gpu'; use auto, cpu, cuda or cuda:N"):
        load_fuser("ivf", weights=weights, device="gpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu():
    assert pick_device("auto") == torch.device("cpu")
    with pytest.raises(ValueError, match=r"device 'cuda:1' is not available: .* no CUDA GPU; use cpu"):
        pick_device("cuda:1")


def test_a_gpu_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for count, gpus in ((1, "one GPU, cuda:0"), (4, "4 GPUs, cuda:0 to cuda:3")):
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        with pytest.raises(ValueError, match=f"device 'cuda:7' is not available: this PyTorch sees {gpus}$"):
            pick_device("cuda:7")
        assert pick_device(f"cuda:{count - 1}").index == count - 1 and pick_device("cuda").index is None


def test_precision_is_that_of_the_gpu_asked_for(monkeypatch):
    monkeypatch.setattr(
        torch.cuda, "get_device_capability", lambda device: {0: (7, 5), 1: (8, 0), 2: (9, 0)}[device.index]
    )
    precisions = [pick_precision("auto", torch.device("cuda", index)) for index in range(3)]
    assert precisions == ["float32", "bfloat16", "bfloat16"]


def test_general_weights_serve_every_task():
    for task in TASKS:
        fuser = load_fuser(task, weights="general", device="cpu")
        assert fuser.task is TASKS[task] and fuser.model.options == replace(SIZES["small"], exposure=True)
    with pytest.raises(WeightsError, match="no weights of size 'paper' are released for task 'general'"):
        load_fuser("ivf", size="paper", weights="general")


def test_precision_of_this_machine_and_by_name():
    cpu = torch.device("cpu")
    assert pick_precision("auto", cpu) in ("float32", "bfloat16")
    assert [pick_precision(name, cpu) for name in ("float32", "bfloat16")] == ["float32", "bfloat16"]
    with pytest.raises(ValueError, match="precision must be one of auto, float32, bfloat16, got 'half'"):
        pick_precision("half", cpu)


@pytest.mark.parametrize("task", TASKS)
def test_bfloat16_keeps_the_image(task):
    """Released weights: at least 48 dB between the precisions."""
    sample = rendered_samples(task)[0]
    a, b = (cv2.resize(luminance(as_image(x).pixels), (160, 128)) for x in (sample.a, sample.b))
    exact, fast = (load_fuser(task, device="cpu", precision=p).fuse_luminance(a, b) for p in ("float32", "bfloat16"))
    assert 10 * np.log10(1 / np.square(exact - fast).mean()) > 48


def test_strength_lies_between_the_visible_image_and_the_result():
    infrared, visible = (np.random.default_rng(k).random((24, 32), np.float32) for k in (1, 2))
    whole, half, none = (load_fuser("ivf", "tiny", strength=s).fuse_luminance(infrared, visible) for s in (1, 0.5, 0))
    assert np.array_equal(none, visible)
    np.testing.assert_allclose(half, (whole + visible) / 2, atol=1e-6)


def test_people_are_not_raised_where_that_is_not_wanted():
    night = night_scene(np.random.default_rng(5))
    raised, not_raised = (
        load_fuser("ivf", "tiny", people=p).fuse_luminance(night.infrared, luminance(night.visible))
        for p in (True, False)
    )
    more = raised - not_raised
    assert more.min() > -0.02 and more[night.targets].mean() > 0.03 > 30 * abs(more[~night.targets].mean())


def test_people_are_of_infrared_and_visible_images_alone():
    with pytest.raises(ValueError, match="--no_people, is for infrared"):
        load_fuser("mef", "tiny", people=False)


@pytest.mark.parametrize("name", ["strength", "denoise"])
@pytest.mark.parametrize(("task", "value", "what"), [("mef", 0.5, "infrared"), ("ivf", 1.5, "from 0 to 1")])
def test_impossible_shares(name, task, value, what):
    with pytest.raises(ValueError, match=f"{name} is .*{what}"):
        load_fuser(task, "tiny", **{name: value})


def test_a_scan_in_inverse_gray_is_told():
    """White background beside a black one, as PET is printed; not where the MRI is white too, or turned."""
    mri = np.zeros((24, 24), np.uint8)
    mri[6:18, 6:18] = texture(12, 12, 1)
    pet = 255 - np.roll(mri, 1)
    fuser = Fuser(Mean(), TASKS["mif"], device="cpu")
    with pytest.warns(ImageNotice, match="source A: has a white background, .* --range_a inverted turns it"):
        fuser.fuse(pet, mri)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fuser.fuse(255 - pet, mri)
        fuser.fuse(pet, 255 - mri)
        fuser.fuse(pet, mri, range_a=(255, 0))
        Fuser(Mean(), TASKS["ivf"], device="cpu").fuse(pet, mri)


def test_a_fuser_says_what_it_is():
    fuser = load_fuser("ivf", "tiny", device="cpu", precision="float32", people=False)
    parameters = sum(one.numel() for one in fuser.model.parameters())
    assert repr(fuser) == f"<Fuser: infrared + visible, {parameters:,} parameters, float32 on cpu>"


@pytest.mark.parametrize("nested", [lambda a, b: (a, b), lambda a, b: ([a, b],), lambda a, b: ([[a, b], [a, b]],)])
def test_lists_of_numbers_are_no_images(nested):
    a, b = texture(8, 8, 1).tolist(), texture(8, 8, 2).tolist()
    with pytest.raises(ValueError, match=r"lists of numbers; give each image as an array"):
        Fuser(Mean(), TASKS["mff"])(*nested(a, b))


def test_settings_differ_where_networks_of_equal_parameters_do():
    """So `--resume` does not take results of one for those of the other."""
    model = network(patch=2, kinds=KINDS)
    settings = set()
    for unshaded in (False, True):
        model.options = replace(model.options, unshaded=unshaded)
        settings.add(settings_of(Fuser(model, TASKS["ivf"])))
    assert len(settings) == 2


def test_a_fuser_within_torch_compile_runs_as_it_is():
    """Its steps are NumPy's and cannot be traced."""
    fuser = Fuser(Mean(), TASKS["ivf"])
    a, b = torch.from_numpy(gray()), torch.from_numpy(gray(seed=1))
    compiled = torch.compile(lambda *sources: fuser(*sources) + 0, backend="eager")
    assert torch.equal(compiled(a, b), fuser(a, b))
    assert np.array_equal(torch.compile(fuser.fuse, backend="eager")(a.numpy(), b.numpy()), fuser.fuse(a, b))
