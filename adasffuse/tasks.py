"""The four fusion tasks as data: folders, loss recipe, colour rule and all else that differs by task."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from adasffuse.arguments import checked

GENERAL = "general"  # in place of a task's id, for runs and weights of several tasks
KINDS = ("infrared", "visible", "exposure", "focus", "scan", "mri")  # kinds of sources; a scan is CT, PET or SPECT


@dataclass(frozen=True)
class Sources:
    """Folders of the sources of a scene, below a data set's folder."""

    subset: str  # sub-folder of the data set, "" for none
    folders: tuple[str, ...]  # one per source, in the task's order


@dataclass(frozen=True)
class Task:
    """Everything that distinguishes one fusion task from another."""

    id: str  # 'ivf', used in options and weights names
    title: str
    sources: tuple[Sources, ...]
    target: str  # intensity target of the loss: 'max' or 'mean' of the sources
    loss_weights: tuple[float, float, float]  # intensity, gradient, SSIM
    ssim_share: str  # weights of A and B in the SSIM term: 'gradient' (share of mean gradient) or 'equal'
    kinds: tuple[str, ...]  # kind of each source; further sources have the last kind
    color: str  # which sources' chroma the result takes, see `adasffuse.images.color.rebuild_color`
    equally_bright: bool = False  # whether the sources ought to be: what differs is drift of the exposure
    thermal: tuple[bool, ...] = ()  # per source, whether it shows temperature; () for no source
    jitter: tuple[str, ...] = ("gain", "gamma", "offset")  # photometric changes allowed in training
    words: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())  # words in file names of A, of B

    @property
    def folder(self) -> str:
        """Name of the task's folder below a root, e.g. 'IVF'."""
        return self.id.upper()

    def check_count(self, count: int) -> None:
        """Raise ValueError unless `count` sources can be fused: two, or more if all sources are of one kind."""
        if count < 2:
            raise ValueError(f"fusing needs two or more sources, got {count}")
        if count > 2 and len(self.kinds) > 1:
            stacks = " or ".join(f"{task.id} ({task.title})" for task in _ALL if len(task.kinds) == 1)
            raise ValueError(f"{self.title} takes two sources, got {count}; any number is for task {stacks}")

    def kinds_of(self, count: int) -> tuple[str, ...]:
        """Kind of each of `count` sources."""
        return tuple(self.kinds[min(k, len(self.kinds) - 1)] for k in range(count))


_ALL = (
    Task(
        "ivf",
        title="infrared + visible",
        sources=(Sources("", ("infrared", "visible")),),
        target="max",
        loss_weights=(20, 20, 10),
        ssim_share="gradient",
        kinds=("infrared", "visible"),
        color="b",
        thermal=(True, False),
        words=(
            frozenset({"infrared", "ir", "tir", "lwir", "mwir", "swir", "nir", "thermal", "flir"}),
            frozenset({"visible", "vis", "vi", "rgb", "color", "colour", "co", "eo", "optical", "webcam"}),
        ),
    ),
    Task(
        "mef",
        title="multi-exposure",
        sources=(Sources("", ("low", "over")),),
        target="mean",
        loss_weights=(20, 20, 10),
        ssim_share="equal",
        kinds=("exposure",),
        color="exposed",
        jitter=("gamma",),  # clipped pixels stay black or white: the network has to know them
        words=(
            frozenset({"low", "under", "underexposed", "dark", "short"}),
            frozenset({"over", "high", "overexposed", "bright", "long"}),
        ),
    ),
    Task(
        "mff",
        title="multi-focus",
        sources=(Sources("", ("imageA", "imageB")),),
        target="mean",
        loss_weights=(20, 20, 10),
        ssim_share="gradient",
        kinds=("focus",),
        color="nearest",
        equally_bright=True,
        words=(frozenset({"imagea", "near", "foreground"}), frozenset({"imageb", "far", "background"})),
    ),
    Task(
        "mif",
        title="medical CT/PET/SPECT + MRI",
        sources=(
            Sources("CT-MRI", ("CT", "MRI")),
            Sources("PET-MRI", ("PET", "MRI")),
            Sources("SPECT-MRI", ("SPECT", "MRI")),
            Sources("", ("CT", "MRI")),
        ),
        target="max",
        loss_weights=(20, 100, 50),
        ssim_share="equal",
        kinds=("scan", "mri"),
        color="a",
        jitter=("gain", "gamma"),  # the background stays black
        words=(frozenset({"ct", "pet", "pt", "spect", "nm"}), frozenset({"mri", "mr"})),  # "pt", "nm": DICOM's
    ),
)
TASKS: dict[str, Task] = {task.id: task for task in _ALL}


@checked
def find_task(name: str) -> Task:
    """Task of an id or a data set name: 'ivf', 'IVF', 'IVF_MSRS' and the older 'VIF' all give the IVF task.

    A subset may follow the data set: 'MIF/CT-MRI'.

    Raises:
        ValueError: no task has that name.
    """
    stem = name.replace("\\", "/").split("/")[0].replace("-", "_").split("_")[0].lower()
    task = TASKS.get("ivf" if stem == "vif" else stem)
    if task is None:
        known = ", ".join(TASKS)
        raise ValueError(f"unknown task {name!r}; use one of {known}, or the name of a data set, such as IVF_MSRS")
    return task


def guess_task(first: Sequence[str], second: Sequence[str]) -> tuple[Task, str, str] | None:
    """Guess the task from the words in names of files and folders, such as 'IR_*' or 'thermal'.

    Args:
        first, second: names that belong to source A and to source B.
    Returns:
        the task and the words that gave it away, of A and of B; None if no task or several fit.
    Raises:
        ValueError: the sources seem to be in the other order.
    """
    words_a, words_b = _words(first), _words(second)
    words_a, words_b = words_a - words_b, words_b - words_a  # common words say nothing: FLIR_1 and FLIR_1
    found, swapped = [], []
    for task in _ALL:
        a, b = task.words
        if words_a & a and words_b & b:
            found.append((task, min(words_a & a), min(words_b & b)))
        elif words_a & b and words_b & a:  # sources of one kind have no order
            (swapped if len(task.kinds) > 1 else found).append((task, min(words_a & b), min(words_b & a)))
    if swapped and not found:
        task, word_a, word_b = swapped[0]
        raise ValueError(
            f"source A is called {word_a!r} and source B {word_b!r}: for {task.title} give them in the other order, "
            f"or say --task {task.id} if the names mislead"
        )
    return found[0] if len(found) == 1 else None


def _words(names: Sequence[str]) -> set[str]:
    return {word for name in names for word in re.split(r"[\W_\d]+", name.lower()) if word}
