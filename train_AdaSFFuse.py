"""Train AdaSFFuse.

python train_AdaSFFuse.py --opt options/train_AdaSFFuse_ivf.json
"""

import sys

from adasffuse.process import run_program


def main(argv: list[str] | None = None) -> int:
    def program() -> int:
        from adasffuse.cli.train import run  # loads OpenCV, after the settings of the process

        return run(argv)

    return run_program(program)


if __name__ == "__main__":
    sys.exit(main())
