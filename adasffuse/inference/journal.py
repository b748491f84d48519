"""What is finished of a folder of results, so that an interrupted run can be resumed.

Beside the results lies a hidden folder with one text file per process, a line for every result: what it was made from
(path, size and time of change of each source), with which settings, and size and time of change of what was written.
A result is finished if a line says so of just these sources and settings, and its files are still the ones written.
Lines about another folder, of which this one is a copy, say nothing.
"""

import errno
import json
import threading
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adasffuse.files import real_path
from adasffuse.images.formats import file_of
from adasffuse.images.pairs import Scene

FOLDER = ".adasffuse"
Stamp = list[str | int]  # path, size in bytes, time of the last change in nanoseconds


class Journal:
    """The finished results of one folder.  Threads may share a journal; processes have one each.

    Nothing is written before the first result is noted.

    Args:
        save_dir: folder of the results.
        settings: what `settings_of` returns.
        resume: keep what earlier runs have noted; else this process starts anew.
        rank: number of this process, which alone writes to its file.
    Raises:
        OSError: what is noted cannot be read, or nothing can be noted, since something lies in the journal's place.
    """

    def __init__(self, save_dir: Path, settings: str, resume: bool, rank: int = 0) -> None:
        self._settings, self._resume, self._lock = settings, resume, threading.Lock()
        self._path, self._file = save_dir / FOLDER / f"rank{rank}.jsonl", None
        self._save_dir = real_path(save_dir)
        for place, is_ours in ((self._path.parent, Path.is_dir), (self._path, Path.is_file)):
            if place.exists() and not is_ours(place):  # in this order: another process may be making it
                raise FileExistsError(errno.EEXIST, "something else lies there; remove it", str(place))
        self._noted: dict[str, list[dict[str, Any]]] = defaultdict(list)
        if resume:
            for path in sorted(self._path.parent.glob("rank*.jsonl")):
                for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                    self._remember(line)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *error: object) -> None:
        if self._file:
            self._file.close()

    def finished(self, scene: Scene, beside: Sequence[Path] = ()) -> Path | None:
        """The result of a scene, if it is finished.

        Args:
            beside: files that must be finished as well, such as a panel.
        """
        for line in self._noted[scene.stem]:
            if line["settings"] == self._settings and line["sources"] == stamps(scene.paths):
                result = Path(line["results"][0][0])
                if all(stamp in line["results"] for stamp in stamps([result, *beside])):
                    return result
        return None

    def outdated(self, scene: Scene) -> bool:
        """Whether an earlier run has finished a scene with other settings, and its result is still there."""
        others = [line["results"] for line in self._noted[scene.stem] if line["settings"] != self._settings]
        return any(stamps([Path(path) for path, *_ in results]) == results for results in others)

    def note(self, scene: Scene, sources: Sequence[Stamp], results: Sequence[Path]) -> None:
        """Note that the files of a scene's result are written; raises OSError where that cannot be noted.

        Args:
            sources: `stamps` of the scene's files, taken before they were read.
            results: the fused image, and what else belongs to it.
        """
        line = {"stem": scene.stem, "settings": self._settings, "sources": sources, "results": stamps(results)}
        with self._lock:
            if self._file is None:
                self._path.parent.mkdir(exist_ok=True)
                self._file = open(self._path, "a" if self._resume else "w", encoding="utf-8")  # noqa: SIM115
                self._file.write("\n")  # a run that was killed may have left half a line
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()

    def _remember(self, line: str) -> None:
        try:
            noted = json.loads(line)
            stem, results = noted["stem"], [Path(path) for path, _, _ in noted["results"]]
            if real_path(results[0].parent) == self._save_dir and {"settings", "sources"} <= noted.keys():
                self._noted[stem].append(noted)
        except (ValueError, TypeError, LookupError, RecursionError):
            return  # half a line, or an edited one: its result is made again


def stamps(paths: Sequence[Path]) -> list[Stamp]:
    """What changes when a file does, or one of a folder's; size and time are -1 where there is none."""
    found: list[Stamp] = []
    for path in paths:
        try:
            place = file_of(path)
            files = [place, *place.rglob("*")] if place.is_dir() else [place]  # a folder's own time: of files that go
            each = [file.stat() for file in files]
            size, changed = sum(one.st_size for one in each), max(one.st_mtime_ns for one in each)
            found.append([str(path.absolute()), size, changed])
        except (OSError, ValueError):  # ValueError: no file can have this name
            found.append([str(path.absolute()), -1, -1])
    return found
