"""The training loop: draw, fuse, loss, update, average, log, save.  A rerun continues from the newest checkpoint."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter
from torchvision.utils import make_grid
from tqdm import tqdm

from adasffuse.data.crops import LumaPair, StepSampler, TrainingCrops
from adasffuse.losses import fusion_loss
from adasffuse.models import AdaSFFuse
from adasffuse.models.weights import load_weights, save_weights
from adasffuse.options import Options
from adasffuse.training.checkpoint import load_checkpoint, save_checkpoint
from adasffuse.training.processes import Processes, join_processes

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
        data = TrainingCrops(options.data, options.train.seed)
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
        workers = options.data.workers
        loader = DataLoader(data, batch_sampler=sampler, num_workers=workers, persistent_workers=workers > 0)

        bar = tqdm(loader, initial=run.step, total=options.train.steps, desc=options.name, disable=not processes.main)
        for batch in bar:
            terms = run.update(batch)
            stopping = processes.any(stop())
            if log is not None:
                _report(run, terms, batch, data.validation, log, bar)
            due = options.log.checkpoint and run.step % options.log.checkpoint == 0
            if processes.main and (stopping or due or run.step == options.train.steps):
                run.save_weights(folder / WEIGHTS_FILE)  # first: a last checkpoint means that nothing is left to do
                save_checkpoint(folder, run.step, run.state(), options.log.keep)
            if stopping:
                break
        if log is not None:
            log.close()
    return folder / WEIGHTS_FILE


class Run:
    """Network, averaged network and optimiser of a training run, with the number of updates made."""

    def __init__(self, options: Options, processes: Processes) -> None:
        self.options, self.processes, self.step = options, processes, 0
        torch.manual_seed(options.train.seed)
        model = AdaSFFuse(options.model)
        if options.train.init:
            start, _ = load_weights(options.train.init)
            if start.options != options.model:
                raise ValueError(f"train.init {options.train.init} holds a network of another shape: {start.options}")
            model = start.train()
        self.model = model.to(processes.device, memory_format=torch.channels_last)
        self.average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(options.train.ema))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=options.train.lr)
        self.parallel: nn.Module = DistributedDataParallel(self.model) if processes.world > 1 else self.model

    def update(self, batch: dict[str, Any]) -> dict[str, float]:
        """One optimiser step; returns the loss terms of this step, means over all processes."""
        train = self.options.train
        for group in self.optimizer.param_groups:
            group["lr"] = train.lr_at(self.step)
        self.optimizer.zero_grad()
        terms = self.loss_terms(self.parallel, batch)
        loss = torch.stack(list(terms.values())).sum()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), train.clip or torch.inf)
        values = {name: value.item() for name, value in terms.items()}
        if not (loss.isfinite() and norm.isfinite()):
            raise FloatingPointError(
                f"loss or gradient is not finite in step {self.step}: {values}, gradient norm {norm.item()}; "
                f"pictures: {', '.join(batch['name'])}. Lower train.lr or look at these pictures"
            )
        self.optimizer.step()
        self.average.update_parameters(self.model)
        self.step += 1
        means = self.processes.mean(torch.tensor(list(values.values()), device=self.processes.device))
        return dict(zip(values, means.tolist()))

    def loss_terms(self, model: nn.Module, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Loss terms of a batch; the network in the chosen precision, the losses in float32."""
        options, device = self.options, self.processes.device
        a, b, truth = (batch[name].to(device, non_blocking=True) for name in ("a", "b", "truth"))
        with torch.autocast(device.type, torch.bfloat16, enabled=options.train.precision == "bfloat16"):
            fused = model(a, b)
        terms = fusion_loss(fused.float(), a, b, options.loss, truth)
        if options.loss.filters:
            terms["filters"] = options.loss.filters * self.model.filter_penalty()
        return terms

    def state(self) -> dict[str, Any]:
        """All that a continued run needs."""
        return {
            "step": self.step,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "options": self.options.to_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a saved state.

        Raises:
            ValueError: it belongs to a run of another network or task.
        """
        for key in ("task", "model"):
            if state["options"][key] != self.options.to_dict()[key]:
                raise ValueError(
                    f"checkpoint of run {self.options.name!r} was made with another {key} ({state['options'][key]}); "
                    "choose another name or remove its folder"
                )
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]

    def save_weights(self, path: Path) -> None:
        """Write the averaged weights."""
        record = {"steps": self.step, "seed": self.options.train.seed, "run": self.options.name}
        save_weights(path, self.average.module.state_dict(), self.options.model, self.options.task, **record)

    @torch.no_grad()
    def validate(self, pairs: list[LumaPair], largest: int = 256) -> dict[str, float]:
        """Mean loss terms of the averaged network over the centres of held-out pairs."""
        sums: dict[str, float] = {}
        for pair in pairs:
            batch = {name: _centre(image, largest) for name, image in (("a", pair.a), ("b", pair.b))}
            batch["truth"] = torch.full_like(batch["a"], torch.nan)
            for name, value in self.loss_terms(self.average.module, batch).items():
                sums[name] = sums.get(name, 0.0) + value.item() / len(pairs)
        return sums


def _report(
    run: Run, terms: dict[str, float], batch: dict, validation: list[LumaPair], log: SummaryWriter, bar: tqdm
) -> None:
    options = run.options.log

    def due(every: int) -> bool:
        return every > 0 and run.step % every == 0

    bar.set_postfix({"loss": f"{sum(terms.values()):.3f}", **{k: f"{v:.3f}" for k, v in terms.items()}}, refresh=False)
    if due(options.scalars):
        for name, value in {"total": sum(terms.values()), **terms}.items():
            log.add_scalar(f"loss/{name}", value, run.step)
        log.add_scalar("lr", run.optimizer.param_groups[0]["lr"], run.step)
    if due(options.panel):
        with torch.no_grad():
            a, b = (batch[name][:4].to(run.processes.device) for name in ("a", "b"))
            fused = run.average.module(a, b)
        columns = torch.stack([a, b, fused], dim=1).flatten(0, 1)  # A, B, fused of the first pair, then the next
        log.add_image("A, B, fused", make_grid(columns.clamp(0, 1).cpu(), nrow=3), run.step)
    if validation and due(options.validate):
        values = run.validate(validation)
        for name, value in {"total": sum(values.values()), **values}.items():
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
