"""Score folders of fused images; see `python test_fusion_metrics.py --help` and `adasffuse/cli/score.py`."""

import sys

from adasffuse.cli.score import main

if __name__ == "__main__":
    sys.exit(main())
