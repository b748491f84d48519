"""The state of a training run, network, averaged network, optimiser, step, and what one update does to it."""

import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from adasffuse.losses.fusion import LossOptions, fusion_loss
from adasffuse.models import AdaSFFuse
from adasffuse.models.growth import inherit
from adasffuse.models.weights import load_weights, released_weights
from adasffuse.training.options import Options, parse_options
from adasffuse.training.precision import exact_convolutions
from adasffuse.training.processes import Processes
from adasffuse.training.terms import Terms, merged


class Run:
    """Network, averaged network and optimiser of a training run, with the number of updates made."""

    def __init__(self, options: Options, processes: Processes) -> None:
        self.options, self.processes, self.step = options, processes, 0
        torch.manual_seed(options.train.seed)
        model = AdaSFFuse(options.model)
        if options.train.init:
            _start_from(model, options.train.init)
        self.model = model.to(processes.device, memory_format=torch.channels_last)
        self.average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(options.train.ema))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=options.train.lr)
        self.parallel: nn.Module = DistributedDataParallel(self.model) if processes.world > 1 else self.model
        self.trained: nn.Module = torch.compile(self.parallel) if options.train.compile else self.parallel
        self.skipped = 0  # batches left out because their loss or gradient was not finite
        self.best: dict[str, Any] = {}  # 'name' as `log.best` says, 'score' and 'step' of the best validation

    def update(self, batch: dict[str, Any]) -> Terms:
        """One optimiser step; returns the loss terms of this process's samples.

        Raises:
            FloatingPointError: loss or gradient is not finite, and `train.skip_nonfinite` such batches were skipped.
        """
        train = self.options.train
        for group in self.optimizer.param_groups:
            group["lr"] = train.lr_at(self.step)
        self.optimizer.zero_grad()
        terms = Terms()
        for number in range(train.accumulate):
            micro = {name: values[number :: train.accumulate] for name, values in batch.items()}
            last = number == train.accumulate - 1
            with nullcontext() if last or self.parallel is self.model else self.parallel.no_sync():
                fused, images = self.fuse(self.trained, micro)
                with exact_convolutions(fused):
                    loss, some = self.loss(fused, images, micro["part"])
                    (loss / train.accumulate).backward()
            terms.add(some)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), train.clip or torch.inf).item()
        if self.processes.any(not (terms.finite and isfinite(norm))):
            self._skip(terms, norm, batch["name"])
        else:
            self.optimizer.step()
            self.average.update_parameters(self.model)
        self.step += 1
        return terms

    def fuse(self, model: nn.Module, batch: dict[str, Any]) -> tuple[Tensor, list[Tensor]]:
        """Result of a network in the chosen precision, (B, 1, H, W) float32, and 'a', 'b', 'truth' on its device.

        The network is shown 'shown_b' for b, where the batch has it.
        """
        device, low_precision = self.processes.device, self.options.train.precision == "bfloat16"
        images = [batch[name].to(device, non_blocking=True) for name in ("a", "b", "truth")]
        with torch.autocast(device.type, torch.bfloat16, enabled=low_precision):
            shown = batch["shown_b"].to(device, non_blocking=True) if "shown_b" in batch else images[1]
            fused = model(images[0], shown)
        return fused.float(), images

    def loss(self, fused: Tensor, images: Sequence[Tensor], part: Tensor) -> tuple[Tensor, Terms]:
        """Mean over a batch's samples of the loss of each one's part, and its terms; in float32.

        Args:
            fused: (B, 1, H, W).
            images: sources a and b and the truth, of that shape; NaN where the truth is unknown.
            part: (B,) the number of each sample's part, on the CPU.
        """
        names, values, terms = [], [], Terms()
        for number in part.unique().tolist():
            label, members = self.options.labels[number], (part == number).nonzero()[:, 0].to(fused.device)
            chosen = [t if len(members) == len(t) else t[members] for t in (fused, *images)]
            terms.counts[label] = len(members)
            for name, value in self._part_loss(*chosen, self.options.parts[number].loss).items():
                names.append((label, name))
                values.append(value * len(members))  # a mean over pairs becomes a sum
        sums = torch.stack(values)
        terms.sums.update(dict(zip(names, sums.tolist())))
        return sums.sum() / len(fused), terms

    def _part_loss(self, fused: Tensor, a: Tensor, b: Tensor, truth: Tensor, options: LossOptions) -> dict[str, Tensor]:
        """Loss terms, means over pairs, of samples of one part."""
        terms = fusion_loss(fused, [a, b], options, truth)
        return terms

    def _skip(self, terms: Terms, norm: float, names: Sequence[str]) -> None:
        """Count a batch whose loss or gradient is not finite, on all processes; too many end the run."""
        reports = self.processes.gather((terms, list(names)))
        guilty = [report for report in reports if not report[0].finite] or reports
        message = (
            f"loss or gradient is not finite in step {self.step}: {merged(t for t, _ in reports).means()}, "
            f"gradient norm {norm}; images: {', '.join(name for _, some in guilty for name in some)}"
        )
        allowed = self.options.train.skip_nonfinite
        if self.skipped >= allowed:
            already = f" ({self.skipped} such batches were skipped before, as train.skip_nonfinite allows)"
            raise FloatingPointError(f"{message}{already * (allowed > 0)}. Lower train.lr or look at these images")
        self.skipped += 1
        if self.processes.main:
            warnings.warn(f"{message}; batch skipped, {self.skipped} of {allowed} allowed", stacklevel=3)

    def is_best(self, score: float) -> bool:
        """Whether this step's validation beats all before by the score that `log.best` names; it is remembered then."""
        name = self.options.log.best
        comparable = self.best.get("name") == name
        if not isfinite(score) or (comparable and score <= self.best["score"]):
            return False
        self.best = {"name": name, "score": score, "step": self.step}
        return True

    def state(self) -> dict[str, Any]:
        """All that a continued run needs.  The sampler's position, the schedule and all draws follow from the step."""
        return {
            "step": self.step,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "options": self.options.to_dict(),
            "skipped": self.skipped,
            "best": self.best,
            "rng": torch.get_rng_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a saved state.

        Raises:
            ValueError: it belongs to a run of another network or task.
        """
        state["options"]["model"].setdefault("patch", 1)  # older checkpoints lack it
        before = parse_options(state["options"])
        for name in ("task", "model"):
            if getattr(before, name) != getattr(self.options, name):
                raise ValueError(
                    f"checkpoint of run {self.options.name!r} was made with another {name} ({getattr(before, name)}); "
                    "choose another name or remove its folder"
                )
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        self.skipped, self.best = state.get("skipped", 0), state.get("best", {})  # older checkpoints lack them
        if "rng" in state:
            torch.set_rng_state(state["rng"].cpu())


def _start_from(model: AdaSFFuse, init: str) -> None:
    """Give a network the weights that `train.init` names, a file or released ones such as 'general_small'.

    Raises:
        WeightsError: no such weights.
        ValueError: they are those of a network that this one cannot start from, see `inherit`.
    """
    task, _, size = init.rpartition("_")
    start, _ = load_weights(init if init.endswith(".safetensors") else released_weights(task, size))
    try:
        inherit(model, start)
    except ValueError as error:
        raise ValueError(f"train.init {init} holds {error}") from None
