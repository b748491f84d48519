"""Semantic segmentation: networks, loss and scores."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy import ndarray
from torch import Tensor, nn

from adasffuse.downstream.backbones import check_start, load_imagenet
from adasffuse.downstream.classes import IGNORED
from adasffuse.downstream.packages import needed
from adasffuse.downstream.samples import Sample

SEGFORMERS = {  # channels and blocks of the four stages, decoder's channels: Xie et al., NeurIPS 2021, table 6
    "segformer_b0": ((32, 64, 160, 256), (2, 2, 2, 2), 256),
    "segformer_b1": ((64, 128, 320, 512), (2, 2, 2, 2), 256),
    "segformer_b2": ((64, 128, 320, 512), (3, 4, 6, 3), 768),
    "segformer_b3": ((64, 128, 320, 512), (3, 4, 18, 3), 768),
    "segformer_b4": ((64, 128, 320, 512), (3, 8, 27, 3), 768),
    "segformer_b5": ((64, 128, 320, 512), (3, 6, 40, 3), 768),
}
MODELS = ("fpn", "unet", *SEGFORMERS)
_UNET_CHANNELS, _FPN_CHANNELS = (96, 64, 48, 32, 16), (64, 32)
_WEIGHT_OFFSET = 1.02  # of class weights


class Segmenter(nn.Module):
    """A network whose output has the image's size.

    Args:
        network: (B, 3, H, W) to logits (B, K, h, w).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised images to (B, K, H, W) float32 logits."""
        found = self.network(images)
        logits = getattr(found, "logits", found).float()
        return F.interpolate(logits, images.shape[-2:], mode="bilinear", align_corners=False)


def make_segmenter(model: str, classes: int, backbone: str, weights: str) -> Segmenter:
    """A segmentation network.

    Args:
        model: of MODELS.
        classes: number of classes with the background.
        backbone: timm's name of the encoder, for 'fpn' and 'unet'.
        weights: 'scratch', 'imagenet', or for SegFormer a folder or a name on the Hugging Face Hub, e.g.
            'nvidia/mit-b0', whose encoder is loaded, and the decoder if it fits.
    Raises:
        ValueError: unknown model, or weights that cannot be loaded.
        MissingPackageError: the package of the model is not installed.
    """
    if model in ("fpn", "unet"):
        check_start(model, weights)
        smp = needed("segmentation_models_pytorch", f"model {model}")
        options = {"encoder_name": f"tu-{backbone}", "encoder_weights": None, "classes": classes}
        if model == "unet":
            network = smp.Unet(**options, decoder_channels=_UNET_CHANNELS)
        else:
            pyramid, decoder = _FPN_CHANNELS
            network = smp.FPN(
                **options, decoder_pyramid_channels=pyramid, decoder_segmentation_channels=decoder, upsampling=1
            )
        if weights == "imagenet":
            load_imagenet(network.encoder.model, backbone)
        return Segmenter(network)
    if model not in SEGFORMERS:
        raise ValueError(f"unknown model {model!r} of segmentation; choose {', '.join(MODELS)}")
    transformers = needed("transformers", f"model {model}")
    sizes, depths, decoder = SEGFORMERS[model]
    config = transformers.SegformerConfig(
        hidden_sizes=list(sizes), depths=list(depths), decoder_hidden_size=decoder, num_labels=classes
    )
    if weights == "scratch":
        return Segmenter(transformers.SegformerForSemanticSegmentation(config))
    source = f"nvidia/mit-{model[-2:]}" if weights == "imagenet" else weights
    try:
        network = transformers.SegformerForSemanticSegmentation.from_pretrained(
            source, num_labels=classes, ignore_mismatched_sizes=True
        )
    except Exception as error:  # whatever the hub's client raises
        raise ValueError(
            f"no SegFormer weights could be loaded from {source} ({str(error).splitlines()[0]}); give a folder, or "
            "--weights scratch"
        ) from None
    return Segmenter(network)


def class_weights(masks: Iterable[ndarray], classes: int) -> Tensor:
    """1 / ln(1.02 + share of the class), which favours rare classes (Paszke et al., ENet, arXiv 1606.02147)."""
    counts = np.zeros(classes)
    for mask in masks:
        counts += np.bincount(mask[mask != IGNORED].ravel(), minlength=classes)[:classes]
    return torch.from_numpy(1 / np.log(_WEIGHT_OFFSET + counts / max(counts.sum(), 1))).float()


def segmentation_loss(model: nn.Module, images: Tensor, samples: Sequence[Sample], weights: Tensor | None) -> Tensor:
    """Cross-entropy over the pixels that are not ignored."""
    masks = torch.stack([sample.mask for sample in samples]).to(images.device)
    return F.cross_entropy(model(images), masks, weights, ignore_index=IGNORED)


def confusion(found: ndarray, truth: ndarray, classes: int) -> ndarray:
    """Confusion matrix (K, K) in pixels, row the true class, column the predicted one; without ignored pixels."""
    counts = truth != IGNORED
    pairs = truth[counts].astype(np.int64) * classes + found[counts]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


@dataclass(frozen=True)
class SegmentationScores:
    """Scores of one confusion matrix; NaN for a class without true pixels, so that all networks share the same mean."""

    iou: ndarray  # (K,) intersection over union
    accuracy: ndarray  # (K,) share of the class's pixels that are predicted correctly

    @staticmethod
    def of(matrix: ndarray) -> "SegmentationScores":
        matrix = np.asarray(matrix, np.float64)
        right, truth, found = np.diag(matrix), matrix.sum(1), matrix.sum(0)
        truth = np.where(truth > 0, truth, np.nan)
        return SegmentationScores(right / (truth + found - right), right / truth)

    def named(self, names: Sequence[str]) -> dict[str, dict[str, float]]:
        """Metric to class to value, with 'mean' over the classes that have one."""
        return {
            metric: dict(zip(names, map(float, values))) | {"mean": float(np.nanmean(values))}
            for metric, values in (("IoU", self.iou), ("accuracy", self.accuracy))
        }
