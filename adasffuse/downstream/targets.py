"""Training `TargetLift`, which finds people, on labelled frames; the fusion loss does not train it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from adasffuse.downstream.classes import IGNORED, ClassList
from adasffuse.downstream.frames import Frame, mask_of
from adasffuse.images.boxes import PEOPLE, Box, box_area
from adasffuse.images.color import luminance
from adasffuse.images.read import read_image
from adasffuse.models.targets import TargetLift

UNSURE = "ignored"  # class of boxes that may hold targets; ignored in training, like a mask's id 255
BOXED = ClassList(("person", UNSURE))  # classes of files that hold only these
START = -3.0  # logit at the start, since targets are rare
BATCH = 8
_SIZE = (240, 320)  # height, width of a training sample
_RARE = 2.0  # weight of a target's pixel in the cross entropy
_RIM = 3  # cells of the map: labels are dilated over a window of this size, since they are a few pixels off
_LEAST = 0.06  # least contrast of a body in the infrared image
_WARM, _HOT = 0.35, 0.9  # a body's pixels lie above this share of the way from the surroundings to this quantile
_STEP_SIZE = 2e-3  # of AdamW at its largest
_WARM_UP = 0.1  # share of the steps with a growing step size


@dataclass(frozen=True)
class Agreement:
    """Agreement of predicted targets with labels."""

    iou: float
    recall: float  # share of the labelled area that is predicted
    precision: float  # share of the predicted area that is labelled

    def __str__(self) -> str:
        return f"IoU {self.iou:.3f}, recall {self.recall:.3f}, precision {self.precision:.3f}"


def read_samples(lift: TargetLift, frames: Sequence[Frame], classes: ClassList) -> list[Tensor]:
    """Samples of frames, (4, h, w) in [0, 1]: reduced infrared image, visible image, labelled area and unsure area.

    Args:
        classes: classes of the frames' masks and boxes; people are the targets.
    Raises:
        ImageError: an image cannot be read.
        ValueError: no class is people, or a frame lacks an infrared or a visible image.
    """
    numbers = [k for k, name in enumerate(classes.names) if name.casefold() in PEOPLE]
    if not numbers:
        raise ValueError(f"no class is called {' or '.join(PEOPLE)}; there are {', '.join(classes.names)}")
    samples = []
    for frame in frames:
        images = [torch.from_numpy(luminance(read_image(path).pixels)) for path in frame.pair()]
        if frame.mask is not None:
            ids = torch.from_numpy(mask_of(frame, classes)).long()
            areas = [torch.isin(ids, torch.tensor(some)).float() for some in (numbers, [IGNORED])]
        else:
            boxes = frame.boxes.boxes
            targets = [box for box in boxes if classes.number(box.name) in numbers]
            unsure = [box for box in boxes if classes.number(box.name) == classes.number(UNSURE)]
            areas = warm_areas(images[0], targets, unsure)
        samples.append(torch.cat([lift.copy_of(x[None, None]) for x in (*images, *areas)])[:, 0])
    return samples


def warm_areas(infrared: Tensor, targets: Sequence[Box], unsure: Sequence[Box]) -> tuple[Tensor, Tensor]:
    """Areas of bodies in boxes, and areas that are unsure, (H, W) of 0 and 1.

    A box holds more than the body: its pixels that are not warm are unsure, and so is the whole box if nothing in it is
    warmer than its surroundings.

    Args:
        infrared: (H, W) in [0, 1].
        targets, unsure: boxes around bodies, and boxes that may hold some.
    """
    boxed, inside = torch.zeros(2, *infrared.shape)
    for box in (*targets, *unsure):
        boxed[box_area(box)] = 1
    for box in targets:
        area, wide_area = box_area(box), box_area(box, margin=0.5)
        around = infrared[wide_area][boxed[wide_area] == 0]
        if not len(around):
            continue
        cold, hot = around.mean(), infrared[area].quantile(_HOT)
        if hot - cold >= _LEAST:
            inside[area] = inside[area].maximum((infrared[area] > cold + _WARM * (hot - cold)).float())
    return inside, boxed * (1 - inside)


def teach(
    lift: TargetLift,
    cameras: Sequence[Sequence[Tensor]],
    steps: int,
    seed: int = 0,
    progress: Callable[[int, float], None] | None = None,
) -> None:
    """Train the network of `lift` from random weights, by cross entropy and Dice's coefficient.

    Cameras differ in gain, gamma, sharpness, noise and the size of people, so samples are augmented in all of these.

    Args:
        cameras: samples of each camera from `read_samples`; a camera is drawn in proportion to the square root of their
            number, so that a large one does not dominate.
        progress: called with the step and its loss.
    Raises:
        ValueError: no sample shows a target.
    """
    if not any(sample[2].any() for samples in cameras for sample in samples):
        raise ValueError("no frame shows a target; the labels hold nobody")
    torch.manual_seed(seed)
    for layer in lift.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.reset_parameters()
    torch.nn.init.constant_(lift.last.bias, START)
    lift.requires_grad_(True).train()
    optimizer = torch.optim.AdamW(lift.parameters(), _STEP_SIZE, weight_decay=1e-3)
    warm_up = _WARM_UP if _WARM_UP * steps > 1 else 0.0  # of one step, OneCycleLR divides by zero
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _STEP_SIZE, total_steps=steps, pct_start=warm_up)
    draws = torch.Generator().manual_seed(seed)
    shares = torch.tensor([len(samples) ** 0.5 for samples in cameras])
    for step in range(steps):
        drawn = [cameras[k] for k in torch.multinomial(shares, BATCH, replacement=True, generator=draws).tolist()]
        chosen = [samples[int(torch.randint(len(samples), (), generator=draws))] for samples in drawn]
        infrared, visible, target, unsure = torch.stack([augmented(one, draws) for one in chosen]).split(1, dim=1)
        loss = _loss(lift.logits(infrared, visible), labelled(target), labelled(unsure))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if progress is not None:
            progress(step + 1, loss.item())
    lift.requires_grad_(False).eval()


@torch.inference_mode()
def agreement(lift: TargetLift, samples: Sequence[Tensor]) -> Agreement:
    """Agreement of the network's targets, of a probability above one half, with the labels."""
    both = seen = wanted = 0.0
    for sample in samples:
        x = sample[:, None, None]
        found, label, unsure = lift.logits(x[0], x[1]) > 0, labelled(x[2]) > 0, labelled(x[3]) > 0
        found &= label | ~unsure
        both += (found & label).sum().item()
        seen += found.sum().item()
        wanted += label.sum().item()
    return Agreement(both / max(seen + wanted - both, 1), both / max(wanted, 1), both / max(seen, 1))


