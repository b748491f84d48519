"""Options of training data: where pairs come from and how samples are drawn."""

from dataclasses import dataclass

from adasffuse.images.ranges import parse_range
from adasffuse.options import bounded, check_bounds


@dataclass(frozen=True)
class DataOptions:
    """Where training pairs come from."""

    root_path: str  # folder that holds the data sets, e.g. datasets/train
    datasets: tuple[str, ...]  # names below it: TASK or TASK_NAME
    pattern_a: str = ""  # name pattern of source A's files, as --pattern_a: 'IR_*'; '' is '*'
    pattern_b: str = ""  # the same of source B
    range_a: tuple[float | str, ...] = ()  # as --range_a, for source A: [LOW, HIGH], ["folder"], ["1%", "99%"]
    range_b: tuple[float | str, ...] = ()  # the same of source B
    no_data_a: float | None = None  # value that means "no data" in source A's files
    no_data_b: float | None = None
    sharp_folder: str = ""  # folder below root_path of sharp photographs from which pairs are made on the fly
    sharp_exclude: tuple[str, ...] = ()  # stems (shell patterns) of photographs that are not used
    sharp_share: float = bounded(0.5, 0, 1)  # share of samples that are multi-focus pairs made from photographs
    sharp_difference: float = bounded(0.0, 0, 0.99)  # largest difference in brightness of such a pair's images
    sharp_radius: float = bounded(6.0, 1, 16)  # largest radius of their blur, pixels
    exposures: float = bounded(0.0, 0, 1)  # share of multi-exposure pairs made from photographs; needs sharp_share 0
    exposures_truth: bool = True  # whether the photograph is the target of such a pair, instead of loss.target
    dim: float = bounded(0.0, 0, 1)  # share of pairs whose image A (infrared) is darkened by a factor of 0.2 .. 0.7
    glare: float = bounded(0.0, 0, 1)  # share of samples whose image B (visible) has glare, half of them at night
    passing: float = bounded(0.0, 0, 1)  # share of pairs in which a hot object passes, for loss.steady
    zoom: float = bounded(1.0, 1, 4)  # largest random enlargement of pairs, as by cameras of higher resolution
    jitter: float = bounded(0.0, 0, 0.5)  # random gain, gamma and offset, as the task allows, the same for all images
    cache_mb: float = bounded(4096.0, 0, 1e7)  # megabytes of decoded images that each process keeps per part
    validation: tuple[str, ...] = ()  # stems (shell patterns) held out of training, for validation
    crop: int = bounded(128, 16, 4096)  # pixels per side of a training crop
    workers: int = bounded(0, 0, 256)  # loader processes per rank, at most one per core; the largest of all parts

    def __post_init__(self) -> None:
        check_bounds(self, "data")
        for name in ("range_a", "range_b"):
            try:
                parse_range(getattr(self, name) or None)
            except ValueError as error:
                raise ValueError(f"data.{name}: {error}") from None
        for name in ("pattern_a", "pattern_b"):
            pattern = getattr(self, name)
            if pattern and pattern.count("*") != 1:
                raise ValueError(f"data.{name} has one '*', for the name that both sources share, or is ''")
        for name in self.datasets:
            if self.datasets.count(name) > 1:
                raise ValueError(f"data.datasets names {name} twice; give a part a larger weight instead")
        self._check_photographs()

    @property
    def patterns(self) -> tuple[str | None, str | None]:
        """Name patterns of both sources, for `adasffuse.images.pairs.find_scenes`."""
        return self.pattern_a or None, self.pattern_b or None

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
