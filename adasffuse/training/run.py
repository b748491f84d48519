"""The state of a training run (network, averaged network, optimiser, step) and one update of it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

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


class FusedBatch(NamedTuple):
    """A fused batch and the images that its loss compares it with, each (B, 1, H, W) on the run's device."""

    fused: Tensor  # float32
    a: Tensor
    b: Tensor
    truth: Tensor  # NaN in samples without one
    still: Tensor | None = None  # the result without the passing object, NaN at the object; None if nothing passes


class Run:
    """Network, averaged network and optimiser of a training run, with the number of updates made.

    Args:
        prepare: called with the network before training; the ablation fixes some of its parameters.
    Raises:
        WeightsError: the weights of `train.init` or of a part's `teacher` are missing, or the teacher has another task.
        ValueError: the network cannot start from the weights of `train.init`.
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
        self.teachers = _load_teachers(options, processes)  # by number of the part
        self.best: dict[str, Any] = {}  # 'name' (as in `log.best`), 'score' and 'step' of the best validation

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
            exchange = nullcontext() if last or self.parallel is self.model else self.parallel.no_sync()
            with exchange:  # of gradients between processes, only after the last micro-batch
                result = self.fuse(self.parallel, micro)
                with exact_convolutions(result.fused):
                    loss, micro_terms = self.loss(result, micro["part"])
                    (loss / train.accumulate).backward()
            terms.add(micro_terms)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), train.clip or torch.inf).item()
        if self.processes.any(not (terms.finite and isfinite(norm))):
            self._refuse(terms, norm, batch["name"])
        self.optimizer.step()
        self.average.update_parameters(self.model)
        self.step += 1
        return terms

    def fuse(self, model: nn.Module, batch: dict[str, Any]) -> FusedBatch:
        """Fuse a batch in the chosen precision, and collect the images for the loss.

        The network sees 'shown_b' in place of b if the batch has it.  Where the truth is unknown and the sample's part
        has a teacher, the truth is what the teacher makes of a and b.
        """
        device, low_precision = self.processes.device, self.options.train.precision == "bfloat16"
        a, b, truth = (batch[name].to(device, non_blocking=True) for name in ("a", "b", "truth"))
        shown_b = batch["shown_b"].to(device, non_blocking=True) if "shown_b" in batch else b
        tasks = [TASKS[self.options.parts[number].task] for number in batch["part"].tolist()]
        kinds = tuple(zip(*(task.kinds_of(2) for task in tasks)))  # for A and for B a name per sample
        passing = "elsewhere" in batch and batch["elsewhere"].any()
        with torch.autocast(device.type, torch.bfloat16, enabled=low_precision):
            fused = model(a, shown_b, kinds=kinds)
            truth = self.distillation_truth(a, b, truth, kinds, batch["part"])
            still = self.without_passing(model, batch, kinds) if passing else None
        return FusedBatch(fused.float(), a, b, truth, still)

    @torch.no_grad()
    def without_passing(self, model: nn.Module, batch: dict[str, Any], kinds: Sequence[Sequence[str]]) -> Tensor:
        """The result (B, 1, H, W) for the sources before an object passed; NaN at the object, or if there is none."""
        members = batch["elsewhere"].flatten(1).any(dim=1).nonzero()[:, 0]
        before = [batch[name][members].to(self.processes.device) for name in ("before_a", "before_b")]
        network = model.module if isinstance(model, DistributedDataParallel) else model
        result = network(*before, kinds=[[names[i] for i in members] for names in kinds]).float()
        elsewhere = batch["elsewhere"].to(result.device)
        still = torch.full_like(elsewhere, torch.nan)
        still[members.to(result.device)] = result
        return still.where(elsewhere > 0, torch.nan)

    @torch.no_grad()
    def distillation_truth(
        self, a: Tensor, b: Tensor, truth: Tensor, kinds: Sequence[Sequence[str]], part: Tensor
    ) -> Tensor:
        """The truth (B, 1, H, W), with the teachers' results for a and b in samples where it is unknown."""
        unknown = truth[:, 0, 0, 0].isnan().cpu()
        for teacher in set(self.teachers.values()):
            parts = torch.tensor([number for number, other in self.teachers.items() if other is teacher])
            members = (unknown & torch.isin(part, parts)).nonzero()[:, 0]
            if len(members):
                own = [[names[i] for i in members] for names in kinds]
                rows = members.to(a.device)
                truth = truth.index_copy(0, rows, teacher(a[rows], b[rows], kinds=own).float())
        return truth

    def loss(self, batch: FusedBatch, part: Tensor) -> tuple[Tensor, Terms]:
        """The loss of a batch, a float32 mean over its samples, each by the options of its part; and the loss terms.

        Args:
            part: (B,) the number of each sample's part, on the CPU.
        """
        names, values, terms = [], [], Terms()
        for number in part.unique().tolist():
            label, options = self.options.labels[number], self.options.parts[number].loss
            members = (part == number).nonzero()[:, 0].to(batch.fused.device)
            one = batch
            if len(members) < len(part):
                one = FusedBatch(*(images if images is None else images[members] for images in batch))
            terms.counts[label] = len(members)
            for name, value in fusion_loss(one.fused, [one.a, one.b], options, one.truth, one.still).items():
                names.append((label, name))
                values.append(value * len(members))  # a mean over pairs becomes a sum
        sums = torch.stack(values)
        terms.sums.update(dict(zip(names, sums.tolist())))
        return sums.sum() / len(part), terms

    def _refuse(self, terms: Terms, norm: float, names: Sequence[str]) -> None:
        """Raise FloatingPointError because the loss or gradient of a batch is not finite; on all processes at once."""
        reports = self.processes.gather((terms, list(names)))
        means = merged(terms for terms, _ in reports).means()
        not_finite = [names for terms, names in reports if not terms.finite]
        suspects = not_finite or [names for _, names in reports]
        raise FloatingPointError(
            f"loss or gradient is not finite in step {self.step}: {means}, gradient norm {norm}; "
            f"images: {', '.join(name for names in suspects for name in names)}. "
            "Lower train.lr or look at these images"
        )

    def is_best(self, score: float) -> bool:
        """Whether this validation has the best score so far, by `log.best`; if so, it is remembered."""
        name = self.options.log.best
        comparable = self.best.get("name") == name
        if not isfinite(score) or (comparable and score <= self.best["score"]):
            return False
        self.best = {"name": name, "score": score, "step": self.step}
        return True

    def state(self) -> dict[str, Any]:
        """The state from which a run continues; sampler position, schedule and random draws follow from the step."""
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
        """Load a saved state, whole or not at all; its options are not compared.

        Raises:
            CheckpointError: the state belongs to another network, or holds values that are not finite.
        """
        for name, module in (("model", self.model), ("average", self.average)):
            check_tensors(name, state[name], {k: v.detach().cpu() for k, v in module.state_dict().items()})
        restore_optimizer(self.optimizer, state["optimizer"])
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.step, self.best = state["step"], state["best"]
        torch.set_rng_state(state["rng"])


def weights_of(options: Options) -> dict[str, Path]:
    """The weights files named in options, by option: 'train.init', 'teacher of ivf_1'; errors as in `Run`."""
    named = {"train.init": (options.train.init, options.task)}
    named |= {f"teacher of {label}": (part.teacher, part.task) for label, part in zip(options.labels, options.parts)}
    return {option: find_weights(name, task, options.size) for option, (name, task) in named.items() if name}


def _start_from(model: AdaSFFuse, options: Options) -> None:
    """Load the weights of `train.init` into a network; errors as in `Run`."""
    init = options.train.init
    start, _ = load_weights(find_weights(init, options.task, options.size))
    try:
        inherit(model, start)
    except ValueError as error:
        raise ValueError(f"train.init {init} holds {error}") from None


def _load_teachers(options: Options, processes: Processes) -> dict[int, AdaSFFuse]:
    """The teachers by number of the part; parts with the same weights share one network."""
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
