"""Options of training data: where pairs come from and how samples are drawn."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DataOptions:
    """Where training pairs come from."""

    root_path: str  # folder that holds the data sets, e.g. datasets/train
    datasets: tuple[str, ...]  # names below it: TASK or TASK_NAME
    sharp_folder: str = ""  # folder below root_path of sharp photographs from which pairs are made on the fly
    sharp_exclude: tuple[str, ...] = ()  # stems (shell patterns) of them that stay out
    sharp_share: float = 0.5  # share of samples that are multi-focus pairs made from them
    sharp_difference: float = 0.0  # largest difference in brightness between the two images made from one
    sharp_radius: float = 6.0  # largest blur in them, radius in pixels
    exposures: float = 0.0  # share of samples that are multi-exposure pairs made from them; needs sharp_share 0
    exposures_truth: bool = True  # whether the photograph is the target of these, instead of what the loss says
    dim: float = 0.0  # share of pairs whose image A (the infrared one) is darkened to 0.2 .. 0.7 of its values
    glare: float = 0.0  # share of samples whose B (the visible one), half the time as at night, is shown with glare
    zoom: float = 1.0  # largest random enlargement of pairs: cameras of more, or smoother, pixels
    jitter: float = 0.0  # random gain, gamma and offset, as the task allows, one for all images of a sample
    cache_mb: float = 4096  # megabytes of decoded images kept per part; the others are decoded for each sample
    validation: tuple[str, ...] = ()  # stems (shell patterns) held out of training and validated on
    crop: int = 128  # pixels per side of a training crop
    workers: int = 0  # loader processes per rank; of several parts the largest number counts

    def __post_init__(self) -> None:
        if self.crop < 16:
            raise ValueError(f"data.crop must be at least 16 pixels, got {self.crop}")
        for name in ("sharp_share", "exposures", "dim", "glare"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"data.{name} must lie in [0, 1], got {getattr(self, name)}")
        if not 0 <= self.jitter <= 0.5:
            raise ValueError(f"data.jitter must lie in [0, 0.5], got {self.jitter}")
        if not 1 <= self.zoom <= 4:
            raise ValueError(f"data.zoom must lie in [1, 4], got {self.zoom}")
        self._check_photographs()
        if not 1 <= self.sharp_radius <= 16:
            raise ValueError(f"data.sharp_radius must lie in [1, 16] pixels, got {self.sharp_radius}")
        if not 0 <= self.sharp_difference < 1:
            raise ValueError(f"data.sharp_difference must lie in [0, 1), got {self.sharp_difference}")
        for name in ("workers", "cache_mb"):
            if getattr(self, name) < 0:
                raise ValueError(f"data.{name} must not be negative, got {getattr(self, name)}")

    def _check_photographs(self) -> None:
        if self.exposures and not self.sharp_folder:
            raise ValueError("data.exposures makes pairs from the photographs in data.sharp_folder; name that folder")
        if self.exposures and self.sharp_share:
            raise ValueError(
                f"data.exposures {self.exposures} and data.sharp_share {self.sharp_share} exclude each other; "
                "set one to 0, or make two parts"
            )
        if not self.datasets and not (self.sharp_folder and 1 in (self.sharp_share, self.exposures)):
            raise ValueError(
                "data.datasets is empty: name a data set, or give data.sharp_folder with sharp_share or exposures 1"
            )
