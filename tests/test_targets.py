"""People are raised by the contrast that the fused image lacks of the infrared one, and nothing else is."""

import json
import math
from pathlib import Path

import pytest
import torch
import train_targets
from tiny import SHAPE, network, write_weights

from adasffuse.downstream import targets
from adasffuse.downstream.classes import ClassList
from adasffuse.downstream.frames import find_frames
from adasffuse.downstream.targets import BATCH, _loss, agreement, labelled, read_samples, teach, warm_areas
from adasffuse.export.dense import DenseTargetLift
from adasffuse.images.boxes import Box
from adasffuse.images.write import write_image
from adasffuse.inference.tiling import fuse_tiled
from adasffuse.models import AdaSFFuse, ModelOptions
from adasffuse.models.growth import inherit
from adasffuse.models.options import INFRARED_VISIBLE
from adasffuse.models.reduced import reduction
from adasffuse.models.targets import STRENGTH, TargetLift
from adasffuse.models.weights import load_weights, read_record

SIZES = [(1, 1), (7, 300), (120, 160), (250, 130), (360, 640), (601, 777), (1080, 720)]


def lift(logit: float | None = None, seed: int = 0) -> TargetLift:
    """One that sees targets everywhere, or nowhere, by its only logit; None: with random weights."""
    torch.manual_seed(seed)
    one = TargetLift()
    if logit is None:
        torch.nn.init.normal_(one.last.weight)
        torch.nn.init.constant_(one.last.bias, 1.0)
    else:
        torch.nn.init.constant_(one.last.bias, logit)
    return one


def random_images(*size: int, count: int = 3) -> list[torch.Tensor]:
    return list(torch.rand(count, 1, 1, *size, generator=torch.Generator().manual_seed(1)))


class Marked(TargetLift):
    """Sees a target where the infrared image is brighter than 0.3."""

    def logits(self, infrared, visible):
        return torch.where(torch.nn.functional.max_pool2d(infrared, 2) > 0.3, 20.0, -20.0)


def person(background: float, inside: float) -> torch.Tensor:
    image = torch.full((1, 1, 240, 320), background)
    image[..., 100:140, 152:168] = inside
    return image


def test_a_target_gets_the_lacking_contrast():
    infrared, visible = person(0.2, 0.4), person(0.5, 0.45)
    raised = Marked()(visible, infrared, visible)
    expected = 0.45 + STRENGTH * (0.2 + 0.05)  # contrast in the infrared image +0.2, in the fused one -0.05
    assert raised[0, 0, 104:136, 154:166].sub(expected).abs().max() < 0.025
    outside = torch.ones(240, 320, dtype=torch.bool)
    outside[96:144, 148:172] = False
    assert torch.equal(raised[0, 0, outside], visible[0, 0, outside])


def test_the_detail_of_both_images_stays_on_a_raised_target():
    """What is added is smooth: stripes of the fused image and a cold pixel of the infrared image leave it as it is."""
    infrared, visible = person(0.2, 0.35), person(0.4, 0.35)
    visible[..., 100:140, 152:168:2] += 0.04
    infrared[..., 120, 160] = 0.2
    added = Marked()(visible, infrared, visible) - visible
    expected = STRENGTH * (0.15 + 0.03)  # contrast in the infrared image +0.15, in the fused one -0.03
    assert added[0, 0, 108:132, 156:164].sub(expected).abs().max() < 0.03


def test_raised_targets_stay_below_white_and_keep_the_order_of_their_levels():
    infrared, visible = person(0.1, 0.9), person(0.5, 0.3)
    ramp = torch.linspace(0.1, 0.5, 40)[:, None].expand(40, 16)
    visible[..., 100:140, 152:168] = ramp
    raised = Marked()(visible, infrared, visible)[0, 0, 104:136, 160]
    assert raised.max() < 250 / 255 and raised.mean() > 0.8
    assert (raised.diff() > 0).all()


def test_what_stands_out_enough_stays():
    infrared, fused = person(0.2, 0.4), person(0.3, 0.51)
    assert torch.allclose(Marked()(fused, infrared, fused), fused, atol=1e-6)


def test_a_dark_figure_before_white_is_not_drowned_in_it():
    infrared, visible = person(0.2, 0.6), person(0.97, 0.5)  # no brightness above 1 would show it as well as 0.5 does
    assert torch.equal(Marked()(visible, infrared, visible), visible)


