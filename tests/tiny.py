"""What several tests need: a network and a data set small enough for seconds on one CPU core."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import torch

from adasffuse.data import samples
from adasffuse.images.write import write_image
from adasffuse.models import AdaSFFuse, ModelOptions
from adasffuse.models.network import stack_sources
from adasffuse.models.weights import save_weights

rendered_samples = cache(samples.sample_pairs)  # rendering takes seconds
SHAPE = {"channels": 8, "band_blocks": 1, "full_blocks": 1, "head_dim": 8, "d_state": 8, "targets": False}


class Mean(AdaSFFuse):
    """In place of a network, without parameters: the mean of any number of sources."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)
        self.options, self.targets = ModelOptions(), None

    def forward(self, sources: list[torch.Tensor], kinds: tuple[str, ...] = ()) -> torch.Tensor:
        return stack_sources(sources).mean(dim=0)


def network(seed: int = 0, far_sighted: bool = True, **changes) -> AdaSFFuse:
    """A tiny network with every part at work: what starts at zero (spectral filters) gets random values.

    One that is not far-sighted has no frequency branch, so that a pixel depends little on what lies far from it.
    """
    torch.manual_seed(seed)
    model = AdaSFFuse(ModelOptions(**{**SHAPE, **changes}))
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.1)
        for name in ("dark", "hot"):
            if getattr(model.options, name):
                getattr(model.kinds, name).normal_(std=2)
        for name, parameter in model.named_parameters():
            if "frequency" in name and not far_sighted:
                parameter.zero_()
    return model.eval()


def write_weights(path: Path, task: str, **changes) -> Path:
    """A weights file of `network(**changes)`."""
    model = network(**changes)
    save_weights(path, model.state_dict(), model.options, task, steps=0, seed=0)
    return path


def texture(height: int, width: int, seed: int) -> np.ndarray:
    """An image with edges and grain, (H, W) uint8."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (-(-height // 8), -(-width // 8)))
    image = np.kron(coarse, np.ones((8, 8)))[:height, :width] + rng.normal(0, 8, (height, width))
    return image.clip(0, 255).astype(np.uint8)


def write_ivf(root: Path, stems: tuple[str, ...] = ("1", "2", "3"), size: tuple[int, int] = (40, 48)) -> Path:
    """Gray infrared-visible pairs in the layout of data sets below `root`, which is returned."""
    for number, stem in enumerate(stems):
        write_image(root / "IVF/infrared" / f"{stem}.png", texture(*size, seed=2 * number))
        write_image(root / "IVF/visible" / f"{stem}.png", texture(*size, seed=2 * number + 1))
    return root


KILLED = """
import os, signal, sys
from adasffuse.files import replacing
with replacing(sys.argv[1]) as temporary:
    temporary.write_bytes(bytes(1000))
    if sys.argv[2] == "live":
        print("writing", flush=True)
        sys.stdin.read()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def writing(path: Path, how: str) -> subprocess.Popen:
    """A process that is killed while it writes a file: how 'die' at once, 'live' when its input ends."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-c", KILLED, str(path), how]
    return subprocess.Popen(words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
