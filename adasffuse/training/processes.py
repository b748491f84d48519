"""One training process, or several started by torchrun: rank, device and what they share."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist

from adasffuse.inference.fuser import pick_device

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """This process and its siblings."""

    rank: int
    world: int
    device: torch.device

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


@contextmanager
def join_processes(device: str = "auto") -> Iterator[Processes]:
    """Join the process group that torchrun's environment describes; without one, be a single process.

    Args:
        device: 'auto' (a GPU per process where there is one, else the CPU), or a torch device.
    Raises:
        ValueError: no such device here.
    """
    world = int(os.environ.get("WORLD_SIZE", 1))
    rank, local = int(os.environ.get("RANK", 0)), int(os.environ.get("LOCAL_RANK", 0))
    chosen = pick_device(device)
    if device == "auto" and chosen.type == "cuda":
        chosen = torch.device(f"cuda:{local % torch.cuda.device_count()}")
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if world > 1:
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Processes(rank, world, chosen)
    finally:
        if world > 1:
            dist.destroy_process_group()
