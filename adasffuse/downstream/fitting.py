"""Training one network on one modality; an interrupted run continues."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from adasffuse.downstream.samples import Sample, Samples, joined
from adasffuse.files import replacing
from adasffuse.process import process_rank

_WARM_UP = 0.05  # share of the steps with a growing step size
_LARGEST_GRADIENT = 5.0  # norm at which gradients are clipped
STATE = "state.pt"

Loss = Callable[[Tensor, Sequence[Sample]], Tensor]


@dataclass(frozen=True)
class Budget:
    """Length and optimisation of the training, the same for all modalities."""

    epochs: int = 10
    batch: int = 8  # frames
    learning_rate: float = 1e-3  # of AdamW at its largest
    weight_decay: float = 1e-2
    precision: str = "float32"  # or 'bfloat16', of the network

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 2:
            raise ValueError(f"--epochs is at least 1 and --batch at least 2, got {self.epochs} and {self.batch}")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"--learning_rate is a finite number above 0, got {self.learning_rate}")


def fit(model: nn.Module, loss: Loss, samples: Samples, budget: Budget, seed: int, folder: Path, title: str) -> None:
    """Train a network, in place.

    After every epoch the state is written to `folder/state.pt`; a later call with the same arguments continues there,
    and ends with the same weights as a run without interruption (on a CPU).

    Args:
        model: on its device.
        loss: takes images (B, 3, H, W) and their samples.
        samples: training samples.
        folder: folder of this run.
        title: title of the progress bar.
    Raises:
        FloatingPointError: the loss is not finite.
    """
    device = next(model.parameters()).device
    optimizer = torch.optim.AdamW(model.parameters(), budget.learning_rate, weight_decay=budget.weight_decay)
    begun = _resume(folder / STATE, model, optimizer, budget)
    loader = DataLoader(
        samples,
        batch_size=min(budget.batch, len(samples)),
        shuffle=True,
        drop_last=True,
        collate_fn=joined,
        generator=torch.Generator(),
    )
    steps = budget.epochs * len(loader)
    model.train()
    hidden = True if process_rank() else None
    with tqdm(total=steps, initial=begun * len(loader), desc=title, unit="step", disable=hidden) as bar:
        for epoch in range(begun, budget.epochs):
            samples.epoch = epoch
            loader.generator.manual_seed(seed * 100003 + epoch)
            torch.manual_seed(seed * 100003 + epoch)  # of dropout
            for number, (images, batch) in enumerate(loader):
                for group in optimizer.param_groups:
                    group["lr"] = budget.learning_rate * _schedule((epoch * len(loader) + number) / steps)
                optimizer.zero_grad(set_to_none=True)
                value = loss(images.to(device, memory_format=torch.channels_last), batch)
                if not torch.isfinite(value):
                    raise FloatingPointError(f"{title}: the loss is {value.item()}; try a smaller --learning_rate")
                value.backward()
                nn.utils.clip_grad_norm_(model.parameters(), _LARGEST_GRADIENT)
                optimizer.step()
                bar.update()
            bar.set_postfix(loss=f"{value.item():.3f}")
            state = {
                "epoch": epoch + 1,
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "budget": asdict(budget),
            }
            with replacing(folder / STATE) as temporary:
                torch.save(state, temporary)


def _schedule(share: float) -> float:
    """Factor of the step size after a share of all steps: a linear rise, then half a cosine to 0."""
    if share < _WARM_UP:
        return (share + 1e-3) / (_WARM_UP + 1e-3)
    return 0.5 * (1 + math.cos(math.pi * (share - _WARM_UP) / (1 - _WARM_UP)))


def _resume(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, budget: Budget) -> int:
    """Load the state of an unfinished run; returns the number of finished epochs, 0 without a usable state."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["budget"] != asdict(budget):
            return 0
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        return int(state["epoch"])
    except (OSError, RuntimeError, KeyError, ValueError, EOFError):  # absent, or damaged: trained anew
        return 0
