"""Object detection: torchvision's detectors on backbones of timm, and COCO's scores."""

import contextlib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS, RetinaNet, ssdlite320_mobilenet_v3_large
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelP6P7

from adasffuse.downstream.backbones import check_start, load_imagenet
from adasffuse.downstream.classes import ClassList
from adasffuse.downstream.labels import coco_content
from adasffuse.downstream.packages import needed
from adasffuse.downstream.samples import Sample
from adasffuse.images.boxes import Annotation

MODELS = ("fcos", "retinanet", "ssdlite")
_CHANNELS = 96  # of the feature pyramid
_LEAST_SCORE = 0.02  # least score of kept boxes; low, since COCO's precision is averaged up to the highest recall


@dataclass(frozen=True)
class Detection:
    """A box that a detector found, in pixels of the image."""

    name: str
    score: float  # 0 to 1
    edges: tuple[float, float, float, float]  # left, top, right, bottom


class PyramidBackbone(nn.Module):
    """A backbone's features of strides 8, 16 and 32 as a feature pyramid with strides 64 and 128 on top.

    Lin et al., Feature Pyramid Networks, CVPR 2017.

    Args:
        name: timm's name.
        weights: 'scratch' or 'imagenet'.
        precision: precision of the backbone, 'float32' or 'bfloat16'; the features are float32.
    """

    def __init__(self, name: str, weights: str, precision: str) -> None:
        super().__init__()
        timm = needed("timm", "a detector's backbone")
        try:
            self.body = timm.create_model(name, features_only=True, pretrained=False)
        except RuntimeError as error:
            raise ValueError(f"unknown backbone {name!r}: {error}") from None
        if weights == "imagenet":
            load_imagenet(self.body, name)
        info = self.body.feature_info
        self.taken = [number for number, stride in enumerate(info.reduction()) if stride in (8, 16, 32)]
        channels = [info.channels()[number] for number in self.taken]
        self.pyramid = FeaturePyramidNetwork(channels, _CHANNELS, LastLevelP6P7(_CHANNELS, _CHANNELS))
        self.out_channels, self.precision = _CHANNELS, precision

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) to five levels of (B, C, H / stride, W / stride)."""
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            features = self.body(images)
        # In float32: PyTorch's bfloat16 gradient of a convolution on a map of one pixel holds NaN on some CPUs.
        return self.pyramid({str(number): features[number].float() for number in self.taken})


def make_detector(
    model: str, classes: int, backbone: str, weights: str, size: tuple[int, int], precision: str = "float32"
) -> nn.Module:
    """A torchvision detector; class numbers start from 0, as in the class list, except for 'ssdlite'.

    Args:
        model: 'fcos' (Tian et al., ICCV 2019), 'retinanet' (Lin et al., ICCV 2017) or 'ssdlite' (Sandler et al., CVPR
            2018, on MobileNetV3, always from scratch).
        backbone: timm's name, for 'fcos' and 'retinanet'.
        size: height, width of the images, which are not rescaled.
    Raises:
        ValueError: unknown model, or weights that cannot be loaded.
    """
    if model in MODELS:
        check_start(model, weights)
    if model == "ssdlite":
        if weights == "imagenet":
            raise ValueError("ssdlite is built from scratch here; use --weights scratch, or --model fcos")
        network = ssdlite320_mobilenet_v3_large(
            weights=None, weights_backbone=None, num_classes=classes + 1, score_thresh=_LEAST_SCORE
        )
        network.transform.image_mean, network.transform.image_std = [0.0] * 3, [1.0] * 3
        network.transform.fixed_size = size[::-1]  # width, height; else all images become 320x320
        return network
    if model not in MODELS:
        raise ValueError(f"unknown model {model!r} of detection; choose {', '.join(MODELS)}, or yolov5nu, yolov8n ...")
    options = {
        "min_size": min(size),
        "max_size": max(size),
        "image_mean": [0.0] * 3,
        "image_std": [1.0] * 3,
        "score_thresh": _LEAST_SCORE,
    }
    pyramid = PyramidBackbone(backbone, weights, precision)
    if model == "retinanet":
        sides = tuple((s, int(s * 2 ** (1 / 3)), int(s * 2 ** (2 / 3))) for s in (24, 48, 96, 192, 384))
        anchors = AnchorGenerator(sides, ((0.5, 1.0, 2.0),) * len(sides))
        return RetinaNet(pyramid, classes, anchor_generator=anchors, **options)
    network = FCOS(pyramid, classes, **options)
    # Distances would start at 0 behind a ReLU, which passes no gradient; starting at 2 strides, every cell learns.
    nn.init.constant_(network.head.regression_head.bbox_reg.bias, 2.0)
    return network


def detection_loss(model: nn.Module, images: Tensor, samples: Sequence[Sample], first: int) -> Tensor:
    """The sum of a torchvision detector's losses.

    Args:
        first: number of the first class in the network: 1 where 0 is its background.
    """
    targets = [
        {"boxes": sample.boxes.to(images.device), "labels": (sample.classes + first).to(images.device)}
        for sample in samples
    ]
    losses = model(list(images), targets)
    return sum(losses.values())


@torch.no_grad()
def detect(model: nn.Module, image: Tensor, size: tuple[int, int], classes: ClassList, first: int) -> list[Detection]:
    """Detections of a torchvision detector in an image.

    Args:
        image: (3, H, W), normalised.
        size: height, width of the image file; boxes are returned in its pixels.
        first: number of the first class in the network, see `detection_loss`.
    """
    (result,) = model([image])
    height, width = image.shape[-2:]
    scale = torch.tensor([size[1] / width, size[0] / height] * 2)
    boxes = (result["boxes"].cpu().float() * scale).tolist()
    rows = zip(result["labels"].tolist(), result["scores"].tolist(), boxes)
    return [Detection(classes.names[k - first], score, tuple(box)) for k, score, box in rows if k >= first]


@dataclass(frozen=True)
class DetectionScores:
    """COCO's average precision, per class; NaN for a class without objects."""

    metrics: dict[str, dict[str, float]]  # metric to class, with 'mean', to value
    curves: dict[str, list[float]]  # class to precision at recall 0, .01, .. 1, at IoU .5


