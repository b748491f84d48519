"""One training process, or several started by torchrun: rank, device and what they share."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.errors import record

from adasffuse.device import pick_device
from adasffuse.process import world_size

T = TypeVar("T")
_GLANCE = 0.2  # seconds between looks of processes that wait for the main one


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

    def wait_for_main(self, step: str, stop: Callable[[], bool]) -> None:
        """Return when the main process calls this as well, however long it takes, or when `stop` says so.

        Each name of a step serves once.

        A collective would fail after the process group's timeout, which is ten minutes with NCCL.
        """
        if self.store is None:
            return
        if self.main:
            self.store.set(step, "done")
        while not (self.store.check([step]) or stop()):
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
    world = world_size()
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
    store = dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # the store outlives restarts
    yield Processes(rank, world, chosen, dist.PrefixStore(f"attempt_{attempt}", store))
    dist.destroy_process_group()  # not after a failure: it could wait for the others, which wait for this process


def recorded(function: Callable[..., T]) -> Callable[..., T]:
    """A function whose failure torchrun reports as the cause of the run's end; without torchrun the function itself.

    torchrun ends the other processes as soon as one has failed, and shows the error of the first.
    """
    return record(function) if "TORCHELASTIC_ERROR_FILE" in os.environ else function
