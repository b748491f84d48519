"""Turns at the network for threads that fuse images at the same time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_LARGE = 1 << 20  # pixels from which on an image gets all threads: they share its work well, and memory is bounded


class Turns:
    """Turns at the network: on a CPU with several threads two small images at once, each with half of the threads.

    Threads that work on one image wait for each other after every layer; on two cores, two images at once take a
    tenth less time.  Within the context PyTorch's number of threads is changed.
    """

    def __init__(self, device: torch.device) -> None:
        self._threads = torch.get_num_threads()
        self.places = 2 if device.type == "cpu" and self._threads > 1 else 1
        self._free, self._changed = self.places, threading.Condition()

    def __enter__(self) -> "Turns":
        return self

    def __exit__(self, *error: object) -> None:
        torch.set_num_threads(self._threads)

    @contextmanager
    def one(self, pixels: int) -> Iterator[None]:
        """The calling thread's turn, with the number of threads that it may use."""
        places = self.places if pixels >= _LARGE else 1
        with self._changed:
            self._changed.wait_for(lambda: self._free >= places)
            self._free -= places
        torch.set_num_threads(self._threads * places // self.places)  # of this thread and those that start later
        try:
            yield
        finally:
            with self._changed:
                self._free += places
                self._changed.notify_all()
