"""Command line of `train_AdaSFFuse.py`: read the options, train, say where the weights are."""

import argparse
from pathlib import Path

from adasffuse.cli.arguments import Parser, add_device_option, given_path
from adasffuse.files import check_outputs
from adasffuse.process import process_rank, say, say_error, world_size

DESCRIPTION = """Train AdaSFFuse.

One process:   python train_AdaSFFuse.py --opt options/train_AdaSFFuse_ivf.json
Several:       torchrun --nproc_per_node 4 train_AdaSFFuse.py --opt options/train_AdaSFFuse_ivf.json

Ctrl-C and SIGTERM finish the step, save and end with status 0; the same command continues.  Before the first step they
end with 130 and 143.
"""


def make_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The command line's parser; `prog` is what its help calls the program."""
    parser = Parser(prog, description=DESCRIPTION)
    parser.add_argument("--opt", required=True, help="options file (JSON), see options/")
    parser.add_argument(
        "--root_path",
        help="folder of the training data sets, in place of data.root_path of the options; parts whose own is an "
        "absolute path keep it",
    )
    parser.add_argument(
        "--out_dir", type=given_path, default=Path("checkpoint"), help="folder of the runs (default: %(default)s)"
    )
    add_device_option(parser)
    parser.add_argument("--local_rank", "--local-rank", help=argparse.SUPPRESS)  # torch.distributed.launch passes it
    return parser


def run(argv: list[str] | None = None, prog: str | None = None) -> int:
    """Train as the arguments say.

    Returns:
        the exit status: 0 also where a signal ended the run early and it was saved, 1 after an error.
    """
    args = make_parser(prog).parse_args(argv)
    from adasffuse.training.processes import recorded  # here: arguments are read without PyTorch

    expected = (ValueError, OSError, FloatingPointError)
    try:
        weights = recorded(_train)(args)
    except (*expected, RuntimeError) as error:
        if world_size() == 1 and not isinstance(error, expected):
            raise
        return say_error(error)  # of several, a process whose sibling ended, too
    if process_rank() == 0:  # once, not by every process of torchrun
        say(f"weights: {weights}")
    return 0


def _train(args: argparse.Namespace) -> Path:
    from adasffuse.training import train
    from adasffuse.training.options import load_options

    check_outputs(folders={"--out_dir": args.out_dir})
    return train(load_options(args.opt, root_path=args.root_path), args.out_dir, args.device)
