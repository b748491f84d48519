"""What the command lines share beyond `argparse`."""

import argparse
import re


def take_negative_numbers(parser: argparse.ArgumentParser) -> None:
    """Let values such as -3.4e38, GDAL's usual "no data", pass as values; `argparse` takes exponents for options."""
    parser._negative_number_matcher = re.compile(r"-(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$|-inf$", re.IGNORECASE)
