"""The four fusion tasks as data: folders, loss recipe and colour rule.  Nothing else knows a task by name."""

from dataclasses import dataclass

GENERAL = "general"  # instead of a task's id: of a run, and of weights, that serve several tasks


KINDS = ("infrared", "visible", "exposure", "focus", "scan", "mri")  # of sources; a scan: CT, PET or SPECT


@dataclass(frozen=True)
class Sources:
    """Where the sources of a scene lie below a data set's folder."""

    subset: str  # sub-folder of the data set, "" for none
    folders: tuple[str, ...]  # one per source, in the task's order


@dataclass(frozen=True)
class Task:
    """What distinguishes one fusion task from another."""

    id: str  # 'ivf', used in options and weights names
    title: str
    sources: tuple[Sources, ...]
    target: str  # intensity target of the loss: 'max' or 'mean' of the sources
    loss_weights: tuple[float, float, float]  # intensity, gradient, SSIM
    ssim_share: str  # weights of A and B in the SSIM term: 'gradient' (share of mean gradient) or 'equal'
    kinds: tuple[str, ...]  # of the sources; further ones are of the last kind
    color: str  # whose chroma the result takes: 'a', 'b' or 'weighted' (both)
    thermal: tuple[bool, ...] = ()  # per source, whether it shows temperature; () for no source
    jitter: tuple[str, ...] = ("gain", "gamma", "offset")  # photometric changes that training pairs may undergo

    @property
    def folder(self) -> str:
        """Name of the task's folder below a root, e.g. 'IVF'."""
        return self.id.upper()

    def kinds_of(self, count: int) -> tuple[str, ...]:
        """Kind of each of `count` sources."""
        return (*self.kinds, *[self.kinds[-1]] * count)[:count]


_ALL = (
    Task(
        "ivf",
        "infrared + visible",
        (Sources("", ("infrared", "visible")),),
        "max",
        (20, 20, 10),
        "gradient",
        ("infrared", "visible"),
        "b",
        thermal=(True, False),
    ),
    Task(
        "mef",
        "multi-exposure",
        (Sources("", ("low", "over")),),
        "mean",
        (20, 20, 10),
        "equal",
        ("exposure",),
        "weighted",
        jitter=("gamma",),  # clipped pixels stay black or white: the network has to know them
    ),
    Task(
        "mff",
        "multi-focus",
        (Sources("", ("imageA", "imageB")),),
        "mean",
        (20, 20, 10),
        "gradient",
        ("focus",),
        "weighted",
    ),
    Task(
        "mif",
        "medical CT/PET/SPECT + MRI",
        (
            Sources("CT-MRI", ("CT", "MRI")),
            Sources("PET-MRI", ("PET", "MRI")),
            Sources("SPECT-MRI", ("SPECT", "MRI")),
            Sources("", ("CT", "MRI")),
        ),
        "max",
        (20, 100, 50),
        "equal",
        ("scan", "mri"),
        "a",
        jitter=("gain", "gamma"),  # the background stays black
    ),
)
TASKS: dict[str, Task] = {task.id: task for task in _ALL}


def find_task(name: str) -> Task:
    """Task of an id or a data set name: 'ivf', 'IVF', 'IVF_MSRS' and the older 'VIF' all give the IVF task.

    A subset may follow the data set: 'MIF/CT-MRI'.

    Raises:
        ValueError: no task has that name.
    """
    stem = name.replace("\\", "/").split("/")[0].replace("-", "_").split("_")[0].lower()
    task = TASKS.get({"vif": "ivf"}.get(stem, stem))
    if task is None:
        known = ", ".join(t.folder for t in _ALL)
        raise ValueError(f"unknown task {name!r}; a data set is called TASK or TASK_NAME with TASK one of {known}")
    return task
