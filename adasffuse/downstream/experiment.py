"""The runs of a comparison: one network per modality and seed, each trained and scored in a folder of its own.

OUT/images/MODALITY/STEM.png            images made for the comparison
OUT/runs/MODALITY/seed_N/scores.json    scores of a finished run
OUT/runs/MODALITY/seed_N/state.pt       state of an unfinished run
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy import ndarray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from adasffuse.device import pick_device
from adasffuse.downstream import detection, segmentation
from adasffuse.downstream.classes import ClassList
from adasffuse.downstream.detection import Detection, average_precision
from adasffuse.downstream.fitting import STATE, Budget, Loss, fit
from adasffuse.downstream.frames import Frame, mask_of
from adasffuse.downstream.packages import needed
from adasffuse.downstream.samples import Sample, Samples
from adasffuse.downstream.yolo import YOLO_WEIGHTS, detect_yolo, is_yolo, train_yolo
from adasffuse.files import replacing, write_text
from adasffuse.images.image import ImageError
from adasffuse.inference.journal import stamps

ALL = "all"  # the group of all frames
SCORES, MODEL, FOUND = "scores.json", "model.safetensors", "detections.json"


@dataclass(frozen=True)
class Experiment:
    """The setup of a comparison."""

    task: str  # 'detect' or 'segment'
    classes: ClassList
    train: tuple[Frame, ...]
    test: tuple[Frame, ...]
    files: Mapping[str, Mapping[str, Path]]  # modality to stem to image
    out: Path
    model: str
    backbone: str
    weights: str  # 'scratch', 'imagenet', or a file or name that the model knows
    size: tuple[int, int]  # height, width of the networks' input
    budget: Budget
    seeds: tuple[int, ...] = (0, 1, 2)
    groups: Mapping[str, str] = field(default_factory=dict)  # name of a group of test frames to pattern of stems
    others: Mapping[str, tuple[Frame, ...]] = field(default_factory=dict)  # frames of other data sets, scored apart
    balanced: bool = True  # segmentation: rare classes have larger weights
    applied: str | None = "visible"  # the modality whose networks are also scored on all others
    device: str = "auto"

    @property
    def runs(self) -> list["Run"]:
        """One per modality and seed; all modalities of a seed before the next seed."""
        return [Run(modality, seed) for seed in self.seeds for modality in self.files]

    def folder(self, run: "Run") -> Path:
        return self.out / "runs" / run.modality / f"seed_{run.seed}"

    @property
    def scored(self) -> list[Frame]:
        """All frames on which networks are scored."""
        return [*self.test, *(frame for frames in self.others.values() for frame in frames)]

    def scored_groups(self) -> dict[str, list[Frame]]:
        """The frames of each group: 'all' test frames, the groups of test frames, and other data sets."""
        found = {ALL: list(self.test)}
        for name, pattern in self.groups.items():
            found[name] = [frame for frame in self.test if fnmatchcase(frame.stem, pattern)]
        found |= {name: list(frames) for name, frames in self.others.items()}
        return {name: some for name, some in found.items() if some}


@dataclass(frozen=True)
class Run:
    """One network."""

    modality: str
    seed: int

    def __str__(self) -> str:
        return f"{self.modality}, seed {self.seed}"


def tested_by(experiment: Experiment, run: Run) -> list[str]:
    """The modalities on which a run's network is scored, its own first."""
    own = run.modality
    return [own, *(name for name in experiment.files if name != own)] if own == experiment.applied else [own]


