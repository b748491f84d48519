"""What an exported file says of itself."""

import json
import zipfile
from pathlib import Path
from typing import Any

from adasffuse.images.extras import import_optional
from adasffuse.images.image import ImageError

METADATA = "adasffuse"  # key of the description, JSON, in an ONNX file's metadata_props
METADATA_FILE = "adasffuse.json"  # its name among the extra files of a pt2 file
SUFFIXES = (".onnx", ".pt2")


def read_description(path: str | Path) -> dict[str, Any]:
    """The description in an ONNX or pt2 file, see `adasffuse.export.write.Export.describe`.

    Raises:
        ImageError: the file is damaged, or none that `adasffuse export` has written; of an ONNX file also that the
            package onnx is missing.
    """
    path = Path(path)
    read = _of_onnx if path.suffix.lower() == ".onnx" else _of_pt2
    try:
        return json.loads(read(path))
    except ImageError:
        raise
    except Exception as error:  # of protobuf, zipfile or json, or nothing of that name
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ImageError(
            f"{path}: damaged, or no network that adasffuse export has written: no description in it ({reason})"
        ) from error


def _of_onnx(path: Path) -> str:
    model = import_optional("onnx", path).load(str(path), load_external_data=False)
    return {entry.key: entry.value for entry in model.metadata_props}[METADATA]


def _of_pt2(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(f"extra/{METADATA_FILE}"))
        return archive.read(name).decode()
