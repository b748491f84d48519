"""Fuse medical (CT, PET or SPECT with MRI) pairs in colour and score them.

python test_MIF_RGB.py --root_path DATA/test --dataset MIF        (without arguments: built-in samples)
"""

import sys

from adasffuse.inference.cli import run


def main(argv: list[str] | None = None) -> int:
    return run("mif", argv)


if __name__ == "__main__":
    sys.exit(main())
