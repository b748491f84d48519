"""Values on the command line that look like options."""

import pytest

from adasffuse.cli import score, task_script
from adasffuse.tasks import TASKS


@pytest.mark.parametrize("text", ["-3.4028235e+38", "-1E5", "-400", "-.5"])
def test_negative_numbers_are_values(text):
    words = ["--no_data_a", text, "--range_b", text, "10"]
    for args in (
        task_script.parse_args(TASKS["ivf"], words),
        score.parse_args(["--source_a", "a", "--source_b", "b", *words]),
    ):
        assert args.no_data_a == float(text) and args.range_b == [text, "10"]
