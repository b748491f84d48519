"""The training loop: draw, fuse, loss, update, average, log, save.  A rerun continues from the newest checkpoint."""

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch.utils.data import DataLoader
from tqdm import tqdm

from adasffuse.arguments import checked
from adasffuse.data.crops import StepSampler
from adasffuse.data.mixture import MixedCrops
from adasffuse.files import LOCK_FILE, PARTIAL, OutputError, keeping_others_out, write_text
from adasffuse.images.image import ImageError
from adasffuse.messages import not_written
from adasffuse.metrics.workers import available_cores
from adasffuse.models.options import without_idle
from adasffuse.models.weights import RUN_WEIGHTS, save_weights
from adasffuse.process import notice_lines
from adasffuse.training.checkpoint import (
    CheckpointError,
    load_checkpoint,
    newest_checkpoint,
    save_checkpoint,
    unusable,
)
from adasffuse.training.log import RunLog
from adasffuse.training.manifest import MANIFEST, note_saved, was_saved, write_manifest
from adasffuse.training.options import TRUTH_METRICS, LogOptions, Options, parse_options
from adasffuse.training.processes import Processes, join_processes, started_apart
from adasffuse.training.resume import Changes, changed_options
from adasffuse.training.run import Prepare, Run
from adasffuse.training.terms import merged
from adasffuse.training.validation import best_score, validate

_log = logging.getLogger(__name__)
_WITHOUT_LOADERS = "set data.workers to 0"
_LOG_INTERVAL = 30  # seconds between two lines of progress in a file
_BORDER = 2  # pixels between the images of a panel


@checked
def train(
    options: Options, out_dir: str | Path = "checkpoint", device: str = "auto", prepare: Prepare | None = None
) -> Path:
    """Train with `options`; all files go to `out_dir/<options.name>/`.  Returns the path of the weights.

    Continues from the newest checkpoint in that folder.  SIGTERM and SIGINT finish the step, save and return; in a
    thread, where Python cannot handle signals, they are not caught.

    Args:
        prepare: called with the network before training, see `Run`.
    Raises:
        ImageError: training images are missing or unusable; the message lists all problems.
        adasffuse.files.InUseError: another process trains in that folder.
        CheckpointError: the newest checkpoint is damaged, or all were removed while the weights are still there.
        ValueError: the folder holds a run with other options, processes do not divide the batch, `data.validation`
            names no image that is there, `log.best` names a metric that the held-out pairs cannot have, or the
            folder's name is not UTF-8.
        FloatingPointError: a loss or gradient is not finite; names step, terms and images.
        OSError: a file cannot be written; earlier checkpoints are intact.
    """
    folder = Path(out_dir) / options.name
    try:
        os.fspath(folder).encode()
    except UnicodeEncodeError as error:
        raise OutputError(
            f"{folder}: TensorBoard writes to folders whose names are UTF-8; choose another name"
        ) from error
    with ExitStack() as stack:
        processes = stack.enter_context(join_processes(device))
        stop = stack.enter_context(stop_requested())
        notice = started_apart()
        if notice:
            _log.warning("notice: %s", notice)
        data = MixedCrops(options.parts, options.train.seed)
        if processes.main:
            for line in notice_lines(data.notices, "about the training images"):
                _log.warning("%s", line)
            if options.train.warmup >= options.train.steps:
                _log.warning(
                    "notice: train.warmup %d lasts as long as train.steps %d: the step size only grows; give fewer "
                    "steps of warmup",
                    options.train.warmup,
                    options.train.steps,
                )
        _check_held_out(options, data, begins=newest_checkpoint(folder) is None)
        _sampler(options, processes, start=0)  # raises if the processes do not divide the batch
        run = Run(options, processes, prepare)
        stack.enter_context(_named_write_errors(folder))
        if processes.main:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(keeping_others_out(folder, LOCK_FILE))
            for path in folder.glob(f"{PARTIAL}*"):  # unfinished files of a killed process
                path.unlink(missing_ok=True)
        changes = resume(run, folder)
        log = None
        if processes.main:
            write_text(folder / "options.json", json.dumps(options.to_dict(), indent=2) + "\n")
            write_manifest(folder / MANIFEST, run, data, changes)  # reads every image file
            log = RunLog(folder, run.step)
            stack.callback(log.close)
            _log.info("%s", _counts(options, data))
        processes.wait_for_main("manifest", stop)
        saved, every = run.step, LogOptions.every(options.train.steps)
        batches = _until_stopped(make_loader(options, data, processes, start=run.step), stop, processes)
        bar = tqdm(
            batches,
            desc=options.name,
            initial=run.step,
            total=options.train.steps,
            disable=not processes.main,
            mininterval=0.1 if sys.stderr.isatty() else _LOG_INTERVAL,
        )
        for batch in bar:
            terms = run.update(batch)
            stopping, ending = processes.any(stop()), run.step == options.train.steps
            if _due(run, every):
                means = merged(processes.gather(terms)).means()
                bar.set_postfix({k: f"{v:.3f}" for k, v in means.items() if "/" not in k}, refresh=False)
                if log is not None:
                    log.training(run.step, means, run.optimizer.param_groups[0]["lr"])
            if log is not None and _due(run, options.log.panel):
                log.image(run.step, "A, B, fused", _batch_panel(run, batch))
            if data.validation and options.log.validate and (ending or _due(run, options.log.validate)):
                _validate(run, data, log, folder)
            if stopping or ending or _due(run, options.log.checkpoint):
                _save(run, folder)
                saved = run.step
            if stopping:
                break
        if run.step > saved or (run.step and not (folder / RUN_WEIGHTS).is_file()):
            _save(run, folder)  # stopped between two updates, or the weights of a finished run were removed
        if processes.main and run.step < options.train.steps:
            _log.warning("stopped after %d of %d steps; the same command continues", run.step, options.train.steps)
    return folder / RUN_WEIGHTS