def refuse_other_task(out: Path, task: str) -> None:
    """Raise ValueError if a folder holds runs of the other task, which would be replaced."""
    for path in sorted(out.glob(f"runs/*/seed_*/{SCORES}")):
        try:
            found = json.loads(path.read_text(encoding="utf-8"))["settings"]["task"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue  # damaged runs are made anew in any case
        if found != task:
            raise ValueError(f"--out {out}: holds runs of --task {found}, which would be replaced; give another folder")


def carry_out(experiment: Experiment, run: Run) -> dict[str, Any]:
    """Train and score one network; finished steps of an earlier call are not repeated.

    Returns:
        the content of `scores.json`: 'scores', tested modality to group to metric to class to value (None if it is
        undefined); 'seconds' of training; 'settings'; 'images' (digests); and by group 'curves' for detection,
        'confusion' for segmentation.
    """
    content = _noted(experiment, run)
    folder = experiment.folder(run)
    if "seconds" not in content:
        _start_over_if_changed(folder, content["settings"])
        started = time.perf_counter()
        torch.manual_seed(run.seed)
        _train(experiment, run, folder)
        content["seconds"] = round(time.perf_counter() - started, 1)
    score = None
    for name in tested_by(experiment, run):
        digest = _images_digest(experiment, name)
        if content["images"].get(name) != digest:
            score = score or _scorer(experiment, folder)
            content["scores"][name], details = score(name, folder if name == run.modality else None)
            content["images"][name] = digest
            if name == run.modality:
                content |= details
            content = _plain(content)
            write_text(folder / SCORES, json.dumps(content) + "\n")
            (folder / STATE).unlink(missing_ok=True)
    return content


def _noted(experiment: Experiment, run: Run) -> dict[str, Any]:
    """The scores of an earlier call with the same settings, or empty ones."""
    settings = settings_of(experiment, run)
    try:
        content = json.loads((experiment.folder(run) / SCORES).read_text(encoding="utf-8"))
        if content["settings"] == settings and all(isinstance(content[key], dict) for key in ("scores", "images")):
            return content
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass  # missing or damaged scores are made anew
    return {"settings": settings, "scores": {}, "images": {}}


def _train(experiment: Experiment, run: Run, folder: Path) -> None:
    """Train the network of a run and write its weights."""
    if _by_yolo(experiment):
        train_yolo(experiment, run)
        return
    files = experiment.files[run.modality]
    samples = Samples(experiment.train, files, experiment.classes, experiment.size, run.seed)
    model = _network(experiment)
    loss = _segmentation_loss(experiment, model) if experiment.task == "segment" else _detection_loss(experiment, model)
    fit(model, loss, samples, experiment.budget, run.seed, folder, str(run))
    with replacing(folder / MODEL) as temporary:
        save_file({name: value.contiguous() for name, value in model.state_dict().items()}, temporary)


def _by_yolo(experiment: Experiment) -> bool:
    return experiment.task == "detect" and is_yolo(experiment.model)


def check_network(experiment: Experiment) -> None:
    """Raise ValueError for a network that cannot be built, e.g. for lack of a package, before any image is made."""
    if _by_yolo(experiment):
        needed("ultralytics", f"model {experiment.model}")
        return
    try:
        _network(experiment)
    except RuntimeError as error:  # from timm, for an unknown backbone
        raise ValueError(f"--model {experiment.model} --backbone {experiment.backbone}: {error}") from None


def _network(experiment: Experiment, folder: Path | None = None) -> nn.Module:
    """A network before its training, or the trained one of a run's folder."""
    weights = experiment.weights if folder is None else "scratch"
    count = len(experiment.classes.names)
    if experiment.task == "segment":
        model = segmentation.make_segmenter(experiment.model, count, experiment.backbone, weights)
    else:
        precision = experiment.budget.precision
        model = detection.make_detector(
            experiment.model, count, experiment.backbone, weights, experiment.size, precision
        )
    if folder is not None:
        model.load_state_dict(load_file(folder / MODEL))
    return model.to(pick_device(experiment.device), memory_format=torch.channels_last)


Scores = tuple[dict[str, Any], dict[str, Any]]  # group to metric to class to value; and further details by group


def _scorer(experiment: Experiment, folder: Path) -> Callable[[str, Path | None], Scores]:
    """A function that scores the trained network of a run's folder.

    It takes the tested modality, and the folder for the detections or None.
    """
    if _by_yolo(experiment):
        weights = folder / YOLO_WEIGHTS
        return lambda name, place: _detection_scores(experiment, detect_yolo(weights, experiment, name), place)
    model = _network(experiment, folder).eval()
    if experiment.task == "segment":
        return lambda name, place: _score_segmenter(experiment, model, name)
    return lambda name, place: _score_detector(experiment, model, name, place)


def _segmentation_loss(experiment: Experiment, model: nn.Module) -> Loss:
    device = next(model.parameters()).device
    weights = None
    if experiment.balanced:
        masks = (mask_of(frame, experiment.classes) for frame in experiment.train)
        weights = segmentation.class_weights(masks, len(experiment.classes.names)).to(device)
    low = experiment.budget.precision == "bfloat16"

    def loss(images: Tensor, samples: Sequence[Sample]) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=low):
            return segmentation.segmentation_loss(model, images, samples, weights)

    return loss


def _detection_loss(experiment: Experiment, model: nn.Module) -> Loss:
    first = _first_number(experiment)
    return lambda images, samples: detection.detection_loss(model, images, samples, first)


def _first_number(experiment: Experiment) -> int:
    return 1 if experiment.model == "ssdlite" else 0


@torch.no_grad()
def _score_segmenter(experiment: Experiment, model: nn.Module, name: str) -> Scores:
    matrices = {stem: matrix for stem, (matrix, _) in _segmented(experiment, model, name)}
    scores, confusion = {}, {}
    for group, frames in experiment.scored_groups().items():
        matrix = sum(matrices[frame.stem] for frame in frames)
        scores[group] = segmentation.SegmentationScores.of(matrix).named(experiment.classes.names)
        confusion[group] = matrix.tolist()
    return scores, {"confusion": confusion}


