"""Training in one process, or in several started by torchrun: rank, device and communication."""

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
from adasffuse.process import process_rank, world_size

T = TypeVar("T")
_POLL = 0.2  # seconds between two checks while waiting for the main process


@dataclass(frozen=True)
class Processes:
    """This process and its siblings."""

    rank: int
    world: int
    device: torch.device
    store: dist.Store | None = None  # messages between processes outside of collectives

    @property
    def main(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def gather(self, value: T) -> list[T]:
        """The values of all processes by rank; any picklable object."""
        if self.world == 1:
            return [value]
        values: list[T] = [value] * self.world
        dist.all_gather_object(values, value)
        return values

    def any(self, flag: bool) -> bool:
        """Whether the flag is true in any process; all processes get the same answer."""
        if self.world == 1:
            return flag
        raised = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(raised)
        return bool(raised > 0)

    def wait_for_main(self, step: str, stop: Callable[[], bool]) -> None:
        """Wait until the main process calls this with the same step, or until `stop` returns True.

        A collective would fail after the process group's timeout, ten minutes with NCCL.

        Args:
            step: a name that is used only once.
        """
        if self.store is None:
            return
        if self.main:
            self.store.set(step, "done")
        while not (self.store.check([step]) or stop()):
            time.sleep(_POLL)


@contextmanager
def join_processes(device: str = "auto") -> Iterator[Processes]:
    """Join the process group of torchrun's environment; without one, this is a single process.

    Args:
        device: 'auto' (a GPU per process where there is one, else the CPU), 'cuda' (a GPU per process), or a torch
            device.
    Raises:
        ValueError: no such device here, or fewer GPUs than processes.
    """
    world, rank = world_size(), process_rank()
    chosen = pick_device(device)
    if chosen.type == "cuda":
        chosen = _own_gpu(chosen, world)
        torch.cuda.set_device(chosen)
    if world == 1:
        yield Processes(rank, world, chosen)
        return
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    store = dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # the store outlives restarts
    yield Processes(rank, world, chosen, dist.PrefixStore(f"attempt_{attempt}", store))
    dist.destroy_process_group()  # not after a failure, when processes could wait for each other


def _own_gpu(chosen: torch.device, world: int) -> torch.device:
    """The GPU of this process; of 'cuda' that with the process's number on this machine.

    Raises:
        ValueError: several processes would share a GPU, which NCCL refuses with a message of its own.
    """
    local, count = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
    if chosen.index is not None:
        if world > 1:
            raise ValueError(
                f"device {str(chosen)!r} is one GPU, and each of {world} processes needs its own; use cuda"
            )
        return chosen
    if local >= count > 1:
        raise ValueError(
            f"process {local} of this machine finds no GPU of its own: PyTorch sees {count}; start no more processes "
            f"than GPUs (torchrun --nproc_per_node {count})"
        )
    return torch.device(f"cuda:{local % count}")  # clusters may show each process one GPU, its own


def started_apart() -> str:
    """A notice if srun or mpirun started several processes that do not know of each other; else ''."""
    for launcher, variable in (("srun", "SLURM_STEP_NUM_TASKS"), ("mpirun", "OMPI_COMM_WORLD_SIZE")):
        count = os.environ.get(variable, "1")
        if world_size() == 1 and count != "1":
            return (
                f"{launcher} started {count} processes, and each trains by itself; to train together, let it start "
                "torchrun, once per machine (docs/training.md)"
            )
    return ""


def recorded(function: Callable[..., T]) -> Callable[..., T]:
    """Let torchrun report an error of the function as the cause of failure; without torchrun the function itself.

    torchrun ends all processes as soon as one has failed, and shows the error of the first.
    """
    return record(function) if "TORCHELASTIC_ERROR_FILE" in os.environ else function
