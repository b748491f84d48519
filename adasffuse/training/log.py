"""Log of a training run: TensorBoard events in `log/`, and the same numbers in `log.csv`."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from adasffuse.files import write_text


class RunLog:
    """Writes both logs of a run; rows and events after `step`, from which the run continues, are dropped."""

    def __init__(self, folder: Path, step: int) -> None:
        self.events = SummaryWriter(folder / "log", purge_step=step + 1)
        self.table = CsvLog(folder / "log.csv", step)

    def training(self, step: int, means: Mapping[str, float], lr: float) -> None:
        """Log the loss terms and the step size of a training step."""
        self.table.write(step, "train", {**means, "lr": lr})
        self._scalars(step, "loss", means)
        self.events.add_scalar("lr", lr, step)

    def validation(self, step: int, means: Mapping[str, float]) -> None:
        """Log the loss terms and metrics of the held-out pairs."""
        self._scalars(step, "validation", means)
        self.table.write(step, "validation", means)

    def image(self, step: int, name: str, image: np.ndarray) -> None:
        """Log an (H, W, 3) uint8 image, only in TensorBoard."""
        self.events.add_image(name, image, step, dataformats="HWC")

    def close(self) -> None:
        self.events.close()

    def _scalars(self, step: int, group: str, means: Mapping[str, float]) -> None:
        for name, value in means.items():
            self.events.add_scalar(f"{group}/{name}", value, step)


class CsvLog:
    """A table with the columns step, kind and every name that occurs; one row per call of `write`.

    At the start, rows after `step` and an unfinished last row are dropped.
    """

    def __init__(self, path: Path, step: int) -> None:
        self.path, self.columns, self.rows = path, ["step", "kind"], []
        if path.exists():
            text = path.read_text(encoding="utf-8", errors="replace")
            lines = list(csv.DictReader(text[: text.rfind("\n") + 1].replace("\0", "").splitlines()))
            self.rows = [
                {k: v for k, v in line.items() if k and isinstance(v, str) and v}
                for line in lines
                if _step(line) <= step
            ]
            self.columns = list(dict.fromkeys([*self.columns, *(name for row in self.rows for name in row)]))
        self._rewrite()

    def write(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        """Append a row; a new name adds a column, empty in the rows before."""
        row = {"step": step, "kind": kind, **{name: f"{value:.6g}" for name, value in values.items()}}
        self.rows.append(row)
        new = [name for name in row if name not in self.columns]
        self.columns += new
        if new:
            self._rewrite()
        else:
            with open(self.path, "a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self.columns, lineterminator="\n").writerow(row)

    def _rewrite(self) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.path, text.getvalue())


def _step(line: Mapping[str, str | None]) -> float:
    """Step of a row, infinite if it has none."""
    text = line.get("step") or ""
    return int(text) if text.isdecimal() and len(text) < 20 else float("inf")
