"""A CUDA device without a GPU: its tensors say that they lie on 'cuda:0', and compute on the CPU.

As on a real device, an operation on tensors of both devices fails, and so does NumPy's look at one that was not copied.
So code that forgets a `.to(device)` fails here too.  Gradients are not computed: `backward` fills them with a constant.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("cuda", 0)
_ATEN = torch.ops.aten
_COPIES = (_ATEN._to_copy, _ATEN.to, _ATEN.copy_)  # take tensors of both devices
_INDEXING = (_ATEN.index, _ATEN.index_put, _ATEN.index_put_)  # take indices of the CPU
_make_tensor = torch.tensor


class CudaTensor(Tensor):
    """A tensor of the CPU that says it lies on the device."""

    @staticmethod
    def __new__(cls, on_cpu: Tensor) -> "CudaTensor":
        with torch.inference_mode(on_cpu.is_inference()), no_dispatch():
            like = torch.empty_strided(on_cpu.shape, on_cpu.stride(), dtype=on_cpu.dtype, device="meta")
            return Tensor._make_subclass(
                cls, like, on_cpu.requires_grad, dispatch_device=True, device_for_backend_keys=DEVICE
            )

    def __init__(self, on_cpu: Tensor) -> None:
        self.on_cpu = on_cpu

    def __reduce_ex__(self, protocol: int) -> Any:
        return self.on_cpu.__reduce_ex__(protocol)  # as if `torch.load` had mapped it

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return _compute(function, args, kwargs or {})

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """What C++ would do on the device itself, before any operation is dispatched."""
        name, kwargs = getattr(function, "__name__", ""), kwargs or {}
        if name == "new_tensor":
            return _make_tensor(args[1], dtype=kwargs.get("dtype", args[0].dtype)).to(DEVICE)
        if name == "tolist":
            return args[0].cpu().tolist()
        if name in ("__getitem__", "__setitem__"):
            indices = args[1] if isinstance(args[1], tuple) else (args[1],)
            indices = tuple(_make_tensor(i) if isinstance(i, list | np.ndarray) else i for i in indices)
            args = (args[0], indices, *args[2:])
        with torch._C.DisableTorchFunctionSubclass():
            return function(*args, **kwargs)


class _Mode(TorchDispatchMode):
    """Lets functions that are given the device make tensors on it."""

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return _compute(function, args, kwargs or {})


def _compute(function: Any, args: tuple, kwargs: dict) -> Any:
    """The result of an operation on the CPU, on the device if its tensors or its `device` are."""
    if function is torch.ops.prim.device.default:
        return DEVICE
    operation = function.overloadpacket
    leaves = tree_leaves((args, kwargs))
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    here = [tensor for tensor in tensors if isinstance(tensor, CudaTensor)]
    if here and operation not in (*_COPIES, *_INDEXING):
        elsewhere = [tensor for tensor in tensors if not isinstance(tensor, CudaTensor) and tensor.ndim]
        if elsewhere:
            raise RuntimeError(f"{function}: tensors on cuda:0 and on cpu, of shape {tuple(elsewhere[0].shape)}")

    device = next((leaf for leaf in leaves if isinstance(leaf, torch.device)), None)
    if function is _ATEN.to.other:
        device = args[1].device
    if device is not None:
        result_is_here = device.type == "cuda"
    elif operation in _COPIES:
        result_is_here = isinstance(args[0], CudaTensor)
    else:
        result_is_here = bool(here)

    kwargs = {name: value for name, value in kwargs.items() if name != "pin_memory"}
    result = function(*tree_map(_on_cpu, args), **tree_map(_on_cpu, kwargs))
    known = {id(tensor.on_cpu): tensor for tensor in here}  # an operation in place returns its own tensor

    def placed(value: Any) -> Any:
        if not result_is_here or not isinstance(value, Tensor):
            return value
        return known[id(value)] if id(value) in known else CudaTensor(value)

    return tree_map(placed, result)


def _on_cpu(value: Any) -> Any:
    if isinstance(value, CudaTensor):
        return value.on_cpu
    return torch.device("cpu") if isinstance(value, torch.device) else value


def _fill_gradients(loss: Tensor, *_: Any, **__: Any) -> None:
    """Instead of `Tensor.backward`, whose engine needs a driver: a gradient for every parameter the loss depends on."""
    seen, waiting = set(), [loss.grad_fn]
    while waiting:
        step = waiting.pop()
        if step is None or step in seen:
            continue
        seen.add(step)
        parameter = getattr(step, "variable", None)
        if parameter is not None:
            parameter.grad = torch.full_like(parameter, 1e-3)
        waiting += [before for before, _ in step.next_functions]


@contextmanager
def pretend_cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Within it, and in threads that begin within it, PyTorch seems to have one GPU."""
    torch._C._ensureCUDADeviceGuardSet()  # which does nothing where there is no GPU
    for name, value in {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "is_bf16_supported": lambda *_, **__: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": lambda device: None,
        "synchronize": lambda device=None: None,
        "get_device_capability": lambda device=None: (9, 0),
        "get_device_name": lambda device=None: "none",
        "get_rng_state_all": lambda: [],
        "set_rng_state_all": lambda states: None,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)

    def tensor(data: Any, *, device: Any = None, **options: Any) -> Tensor:
        made = _make_tensor(data, **options)
        return made if device is None else made.to(device)

    run_thread = threading.Thread.run

    def run_in_mode(thread: threading.Thread) -> None:
        with _Mode():
            run_thread(thread)

    monkeypatch.setattr(torch, "tensor", tensor)
    monkeypatch.setattr(Tensor, "backward", _fill_gradients)
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor, *_: tensor)
    monkeypatch.setattr(threading.Thread, "run", run_in_mode)
    monkeypatch.setattr(torch.__future__, "_overwrite_module_params_on_conversion", True)
    with _Mode():
        yield
