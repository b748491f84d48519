"""Everything that a GPU computes with lies on it: fusing and training on a device that only pretends to be one."""

from collections.abc import Iterator

import cv2
import numpy as np
import pytest
import torch
from pretend_cuda import pretend_cuda
from skimage import data as photographs
from tiny import SHAPE, write_ivf

from adasffuse.images.write import write_image
from adasffuse.inference import load_fuser
from adasffuse.inference.stack import fuse_stack
from adasffuse.tasks import TASKS
from adasffuse.training import train
from adasffuse.training.checkpoint import load_checkpoint, newest_checkpoint
from adasffuse.training.options import parse_options

pytestmark = [
    pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
    pytest.mark.skipif(
        not hasattr(torch._C, "_ensureCUDADeviceGuardSet") or not torch.backends.cuda.is_built(),
        reason="this PyTorch was built without CUDA",
    ),
]


@pytest.fixture
def cuda(monkeypatch) -> Iterator[None]:
    with pretend_cuda(monkeypatch):
        yield


def pair(task: str) -> tuple[np.ndarray, np.ndarray]:
    """Two sources of a photograph, the second in colour."""
    image = cv2.resize(photographs.astronaut(), (96, 80), interpolation=cv2.INTER_AREA)
    return {
        "ivf": (255 - image[..., 0], image),
        "mef": (image // 3, np.maximum(image, 90)),
        "mff": (cv2.blur(image, (5, 5)), image),
        "mif": (image, 255 - image[..., 1]),
    }[task]


def test_the_device_refuses_what_a_gpu_refuses(cuda):
    here, elsewhere = torch.ones(2, 3, device="cuda"), torch.ones(2, 3)
    assert here.device == torch.device("cuda", 0) and (here + here).device == here.device
    assert here.cpu().device.type == "cpu" and elsewhere.to(here.device).device == here.device
    assert float(here.sum()) == 6.0
    with pytest.raises(RuntimeError, match="tensors on cuda:0 and on cpu"):
        here + elsewhere
    with pytest.raises(RuntimeError, match="numpy"):
        here.numpy()


@pytest.mark.parametrize("task", TASKS)
def test_released_weights_fuse_on_a_gpu_as_on_the_cpu(task, monkeypatch):
    sources = pair(task)
    expected = load_fuser(task, size="tiny", device="cpu", precision="float32")(*sources)
    with pretend_cuda(monkeypatch):
        assert next(load_fuser(task, size="tiny", device="cuda").model.parameters()).device.type == "cuda"
        fused = load_fuser(task, size="tiny", device="cuda", precision="float32")(*sources)
        load_fuser(task, size="tiny", device="cuda", precision="bfloat16")(*sources)
    assert np.abs(fused.astype(int) - expected).max() <= 1


def test_tiles_and_stacks_are_fused_on_a_gpu_as_on_the_cpu(tmp_path, monkeypatch):
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path, image in zip(paths, (*pair("mef"), pair("mef")[0] * 2)):
        write_image(path, image)
    results = []
    for device in ("cpu", "cuda"):
        with pretend_cuda(monkeypatch):
            fuser = load_fuser("mef", size="tiny", device=device, precision="float32", tile=64, tile_overlap=32)
            results += [fuser(*pair("mef")).astype(int), fuse_stack(fuser, paths).pixels.astype(int)]
    assert np.abs(results[2] - results[0]).max() <= 1 and np.abs(results[3] - results[1]).max() <= 1


@pytest.mark.slow
def test_training_on_a_gpu_saves_and_continues(tmp_path, cuda):
    root = write_ivf(tmp_path / "data", ("1", "2", "3", "val"), size=(64, 80))
    values = {
        "name": "run",
        "task": "ivf",
        "data": {"root_path": str(root), "datasets": ["IVF"], "validation": ["val"], "crop": 48, "glare": 0.5},
        "model": {"patch": 2, **SHAPE},
        "loss": {"vif": 1, "edges": 1, "correlation": 1, "spurious": 1, "evenly": True, "target": "hot", "targets": 1},
        "log": {"panel": 1, "validate": 1, "checkpoint": 1},
    }
    for steps in (1, 2):
        values["train"] = {"steps": steps, "batch_size": 2, "warmup": 1, "ema": 0.9, "precision": "bfloat16"}
        train(parse_options(values), tmp_path / "runs", "cuda")
    state = load_checkpoint(newest_checkpoint(tmp_path / "runs" / "run"))
    assert state["step"] == 2
    assert all(value.device.type == "cpu" and value.isfinite().all() for value in state["model"].values())
