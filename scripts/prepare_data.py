"""Lay a published data set out for training, fusing and scoring; the same as `adasffuse data`.

python scripts/prepare_data.py MSRS --source ~/MSRS-main --root datasets
"""

import sys

from adasffuse.process import run_program


def main(argv: list[str] | None = None) -> int:
    def program() -> int:
        from adasffuse.cli.data import run

        return run(argv)

    return run_program(program)


if __name__ == "__main__":
    sys.exit(main())
