"""The same as `adasffuse downstream`: does fusion help a detector or a segmenter?

python scripts/downstream_report.py DATA --task segment --out OUT
"""

import sys

from adasffuse.cli import downstream
from adasffuse.process import run_program

if __name__ == "__main__":
    sys.exit(run_program(lambda: downstream.run(prog="downstream_report.py")))
