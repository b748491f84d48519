"""Options of a training run: one JSON file, parsed into validated frozen dataclasses.

A file with one part has the part's options (`task`, `data`, `loss`, `teacher`) at the top.  A file with several has a
list `parts`; options beside it are defaults of all parts, key by key.  A part may itself hold `parts`, whose defaults
are its own options.
"""

import json
import os
from dataclasses import asdict, dataclass, field, fields, replace
from math import cos, pi
from pathlib import Path
from typing import Any

from adasffuse.arguments import checked
from adasffuse.data.options import DataOptions
from adasffuse.losses.fusion import LossOptions
from adasffuse.models import SIZES, ModelOptions
from adasffuse.options import bounded, build, check_bounds, check_names, load_json, shown
from adasffuse.tasks import GENERAL, TASKS, Task, find_task

VALIDATION_METRICS = ("VIFF", "Qabf", "SSIM", "SCD", "MI")
TRUTH_METRICS = ("PSNR_GT",)  # of held-out pairs whose ideal result is known
LARGEST_BATCH = 2**30  # pixels of all crops of a batch
MOST_PARTS = 100
LONGEST_NAME = 200  # bytes of the name of a run, which is also its folder's
_STEPS_DOWN = (0.5, 0.75, 0.9)  # shares of the steps at which the schedule 'step' halves the step size
_SHARED = ("task", "data", "loss", "teacher")  # options of a part that may stand at the top of the file


@dataclass(frozen=True)
class TrainOptions:
    """Optimisation."""

    steps: int = bounded(20000, 1, 10**9)  # updates
    batch_size: int = bounded(16, 1, 65536)  # pairs per update, summed over processes
    lr: float = bounded(2e-4, 1e-12, 1e6)  # Adam step size
    schedule: str = "step"  # 'step': halved after 50, 75 and 90 % of the steps; 'cosine': to zero at the end
    warmup: int = bounded(100, 0, 10**9)  # steps of linear growth from 0 to lr
    clip: float = bounded(1.0, 0, 1e9)  # largest gradient norm, 0 for no clipping
    ema: float = bounded(0.999, 0, 0.999999)  # decay of the averaged weights, which are the ones saved
    precision: str = "float32"  # or 'bfloat16': autocast; FFT, running sums and losses stay float32
    seed: int = bounded(0, 0, 2**62)
    init: str = ""  # weights to start from: a file, a run's folder or a name such as 'general_small'; "" for random
    accumulate: int = bounded(1, 1, 65536)  # micro-batches per update, if a whole batch exceeds the memory

    def __post_init__(self) -> None:
        check_bounds(self, "train")
        for name, known in (("schedule", ("step", "cosine")), ("precision", ("float32", "bfloat16"))):
            if getattr(self, name) not in known:
                raise ValueError(f"train.{name} must be one of {', '.join(known)}, got {shown(getattr(self, name))}")

    def lr_at(self, step: int) -> float:
        """Step size of update number `step`, counted from 0."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        if self.schedule == "cosine":
            return self.lr * 0.5 * (1 + cos(pi * (step - self.warmup) / max(1, self.steps - self.warmup)))
        return self.lr * 0.5 ** sum(step >= share * self.steps for share in _STEPS_DOWN)


@dataclass(frozen=True)
class LogOptions:
    """How often a run reports and saves, in steps; 0 for never.  Validation also runs after the last step.

    Loss terms are logged about a thousand times per run, see `every`.
    """

    panel: int = bounded(500, 0, 10**9)  # images of the current batch; 0 also leaves out validation images
    validate: int = bounded(500, 0, 10**9)
    checkpoint: int = bounded(500, 0, 10**9)
    keep: int = bounded(2, 1, 10**6)  # newest checkpoints kept
    best: str = "VIFF+Qabf+SSIM"  # score of the best validation: 'loss', or metrics joined by '+'

    def __post_init__(self) -> None:
        check_bounds(self, "log")
        known = (*VALIDATION_METRICS, *TRUTH_METRICS, "loss")
        names = self.best.split("+")
        for name in names:
            if name not in known or names.count(name) > 1:
                raise ValueError(
                    f"log.best must be different names out of {', '.join(known)}, joined by +; got {shown(self.best)}"
                )

    @staticmethod
    def every(steps: int) -> int:
        """Steps between two entries of the loss terms, in a run of `steps` steps."""
        return max(1, steps // 1000)


@dataclass(frozen=True)
class PartOptions:
    """One share of a run's samples: pairs of one task from one root, with their loss."""

    task: str  # 'ivf', 'mef', 'mff' or 'mif'
    data: DataOptions
    loss: LossOptions = field(default_factory=LossOptions)  # `parse_options` starts from the task's recipe
    weight: float = bounded(1.0, 1e-6, 1e6)  # its share of every batch, relative to the weights of the other parts
    teacher: str = ""  # weights, named like `train.init`, whose result serves as unknown truth; "" for none

    def __post_init__(self) -> None:
        check_bounds(self, "")
        self._check_task()
        self.loss.check_side("data.crop", self.data.crop)
        if self.loss.steady and not self.data.passing:
            raise ValueError(
                f"loss.steady {self.loss.steady} needs pairs with a passing object: set data.passing above 0"
            )

    def _check_task(self) -> None:
        """Raise ValueError for pairs of another task, which the network would take for the wrong kinds."""
        data, kinds = self.data, _named_task(self.task, "task").kinds
        for dataset in data.datasets:
            if _named_task(dataset, "data.datasets").id != self.task:
                raise ValueError(f"data.datasets: {dataset} is no data set of the part's task, {self.task}")
        for name, kind in (("sharp_share", "focus"), ("exposures", "exposure")):
            if data.sharp_folder and getattr(data, name) and kind not in kinds:
                task = next(task.id for task in TASKS.values() if kind in task.kinds)
                raise ValueError(f"data.{name} makes pairs of task {task}, the part's task is {self.task}; set it to 0")


