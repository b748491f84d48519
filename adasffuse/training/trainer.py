"""The training loop: draw, fuse, loss, update, average, log, save.  A rerun continues from the newest checkpoint."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter
from torchvision.utils import make_grid
from tqdm import tqdm

from adasffuse.data.crops import LumaPair, StepSampler
from adasffuse.data.mixture import MixedCrops
from adasffuse.models.weights import save_weights
from adasffuse.options import Options
from adasffuse.training.checkpoint import load_checkpoint, save_checkpoint
from adasffuse.training.processes import join_processes
from adasffuse.training.run import Run
from adasffuse.training.terms import Terms, merged

WEIGHTS_FILE = "weights.safetensors"


def train(options: Options, out_dir: str | Path = "checkpoint", device: str = "auto") -> Path:
    """Train as `options` say; all files go to `out_dir/<options.name>/`.  Returns the path of the weights.

    Continues from the newest checkpoint in that folder.  SIGTERM and SIGINT finish the step, save and return.

    Raises:
        ImageError: something is wrong with the training pictures; the message lists everything.
        ValueError: the folder holds a run with other options, or processes do not divide the batch.
        FloatingPointError: a loss or gradient is not finite; names step, terms and pictures.
    """
    folder = Path(out_dir) / options.name
    with join_processes(device) as processes, _stop_requested() as stop:
        data = MixedCrops(options.parts, options.train.seed)
        validation = [(number, pair) for number, part in enumerate(data.parts) for pair in part.validation]
        if processes.main:
            folder.mkdir(parents=True, exist_ok=True)
        run = Run(options, processes)
        state = load_checkpoint(folder, processes.device)
        if state is not None:
            run.restore(state)
        log = SummaryWriter(folder / "log", purge_step=run.step + 1) if processes.main else None
        if processes.main:
            _write_json(folder / "options.json", options.to_dict())
        sampler = StepSampler(options.train.batch_size, run.step, options.train.steps, processes.rank, processes.world)
        workers = max(part.data.workers for part in options.parts)
        loader = DataLoader(data, batch_sampler=sampler, num_workers=workers, persistent_workers=workers > 0)

        bar = tqdm(loader, initial=run.step, total=options.train.steps, desc=options.name, disable=not processes.main)
        for batch in bar:
            terms = run.update(batch)
            stopping = processes.any(stop())
            if _due(run, options.log.scalars):
                means = merged(processes.gather(terms)).means()
                bar.set_postfix({k: f"{v:.3f}" for k, v in means.items() if "/" not in k}, refresh=False)
                if log is not None:
                    for name, value in means.items():
                        log.add_scalar(f"loss/{name}", value, run.step)
                    log.add_scalar("lr", run.optimizer.param_groups[0]["lr"], run.step)
            if log is not None:
                _report(run, batch, validation, log)
            due = _due(run, options.log.checkpoint)
            if processes.main and (stopping or due or run.step == options.train.steps):
                save_averaged(run, folder / WEIGHTS_FILE)  # first: a last checkpoint means that nothing is left to do
                save_checkpoint(folder, run.step, run.state(), options.log.keep)
            if stopping:
                break
        if log is not None:
            log.close()
    return folder / WEIGHTS_FILE


@torch.no_grad()
def validate(run: Run, pairs: list[tuple[int, LumaPair]], largest: int = 256) -> dict[str, float]:
    """Mean loss terms of the averaged network over the centres of held-out pairs, each with its part's number."""
    terms = Terms()
    for part, pair in pairs:
        batch = {name: _centre(image, largest) for name, image in (("a", pair.a), ("b", pair.b))}
        batch["truth"] = torch.full_like(batch["a"], torch.nan)
        terms.add(run.loss(run.average.module, {**batch, "part": torch.tensor([part])})[1])
    return terms.means()


def save_averaged(run: Run, path: Path) -> None:
    """Write the averaged weights."""
    record = {"steps": run.step, "seed": run.options.train.seed, "run": run.options.name}
    save_weights(path, run.average.module.state_dict(), run.options.model, run.options.task, **record)


def _due(run: Run, every: int) -> bool:
    return every > 0 and run.step % every == 0


def _report(run: Run, batch: dict, validation: list[tuple[int, LumaPair]], log: SummaryWriter) -> None:
    options = run.options.log
    if _due(run, options.panel):
        with torch.no_grad():
            a, b = (batch[name][:4].to(run.processes.device) for name in ("a", "b"))
            fused = run.average.module(a, b)
        columns = torch.stack([a, b, fused], dim=1).flatten(0, 1)  # A, B, fused of the first pair, then the next
        log.add_image("A, B, fused", make_grid(columns.clamp(0, 1).cpu(), nrow=3), run.step)
    if validation and _due(run, options.validate):
        for name, value in validate(run, validation).items():
            log.add_scalar(f"validation/{name}", value, run.step)


def _centre(image: np.ndarray, largest: int) -> Tensor:
    top, left = (max(0, (side - largest) // 2) for side in image.shape)
    crop = image[top : top + largest, left : left + largest]
    return torch.from_numpy(crop.astype(np.float32) / 255)[None, None]


def _write_json(path: Path, values: dict) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, path)


@contextmanager
def _stop_requested() -> Iterator:
    """A function that says whether SIGTERM or SIGINT came; the handlers are put back at the end."""
    received: list[int] = []
    previous = {s: signal.signal(s, lambda number, _: received.append(number)) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
