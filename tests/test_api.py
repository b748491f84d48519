"""Calling a fuser: what goes in as an array, tensor or PIL image, alone or in batches, comes out as such."""

import io

import numpy as np
import PIL.Image
import pytest
import torch
from tiny import Mean, network, texture

from adasffuse.images.image import ImageError, ImageNotice
from adasffuse.images.write import write_image
from adasffuse.inference import Fuser
from adasffuse.metrics import evaluate
from adasffuse.tasks import TASKS


@pytest.fixture
def fuser() -> Fuser:
    return Fuser(Mean(), TASKS["ivf"], precision="float32")


def gray(seed: int = 0, size: tuple[int, int] = (12, 20)) -> np.ndarray:
    return texture(*size, seed)


def color(seed: int = 0, size: tuple[int, int] = (12, 20)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "a, b, result",
    [
        ((12, 20), (12, 20), (12, 20)),
        ((12, 20), (12, 20, 1), (12, 20, 1)),
        ((12, 20, 1), (12, 20), (12, 20)),  # of infrared and visible, the visible image gives colour and channels
        ((12, 20, 3), (12, 20, 1), (12, 20, 1)),
        ((12, 20), (12, 20, 3), (12, 20, 3)),
        ((12, 20, 1), (12, 20, 4), (12, 20, 3)),
    ],
)
@pytest.mark.filterwarnings("ignore:.*alpha channel dropped")
def test_arrays_keep_their_axes_also_where_nothing_has_colour(fuser, a, b, result):
    """The values are those of `fuse`, which gives neutral images as (H, W)."""
    first, second = (np.repeat(gray(k)[..., None], 4, axis=2)[..., : (1, *s[2:])[-1]] for k, s in enumerate((a, b)))
    fused = fuser(first.reshape(a), second.reshape(b))
    assert fused.shape == result and fused.dtype == np.uint8
    expected = fuser.fuse(gray(0), gray(1))
    assert np.array_equal(fused.reshape(12, 20, -1)[..., 0], expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32, np.float64])
def test_arrays_and_tensors_keep_their_type_and_range(fuser, dtype):
    top = np.iinfo(dtype).max if np.dtype(dtype).kind == "u" else 1
    a, b = ((gray(k) / 255 * top).astype(dtype) for k in (0, 1))
    mean = (a.astype(float) + b) / 2 / top
    fused = fuser(a, b)
    assert fused.dtype == dtype and fused.shape == a.shape
    tolerance = 1e-3 if dtype == np.float16 else 0.51 / (top if top > 1 else 1e6)
    np.testing.assert_allclose(fused / top, mean, atol=tolerance)
    as_tensor = fuser(torch.from_numpy(a)[None], torch.from_numpy(b)[None])
    assert as_tensor.shape == (1, 12, 20) and np.array_equal(as_tensor[0].numpy(), fused)
    assert as_tensor.numpy().dtype == dtype


def test_bfloat16_and_gradients(fuser):
    a = torch.rand(1, 8, 8, dtype=torch.bfloat16, requires_grad=True)
    fused = fuser(a, a)
    assert fused.dtype == torch.bfloat16 and not fused.requires_grad
    assert torch.equal(fused, a.detach())


def test_the_shallowest_source_decides_on_the_type(fuser):
    real, deep = gray() / 255.0, gray().astype(np.uint16) * 257
    assert [fuser(x, y).dtype for x, y in ((real, gray()), (deep, gray()), (real, deep))] == [
        np.uint8,
        np.uint8,
        np.uint16,
    ]
    assert fuser(gray(), gray(), depth="16").dtype == np.uint16
    assert fuser(gray(), gray(), depth="float").dtype == np.float32


