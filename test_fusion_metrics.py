"""Score folders of fused images; `--help` and `adasffuse/cli/score.py` say how.

python test_fusion_metrics.py --root_path data/test --dataset IVF --fused ours=results/IVF --baselines average,gff
"""

import sys

from adasffuse.process import run_program


def main(argv: list[str] | None = None) -> int:
    def program() -> int:
        from adasffuse.cli.score import run  # loads OpenCV and SciPy, after the settings of the process

        return run(argv)

    return run_program(program)


if __name__ == "__main__":
    sys.exit(main())
