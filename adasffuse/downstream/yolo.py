"""YOLO detectors by ultralytics, an optional package.

Its licence is AGPL-3.0: a program that uses it may be distributed, or offered over a network, only with its source
under the same terms, or with a licence that is bought.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from adasffuse.downstream.detection import Detection
from adasffuse.downstream.labels import write_yolo
from adasffuse.downstream.packages import needed
from adasffuse.files import link_or_copy, write_text

if TYPE_CHECKING:
    from adasffuse.downstream.experiment import Experiment, Run

_NAME = re.compile(r"yolo\w*")
YOLO_WEIGHTS = Path("yolo") / "weights" / "last.pt"  # below the folder of a run
_LEAST_SCORE, _MOST_BOXES = 0.005, 100


def is_yolo(model: str) -> bool:
    """Whether a model's name is one of ultralytics', e.g. yolov5nu, yolov8s or yolo11n."""
    return _NAME.fullmatch(model) is not None


def train_yolo(experiment: "Experiment", run: "Run") -> None:
    """Train a YOLO detector by ultralytics' own trainer; an interrupted run continues from its last epoch.

    A network from scratch is built from ultralytics' yaml of the model, without a download.  It is given square images;
    these are linked or copied below the folder of the run.

    Raises:
        MissingPackageError: ultralytics is not installed.
        ValueError: it knows no such model.
    """
    model, folder, files = experiment.model, experiment.folder(run), experiment.files[run.modality]
    package = needed("ultralytics", f"model {model}")
    data = folder / "yolo_data"
    for frame in experiment.train:
        link = data / "images" / f"{frame.stem}{files[frame.stem].suffix}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link_or_copy(files[frame.stem], link)
        write_yolo(data / "labels" / f"{frame.stem}.txt", frame.size, frame.boxes.boxes, experiment.classes)
    names = "".join(f"  {number}: {name}\n" for number, name in enumerate(experiment.classes.names))
    write_text(data / "data.yaml", f"path: {data.resolve()}\ntrain: images\nval: images\nnames:\n{names}")
    last = folder / YOLO_WEIGHTS
    if last.is_file() and not _is_finished(last):
        package.YOLO(last).train(resume=True)
        return
    try:
        scratch = experiment.weights == "scratch"
        network = package.YOLO(f"{_yaml_name(model)}.yaml" if scratch else experiment.weights)
    except FileNotFoundError as error:
        raise ValueError(f"ultralytics knows no model {model!r} ({error})") from None
    network.train(
        data=str(data / "data.yaml"),
        epochs=experiment.budget.epochs,
        imgsz=max(experiment.size),
        batch=experiment.budget.batch,
        seed=run.seed,
        device=None if experiment.device == "auto" else experiment.device,
        workers=0,
        project=str(folder.resolve()),
        name="yolo",
        exist_ok=True,
        val=False,
        plots=False,
        amp=False,
        verbose=False,
    )


def detect_yolo(weights: Path, experiment: "Experiment", modality: str) -> dict[str, list[Detection]]:
    """Detections of a trained YOLO detector in all scored frames of a modality, by stem of the frame."""
    network, names = needed("ultralytics", "a YOLO detector").YOLO(weights), experiment.classes.names
    options = {"imgsz": max(experiment.size), "conf": _LEAST_SCORE, "max_det": _MOST_BOXES, "verbose": False}
    found = {}
    for frame in experiment.scored:
        result = network.predict(str(experiment.files[modality][frame.stem]), **options)[0].boxes
        rows = zip(result.cls.int().tolist(), result.conf.tolist(), result.xyxy.tolist())
        found[frame.stem] = [Detection(names[number], score, tuple(box)) for number, score, box in rows]
    return found


def _is_finished(path: Path) -> bool:
    import torch

    # ultralytics' own file, written by this run; it holds pickled classes, so it cannot be read as weights only
    return torch.load(path, map_location="cpu", weights_only=False)["epoch"] == -1


def _yaml_name(model: str) -> str:
    """Name of the model's yaml file: yolov5nu is built from yolov5n.yaml, the u marks ultralytics' head."""
    return model.removesuffix("u") if model.startswith("yolov5") else model
