"""The state of a training run, network, averaged network, optimiser, step, and what one update does to it."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from adasffuse.losses import LossOptions, fusion_loss
from adasffuse.models import AdaSFFuse
from adasffuse.models.weights import load_weights
from adasffuse.options import Options, parse_options
from adasffuse.training.processes import Processes
from adasffuse.training.terms import Terms


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

    def update(self, batch: dict[str, Any]) -> Terms:
        """One optimiser step; returns the loss terms of this process's samples."""
        train = self.options.train
        for group in self.optimizer.param_groups:
            group["lr"] = train.lr_at(self.step)
        self.optimizer.zero_grad()
        loss, terms = self.loss(self.parallel, batch)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), train.clip or torch.inf)
        if not (loss.isfinite() and norm.isfinite()):
            raise FloatingPointError(
                f"loss or gradient is not finite in step {self.step}: {terms.means()}, gradient norm {norm.item()}; "
                f"pictures: {', '.join(batch['name'])}. Lower train.lr or look at these pictures"
            )
        self.optimizer.step()
        self.average.update_parameters(self.model)
        self.step += 1
        return terms

    def loss(self, model: nn.Module, batch: dict[str, Any]) -> tuple[Tensor, Terms]:
        """Mean over a batch's samples of the loss of each one's part, and its terms.

        The network runs in the chosen precision, the losses in float32.

        Args:
            batch: 'a', 'b' and 'truth', (B, 1, H, W), and 'part', (B,), the number of each sample's part.
        """
        device, low_precision = self.processes.device, self.options.train.precision == "bfloat16"
        images = [batch[name].to(device, non_blocking=True) for name in ("a", "b", "truth")]
        with torch.autocast(device.type, torch.bfloat16, enabled=low_precision):
            fused = model(*images[:2])
        images = [fused.float(), *images]
        names, values, counts = [], [], {}
        for number in batch["part"].unique().tolist():
            members = (batch["part"] == number).nonzero()[:, 0]
            counts[self.options.labels[number]] = len(members)
            chosen = [image if len(members) == len(image) else image[members.to(device)] for image in images]
            for name, value in self._part_loss(*chosen, self.options.parts[number].loss).items():
                names.append((self.options.labels[number], name))
                values.append(value * len(members))  # a mean over pairs becomes a sum
        sums = torch.stack(values)
        terms = Terms()
        terms.sums.update(dict(zip(names, sums.tolist())))
        terms.counts.update(counts)
        return sums.sum() / len(fused), terms

    def _part_loss(self, fused: Tensor, a: Tensor, b: Tensor, truth: Tensor, options: LossOptions) -> dict[str, Tensor]:
        """Loss terms, means over pairs, of samples of one part."""
        terms = fusion_loss(fused, a, b, options, truth)
        if options.filters:
            terms["filters"] = options.filters * self.model.filter_penalty()
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
