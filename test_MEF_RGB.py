"""Fuse multi-exposure pairs in colour and score them.

python test_MEF_RGB.py --root_path DATA/test --dataset MEF        (without arguments: built-in samples)
"""

import sys

from adasffuse.process import prepare_process


def main(argv: list[str] | None = None) -> int:
    prepare_process()
    from adasffuse.cli.fuse import run  # loads PyTorch

    return run("mef", argv)


if __name__ == "__main__":
    sys.exit(main())
