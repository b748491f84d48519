"""Weighted mean of weights files of one shape, and a weaker or stronger residual of the decoder.

python scripts/mix_weights.py a.safetensors=0.4 b.safetensors=0.6 --out mean.safetensors
python scripts/mix_weights.py a.safetensors --residual 0.7 --out calm.safetensors
python scripts/mix_weights.py a.safetensors --logits focus=8 --fine_logits infrared=2 visible=2 --residual_of focus=0 \\
    --out sharp.safetensors
python scripts/mix_weights.py a.safetensors --dark visible=2 --hot infrared=6 --unshaded --lights --out b.safetensors
python scripts/mix_weights.py a.safetensors --residual_of exposure=0 --exposure_power -0.2 --out lit.safetensors
python scripts/mix_weights.py mff.safetensors --all_logits 8 --residual 0 --out sharp.safetensors

The mean of two runs from the same start often generalises better than either (Wortsman et al., ICML 2022,
arXiv:2203.05482).  The decoder's residual raises SCD and costs MI, VIFF and Qabf; a factor trades them without
training.  Larger logits choose between the sources more sharply; for infrared and visible images leave those of the
base unchanged.  A residual of 0 removes the decoder from the file.  `--dark visible=2` keeps nights dark: the infrared
background has less weight where a visible image of a night is dark.  `--hot infrared=6` shows what is hot by day, too.
`--unshaded` fades cold infrared detail where what is shown is much brighter, such as a sky beside a warm building.
`--lights` keeps lamps and headlights of a night that the infrared image puts out, and the ground around hot things.
Without the residual of exposures, and with less power of exposure weights, shadows stay light.
`release_weights.py --file` releases the result.
"""

import argparse
import math
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import Tensor

from adasffuse.cli.arguments import Parser
from adasffuse.files import InputError, check_outputs
from adasffuse.models import AdaSFFuse
from adasffuse.models.growth import differences
from adasffuse.models.options import KINDS_NEEDED
from adasffuse.models.weights import load_weights, read_record, save_weights
from adasffuse.process import run_script, say

NONE = -20.0  # logarithm of a factor that is practically 0
SWITCHES = ("unshaded", "lights")  # options without parameters
LOGITS = ("dark", "hot")  # parameters that are added to logits of the base, one number for each kind
BANDS = {  # where `log_gain` holds what an option multiplies
    "logits": slice(0, -1),
    "fine_logits": slice(0, -2),
    "residual_of": slice(-1, None),
}


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("weights", nargs="+", metavar="FILE[=SHARE]", help="shares are scaled to add up to 1")
    parser.add_argument(
        "--residual", type=not_negative, default=1.0, help="factor of the decoder's residual (default: %(default)s)"
    )
    parser.add_argument(
        "--all_logits", type=not_negative, default=1.0, help="factor of all logits (default: %(default)s)"
    )
    for option, what in (
        ("--logits", "factor of the logits of a kind of source in all bands"),
        ("--fine_logits", "the same in all bands but the base"),
        ("--residual_of", "factor of the residual of a kind of source, 0: none"),
        ("--dark", "added to the logit of the base of a kind of source where it is dark at night"),
        ("--hot", "the same where it is conspicuously bright, and brighter than all other sources"),
    ):
        parser.add_argument(option, nargs="+", default=[], type=kind_and_factor, metavar="KIND=X", help=what)
    parser.add_argument(
        "--exposure_power",
        type=finite,
        default=0.0,
        metavar="X",
        help="added to the power of exposure weights in all bands (default: 0)",
    )
    parser.add_argument("--unshaded", action="store_true", help="cold infrared detail fades in what is much brighter")
    parser.add_argument(
        "--lights", action="store_true", help="a night keeps its lights, and the ground around hot things"
    )
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_script(run, parse_args(argv))


