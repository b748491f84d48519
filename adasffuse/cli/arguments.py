"""Options that the command lines share."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from adasffuse.images.boxes import PEOPLE


def add_source_options(parser: argparse.ArgumentParser, group: argparse._ArgumentGroup | None = None) -> None:
    """Add how source A and source B are read, the same for fusing and scoring: names, range and no data.

    Args:
        group: where the help lists them; the parser's own list if None.
    """
    # Values such as -3.4e38, GDAL's usual "no data", are no options; argparse takes exponents for them.
    parser._negative_number_matcher = re.compile(r"-(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$|-inf$", re.IGNORECASE)
    target = group or parser
    for side in "ab":
        source = f"source {side.upper()}"
        target.add_argument(
            f"--pattern_{side}",
            metavar="NAME",
            help=f"how the files of {source} are called, * being what both sources share: 'IR_*', '*_ir'; with "
            "patterns both sources may lie in one folder (default: '*', equal names)",
        )
        target.add_argument(
            f"--range_{side}",
            nargs="+",
            metavar=("LOW", "HIGH"),
            help=f"values of files of {source} deeper than 8 bits that become black and white; or 'folder', lowest "
            "and highest of the whole folder; or two percentages of its values, 1%% 99%%",
        )
        target.add_argument(
            f"--no_data_{side}",
            type=float,
            metavar="VALUE",
            help=f"value of {source} that means 'no data', besides NaN and the file's own",
        )


def add_truth_options(target: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add what is known about the scenes besides their sources: true images, and boxes around targets."""
    target.add_argument("--reference", type=Path, metavar="DIR", help="true images; adds PSNR_GT and SSIM_GT")
    target.add_argument(
        "--boxes", type=Path, metavar="DIR", help="Pascal VOC files NAME.xml; adds Retention, of targets in source A"
    )
    target.add_argument(
        "--classes",
        nargs="+",
        default=list(PEOPLE),
        metavar="LIST",
        help=f"comma-separated classes of boxes that are targets, or 'all' ({','.join(PEOPLE)})",
    )


def listed(words: Sequence[str]) -> list[str]:
    """The names in words such as 'VIFF,Qabf' or 'VIFF,' 'Qabf'."""
    return [name.strip() for word in words for name in word.split(",") if name.strip()]
