"""What a file or folder is: an image, a video, a volume, weights, or what belongs to a training run.

PyTorch, whose import takes seconds, is loaded only for what belongs to a network.
"""

import io
import re
import shlex
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import ImageCms

from adasffuse.export.read import SUFFIXES as EXPORTED
from adasffuse.export.read import read_description
from adasffuse.images.folders import images_of
from adasffuse.images.formats import cure_of, holds_image, is_radiometric, open_image, regular_file
from adasffuse.images.frames import ONLY_VIDEO_SUFFIXES, VideoFile
from adasffuse.images.image import ImageError
from adasffuse.images.read import valid_mask
from adasffuse.images.series import holds_series
from adasffuse.images.volume_grid import Volume
from adasffuse.images.volumes import OF_TWO_FILES, is_volume, read_volume
from adasffuse.options import parse_json
from adasffuse.registration.aligner import load_calibration
from adasffuse.tasks import GENERAL

if TYPE_CHECKING:
    from adasffuse.training.options import Options

TAKES = (
    "info takes images, videos, volumes, weights, exported networks, folders of training runs, checkpoints, options "
    "files and calibrations"
)
_HEAD = 64  # bytes
_UPRIGHT = "upright"
_TURNED = {
    2: "mirrored",
    3: "upside down",
    4: "upside down, mirrored",
    5: "on its side, mirrored",
    6: "on its side",
    7: "on its side, mirrored",
    8: "on its side",
}


