"""Formats that optional packages decode: FLIR's radiometric JPEG, DICOM, NIfTI, raw files, HEIC and ONNX.

A package is imported where a file needs it; where it is absent, the error names the command that installs it.
"""

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

from adasffuse.images.image import ImageError
from adasffuse.installation import install_command

PACKAGES = {  # package to the extra that installs it, and what it reads
    "flyr": ("thermal", "the temperatures of FLIR's radiometric JPEG"),
    "pydicom": ("medical", "DICOM"),
    "nibabel": ("medical", "NIfTI"),
    "rawpy": ("raw", "raw files of cameras"),
    "pi_heif": ("heic", "HEIC"),
    "onnx": ("export", "ONNX"),
}


def import_optional(package: str, path: str | Path) -> ModuleType:
    """An optional package.

    Args:
        package: one of `PACKAGES`.
        path: the file that needs it, for the error.
    Raises:
        ImageError: it is not installed; says which file needs it and how to install it.
    """
    extra, what = PACKAGES[package]
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise ImageError(f"{path}: reading {what} needs {package}: {install_command(extra)}") from None


def is_installed(package: str) -> bool:
    """Whether an optional package is there, without importing it."""
    return importlib.util.find_spec(package) is not None
