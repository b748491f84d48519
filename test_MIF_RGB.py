"""Fuse medical (CT, PET or SPECT with MRI) pairs in colour and score them.

python test_MIF_RGB.py --root_path DATA/test --dataset MIF        (without arguments: built-in samples)
"""

import sys

from adasffuse.process import run_program


def main(argv: list[str] | None = None) -> int:
    def program() -> int:
        from adasffuse.cli.task_script import run  # loads OpenCV, after the settings of the process

        return run("mif", argv)

    return run_program(program)


if __name__ == "__main__":
    sys.exit(main())