@contextmanager
def _named_write_errors(folder: Path) -> Iterator[None]:
    """Add file name and advice to the system's errors of writing files below `folder`."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # raised by this package, with name and advice
            raise
        raise OSError(not_written(error.filename or f"to {folder}", error)) from error


def resume(run: Run, folder: Path) -> Changes:
    """Load the newest checkpoint in the run's folder, if there is one; returns options that differ from its own."""
    changes: Changes = {}
    path = newest_checkpoint(folder)
    if path is None and (folder / RUN_WEIGHTS).is_file() and was_saved(folder / MANIFEST):
        raise CheckpointError(
            f"{folder} holds {RUN_WEIGHTS} but no checkpoint (step_*.pt) to continue from: put the checkpoint "
            "back, choose another name, or empty that folder to start anew"
        )
    if path is not None:
        state = load_checkpoint(path)
        stored = state["options"]
        try:
            before = parse_options({**stored, "model": without_idle(stored.get("model", {}))})
        except ValueError as error:
            raise unusable(path, error) from None
        changes = changed_options(before, run.options)
        try:
            run.restore(state)
        except CheckpointError as error:
            raise unusable(path, error) from None
        if run.step > run.options.train.steps:
            raise ValueError(
                f"run {run.options.name!r} has made {run.step} steps, train.steps is {run.options.train.steps}; "
                "give as many or more, or choose another name"
            )
    steps = run.processes.gather(run.step)
    if len(set(steps)) > 1:
        raise ValueError(
            f"processes find checkpoints of different steps ({steps}) in {folder}; all machines must share that folder"
        )
    return changes


def make_loader(options: Options, data: MixedCrops, processes: Processes, start: int) -> DataLoader:
    """Batches of this process from step `start` on; more loader processes than cores only slow each other down."""
    workers = min(max(part.data.workers for part in options.parts), available_cores())
    return DataLoader(
        data,
        batch_sampler=_sampler(options, processes, start),
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=processes.device.type == "cuda",
    )


def _sampler(options: Options, processes: Processes, start: int) -> StepSampler:
    train = options.train
    return StepSampler(train.batch_size, start, train.steps, processes.rank, processes.world, train.accumulate)


def _until_stopped(loader: DataLoader, stop: Callable[[], bool], processes: Processes) -> Iterator[dict]:
    """Batches of a loader, until a signal to the process group ends loader workers of any process.

    All processes end after the same batch; otherwise one would wait for the others in its next update.
    """
    try:
        batches = iter(loader)
    except OSError as error:
        raise OSError(f"loader processes cannot be started ({error.strerror or error}); {_WITHOUT_LOADERS}") from error
    while True:
        try:
            batch = next(batches, None)
        except ImageError as error:  # errors of a worker have its traceback before the message
            raise ImageError(str(error).rpartition("ImageError: ")[2].strip()) from None
        except RuntimeError as error:  # a worker exited
            if not stop():
                if "shared memory" not in str(error):
                    raise
                raise OSError(
                    "loader processes have too little shared memory; make /dev/shm larger, in a container by "
                    f"docker run --shm-size 1g, or {_WITHOUT_LOADERS}"
                ) from None
            batch = None
        if processes.any(batch is None):
            return
        yield batch