@pytest.mark.parametrize(
    "mode, result",
    [
        *[(gray, "L") for gray in ("1", "L", "LA")],
        *[(coloured, "RGB") for coloured in ("P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV")],
        *[(deep, deep) for deep in ("I;16", "F")],
    ],
)
@pytest.mark.filterwarnings("ignore::adasffuse.images.image.ImageNotice")
def test_pil_images_of_any_mode(fuser, mode, result):
    if mode == "I;16":
        image = PIL.Image.fromarray(gray().astype(np.uint16) * 257)
    elif mode == "F":
        image = PIL.Image.fromarray(gray() / np.float32(255))
    else:
        image = PIL.Image.fromarray(gray()).convert("RGB").convert(mode)
    fused = fuser(image, image)
    assert isinstance(fused, PIL.Image.Image) and (fused.mode, fused.size) == (result, (20, 12))
    if mode in ("L", "RGB", "RGBA"):
        assert np.array_equal(np.asarray(fused.convert("L")), gray())


def test_files_give_arrays_and_beside_them_what_is_held_decides(fuser, tmp_path):
    a, b = tmp_path / "a.png", tmp_path / "b.png"
    write_image(a, gray(0))
    write_image(b, color(1))
    expected = fuser(gray(0), color(1))
    assert np.array_equal(fuser(a, str(b)), expected) and np.array_equal(fuser([a, b]), expected)
    from_tensor = fuser(a, torch.from_numpy(color(1)).permute(2, 0, 1))
    assert np.array_equal(from_tensor.permute(1, 2, 0).numpy(), expected)
    from_pil = fuser(a, PIL.Image.fromarray(color(1)))
    assert np.array_equal(np.asarray(from_pil), expected)


def test_batches_are_their_scenes_one_by_one(fuser):
    a, b = [gray(k) for k in range(3)], [color(k) for k in range(3)]
    expected = [fuser(*scene) for scene in zip(a, b)]
    for batch in (fuser(list(zip(a, b))), fuser(a, b), fuser([list(scene) for scene in zip(a, b)])):
        assert isinstance(batch, list) and all(map(np.array_equal, batch, expected))
    arrays = fuser(np.stack(a)[..., None], np.stack(b))
    assert np.array_equal(arrays, np.stack(expected))
    tensors = fuser(torch.from_numpy(np.stack(a))[:, None], torch.from_numpy(np.stack(b)).permute(0, 3, 1, 2))
    assert tensors.shape == (3, 3, 12, 20)
    assert np.array_equal(tensors.permute(0, 2, 3, 1).numpy(), np.stack(expected))


def test_sizes_may_differ_within_a_list_and_stacks_have_any_length():
    fuser = Fuser(Mean(), TASKS["mff"], precision="float32")
    fused = fuser([(gray(0), gray(1)), (gray(0, (19, 33)), gray(1, (19, 33)), gray(2, (19, 33)))])
    assert [one.shape for one in fused] == [(12, 20), (19, 33)]
    np.testing.assert_allclose(fused[1], np.mean([gray(k, (19, 33)) for k in range(3)], axis=0), atol=0.51)
    three = fuser([color(0), gray(1), gray(2)])
    assert three.shape == (12, 20, 3) and np.array_equal(three, fuser(color(0), gray(1), gray(2)))


@pytest.mark.parametrize(
    "sources, message",
    [
        ([gray()], "fusing needs two or more sources, got 1"),
        ([gray(), gray(), gray()], "infrared [+] visible takes two sources, got 3; any number is for task mef"),
        ([[]], "the list of images is empty"),
        ([[gray(), gray()], [gray()]], "batches must have one length, got 2, 1"),
        ([[], []], "the batch is empty"),
        ([iter([gray()])], "got a list_iterator; give a list"),
        ([{"a": gray(), "b": gray()}.values()], "got a dict_values; give a list"),
        ([{1, 2}], "got a set; give a list"),
        ([io.BytesIO(b"P5"), gray()], "source A: is the content of a file, of type BytesIO; give its path"),
        ([[gray(), gray()], gray()], "either all sources are batches or none is"),
        ([[(gray(), gray()), gray()]], "the images of one scene, or scenes that are lists themselves, not both"),
        ([torch.zeros(2, 1, 4, 4), torch.zeros(1, 4, 4)], "either all sources are batches or none is"),
        ([np.zeros((5, 8, 9), "u1"), np.zeros((5, 8, 9, 3), "u1")], r"of shape \(5, 8, 9\); a batch of gray .* W, 1\)"),
        ([torch.zeros(3, 1, 4, 4)], r"got one batch of shape \(3, 1, 4, 4\); the images of one stack .* list\(batch\)"),
        ([gray(), "no.png"], "no.png: no such file"),
        ([gray(), "https://host/no.png"], "no.png: no such file; files are read .* on this computer, not at addresses"),
        ([gray() * 1.0, gray()], r"source A: has float values .* outside \[0, 1\]"),
    ],
)
def test_impossible_calls(fuser, sources, message):
    with pytest.raises(ValueError, match=message):
        fuser(*sources)