def run(args: argparse.Namespace) -> None:
    parts = [file_and_share(text) for text in args.weights]
    check_outputs({"--out": args.out}, inputs=[path for path, _ in parts])
    networks = [load_weights(path) for path, _ in parts]
    model, task = networks[0]
    check_alike([(path, *network) for (path, _), network in zip(parts, networks)])
    for name in SWITCHES:
        kinds = KINDS_NEEDED[name]
        if getattr(args, name) and not set(kinds) <= set(model.options.kinds):
            raise ValueError(f"--{name}: the network in {parts[0][0]} knows no {' or no '.join(kinds)} images")
    if args.exposure_power and not model.options.exposure:
        raise ValueError(f"--exposure_power: the network in {parts[0][0]} has no exposure weights")
    if args.residual != 1 and not model.options.residual:
        raise ValueError(f"--residual: the network in {parts[0][0]} has none")
    if model.options.output == "direct" and (args.residual == 0 or args.all_logits != 1):
        raise ValueError(f"the network in {parts[0][0]} is a decoder alone: no --residual 0, no --all_logits")
    changes = {
        "logits": dict(args.logits),
        "fine_logits": dict(args.fine_logits),
        "residual_of": dict(args.residual_of),
    } | {name: dict(getattr(args, name)) for name in LOGITS}
    for kind in {kind for factors in changes.values() for kind in factors} - set(model.options.kinds):
        raise ValueError(f"the network knows no kind {kind}; it knows {', '.join(model.options.kinds) or 'none'}")
    state = mean([(network.state_dict(), share) for (network, _), (_, share) in zip(networks, parts)])
    options = model.options
    if args.residual == 0:
        options = replace(options, residual=False)
        state = {name: value for name, value in state.items() if not name.startswith("decode.")}
    for name in state:
        if name in ("decode.4.weight", "decode.4.bias"):
            state[name] *= args.residual
        if name.endswith("logit.weight"):
            state[name] *= args.all_logits
        if name == "head.exposure_power.bias":
            state[name] += args.exposure_power
    record = {"mean_of": [{"share": share} | read_record(path) for path, share in parts]}
    for name, bands in BANDS.items():
        for kind, factor in changes[name].items():
            row = state["kinds.log_gain"][model.options.kinds.index(kind)]
            row[bands] += math.log(factor) if factor else NONE
        if changes[name]:
            record[name] = changes[name]
    for name in LOGITS:
        if not changes[name]:
            continue
        if not getattr(options, name):
            options = replace(options, **{name: True})
            state[f"kinds.{name}"] = state["kinds.log_gain"].new_zeros(len(options.kinds))
        for kind, logit in changes[name].items():
            state[f"kinds.{name}"][options.kinds.index(kind)] = logit
        record[name] = changes[name]
    for name in (name for name in SWITCHES if getattr(args, name)):
        options = replace(options, **{name: True})
        record[name] = True
    for name, nothing in (("residual", 1), ("all_logits", 1), ("exposure_power", 0)):
        if getattr(args, name) != nothing:
            record[name] = getattr(args, name)
    save_weights(args.out, state, options, task, **record)
    say(f"-> {args.out}")


def finite(text: str, least: float = -math.inf) -> float:
    """A number, no less than the least one.

    Raises:
        ArgumentTypeError: it is something else, or not finite.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= least):
        raise argparse.ArgumentTypeError(f"{text}: expected a number{', 0 or more' if least == 0 else ''}")
    return value


not_negative = partial(finite, least=0)


def kind_and_factor(text: str) -> tuple[str, float]:
    """Parse 'focus=8'.

    Raises:
        ArgumentTypeError: it is not a name and a number that is not negative.
    """
    kind, _, number = text.partition("=")
    if not (kind and number):
        raise argparse.ArgumentTypeError(f"{text}: expected KIND=FACTOR, e.g. focus=8")
    return kind, not_negative(number)


def file_and_share(text: str) -> tuple[Path, float]:
    """Parse 'a.safetensors=0.4'; the default share is 1."""
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
    """Raise ValueError for networks of different shapes or tasks."""
    first, model, task = networks[0]
    for path, other, its_task in networks[1:]:
        if its_task != task:
            raise InputError(f"{path} was trained for task {its_task!r}, {first} for {task!r}")
        if other.options != model.options:
            listed = differences(other.options, model.options)
            raise InputError(f"{path} holds a network of another shape than {first}: {listed}")


def mean(states: list[tuple[dict[str, Tensor], float]]) -> dict[str, Tensor]:
    """Mean of each parameter, weighted by the shares."""
    total = sum(share for _, share in states)
    return {name: sum(state[name] * (share / total) for state, share in states) for name in states[0][0]}


if __name__ == "__main__":
    sys.exit(main())
