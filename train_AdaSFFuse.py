"""Train AdaSFFuse.

One process:   python train_AdaSFFuse.py --opt options/train_AdaSFFuse_ivf.json
Several:       torchrun --nproc_per_node 4 train_AdaSFFuse.py --opt options/train_AdaSFFuse_ivf.json
"""

import argparse
import os
import sys

from adasffuse.process import prepare_process


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--opt", required=True, help="options file (JSON), see options/")
    parser.add_argument(
        "--root_path",
        help="folder of the training data sets, instead of the options' data.root_path; "
        "of several parts, those whose own is an absolute path keep it",
    )
    parser.add_argument("--out_dir", default="checkpoint", help="folder of the runs (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument("--local_rank", "--local-rank", help=argparse.SUPPRESS)  # torch.distributed.launch passes it
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    prepare_process()
    from adasffuse.training import train
    from adasffuse.training.options import load_options  # these load PyTorch

    try:
        options = load_options(args.opt, root_path=args.root_path)
        weights = train(options, args.out_dir, args.device)
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if os.environ.get("RANK", "0") == "0":  # once, not by every process of torchrun
        print(f"weights: {weights}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
