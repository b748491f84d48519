"""Fuse infrared and visible pairs in colour and score them.

python test_IVF_RGB.py --root_path DATA/test --dataset IVF        (without arguments: built-in samples)
"""

import sys

from adasffuse.inference.cli import run


def main(argv: list[str] | None = None) -> int:
    return run("ivf", argv)


if __name__ == "__main__":
    sys.exit(main())