@dataclass(frozen=True)
class Options:
    """A training run."""

    name: str  # of the run: files go to checkpoint/<name>/
    parts: tuple[PartOptions, ...]
    size: str = "base"  # model size that `model` starts from
    model: ModelOptions = field(default_factory=ModelOptions)
    train: TrainOptions = field(default_factory=TrainOptions)
    log: LogOptions = field(default_factory=LogOptions)

    def __post_init__(self) -> None:
        check_name(self.name)
        if not self.parts:
            raise ValueError("parts must hold at least one part")
        if len(self.parts) > MOST_PARTS:
            raise ValueError(f"parts must be at most {MOST_PARTS}, got {len(self.parts)}")
        crops = {part.data.crop for part in self.parts}
        if len(crops) > 1:
            listed = ", ".join(f"{label}: {part.data.crop}" for label, part in zip(self.labels, self.parts))
            raise ValueError(f"data.crop must be the same in all parts, got {listed}")
        if self.train.batch_size * max(crops) ** 2 > LARGEST_BATCH:
            raise ValueError(
                f"train.batch_size {self.train.batch_size} crops of data.crop {max(crops)} x {max(crops)} pixels "
                f"are more than a batch may hold, {LARGEST_BATCH} pixels"
            )

    @property
    def task(self) -> str:
        """The task of all parts, 'general' where they differ; weights files carry it."""
        tasks = {part.task for part in self.parts}
        return tasks.pop() if len(tasks) == 1 else GENERAL

    @property
    def labels(self) -> tuple[str, ...]:
        """A name per part for logs: its task, numbered where several parts have the same one ('ivf_1', 'ivf_2')."""
        tasks = [part.task for part in self.parts]
        return tuple(t if tasks.count(t) == 1 else f"{t}_{tasks[: i + 1].count(t)}" for i, t in enumerate(tasks))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `parse_options` gives the same options back."""
        return json.loads(json.dumps(asdict(self)))

    def with_root(self, root_path: str) -> "Options":
        """The same run on data below `root_path`.  Of several parts, those that name an absolute root keep it.

        Raises:
            ValueError: there are several parts and all name an absolute root.
        """
        alone = len(self.parts) == 1
        moved = [alone or not Path(part.data.root_path).is_absolute() for part in self.parts]
        if not any(moved):
            raise ValueError(f"--root_path {root_path} replaces nothing: data.root_path of every part is absolute")
        parts = (
            replace(part, data=replace(part.data, root_path=root_path)) if move else part
            for part, move in zip(self.parts, moved)
        )
        return replace(self, parts=tuple(parts))


def check_name(name: str) -> None:
    """Refuse names of runs that are no name of a folder, or would lead elsewhere.

    Raises:
        ValueError: it is empty, '.' or '..', holds a slash or control characters, or is too long.
    """
    printable = name.isprintable() and not set(name) & set("/\\:")
    if not printable or name.strip() in ("", ".", "..") or len(name.encode()) > LONGEST_NAME:
        raise ValueError(
            f"name must be the name of a folder, without / \\ : and control characters and of at most {LONGEST_NAME} "
            f"bytes, got {shown(name)}; --out_dir says where that folder lies"
        )


@checked
def load_options(path: str | Path, root_path: str | None = None) -> Options:
    """Read an options file; `root_path`, where given, replaces its roots as `Options.with_root` says.

    Paths that begin with ~/ lie in the user's home folder, as on a command line.

    Raises:
        ValueError: not JSON, an unknown or missing key, a wrong type or an impossible value; names file and key.
        FileNotFoundError: there is no such file; lists the options files beside it.
    """
    values = _at_home(load_json(path))
    try:
        options = parse_options(values)
        return options.with_root(root_path) if root_path else options
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _at_home(values: Any) -> Any:
    """JSON values with the home folder in place of the ~ of paths."""
    if isinstance(values, dict):
        return {key: _at_home(value) for key, value in values.items()}
    if isinstance(values, list):
        return [_at_home(value) for value in values]
    return os.path.expanduser(values) if isinstance(values, str) and values.startswith("~/") else values


def parse_options(values: dict[str, Any]) -> Options:
    """Options from parsed JSON; `model` starts from the named size and `loss` from the task's recipe.

    Raises:
        ValueError: as `load_options`.
    """
    if not isinstance(values, dict):
        raise ValueError(f"options must be a JSON object, got {type(values).__name__}")
    check_names(values, [f.name for f in fields(Options)] + list(_SHARED), "")
    size = values.get("size", "base")
    if not isinstance(size, str) or size not in SIZES:
        raise ValueError(f"size must be one of {', '.join(SIZES)}, got {shown(size)}")
    if "name" not in values:
        raise ValueError("missing option name")
    whole = {key: value for key, value in values.items() if key not in ("parts", *_SHARED)}
    part = {key: values[key] for key in ("parts", *_SHARED) if key in values}
    return build(Options, whole, "", {"model": SIZES[size], "parts": tuple(_parse_parts(part, {}))})


def _parse_parts(values: Any, shared: dict[str, Any], depth: int = 0) -> list[PartOptions]:
    """The parts of a JSON object: itself, or those in its list `parts`, with the options beside it as defaults."""
    if not isinstance(values, dict):
        raise ValueError(f"a part must be a JSON object, got {type(values).__name__}")
    own = _merged(shared, {key: value for key, value in values.items() if key != "parts"})
    if "parts" not in values:
        return [_parse_part(own)]
    if not isinstance(values["parts"], list | tuple):
        raise ValueError(f"parts must be a list, got {shown(values['parts'])}")
    if depth == 2:
        raise ValueError("parts of parts cannot hold parts again")
    if len(values["parts"]) > MOST_PARTS:
        raise ValueError(f"parts must be at most {MOST_PARTS}, got {len(values['parts'])}")
    parts = []
    for number, part in enumerate(values["parts"]):
        try:
            parts += _parse_parts(part, own, depth + 1)
        except ValueError as error:
            separator = "." if str(error).startswith("parts[") else ": "
            raise ValueError(f"parts[{number}]{separator}{error}") from None
    return parts


def _merged(shared: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """The options of a part over the shared defaults; `data` and `loss` are merged key by key."""
    both = {**shared, **own}
    for key in ("data", "loss"):
        if isinstance(shared.get(key), dict) and isinstance(own.get(key), dict):
            both[key] = {**shared[key], **own[key]}
    return both


def _parse_part(values: dict[str, Any]) -> PartOptions:
    base = {}
    if isinstance(values.get("task"), str):
        task = _named_task(values["task"][:100], "task")
        values = {**values, "task": task.id}
        base["loss"] = LossOptions.for_task(task)
    return build(PartOptions, values, "", base)


def _named_task(name: str, option: str) -> Task:
    """The task of an option's value; errors as `find_task`, with the option's name."""
    try:
        return find_task(name)
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from None
