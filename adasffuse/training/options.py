"""Options of a training run: one JSON file, parsed into validated frozen dataclasses."""

import json
from dataclasses import asdict, dataclass, field, fields, replace
from math import cos, pi
from pathlib import Path
from typing import Any

from adasffuse.data.options import DataOptions
from adasffuse.losses.fusion import LossOptions
from adasffuse.losses.metrics import SMALLEST
from adasffuse.models import SIZES, ModelOptions
from adasffuse.options import build, check_names
from adasffuse.tasks import GENERAL, find_task

VALIDATION_METRICS = ("VIFF", "Qabf", "SSIM", "SCD", "MI")
TRUTH_METRICS = ("PSNR_GT",)  # of held-out pairs whose ideal result is known
_SHORT = ("task", "data", "loss")  # options of a run's only part, where they stand at the top of the file


@dataclass(frozen=True)
class TrainOptions:
    """Optimisation."""

    steps: int = 20000  # updates
    batch_size: int = 16  # pairs per update, summed over processes
    lr: float = 2e-4  # Adam step size
    schedule: str = "step"  # 'step': times `gamma` at each milestone; 'cosine': to zero at the end
    milestones: tuple[float, ...] = (0.5, 0.75, 0.9)  # shares of `steps`
    gamma: float = 0.5
    warmup: int = 100  # steps of linear growth from 0 to lr
    clip: float = 1.0  # largest gradient norm, 0 for no clipping
    ema: float = 0.999  # decay of the averaged weights, which are the ones released
    precision: str = "float32"  # or 'bfloat16': autocast; FFT, running sums and losses stay float32
    seed: int = 0
    init: str = ""  # weights to start from: a .safetensors file, released ones by name ('ivf_small'), "" for random
    accumulate: int = 1  # micro-batches per update, where a whole batch exceeds the memory; results agree
    compile: bool = False  # torch.compile: slow start, faster updates
    skip_nonfinite: int = 0  # batches of non-finite loss or gradient that are left out before the run stops
    prefetch: int = 2  # batches that each loader process prepares ahead

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "lr", "gamma", "accumulate", "prefetch"):
            if getattr(self, name) <= 0:
                raise ValueError(f"train.{name} must be positive, got {getattr(self, name)}")
        for name in ("warmup", "clip", "skip_nonfinite"):
            if getattr(self, name) < 0:
                raise ValueError(f"train.{name} must not be negative, got {getattr(self, name)}")
        if not all(0 <= milestone <= 1 for milestone in self.milestones):
            raise ValueError(f"train.milestones are shares of train.steps in [0, 1], got {list(self.milestones)}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"train.ema must lie in [0, 1), got {self.ema}")
        for name, known in (("schedule", ("step", "cosine")), ("precision", ("float32", "bfloat16"))):
            if getattr(self, name) not in known:
                raise ValueError(f"train.{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")

    def lr_at(self, step: int) -> float:
        """Step size of update number `step`, counted from 0."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        if self.schedule == "cosine":
            return self.lr * 0.5 * (1 + cos(pi * (step - self.warmup) / max(1, self.steps - self.warmup)))
        return self.lr * self.gamma ** sum(step >= m * self.steps for m in self.milestones)


@dataclass(frozen=True)
class LogOptions:
    """How often a run reports and saves, in steps; 0 for never.  Validation also comes after the last step."""

    scalars: int = 20
    panel: int = 500  # images of the current batch; 0 also leaves out those of validation
    validate: int = 500
    checkpoint: int = 500
    keep: int = 2  # newest checkpoints kept
    best: str = "VIFF+Qabf+SSIM"  # what the best validation has most of: metrics with '+' between them, or 'loss'

    def __post_init__(self) -> None:
        for name in ("scalars", "panel", "validate", "checkpoint", "keep"):
            if getattr(self, name) < (name == "keep"):
                raise ValueError(f"log.{name} is too small: {getattr(self, name)}")
        known = (*VALIDATION_METRICS, *TRUTH_METRICS, "loss")
        for name in self.best.split("+"):
            if name not in known:
                raise ValueError(f"log.best adds up names out of {', '.join(known)}; got {self.best!r}")


@dataclass(frozen=True)
class PartOptions:
    """One share of a run's samples: pairs of one task from one root, with their loss."""

    task: str  # 'ivf', 'mef', 'mff' or 'mif'
    data: DataOptions
    loss: LossOptions = field(default_factory=LossOptions)  # `parse_options` starts from the task's recipe
    weight: float = 1.0  # its share of every batch, relative to the weights of the other parts

    def __post_init__(self) -> None:
        if self.weight <= 0:
            raise ValueError(f"weight must be positive, got {self.weight}; leave the part out instead")
        for term, smallest in SMALLEST.items():
            if getattr(self.loss, term) and self.data.crop < smallest:
                raise ValueError(f"loss.{term} needs data.crop of at least {smallest} pixels, got {self.data.crop}")


@dataclass(frozen=True)
class Options:
    """A training run.  A file gives `parts`, or `task`, `data` and `loss` of its only part at the top."""

    name: str  # of the run: files go to checkpoint/<name>/
    parts: tuple[PartOptions, ...]
    size: str = "base"  # model size that `model` starts from
    model: ModelOptions = field(default_factory=ModelOptions)
    train: TrainOptions = field(default_factory=TrainOptions)
    log: LogOptions = field(default_factory=LogOptions)

    def __post_init__(self) -> None:
        if not self.parts:
            raise ValueError("parts must hold at least one part")
        crops = {part.data.crop for part in self.parts}
        if len(crops) > 1:
            listed = ", ".join(f"{label}: {part.data.crop}" for label, part in zip(self.labels, self.parts))
            raise ValueError(f"data.crop must be the same in all parts, got {listed}")

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


def load_options(path: str | Path, root_path: str | None = None) -> Options:
    """Read an options file; `root_path`, where given, replaces its roots as `Options.with_root` says.

    Raises:
        ValueError: not JSON, an unknown or missing key, a wrong type or an impossible value; names file and key.
        FileNotFoundError: there is no such file; lists the options files beside it.
    """
    path = Path(path)
    if not path.is_file():
        beside = ", ".join(sorted(p.name for p in path.parent.glob("*.json"))) or "none"
        raise FileNotFoundError(f"options file {path} does not exist; JSON files in {path.parent}: {beside}")
    try:
        options = parse_options(json.loads(path.read_text(encoding="utf-8")))
        return options.with_root(root_path) if root_path else options
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not JSON ({error}); comments and trailing commas are not allowed") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def parse_options(values: dict[str, Any]) -> Options:
    """Options from parsed JSON; `model` starts from the named size and `loss` from the task's recipe.

    Raises:
        ValueError: as `load_options`.
    """
    if not isinstance(values, dict):
        raise ValueError(f"options must be a JSON object, got {type(values).__name__}")
    check_names(values, [f.name for f in fields(Options)] + list(_SHORT), "")
    size = values.get("size", "base")
    if not isinstance(size, str) or size not in SIZES:
        raise ValueError(f"size must be one of {', '.join(SIZES)}, got {size!r}")
    if "name" not in values:
        raise ValueError("missing option name")
    whole = {key: value for key, value in values.items() if key not in ("parts", *_SHORT)}
    return build(Options, whole, "", {"model": SIZES[size], "parts": _parse_parts(values)})


def _parse_parts(values: dict[str, Any]) -> tuple[PartOptions, ...]:
    """The parts of a run: its list `parts`, or the only one, whose options stand at the top."""
    short = {key: values[key] for key in _SHORT if key in values}
    if "parts" not in values:
        return (_parse_part(short),)
    if short:
        raise ValueError(f"{', '.join(short)} and parts exclude each other; move {', '.join(short)} into the parts")
    if not isinstance(values["parts"], list | tuple):
        raise ValueError(f"parts must be a list, got {values['parts']!r}")
    parts = []
    for number, part in enumerate(values["parts"]):
        try:
            parts.append(_parse_part(part))
        except ValueError as error:
            raise ValueError(f"parts[{number}]: {error}") from None
    return tuple(parts)


def _parse_part(values: Any) -> PartOptions:
    base = {}
    if isinstance(values, dict) and isinstance(values.get("task"), str):
        task = find_task(values["task"])
        values = {**values, "task": task.id}
        base["loss"] = LossOptions.for_task(task)
    return build(PartOptions, values, "", base)
