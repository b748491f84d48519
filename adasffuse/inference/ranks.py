"""Several processes that share a folder of scenes: `torchrun --nproc_per_node 4 -m adasffuse fuse A B -o OUT`.

They tell each other what they did through torchrun's key-value store: no collective, whose timeout would end a run in
which one process has much more to do than another.  A process alone does without PyTorch.
"""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from adasffuse.process import world_size

if TYPE_CHECKING:
    import torch.distributed as dist

T = TypeVar("T")
_GLANCE = 0.1  # seconds between looks into the store; between them, signals arrive
_PATIENCE = 15.0  # seconds that a process which has failed waits for the main one to say why


class Ranks:
    """This process and its siblings; by default there are none.

    Args:
        rank: number of this process; 0 is the main one, which reports.
        world: number of processes.
        store: what they share, where they are several.
    """

    def __init__(self, rank: int = 0, world: int = 1, store: dist.Store | None = None) -> None:
        self.rank, self.world, self._store, self._steps = rank, world, store, 0

    @property
    def main(self) -> bool:
        """Whether this process reports."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> list[T]:
        """This process's part of a list that all have: every item belongs to one process."""
        return list(items[self.rank :: self.world])

    def gather(self, value: T) -> list[T]:
        """The values that all processes pass, in the order of their ranks; waits for the slowest.

        All processes call this in the same order.  The values are picklable.
        """
        if self._store is None:
            return [value]
        self._steps += 1
        keys = [f"{self._steps}/{rank}" for rank in range(self.world)]
        self._store.set(keys[self.rank], pickle.dumps(value).hex())
        for key in keys:
            _wait(self._store, key)
        return [pickle.loads(bytes.fromhex(self._store.get(key).decode())) for key in keys]

    def leave(self, failed: bool = False) -> None:
        """The end of this process's part, once; the others end after the main one.

        torchrun ends all processes with the first that has failed: the main one is given time to say why.

        Args:
            failed: this process passes nothing more to `gather`: it does not wait for long.
        """
        store, self._store = self._store, None
        if store is None:
            return
        with suppress(RuntimeError):  # the store ends with the process that keeps it
            if self.main:
                store.set("end", "end")
            else:
                _wait(store, "end", _PATIENCE if failed else None)


def _wait(store: dist.Store, key: str, seconds: float | None = None) -> None:
    """Return when a key is there, or after some seconds."""
    began = time.monotonic()
    while not store.check([key]):
        if seconds is not None and time.monotonic() - began > seconds:
            return
        time.sleep(_GLANCE)


@contextmanager
def join_ranks() -> Iterator[Ranks]:
    """Join the processes that torchrun's environment describes; without one, be a single process."""
    if world_size() == 1:
        yield Ranks()
        return
    import torch.distributed as dist

    store, rank, world = next(iter(dist.rendezvous("env://")))
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # the store outlives restarts
    ranks = Ranks(rank, world, dist.PrefixStore(f"adasffuse_{attempt}", store))
    try:
        yield ranks
    except Exception:
        ranks.leave(failed=True)
        raise
    ranks.leave()


def own_device(name: str) -> str:
    """A `--device` value for this process: of several on a machine, each takes a GPU of its own."""
    if name not in ("auto", "cuda") or "LOCAL_RANK" not in os.environ:
        return name
    import torch

    if not torch.cuda.is_available():
        return name
    return f"cuda:{int(os.environ['LOCAL_RANK']) % torch.cuda.device_count()}"
