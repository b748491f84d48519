"""Device and precision of the network: the values of `--device` and `--precision`."""

import torch

from adasffuse.choices import PRECISIONS


def pick_device(name: torch.device | str) -> torch.device:
    """Torch device of a `--device` value; 'auto' is the GPU if there is one.

    Raises:
        ValueError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps", "xpu"):
        raise ValueError(f"unknown device {str(name)!r}; use auto, cpu, cuda or cuda:N")
    if device.type in ("mps", "xpu") and not getattr(torch, device.type).is_available():
        raise ValueError(f"device {str(name)!r} is not available: this PyTorch sees none; use cpu")
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if not count:
            raise ValueError(f"device {str(name)!r} is not available: this PyTorch sees no CUDA GPU; use cpu")
        if device.index is not None and device.index >= count:
            gpus = "one GPU, cuda:0" if count == 1 else f"{count} GPUs, cuda:0 to cuda:{count - 1}"
            raise ValueError(f"device {str(name)!r} is not available: this PyTorch sees {gpus}")
    return device


def pick_precision(name: str, device: torch.device) -> str:
    """Precision of a `--precision` value; 'auto' is bfloat16 if the processor multiplies it natively, else float32.

    With the released weights both agree to at least 48 dB PSNR on the built-in samples.

    Raises:
        ValueError: unknown precision.
    """
    if name not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {name!r}")
    if name != "auto":
        return name
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        native = device.type == "cpu" and _cpu_multiplies_bfloat16()
    return "bfloat16" if native else "float32"


def _cpu_multiplies_bfloat16() -> bool:
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # private functions, which may be missing
    return any(getattr(torch.cpu, name)() for name in checks if hasattr(torch.cpu, name))
