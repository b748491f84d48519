"""The state of a training run, network, averaged network, optimiser, step, and what one update does to it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from adasffuse.losses.fusion import fusion_loss
from adasffuse.models import AdaSFFuse
from adasffuse.models.growth import inherit
from adasffuse.models.weights import WeightsError, find_weights, load_weights
from adasffuse.tasks import GENERAL, TASKS
from adasffuse.training.checkpoint import check_tensors, restore_optimizer
from adasffuse.training.options import Options
from adasffuse.training.precision import exact_convolutions
from adasffuse.training.processes import Processes
from adasffuse.training.terms import Terms, merged

Prepare = Callable[[AdaSFFuse], object]


class Run:
    """Network, averaged network and optimiser of a training run, with the number of updates made.

    Args:
        prepare: is given the network as it starts, and may fix some of its parameters, as the ablation does.
    Raises:
        WeightsError: no such weights as `train.init` or a part's `teacher` names, or a teacher of another task.
        ValueError: those of `train.init` are of a network that this one cannot start from.
    """

    def __init__(self, options: Options, processes: Processes, prepare: Prepare | None = None) -> None:
        self.options, self.processes, self.step = options, processes, 0
        torch.manual_seed(options.train.seed)
        model = AdaSFFuse(options.model)
        if options.train.init:
            _start_from(model, options)
        if prepare is not None:
            prepare(model)
        self.model = model.to(processes.device, memory_format=torch.channels_last)
        self.average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(options.train.ema))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=options.train.lr)
        self.parallel: nn.Module = DistributedDataParallel(self.model) if processes.world > 1 else self.model
        self.teachers = _load_teachers(options, processes)  # by the number of their part
        self.best: dict[str, Any] = {}  # 'name' as `log.best` says, 'score' and 'step' of the best validation

    def update(self, batch: dict[str, Any]) -> Terms:
        """One optimiser step; returns the loss terms of this process's samples.

        Raises:
            FloatingPointError: loss or gradient is not finite; names step, terms and images.
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
                fused, images = self.fuse(self.parallel, micro)
                with exact_convolutions(fused):
                    loss, some = self.loss(fused, images, micro["part"])
                    (loss / train.accumulate).backward()
            terms.add(some)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), train.clip or torch.inf).item()
        if self.processes.any(not (terms.finite and isfinite(norm))):
            self._refuse(terms, norm, batch["name"])
        self.optimizer.step()
        self.average.update_parameters(self.model)
        self.step += 1
        return terms

    def fuse(self, model: nn.Module, batch: dict[str, Any]) -> tuple[Tensor, list[Tensor]]:
        """Result of a network in the chosen precision, (B, 1, H, W) float32, and what it is judged by on its device.

        That is 'a', 'b', 'truth' and, where something passes through a sample of the batch, the result without it,
        NaN where it reaches.

        The network is shown 'shown_b' for b, where the batch has it.  Where the truth is unknown, it is what the
        teacher of the sample's part makes of a and b.
        """
        device, low_precision = self.processes.device, self.options.train.precision == "bfloat16"
        images = [batch[name].to(device, non_blocking=True) for name in ("a", "b", "truth")]
        with torch.autocast(device.type, torch.bfloat16, enabled=low_precision):
            shown = batch["shown_b"].to(device, non_blocking=True) if "shown_b" in batch else images[1]
            tasks = [TASKS[self.options.parts[number].task] for number in batch["part"].tolist()]
            kinds = tuple(zip(*(task.kinds_of(2) for task in tasks)))
            fused = model(images[0], shown, kinds=kinds)
            images[2] = self.taught(images, kinds, batch["part"])
            if "elsewhere" in batch and batch["elsewhere"].any():
                images.append(self.still(model, batch, kinds))
        return fused.float(), images

    @torch.no_grad()
    def still(self, model: nn.Module, batch: dict[str, Any], kinds: Sequence[Sequence[str]]) -> Tensor:
        """The result (B, 1, H, W) for the sources before something passed; NaN where that reaches or nothing did."""
        members = batch["elsewhere"].flatten(1).any(dim=1).nonzero()[:, 0]
        before = [batch[name][members].to(self.processes.device) for name in ("before_a", "before_b")]
        network = model.module if isinstance(model, DistributedDataParallel) else model
        result = network(*before, kinds=[[names[i] for i in members] for names in kinds]).float()
        elsewhere = batch["elsewhere"].to(result.device)
        still = torch.full_like(elsewhere, torch.nan)
        still[members.to(result.device)] = result
        return still.where(elsewhere > 0, torch.nan)

    @torch.no_grad()
    def taught(self, images: Sequence[Tensor], kinds: Sequence[Sequence[str]], part: Tensor) -> Tensor:
        """The truth (B, 1, H, W) of `images`, a, b and the truth, with the teachers' results where it is unknown."""
        a, b, truth = images
        unknown = truth[:, 0, 0, 0].isnan().cpu()
        for teacher in set(self.teachers.values()):
            parts = torch.tensor([number for number, other in self.teachers.items() if other is teacher])
            members = (unknown & torch.isin(part, parts)).nonzero()[:, 0]
            if len(members):
                own = [[names[i] for i in members] for names in kinds]
                rows = members.to(a.device)
                truth = truth.index_copy(0, rows, teacher(a[rows], b[rows], kinds=own).float())
        return truth

    def loss(self, fused: Tensor, images: Sequence[Tensor], part: Tensor) -> tuple[Tensor, Terms]:
        """Mean over a batch's samples of the loss of each one's part, and its terms; in float32.

        Args:
            fused: (B, 1, H, W).
            images: sources a and b, the truth and perhaps the result without what passes, of that shape; NaN where
                the latter two are unknown.
            part: (B,) the number of each sample's part, on the CPU.
        """
        names, values, terms = [], [], Terms()
        for number in part.unique().tolist():
            label, members = self.options.labels[number], (part == number).nonzero()[:, 0].to(fused.device)
            some, a, b, *known = (t if len(members) == len(t) else t[members] for t in (fused, *images))
            terms.counts[label] = len(members)
            for name, value in fusion_loss(some, [a, b], self.options.parts[number].loss, *known).items():
                names.append((label, name))
                values.append(value * len(members))  # a mean over pairs becomes a sum
        sums = torch.stack(values)
        terms.sums.update(dict(zip(names, sums.tolist())))
        return sums.sum() / len(fused), terms

    def _refuse(self, terms: Terms, norm: float, names: Sequence[str]) -> None:
        """End the run because the loss or gradient of a batch is not finite; on all processes at once."""
        reports = self.processes.gather((terms, list(names)))
        guilty = [report for report in reports if not report[0].finite] or reports
        raise FloatingPointError(
            f"loss or gradient is not finite in step {self.step}: {merged(t for t, _ in reports).means()}, "
            f"gradient norm {norm}; images: {', '.join(name for _, some in guilty for name in some)}. "
            "Lower train.lr or look at these images"
        )

    def is_best(self, score: float) -> bool:
        """Whether this step's validation beats all before by the score that `log.best` names; it is remembered then."""
        name = self.options.log.best
        comparable = self.best.get("name") == name
        if not isfinite(score) or (comparable and score <= self.best["score"]):
            return False
        self.best = {"name": name, "score": score, "step": self.step}
        return True

    def state(self) -> dict[str, Any]:
        """All that a continued run needs.  The sampler's position, the schedule and all draws follow from the step.

        Keys are those of `checkpoint.load_checkpoint`.
        """
        return {
            "step": self.step,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "options": self.options.to_dict(),
            "best": self.best,
            "rng": torch.get_rng_state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a saved state, all of it or nothing; its options are not looked at.

        Raises:
            CheckpointError: it belongs to another network, or holds values that are not finite.
        """
        for name, module in (("model", self.model), ("average", self.average)):
            check_tensors(name, state[name], {k: v.detach().cpu() for k, v in module.state_dict().items()})
        restore_optimizer(self.optimizer, state["optimizer"])
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.step, self.best = state["step"], state["best"]
        torch.set_rng_state(state["rng"])


def weights_of(options: Options) -> dict[str, Path]:
    """The weights files that options name, by the option: 'train.init', 'teacher of ivf_1'; errors as `Run`."""
    named = {"train.init": (options.train.init, options.task)}
    named |= {f"teacher of {label}": (part.teacher, part.task) for label, part in zip(options.labels, options.parts)}
    return {option: find_weights(name, task, options.size) for option, (name, task) in named.items() if name}


def _start_from(model: AdaSFFuse, options: Options) -> None:
    """Give a network the weights that `train.init` names; errors as `Run`."""
    init = options.train.init
    start, _ = load_weights(find_weights(init, options.task, options.size))
    try:
        inherit(model, start)
    except ValueError as error:
        raise ValueError(f"train.init {init} holds {error}") from None


def _load_teachers(options: Options, processes: Processes) -> dict[int, AdaSFFuse]:
    """The networks that parts are taught by, by the number of the part; parts with the same weights share one."""
    known: dict[Path, tuple[AdaSFFuse, str]] = {}
    teachers = {}
    for number, part in enumerate(options.parts):
        if part.teacher:
            path = find_weights(part.teacher, part.task, options.size)
            if path not in known:
                known[path] = load_weights(path)
            teacher, made_for = known[path]
            if made_for not in (part.task, GENERAL):
                raise WeightsError(f"teacher {part.teacher} was trained for task {made_for!r}, not {part.task!r}")
            teachers[number] = teacher.to(processes.device).requires_grad_(False)
    return teachers