def test_a_black_hot_image_is_known_by_people_in_its_negative():
    """Someone at 0.9 before 0.4 is found, and so in the negative of one at 0.1 before 0.6."""
    one = Marked()
    one.logits = lambda infrared, visible: Marked.logits(one, infrared - 0.5, visible)
    grounds = torch.cat([person(0.4, 0.9), person(0.6, 0.1), torch.full((1, 1, 240, 320), 0.4)])
    assert one.looks_black_hot(grounds, torch.zeros_like(grounds)).tolist() == [False, True, False]


@pytest.mark.parametrize("size", SIZES)
def test_equal_images_stay(size):
    (image,) = random_images(*size, count=1)
    assert torch.equal(lift(20.0)(image, image, image), image)


@pytest.mark.parametrize("level", [0.0, 0.4, 1.0])
def test_a_flat_infrared_image_raises_nothing(level):
    fused, visible, _ = random_images(90, 130)
    flat = torch.full_like(fused, level)
    assert torch.equal(lift(20.0)(fused, flat, visible), fused)


def test_an_untrained_network_raises_nobody():
    fused, infrared, visible = random_images(100, 130)
    assert (TargetLift()(fused, infrared, visible) - fused).abs().max() < 1e-7


@pytest.mark.parametrize("size", SIZES)
def test_bands_of_rows_give_the_whole(size):
    one = lift()
    fused, infrared, visible = random_images(*size)
    whole, found = one(fused, infrared, visible), one.find(fused, infrared, visible)
    for step in (1, 13, 64):
        rows = [slice(k, k + step) for k in range(0, size[0], step)]
        parts = [one.raised(fused[..., r, :], infrared[..., r, :], found, r.start, size[0]) for r in rows]
        assert torch.allclose(torch.cat(parts, dim=2), whole, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_matrices_give_the_same(size):
    one, images = lift(), random_images(*size)
    assert (DenseTargetLift(one)(*images) - one(*images)).abs().max() < 2e-5


def test_the_copy_is_small_at_every_size():
    for pixels in (1, 384, 385, 768, 769, 3000, 20000):
        factor = reduction(pixels, 3 * pixels)
        assert factor == math.ceil(pixels / 384)
    assert TargetLift().copy_of(torch.rand(1, 1, 3000, 4000)).shape == (1, 1, 376, 504)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_any_precision(dtype):
    images = random_images(64, 80)
    one = lift()
    expected = one(*images)
    assert (one.to(dtype)(*(x.to(dtype) for x in images)).double() - expected).abs().max() < 0.02


def general(**changes) -> AdaSFFuse:
    torch.manual_seed(0)
    model = AdaSFFuse(
        ModelOptions(**{**SHAPE, "kinds": ("infrared", "visible", "exposure"), "targets": True, **changes})
    )
    torch.nn.init.constant_(model.targets.last.bias, 20.0)
    return model.eval()


@torch.inference_mode()
def test_people_are_raised_in_infrared_and_visible_images_alone():
    model = general()
    a, b, _ = random_images(48, 64)
    sources = torch.stack([a, b])
    for kinds in ((), ("exposure", "exposure"), ("visible", "visible")):
        assert torch.equal(model(a, b, kinds=kinds), model.blend(sources, model.weight_maps(sources, kinds)))
    fused = model.blend(sources, model.weight_maps(sources, INFRARED_VISIBLE))
    assert torch.equal(model(a, b, kinds=INFRARED_VISIBLE), model.targets(fused, a, b)) and not torch.equal(
        model.targets(fused, a, b), fused
    )
    assert torch.allclose(model(b, a, kinds=INFRARED_VISIBLE[::-1]), model(a, b, kinds=INFRARED_VISIBLE), atol=1e-6)
    mixed = model(
        torch.cat([a, a, b]),
        torch.cat([b, b, a]),
        kinds=[["infrared", "exposure", "visible"], ["visible", "exposure", "infrared"]],
    )
    kinds = (INFRARED_VISIBLE, ("exposure", "exposure"), INFRARED_VISIBLE)
    single = [model(a, b, kinds=pair) for pair in kinds]
    assert torch.allclose(mixed, torch.cat(single), atol=1e-5)


@torch.inference_mode()
def test_tiles_raise_as_the_whole():
    model = general()
    sources = torch.stack(random_images(96, 64, count=2))
    maps = model.weight_maps(sources, INFRARED_VISIBLE)
    tiled = fuse_tiled(model, sources, 128, 16, INFRARED_VISIBLE, band=64 * 16)
    assert torch.allclose(tiled, model.compose(sources, maps, INFRARED_VISIBLE), atol=1e-5)


def test_inherited_or_not():
    start = general()
    with torch.no_grad():
        for parameter in start.targets.parameters():
            parameter.uniform_(-1, 1)
    same = general()
    inherit(same, start)
    assert all(torch.equal(a, b) for a, b in zip(same.targets.parameters(), start.targets.parameters()))
    without = AdaSFFuse(ModelOptions(**{**SHAPE, "kinds": start.options.kinds}))
    inherit(without, start)
    gained = AdaSFFuse(start.options)
    inherit(gained, without)
    images = [image[0] for image in torch.stack(random_images(32, 48, count=2)).unbind(0)]
    a, b = (image[None] for image in images)
    with torch.inference_mode():
        assert torch.allclose(gained(a, b, kinds=INFRARED_VISIBLE), without(a, b, kinds=INFRARED_VISIBLE), atol=1e-6)


def write_frames(root: Path) -> Path:
    """Eight pairs of noise with a warm upright rectangle, its masks, and a list of them all."""
    draws = torch.Generator().manual_seed(0)
    for folder in ("infrared", "visible", "labels"):
        (root / folder).mkdir(parents=True)
    for number in range(8):
        x, y = (int(torch.randint(40, 200, (), generator=draws)) for _ in range(2))
        noise = 40 + 30 * torch.rand(240, 320, generator=draws)
        mask = torch.zeros(240, 320)
        mask[y - 24 : y + 24, x - 9 : x + 9] = 2
        for folder, image in (("infrared", noise + 90 * (mask > 0)), ("visible", noise), ("labels", mask)):
            write_image(root / folder / f"{number}.png", image.to(torch.uint8).numpy())
    (root / "classes.txt").write_text("0 background\n1 car\n2 person\n")
    (root / "train.txt").write_text("".join(f"{number}\n" for number in range(8)))
    return root


def test_no_strided_convolution_runs_in_bfloat16():
    """On a processor those of oneDNN read memory beyond grids of two columns, and now and then gave NaN."""
    model = AdaSFFuse(ModelOptions(**{**SHAPE, "targets": True}, kinds=INFRARED_VISIBLE)).eval()
    strided = [part for part in model.modules() if isinstance(part, torch.nn.Conv2d) and max(part.stride) > 1]
    kept = []
    for part in strided:
        part.register_forward_hook(lambda part, taken, given: kept.append(given.dtype))
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        model(*torch.rand(2, 1, 1, 33, 2), kinds=INFRARED_VISIBLE)
    assert kept == [torch.float32] * len(strided) and model.targets.down in strided


def test_labels_are_read_at_the_copy_and_taught(tmp_path, monkeypatch):
    monkeypatch.setattr(targets, "BATCH", 4)
    monkeypatch.setattr(targets, "_SIZE", (120, 160))
    classes = ClassList(("background", "car", "person"))
    frames = list(find_frames([write_frames(tmp_path / "data")], "segment", classes, lists=False).frames.values())
    one = TargetLift()
    samples = read_samples(one, frames, classes)
    assert [tuple(sample.shape) for sample in samples] == [(4, 240, 320)] * 8
    assert samples[0][2].sum() == 48 * 18 and not samples[0][3].any()
    assert agreement(one, samples).recall == 0
    teach(one, [samples[:4], samples[4:6]], steps=30)
    result = agreement(one, samples[6:])
    assert result.recall > 0.8 and result.precision > 0.5, result
    assert not any(parameter.requires_grad for parameter in one.parameters())


@pytest.mark.parametrize("steps", [1, 10])
def test_few_steps_have_no_warm_up(monkeypatch, steps):
    """Of ten steps the first is a tenth, for which OneCycleLR divides by zero."""
    monkeypatch.setattr(targets, "BATCH", 1)
    monkeypatch.setattr(targets, "_SIZE", (64, 64))
    sample = torch.zeros(4, 64, 64)
    sample[2, 20:40, 20:40] = 1
    done = []
    teach(TargetLift(), [[sample]], steps, progress=lambda step, loss: done.append(step))
    assert done == [*range(1, steps + 1)]


def test_labels_without_people_are_refused():
    empty = torch.zeros(4, 240, 320)
    with pytest.raises(ValueError, match="no frame shows a target"):
        teach(TargetLift(), [[empty], [empty]], steps=1)
    with pytest.raises(ValueError, match="no class is called person"):
        read_samples(TargetLift(), [], ClassList(("background", "car")))
    assert labelled(empty[None, 2:3]).shape == (1, 1, 120, 160)


def write_boxes(path: Path, *boxes: tuple[int, int, int, int, int], size: tuple[int, int] = (240, 320)) -> Path:
    """A COCO file of image 0: x, y, width, height in pixels, and 1 for a person, 2 for where there may be some."""
    content = {
        "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "ignored"}],
        "images": [{"id": 1, "file_name": "0.png", "height": size[0], "width": size[1]}],
        "annotations": [{"image_id": 1, "bbox": box[:4], "category_id": box[4]} for box in boxes],
    }
    path.write_text(json.dumps(content))
    return path


def test_of_a_box_the_warm_body_counts_and_the_rest_neither_way():
    infrared = torch.full((100, 120), 0.3)
    infrared[20:60, 30:40] = 0.7  # a body in a box that is twice as wide
    infrared[62:98, 80:90] = 0.34  # one that is hardly warmer than what surrounds it
    infrared[:, 100:] = 0.9  # a wall, nearer than half a box's width
    boxes = [Box("person", 25, 20, 45, 60), Box("person", 80, 62, 90, 98)]
    inside, unsure = warm_areas(infrared, boxes, [Box("ignored", 0, 0, 10, 10)])
    expected = torch.zeros(2, 100, 120)
    expected[0, 20:60, 30:40] = 1
    for rows, columns in ((slice(20, 60), slice(25, 45)), (slice(62, 98), slice(80, 90)), (slice(0, 10), slice(0, 10))):
        expected[1, rows, columns] = 1
    expected[1] -= expected[0]
    assert torch.equal(inside, expected[0]) and torch.equal(unsure, expected[1])
    inside, unsure = warm_areas(infrared, [Box("person", 0, 0, 120, 100)], [])
    assert not inside.any() and unsure.all()  # nothing surrounds it


def test_what_is_unsure_counts_neither_way(tmp_path):
    root = write_frames(tmp_path / "data")
    body = torch.full((240, 320), 60, dtype=torch.uint8)
    body[32:112, 16:56] = 180
    write_image(root / "infrared/0.png", body.numpy())
    file = write_boxes(tmp_path / "boxes.json", (16, 32, 40, 80, 1), (160, 40, 64, 120, 2))
    found = find_frames([root], "detect", train_targets.BOXED, lists=False, coco=file).frames
    assert list(found) == ["0"]  # of eight images the file names one
    lift = TargetLift()
    (sample,) = read_samples(lift, list(found.values()), train_targets.BOXED)
    assert sample[2].sum() == 40 * 80 and sample[2, 32:112, 16:56].all()
    assert sample[3].sum() == 64 * 120 and sample[3, 40:160, 160:224].all()

    mask = torch.zeros(240, 320, dtype=torch.uint8)
    mask[40:160, 160:224] = 255
    write_image(root / "labels/0.png", mask.numpy())
    classes = ClassList(("background", "car", "person"))
    frame = find_frames([root], "segment", classes, lists=False).frames["0"]
    (of_mask,) = read_samples(lift, [frame], classes)
    assert torch.equal(of_mask[3], sample[3]) and not of_mask[2].any()

    label, unsure = labelled(sample[2][None, None]), labelled(sample[3][None, None])
    losses = []
    for seen in (-4.0, 4.0):
        logits = torch.where(unsure > 0, seen, 8 * label - 4)
        losses.append(_loss(logits, label, unsure).item())
        lift.logits = lambda *_, logits=logits: logits
        assert agreement(lift, [sample]).iou == 1
    assert losses[0] == losses[1] < _loss(logits, label, torch.zeros_like(unsure)).item()


def test_a_small_camera_is_drawn_by_the_root_of_its_number(monkeypatch):
    of_first, of_second = (torch.full((4, 16, 16), float(number)) for number in (0, 1))
    drawn = []
    monkeypatch.setattr(targets, "augmented", lambda sample, draws: drawn.append(int(sample[2, 0, 0])) or sample)
    teach(TargetLift(), [[of_first] * 16, [of_second]], steps=60)
    assert len(drawn) == 60 * BATCH and sum(drawn) / len(drawn) == pytest.approx(1 / 5, abs=0.05)


def test_the_script_teaches_and_teaches_again(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(targets, "BATCH", 2)
    monkeypatch.setattr(targets, "_SIZE", (64, 64))
    data, start, out = write_frames(tmp_path / "data"), tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    write_weights(start, "ivf", seed=5, kinds=("infrared", "visible"))
    words = [data, "--held_out", "[67]", "--also", f"same={data}", "--also_task", "segment", "--steps", "2"]
    words += ["--classes", data / "classes.txt"]
    assert train_targets.main([str(w) for w in (*words, "--weights", start, "--out", out)]) == 0
    shown = capsys.readouterr().out
    for told in (
        "trained on: DATA, 6 frames: IoU",
        "not trained on: held out, 2 frames",
        "not trained on: same, 8 frames",
    ):
        assert told in shown
    assert train_targets.main([str(w) for w in (*words, "--weights", out, "--out", start)]) == 0
    before, after = (load_weights(path)[0] for path in (out, start))
    assert before.options.targets and before.targets.last.weight.any()
    assert all(torch.equal(v, after.state_dict()[k]) for k, v in before.state_dict().items())  # the same seed
    assert torch.equal(after.embed.weight, network(5, kinds=("infrared", "visible")).embed.weight)
    assert read_record(start)["targets"] == {"frames": 6, "steps": 2, "seed": 0}
    boxes = write_boxes(tmp_path / "boxes.json", (16, 32, 40, 80, 1))
    words += ["--boxes", f"{data}={boxes}", "--also_boxes", f"{data}={boxes}"]
    capsys.readouterr()
    assert train_targets.main([str(w) for w in (*words, "--weights", out, "--out", start)]) == 0
    shown = capsys.readouterr().out
    assert f"\ntrained on: {data}, 1 frames" in shown and f"not trained on: {data}, 1 frames" in shown
    assert read_record(start)["targets"]["frames"] == 7


@pytest.mark.parametrize(
    "words, message",
    [
        (["--held_out", "x*"], "--held_out x*: fits no stem in train.txt, such as 0"),
        (["--held_out", "*"], "--held_out leaves no frame to train on"),
        (["--also", "elsewhere"], "--also elsewhere: expected NAME=DATA"),
        (["--boxes", "elsewhere"], "--boxes elsewhere: expected DATA=FILE"),
        (["--boxes", "{data}={data}/none.json"], "none.json: not a COCO file of boxes"),
        (["--boxes", "{data}={data}/../wide.json"], "0: the COCO file states 999x240 pixels"),
        (["--weights", "mff_small"], "the network lacks the kinds infrared and visible"),
    ],
)
def test_mistakes_are_named_before_anything_is_trained(tmp_path, capsys, words, message):
    data, out = write_frames(tmp_path / "data"), tmp_path / "out.safetensors"
    write_boxes(tmp_path / "wide.json", (16, 32, 40, 80, 1), size=(240, 999))
    words = ["--weights", "general_tiny", *(word.format(data=data) for word in words)]
    arguments = [data, "--classes", data / "classes.txt", *words, "--also_task", "segment", "--out", out]
    status = 1 if ".json" in message or "COCO" in message else 2  # of files, of options
    assert train_targets.main([str(word) for word in arguments]) == status
    assert message in capsys.readouterr().err and not out.exists()


def test_without_a_list_nothing_is_trained(tmp_path, capsys):
    data = write_frames(tmp_path / "data")
    (data / "train.txt").unlink()
    arguments = [data, "--weights", "general_tiny", "--out", tmp_path / "out.safetensors"]
    assert train_targets.main([str(word) for word in arguments]) == 2
    assert "train.txt names no frame" in capsys.readouterr().err


@pytest.mark.parametrize("name, pairs, people", [("roadscene", 201, 404), ("m3fd", 43, 73), ("nir", 12, 0)])
def test_our_boxes_of_people_are_whole(name, pairs, people, data_root):
    file = Path(__file__).parents[1] / f"scripts/people/{name}.json"
    folder = {"roadscene": "IVF", "m3fd": "IVF_M3FD", "nir": "IVF_NIR"}[name]
    found = find_frames([data_root / "train" / folder], "detect", train_targets.BOXED, lists=False, coco=file)
    found.refuse_faults()
    assert len(found.frames) == pairs
    assert sum(box.name == "person" for frame in found.frames.values() for box in frame.boxes.boxes) == people
