"""Train AdaSFFuse.

python train_AdaSFFuse.py --opt options/train_AdaSFFuse_ivf.json
"""

import sys

from adasffuse.process import prepare_process


def main(argv: list[str] | None = None) -> int:
    prepare_process()
    from adasffuse.cli.train import run  # loads PyTorch

    return run(argv)


if __name__ == "__main__":
    sys.exit(main())