@pytest.mark.parametrize("sources", [iter([gray(), gray()]), {1, 2}])
def test_fuse_refuses_what_has_no_known_order(fuser, sources):
    with pytest.raises(ValueError, match="give a list, its order known"):
        fuser.fuse(sources)


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_an_upload_that_broke_off_is_named(fuser, form):
    """PIL decodes an image when it is used, not when it is opened."""
    stream = io.BytesIO()
    PIL.Image.fromarray(color(1, (64, 64))).save(stream, form)
    broken = PIL.Image.open(io.BytesIO(stream.getvalue()[:2000]))
    with pytest.raises(ImageError, match="source B: is a PIL image that is damaged or truncated"):
        fuser(gray(0, (64, 64)), broken)
    broken = PIL.Image.open(io.BytesIO(stream.getvalue()[:2000]))
    with pytest.raises(ImageError, match="fused: is a PIL image that is damaged or truncated"):
        evaluate(gray(0, (64, 64)), gray(1, (64, 64)), broken)


def test_any_path_like_object_is_a_path(fuser, tmp_path):
    write_image(tmp_path / "a.png", gray())

    class Place:
        def __fspath__(self) -> str:
            return str(tmp_path / "a.png")

    assert np.array_equal(fuser(Place(), Place()), gray())
    assert fuser(Place(), torch.from_numpy(gray())).shape == (12, 20)


def test_no_data_is_a_number(fuser):
    with pytest.raises(ValueError, match="no_data_a must be a number or None, got '0'"):
        fuser(gray(), gray(), no_data_a="0")


def test_an_error_in_a_batch_names_the_scene(fuser):
    with pytest.raises(ImageError, match=r"scene \[1\] of 2: source B: must be"):
        fuser([(gray(), gray()), (gray(), np.zeros(3))])
    deep = gray().astype(np.uint16)
    with pytest.raises(ValueError, match="PIL images have no mode for uint16 colour; give arrays, or depth='8'"):
        fuser(PIL.Image.fromarray(gray()), PIL.Image.fromarray(color()), depth="16")
    with pytest.warns(ImageNotice, match="source A: uses only") as caught:
        fuser(deep, gray())
    assert caught[0].filename == __file__


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_fuser_takes_a_network_of_any_precision(dtype, precision):
    expected = Fuser(network(), TASKS["ivf"], precision=precision)(gray(0), gray(1))
    fused = Fuser(network().to(dtype), TASKS["ivf"], precision=precision)(gray(0), gray(1))
    assert fused.dtype == np.uint8 and np.abs(fused.astype(int) - expected).max() <= 4


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_values_that_arithmetic_leaves_just_outside_0_to_1_are_clipped(fuser, dtype):
    a, b = ((gray(k) / 255).astype(dtype) for k in (0, 1))
    b[0, 0], b[1, 1] = 1, 0
    other = b.copy()
    other[0, 0], other[1, 1] = np.nextafter(dtype(1), dtype(2)), -1e-7
    assert other.max() > 1
    np.testing.assert_array_equal(fuser(a, other), fuser(a, b))
    other[0, 0] = 1.01
    with pytest.raises(ImageError, match=r"source B: has float values .* outside"):
        fuser(a, other)
