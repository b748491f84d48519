"""Running a function over many jobs in several processes, from any program.

The workers are fresh interpreters that read jobs from a pipe.  Unlike those of `multiprocessing` they do not import the
caller's main module, so scripts without `if __name__ == "__main__"`, threads and notebooks can use them.  They have no
terminal, so Ctrl-C reaches only the caller, and they end when the caller ends, however it ends, as their pipe closes.
"""

import contextlib
import os
import pickle
import queue
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2

_START = "import sys; sys.path[:] = sys.argv[1:]; from adasffuse.metrics.workers import serve; serve()"


class WorkerError(RuntimeError):
    """A worker process ended during a job, e.g. because the system killed it for lack of memory."""


def available_cores() -> int:
    """Processor cores that this process may use; all cores if the system does not say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_memory() -> int | None:
    """Bytes available to new processes without swapping; None if the system does not say (other than Linux)."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def can_start_workers() -> bool:
    """Whether `sys.executable` is a Python interpreter, which it is not in programs that embed or freeze Python."""
    return bool(sys.executable) and not getattr(sys, "frozen", False)


def map_in_processes(function: Callable[[Any], Any], jobs: Sequence[Any], workers: int) -> Iterator[Any]:
    """Results of `function(job)` in the order of the jobs; a `WorkerError` for a job in which the worker died.

    If the iteration ends early, by an error, a signal or by closing it, the workers are killed.

    Args:
        function: a function of an importable module, not of the caller's main module.
        jobs: jobs and their results are pickled.
        workers: processes, at least 1.
    Raises:
        Exception: whatever `function` raised.
        OSError: no process can be started.
    """
    processes: list[_Worker] = []
    threads = ThreadPoolExecutor(workers)
    free: queue.SimpleQueue[_Worker] = queue.SimpleQueue()

    def start() -> _Worker:
        processes.append(_Worker())
        return processes[-1]

    def call(job: Any) -> Any:
        worker = free.get()
        try:
            return worker.call(function, job)
        except WorkerError as error:
            worker = start()  # for the remaining jobs
            return error
        finally:
            free.put(worker)

    try:
        for _ in range(workers):
            free.put(start())
        yield from threads.map(call, jobs)
    finally:
        for process in list(processes):
            process.kill()  # ends the threads that wait for a result
        threads.shutdown(cancel_futures=True)
        for process in processes:  # some may have been started by these threads
            process.kill()
            process.close()


def serve() -> None:
    """Main loop of a worker: answer jobs from standard input until it closes."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # prints go to standard error, not between the answers
    cv2.setNumThreads(1)
    while True:
        try:
            function, job = pickle.load(sys.stdin.buffer)
        except (EOFError, pickle.UnpicklingError):  # closed, perhaps in the middle of a job
            return
        try:
            answer = function(job)
        except Exception as error:
            answer = error
        try:
            pickle.dump(answer, answers)
            answers.flush()
        except BrokenPipeError:  # the caller was killed; skip Python's flush at exit
            os._exit(1)


class _Worker:
    """A worker process; only one thread at a time may call it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def call(self, function: Callable[[Any], Any], job: Any) -> Any:
        self._send((function, job))
        try:
            answer = pickle.load(self._process.stdout)
        except EOFError:
            raise self._end() from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Close the pipes of a killed worker; unsent data is lost."""
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.stdout.close()

    def _send(self, message: Any) -> None:
        try:
            pickle.dump(message, self._process.stdin)
            self._process.stdin.flush()
        except OSError:
            raise self._end() from None

    def _end(self) -> WorkerError:
        status = self._process.wait()
        return WorkerError(f"a scoring process ended with status {status}; fewer workers need less memory")