def _save(run: Run, folder: Path) -> None:
    """Write weights, then the checkpoint, so that a checkpoint of the last step means that the run is complete."""
    if run.processes.main:
        _save_averaged(run, folder / RUN_WEIGHTS)
        first = newest_checkpoint(folder) is None
        save_checkpoint(folder, run.step, run.state(), run.options.log.keep)
        if first:
            note_saved(folder / MANIFEST)


def _validate(run: Run, data: MixedCrops, log: RunLog | None, folder: Path) -> None:
    """Score and log the held-out pairs; save the averaged weights if the score is the best so far."""
    means, panel = validate(run, data.validation)
    better = run.is_best(best_score(means, run.options.log.best))
    if log is None:
        return
    log.validation(run.step, means)
    if panel is not None and run.options.log.panel:
        log.image(run.step, "validation", panel)
    if better:
        _save_averaged(run, folder / "best.safetensors", score=run.best)


def _counts(options: Options, data: MixedCrops) -> str:
    """How many pairs and sharp photographs each part trains on, and how many it holds out."""
    lines = []
    for number, (label, part) in enumerate(zip(options.labels, data.parts)):
        photographs = f", sharp photographs: {len(part.sharp)}" if part.sharp else ""
        held_out = sum(other == number for other, _ in data.validation)
        lines.append(f"{label}: pairs to train on: {len(part.pairs)}{photographs}, held out: {held_out}")
    return "; ".join(lines)


def _check_held_out(options: Options, data: MixedCrops, begins: bool) -> None:
    """Raise ValueError if `data.validation` names no image that is there, or `log.best` a metric that no pair has.

    A run that has begun without validation goes on so: it may not change `data.validation`.
    """
    asked = list(dict.fromkeys(pattern for part in options.parts for pattern in part.data.validation))
    if begins and asked and not data.validation:
        example = next((pair.name.rsplit("/", 1)[-1] for part in data.parts for pair in part.pairs), None)
        such = f", such as {example}" if example else ""
        names = ", ".join(asked[:3]) + (", ..." if asked[3:] else "")
        raise ValueError(
            f"data.validation holds nothing out: no image is called {names}; "
            f"name images of your own{such}, or give [] to train on all of them without validation"
        )
    metrics = [name for name in TRUTH_METRICS if name in options.log.best.split("+")]
    if metrics and data.validation and all(pair.truth is None for _, pair in data.validation):
        raise ValueError(
            f"log.best asks for {', '.join(metrics)}, but no held-out pair has a known truth; "
            "hold photographs of data.sharp_folder out with data.validation, or choose another score"
        )


def _save_averaged(run: Run, path: Path, **record) -> None:
    """Write the averaged weights; the record names the weights they derive from, whose licence may extend to them."""
    record = {"steps": run.step, "seed": run.options.train.seed, "run": run.options.name, **record}
    if run.options.train.init:
        record["init"] = Path(run.options.train.init).name
    teachers = sorted({Path(part.teacher).name for part in run.options.parts if part.teacher})
    if teachers:
        record["teachers"] = teachers
    try:
        save_weights(path, run.average.module.state_dict(), run.options.model, run.options.task, **record)
    except (SafetensorError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OSError(f"cannot write weights {path}: {reason}; earlier checkpoints are intact") from error


@torch.no_grad()
def _batch_panel(run: Run, batch: dict) -> np.ndarray:
    """A panel (H, W, 3) uint8 of up to four samples, a row each: A, B and fused."""
    first = {name: batch[name][:4] for name in ("a", "b", "truth", "shown_b", "part")}
    result = run.fuse(run.average.module, first)
    shown_b = first["shown_b"].to(result.a.device)
    columns = torch.stack([result.a, shown_b, result.fused], dim=1)  # (rows, 3, 1, H, W)
    columns = F.pad(columns.clamp(0, 1).nan_to_num(), (0, _BORDER, 0, _BORDER)).expand(-1, -1, 3, -1, -1)
    rows, number, _, height, width = columns.shape
    grid = columns.permute(0, 3, 1, 4, 2).reshape(rows * height, number * width, 3)
    return (grid * 255).round().byte().cpu().numpy()


def _due(run: Run, every: int) -> bool:
    return every > 0 and run.step % every == 0


@contextmanager
def stop_requested() -> Iterator[Callable[[], bool]]:
    """A function that tells whether SIGTERM or SIGINT was received; the handlers are restored at the end.

    In a thread, where Python cannot set handlers, it always returns False.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    previous = {s: signal.signal(s, lambda number, _: received.append(number)) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
