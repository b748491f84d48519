"""`python -m adasffuse` is the `adasffuse` command."""

import sys

from adasffuse.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
