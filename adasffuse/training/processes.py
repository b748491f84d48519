"""One training process, or several started by torchrun: rank, device and what they share."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist

from adasffuse.device import pick_device

T = TypeVar("T")
_FAILED = "failed"  # key of the message of the first process that fails
_POLL = 5.0  # seconds between looks for it
_GLANCE = 0.2  # seconds between looks of processes that wait for the main one


class PeerError(ConnectionError):
    """Another process of the run has failed."""


@dataclass(frozen=True)
class Processes:
    """This process and its siblings."""

    rank: int
    world: int
    device: torch.device
    store: dist.Store | None = None  # what several processes say to each other outside of collectives

    @property
    def main(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def gather(self, value: T) -> list[T]:
        """The values that all processes pass, in the order of their ranks; any picklable object."""
        if self.world == 1:
            return [value]
        values: list[T] = [value] * self.world
        dist.all_gather_object(values, value)
        return values

    def any(self, flag: bool) -> bool:
        """Whether any process says yes; all get the same answer."""
        if self.world == 1:
            return flag
        raised = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(raised)
        return bool(raised > 0)

    def wait_for_main(self, step: str) -> None:
        """Return when the main process calls this as well, however long it takes; once per name of a step.

        A collective would fail after the process group's timeout, which is ten minutes with NCCL.
        """
        if self.store is None:
            return
        if self.main:
            self.store.set(step, "done")
        while not self.store.check([step]):
            time.sleep(_GLANCE)


@contextmanager
def join_processes(device: str = "auto") -> Iterator[Processes]:
    """Join the process group that torchrun's environment describes; without one, be a single process.

    Args:
        device: 'auto' (a GPU per process where there is one, else the CPU), 'cuda' (a GPU per process), or a torch
            device.
    Raises:
        ValueError: no such device here.
    """
    world = int(os.environ.get("WORLD_SIZE", 1))
    rank, local = int(os.environ.get("RANK", 0)), int(os.environ.get("LOCAL_RANK", 0))
    chosen = pick_device(device)
    if chosen.type == "cuda" and chosen.index is None:
        chosen = torch.device(f"cuda:{local % torch.cuda.device_count()}")
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if world == 1:
        yield Processes(rank, world, chosen)
        return
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    with _failing_together(rank) as store:
        yield Processes(rank, world, chosen, store)
    dist.destroy_process_group()  # after a failure it could wait for the others, which wait for this process


@contextmanager
def _failing_together(rank: int) -> Iterator[dist.Store]:
    """Tell the other processes why this one fails, and end this one soon after any other has failed."""
    store = dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    store = dist.PrefixStore(
        f"attempt_{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store
    )  # it outlives restarts
    done = threading.Event()
    threading.Thread(target=_watch, args=(store, rank, done), daemon=True).start()
    try:
        yield store
    except BaseException as error:
        first = _failure(store)
        if first and isinstance(error, RuntimeError):  # the consequence of another's failure
            raise PeerError(f"process {rank} ends because {first}") from None
        if first == "":
            store.set(_FAILED, f"process {rank} failed: {error or type(error).__name__}")
        raise
    finally:
        done.set()


def _watch(store: dist.Store, rank: int, done: threading.Event) -> None:
    """End this process when another has failed, even while it waits for that one deep inside a library."""
    while not done.wait(_POLL):
        first = _failure(store)
        if first is None:
            return
        if first and not done.wait(_POLL):  # it may be about to say so itself
            print(f"error: process {rank} ends because {first}", file=sys.stderr, flush=True)
            os._exit(1)


def _failure(store: dist.Store) -> str | None:
    """Message of the first process that failed, "" where none has; None where the store's host has ended."""
    try:
        return store.get(_FAILED).decode() if store.check([_FAILED]) else ""
    except RuntimeError:
        return None
