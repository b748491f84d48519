"""Weighted mean of weights files of one shape, and a weaker or stronger residual of the decoder.

python scripts/mix_weights.py a.safetensors=0.4 b.safetensors=0.6 --out mean.safetensors
python scripts/mix_weights.py a.safetensors --residual 0.7 --out calm.safetensors

The mean of two runs from the same start often generalises better than either (Wortsman et al., ICML 2022,
arXiv:2203.05482).  The decoder's residual raises SCD and costs MI, VIFF and Qabf; a factor chooses between them without
training.  `release_weights.py --file` releases the result.
"""

import argparse
import sys
from pathlib import Path

from torch import Tensor

from adasffuse.models import AdaSFFuse
from adasffuse.models.weights import WeightsError, load_weights, read_record, save_weights


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", nargs="+", metavar="FILE[=SHARE]", help="shares are scaled to add up to 1")
    parser.add_argument("--residual", type=float, default=1.0, help="factor of the decoder's residual (%(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        parts = [file_and_share(text) for text in args.weights]
        networks = [load_weights(path) for path, _ in parts]
        model, task = networks[0]
        check_alike([(path, *network) for (path, _), network in zip(parts, networks)])
        if args.residual != 1 and not model.options.residual:
            raise ValueError(f"--residual: the network in {parts[0][0]} has none")
    except (WeightsError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    state = mean([(network.state_dict(), share) for (network, _), (_, share) in zip(networks, parts)])
    for name in ("decode.4.weight", "decode.4.bias") if args.residual != 1 else ():
        state[name] *= args.residual
    record = {"mean_of": [{"share": share} | read_record(path) for path, share in parts]}
    record |= {"residual": args.residual} if args.residual != 1 else {}
    save_weights(args.out, state, model.options, task, **record)
    return 0


def file_and_share(text: str) -> tuple[Path, float]:
    """'a.safetensors=0.4' taken apart; the share is 1 where none is given."""
    path, found, share = text.rpartition("=")
    if not found:
        return Path(text), 1.0
    try:
        value = float(share)
    except ValueError:
        raise ValueError(f"{text}: expected FILE or FILE=SHARE with a number") from None
    if not 0 < value < float("inf"):
        raise ValueError(f"{text}: the share must be positive")
    return Path(path), value


def check_alike(networks: list[tuple[Path, AdaSFFuse, str]]) -> None:
    """Refuse to mix networks of several shapes or tasks."""
    first, model, task = networks[0]
    for path, other, its_task in networks[1:]:
        if (other.options, its_task) != (model.options, task):
            raise ValueError(f"{path} ({its_task}, {other.options}) differs from {first} ({task}, {model.options})")


def mean(states: list[tuple[dict[str, Tensor], float]]) -> dict[str, Tensor]:
    """Parameter by parameter, weighted by the shares."""
    total = sum(share for _, share in states)
    return {name: sum(state[name] * (share / total) for state, share in states) for name in states[0][0]}


if __name__ == "__main__":
    sys.exit(main())