def describe(name: str) -> dict[str, Any]:
    """What a file or folder holds, by its content; errors, of type ValueError or OSError, name it.

    Args:
        name: a path, or the name of released weights.
    Returns:
        JSON values, 'what' it is first.
    """
    path = Path(name)
    if not path.exists():
        return _named(name)
    if path.is_dir():
        return _folder(path)
    if not path.is_file() or not path.stat().st_size:
        kind = "the file is empty" if path.is_file() else "no regular file but a device, pipe or socket"
        raise ImageError(f"{path}: {kind}; {TAKES}")
    with regular_file(path) as file:
        head = file.read(_HEAD)
    suffix = path.suffix.lower()
    if suffix == ".safetensors" or head[8:10] == b'{"':
        return _weights(path)
    if suffix in EXPORTED:
        return {"what": "exported network, to be run by other programs", **read_description(path)}
    if head[:2] == b"PK" or suffix in (".pt", ".pth", ".ckpt"):
        return _checkpoint(path)
    if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{":
        return _json(path)
    if is_volume(path) or suffix in OF_TWO_FILES:
        return {"what": "volume", **_volume(path)}
    if suffix in ONLY_VIDEO_SUFFIXES:
        return _video(path)
    if not holds_image(path):
        raise ImageError(f"{path}: nothing that is known here; {cure_of(head) or TAKES}")
    return _image(path)


def _named(name: str) -> dict[str, Any]:
    """Released weights."""
    from adasffuse.models.weights import find_weights, released_names

    known = [*released_names(), *sorted({one.rsplit("_", 1)[0] for one in released_names()})]
    if name in known:
        return _weights(find_weights(name, GENERAL))
    near = get_close_matches(name, known, n=1)
    hint = f"; did you mean the released weights {near[0]!r}?" if near else ", nor released weights of that name"
    raise ImageError(f"{name}: no such file or folder{hint}")


def _folder(path: Path) -> dict[str, Any]:
    from adasffuse.models.weights import RUN_WEIGHTS
    from adasffuse.training.checkpoint import newest_checkpoint

    newest = newest_checkpoint(path)
    if (path / RUN_WEIGHTS).is_file():
        of_run = {} if newest is None else {"newest checkpoint": newest.name}
        return _weights(path / RUN_WEIGHTS) | of_run
    if newest is not None:
        return _checkpoint(newest)
    if holds_series(path):
        return {"what": "DICOM series", **_volume(path)}
    check, images = f"adasffuse check {shlex.quote(str(path))}", len(images_of(path))
    if images:
        raise ImageError(f"{path}: a folder of images, {images} of them; {check} says what they are")
    below = any(one.is_dir() for one in path.iterdir())
    hint = f"{check} says what images lie below it" if below else TAKES
    raise ImageError(f"{path}: a folder without images, weights or checkpoints of its own; {hint}")


def _checkpoint(path: Path) -> dict[str, Any]:
    from adasffuse.models.weights import RUN_WEIGHTS
    from adasffuse.training.checkpoint import CheckpointError, load_checkpoint
    from adasffuse.training.options import parse_options

    try:
        state = load_checkpoint(path)
        options = parse_options(state["options"])
    except ValueError as error:
        reason = str(error).removeprefix(f"{path} is no usable checkpoint ").split(";")[0]
        raise CheckpointError(f"{path}: no whole checkpoint of this package's training {reason}; {TAKES}") from None
    return {
        "what": "training checkpoint",
        "path": str(path),
        "step": state["step"],
        "best": state["best"] or None,
        **_options(options),
        "use": f"weights are beside it, in {RUN_WEIGHTS}; adasffuse train continues from it",
    }


def _options(options: "Options") -> dict[str, Any]:
    return {
        "run": options.name,
        "task": options.task,
        "parts": list(options.labels),
        "steps": options.train.steps,
        "batch": options.train.batch_size,
        "crop": options.parts[0].data.crop,
        "start": options.train.init or "random",
        "teachers": sorted({part.teacher for part in options.parts if part.teacher}),
        "shape": f"patch {options.model.patch}, {options.model.channels} channels, output {options.model.output}",
    }


def _json(path: Path) -> dict[str, Any]:
    """Options of a run, its manifest, a calibration, or the card of released weights."""
    try:
        values = parse_json(path.read_bytes())
    except ValueError as error:
        raise ImageError(f"{path}: begins like JSON: {error}; {TAKES}") from None
    if "matrix_b_to_a" in values or str(values.get("format", "")).startswith("adasffuse calibration"):
        found = load_calibration(path)
        (height_a, width_a), (height_b, width_b) = found.transform.moving_size, found.transform.size
        return {
            "what": "calibration of two cameras, or of slices of one head",
            "method": found.transform.method,
            "size of A": f"{width_a}x{height_a}",
            "size of B": f"{width_b}x{height_b}",
            "pairs": found.pairs,
            "spread": found.spread,
            "use": "adasffuse fuse, align or video with --calibration",
        }
    if {"options", "starts", "data"} <= values.keys():
        try:
            starts = [f"{one['time']}, step {one['step']}" for one in values["starts"]]
        except (TypeError, KeyError):
            raise ImageError(f"{path}: a manifest whose 'starts' were edited; the next run writes a new one") from None
        return {"what": "manifest of a training run", **_json_options(path, values["options"]), "started": starts}
    if {"train", "parts"} & values.keys() or {"name", "task"} <= values.keys():
        return {"what": "options of a training run", **_json_options(path, values), "use": "adasffuse train --opt"}
    raise ImageError(f"{path}: JSON, but no options of a training run, no manifest and no calibration; {TAKES}")


def _json_options(path: Path, values: Any) -> dict[str, Any]:
    from adasffuse.training.options import parse_options

    try:
        return _options(parse_options(values))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _volume(path: Path) -> dict[str, Any]:
    volume: Volume = read_volume(path)
    finite = volume.values[np.isfinite(volume.values)]
    return {
        "voxels": list(volume.values.shape),
        "mm": [round(float(step), 4) for step in volume.steps],
        "values": [_number(finite.min()), _number(finite.max())] if finite.size else None,
        "black and white": list(map(_number, volume.window)) if volume.window else None,
        "notices": list(volume.notices),
        "use": "adasffuse fuse A B -o OUT.nii.gz",
    }


def _video(path: Path) -> dict[str, Any]:
    video = VideoFile(path)
    first = next(iter(video)).image
    return {
        "what": "video",
        "width": video.width,
        "height": video.height,
        "frames per second": round(float(video.rate), 3),
        "seconds": None if video.duration is None else round(float(video.duration), 3),
        "depth": video.depth,
        "colour": first.pixels.ndim == 3,
        "sound": video.audio,
        "notices": [notice.removeprefix(f"{path}: ") for notice in first.notices],
        "use": "adasffuse video",
    }


def _weights(path: Path) -> dict[str, Any]:
    from adasffuse.models.options import size_of
    from adasffuse.models.weights import WeightsError, file_sha256, load_weights, read_record

    model, task = load_weights(path)
    options = model.options
    values = {
        "what": "weights",
        "path": str(path),
        "task": task,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "bytes": path.stat().st_size,
        "size": size_of(options),
        "shape": f"patch {options.patch}, {options.channels} channels, output {options.output}",
        "kinds": list(options.kinds),
        "sha256": file_sha256(path),
    }
    try:
        values["training"] = read_record(path)
    except WeightsError:
        values["training"] = None
    values["licence"] = _licence(path)
    return values


def _licence(path: Path) -> str | None:
    """What the card beside a weights file says: released weights have a JSON file, folders for the Hub a README.md."""
    card, readme = path.with_suffix(".json"), path.with_name("README.md")
    if card.is_file():
        with suppress(ValueError):  # of another program
            content = parse_json(card.read_bytes())
            return content.get("licence") if isinstance(content, dict) else None
    if readme.is_file():
        match = re.search(r"^licen[cs]e:\s*(.+)$", readme.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
        return match[1].strip() if match else None
    return None


def _image(path: Path) -> dict[str, Any]:
    with open_image(path) as file:
        stored = file.decode()
        valid = valid_mask(stored, None, False)
    used = stored.values if valid is None else stored.values[valid]
    height, width = file.upright_size
    values = {
        "what": "image",
        "width": width,
        "height": height,
        "depth": file.depth,
        "type": str(stored.values.dtype),
        "channels": 1 if stored.values.ndim == 2 else stored.values.shape[2],
        "space": stored.space,
        "values": [_number(used.min()), _number(used.max())] if used.size else None,
        "black and white": [_number(value) for value in stored.span] if stored.span else None,
        "profile": _profile_name(stored.profile),
        "no data": stored.no_data,
        "share without data": 0.0 if valid is None else round(float(1 - valid.mean()), 6),
        "stored": _TURNED.get(file.orientation, _UPRIGHT),
        "notices": list(stored.notices),
    }
    if is_radiometric(path):
        values["temperatures"] = "FLIR radiometric JPEG: fusing reads its temperatures, not these values"
    return values


def _number(value: Any) -> int | float:
    return value.item() if isinstance(value, np.generic) else value


def _profile_name(profile: bytes | None) -> str | None:
    if profile is None:
        return None
    try:
        return (ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.profile_description or "unnamed").strip()
    except (OSError, ImageCms.PyCMSError, ValueError, TypeError):
        return "broken"