def average_precision(
    truth: Mapping[str, Annotation], found: Mapping[str, Sequence[Detection]], classes: ClassList
) -> DetectionScores:
    """AP@.5, AP@.75 and mAP@[.5:.95] by the COCO evaluator of faster-coco-eval, up to 100 boxes an image.

    Lin et al., Microsoft COCO, ECCV 2014, 10.1007/978-3-319-10602-1_48.

    Args:
        truth: stem to boxes.
        found: stem to detections, for all stems of `truth`.
    Raises:
        MissingPackageError: faster-coco-eval is not installed.
    """
    package = needed("faster_coco_eval", "scoring detectors")
    nothing = dict.fromkeys((*classes.names, "mean"), math.nan)
    content = coco_content(truth, classes)
    if not content["annotations"]:
        return DetectionScores({name: dict(nothing) for name in ("AP50", "AP75", "mAP")}, {})
    numbers = {stem: number for number, stem in enumerate(truth, 1)}
    results = [
        {
            "image_id": numbers[stem],
            "category_id": classes.number(one.name) + 1,
            "score": one.score,
            "bbox": [one.edges[0], one.edges[1], one.edges[2] - one.edges[0], one.edges[3] - one.edges[1]],
        }
        for stem in truth
        for one in found[stem]
    ]
    precision = np.zeros((10, 101, len(classes.names)))
    if results:
        with contextlib.redirect_stdout(io.StringIO()):
            real = package.COCO(content)
            evaluation = package.COCOeval_faster(real, real.loadRes(results), "bbox")
            evaluation.evaluate()
            evaluation.accumulate()
        precision = np.asarray(evaluation.eval["precision"])[:, :, :, 0, -1]  # all areas, 100 boxes
    present = {box.name for annotation in truth.values() for box in annotation.boxes}
    metrics = {}
    for metric, rows in (("AP50", slice(0, 1)), ("AP75", slice(5, 6)), ("mAP", slice(None))):
        values = {
            name: float(precision[rows, :, number].clip(0).mean()) if name in present else math.nan
            for number, name in enumerate(classes.names)
        }
        metrics[metric] = values | {"mean": float(np.nanmean(list(values.values())))}
    curves = {
        name: precision[0, :, number].clip(0).tolist() for number, name in enumerate(classes.names) if name in present
    }
    return DetectionScores(metrics, curves)
