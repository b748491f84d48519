"""Fuse multi-exposure pairs in colour and score them.

python test_MEF_RGB.py --root_path DATA/test --dataset MEF        (without arguments: built-in samples)
"""

import sys

from adasffuse.inference.cli import run


def main(argv: list[str] | None = None) -> int:
    return run("mef", argv)


if __name__ == "__main__":
    sys.exit(main())