def _segmented(experiment: Experiment, model: nn.Module, name: str) -> Iterator[tuple[str, tuple[ndarray, ndarray]]]:
    """Stem, and confusion matrix and predicted ids, of each scored frame."""
    device = next(model.parameters()).device
    samples = Samples(experiment.scored, experiment.files[name], experiment.classes, experiment.size, None)
    for number, frame in enumerate(experiment.scored):
        truth = mask_of(frame, experiment.classes)
        image = samples[number].image[None].to(device, memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=experiment.budget.precision == "bfloat16"):
            logits = model(image)
        logits = F.interpolate(logits.float(), truth.shape, mode="bilinear", align_corners=False)
        found = logits[0].argmax(0).cpu().numpy()
        yield frame.stem, (segmentation.confusion(found, truth, len(experiment.classes.names)), found)


def _score_detector(experiment: Experiment, model: nn.Module, name: str, folder: Path | None) -> Scores:
    device = next(model.parameters()).device
    samples = Samples(experiment.scored, experiment.files[name], experiment.classes, experiment.size, None)
    found = {}
    for number, frame in enumerate(experiment.scored):
        image, first = samples[number].image.to(device), _first_number(experiment)
        found[frame.stem] = detection.detect(model, image, frame.size, experiment.classes, first)
    return _detection_scores(experiment, found, folder)


def _detection_scores(experiment: Experiment, found: Mapping[str, list[Detection]], folder: Path | None) -> Scores:
    scores, curves = {}, {}
    for group, frames in experiment.scored_groups().items():
        truth = {frame.stem: frame.boxes for frame in frames}
        one = average_precision(truth, {stem: found[stem] for stem in truth}, experiment.classes)
        scores[group], curves[group] = one.metrics, one.curves
    if folder is not None:
        rows = {stem: [asdict(one) for one in some] for stem, some in found.items()}
        write_text(folder / FOUND, json.dumps(rows) + "\n")
    return scores, {"curves": curves}


def found_boxes(experiment: Experiment, run: Run) -> dict[str, list[Detection]]:
    """The detections of a finished run in the test frames of its modality.

    Raises:
        ValueError: their file was edited, or is damaged.
    """
    path = experiment.folder(run) / FOUND
    try:
        return {
            stem: [Detection(one["name"], float(one["score"]), tuple(map(float, one["edges"]))) for one in some]
            for stem, some in json.loads(path.read_text(encoding="utf-8")).items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ImageError(f"{path}: damaged detections ({error}); remove its folder to make this run anew") from error


@torch.no_grad()
def found_masks(experiment: Experiment, run: Run, frames: Sequence[Frame]) -> dict[str, ndarray]:
    """The segmentation of some frames by the network of a finished run: stem to (H, W) ids."""
    some = replace(experiment, test=tuple(frames), others={})
    model = _network(some, experiment.folder(run)).eval()
    return {stem: found for stem, (_, found) in _segmented(some, model, run.modality)}


def settings_of(experiment: Experiment, run: Run) -> dict[str, Any]:
    """All that a run's network depends on, as JSON values."""
    files = [experiment.files[run.modality][frame.stem] for frame in experiment.train]
    values = {
        "task": experiment.task,
        "model": experiment.model,
        "backbone": experiment.backbone,
        "weights": experiment.weights,
        "size": list(experiment.size),
        "budget": asdict(experiment.budget),
        "balanced": experiment.balanced,
        "classes": list(experiment.classes.names),
        "modality": run.modality,
        "seed": run.seed,
        "frames": len(experiment.train),
        "content": _digest([stamps(files), _labels(experiment.train), stamps([Path(experiment.weights)])]),
    }
    return json.loads(json.dumps(values))


def _labels(frames: Sequence[Frame]) -> list:
    """Values that change with the labels: the boxes as used, or the stamps of mask files."""
    return [[f.stem, stamps([f.mask]) if f.mask else [asdict(box) for box in f.boxes.boxes]] for f in frames]


def _images_digest(experiment: Experiment, modality: str) -> str:
    """A digest that changes with the test images of a modality, their labels, or the groups."""
    images = stamps([experiment.files[modality][frame.stem] for frame in experiment.scored])
    groups = {name: [frame.stem for frame in frames] for name, frames in experiment.scored_groups().items()}
    return _digest([images, _labels(experiment.scored), groups])


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def _start_over_if_changed(folder: Path, settings: dict[str, Any]) -> None:
    """Delete the state of an unfinished run with other settings."""
    path = folder / "settings.json"
    text = json.dumps(settings, indent=1) + "\n"
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        (folder / STATE).unlink(missing_ok=True)
        (folder / YOLO_WEIGHTS).unlink(missing_ok=True)
        write_text(path, text)


def _plain(value: Any) -> Any:
    """Values for JSON, with None for NaN."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value
