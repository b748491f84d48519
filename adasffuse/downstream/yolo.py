"""YOLO detectors by ultralytics, an optional package.

Its licence is AGPL-3.0: a program that uses it may be distributed, or offered over a network, only with its source
under the same terms, or with a licence that is bought.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from adasffuse.downstream.classes import ClassList
from adasffuse.downstream.detection import Detection
from adasffuse.downstream.fitting import Budget
from adasffuse.downstream.frames import Frame
from adasffuse.downstream.labels import write_yolo
from adasffuse.downstream.packages import needed
from adasffuse.files import link_or_copy, write_text

_NAME = re.compile(r"yolo\w*")
YOLO_WEIGHTS = Path("yolo") / "weights" / "last.pt"  # below the folder of a run
_LEAST_SCORE, _MOST_BOXES = 0.005, 100


def is_yolo(model: str) -> bool:
    """Whether a model's name is one of ultralytics', e.g. yolov5nu, yolov8s or yolo11n."""
    return _NAME.fullmatch(model) is not None


def train_yolo(
    model: str,
    weights: str,
    frames: Sequence[Frame],
    files: Mapping[str, Path],
    classes: ClassList,
    side: int,
    budget: Budget,
    seed: int,
    folder: Path,
    device: str,
) -> Path:
    """Train a YOLO detector by ultralytics' own trainer; an interrupted run continues from its last epoch.

    Args:
        model: name, e.g. 'yolov8n'; built from ultralytics' yaml, without a download.
        weights: 'scratch', or a .pt file.
        frames, files: of the training split.
        side: of the square images that the network is given, pixels.
        folder: of this run; images are linked or copied below it.
    Returns:
        The weights file.
    Raises:
        MissingPackageError: ultralytics is not installed.
        ValueError: it knows no such model.
    """
    package = needed("ultralytics", f"model {model}")
    data = folder / "yolo_data"
    for frame in frames:
        link = data / "images" / f"{frame.stem}{files[frame.stem].suffix}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link_or_copy(files[frame.stem], link)
        write_yolo(data / "labels" / f"{frame.stem}.txt", frame.size, frame.boxes.boxes, classes)
    names = "".join(f"  {number}: {name}\n" for number, name in enumerate(classes.names))
    write_text(data / "data.yaml", f"path: {data.resolve()}\ntrain: images\nval: images\nnames:\n{names}")
    last = folder / YOLO_WEIGHTS
    if last.is_file() and not _is_finished(last):
        package.YOLO(last).train(resume=True)
        return last
    try:
        network = package.YOLO(f"{_yaml_name(model)}.yaml" if weights == "scratch" else weights)
    except FileNotFoundError as error:
        raise ValueError(f"ultralytics knows no model {model!r} ({error})") from None
    network.train(
        data=str(data / "data.yaml"),
        epochs=budget.epochs,
        imgsz=side,
        batch=budget.batch,
        seed=seed,
        device=None if device == "auto" else device,
        workers=0,
        project=str(folder.resolve()),
        name="yolo",
        exist_ok=True,
        val=False,
        plots=False,
        amp=False,
        verbose=False,
    )
    return last


def detect_yolo(
    weights: Path, frames: Sequence[Frame], files: Mapping[str, Path], classes: ClassList, side: int
) -> dict[str, list[Detection]]:
    """Detections of a trained YOLO detector by stem of the frame."""
    network = needed("ultralytics", "a YOLO detector").YOLO(weights)
    found = {}
    for frame in frames:
        result = network.predict(
            str(files[frame.stem]), imgsz=side, conf=_LEAST_SCORE, max_det=_MOST_BOXES, verbose=False
        )[0].boxes
        rows = zip(result.cls.int().tolist(), result.conf.tolist(), result.xyxy.tolist())
        found[frame.stem] = [Detection(classes.names[number], score, tuple(box)) for number, score, box in rows]
    return found


def _is_finished(path: Path) -> bool:
    import torch

    # ultralytics' own file, written by this run; it holds pickled classes, so it cannot be read as weights only
    return torch.load(path, map_location="cpu", weights_only=False)["epoch"] == -1


def _yaml_name(model: str) -> str:
    """Name of the model's yaml file: yolov5nu is built from yolov5n.yaml, the u marks ultralytics' head."""
    return model.removesuffix("u") if model.startswith("yolov5") else model