def labelled(inside: Tensor) -> Tensor:
    """Labels (B, 1, h, w), as shares of a pixel, on the grid of the network's output: (B, 1, h / 2, w / 2), 0 or 1."""
    return (F.max_pool2d(F.avg_pool2d(inside, 2), _RIM, stride=1, padding=_RIM // 2) > 0.3).float()


def _loss(logits: Tensor, label: Tensor, unsure: Tensor) -> Tensor:
    counts = 1 - unsure * (1 - label)
    rare = logits.new_tensor(_RARE)
    entropy = F.binary_cross_entropy_with_logits(logits, label, counts, pos_weight=rare)
    probability = logits.sigmoid() * counts
    dice = (2 * (probability * label).sum() + 1) / (probability.sum() + label.sum() + 1)
    return 3 * entropy + 1 - dice


def augmented(sample: Tensor, draws: torch.Generator) -> Tensor:
    """A sample (4, h, w) scaled, shifted, mirrored and as if by another camera: (4, 240, 320)."""

    def drawn(low: float, high: float) -> float:
        return low + (high - low) * torch.rand((), generator=draws).item()

    scale = 2 ** drawn(-0.8, 0.8)
    aspect = scale * 2 ** drawn(-0.15, 0.15)
    mirrored = 1 if drawn(0, 1) < 0.5 else -1
    matrix = torch.tensor([[mirrored / aspect, drawn(-0.05, 0.05), drawn(-0.5, 0.5)], [0, 1 / scale, drawn(-0.4, 0.4)]])
    grid = F.affine_grid(matrix[None], (1, 3, *_SIZE), align_corners=False)
    moved = F.grid_sample(sample[None], grid, padding_mode="reflection", align_corners=False)[0].clamp(0, 1)
    hot, seen, *areas = moved
    if drawn(0, 1) < 0.8:
        hot = hot**2 ** drawn(-1.2, 0.8)
    hot = drawn(0.4, 1.1) * hot + drawn(0, 0.3)
    if drawn(0, 1) < 0.3:  # sharpened by the camera
        hot = hot + drawn(0, 1) * (hot - F.avg_pool2d(hot[None, None], 5, 1, 2)[0, 0])
    if drawn(0, 1) < 0.5:
        hot = hot + drawn(0, 0.05) * torch.randn(_SIZE, generator=draws)
    if drawn(0, 1) < 0.3:
        hot = F.avg_pool2d(hot[None, None], 3, 1, 1)[0, 0]
    seen = seen**2 ** drawn(-1, 1) * drawn(0.4, 1.2) + drawn(-0.1, 0.2)
    if drawn(0, 1) < 0.15:  # night
        seen = seen * drawn(0, 0.3)
    if drawn(0, 1) < 0.5:
        seen = seen + drawn(0, 0.05) * torch.randn(_SIZE, generator=draws)
    return torch.stack([hot.clamp(0, 1), seen.clamp(0, 1), *areas])
