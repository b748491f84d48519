"""Turn a finished run into released weights: copy them into the package, with a card (recipe, data, SHA-256).

python scripts/release_weights.py --run checkpoint/ivf --data "201 RoadScene pairs" --limits "small network" --half
python scripts/release_weights.py --of general_small --file small.safetensors --half --data ... --limits ...
python scripts/score_weights.py --weights general_small --root_path DATA/test --datasets IVF ... --json scores.json
python scripts/update_cards.py scores.json

--of: the file was made from released weights by `mix_weights.py` or `train_targets.py`; the card keeps its description
of the run.  --half stores parameters in half precision, except HALF_KEEPS.  A new card has no scores:
`score_weights.py` scores the released file, `update_cards.py` puts the scores onto its card, and `write_tables.py`
writes the tables of the docs.
"""

import argparse
import json
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from safetensors.torch import load_file
from scoring import RELEASED

from adasffuse.cli.arguments import Parser
from adasffuse.files import replacing_all
from adasffuse.models import AdaSFFuse
from adasffuse.models.options import KINDS_NEEDED
from adasffuse.models.weights import RUN_WEIGHTS, file_sha256, load_weights, read_record, save_weights
from adasffuse.process import run_script, say
from adasffuse.training.options import Options, load_options

# Endings of names of parameters that stay float32: A, dt, D of the scan, wavelet and spectral filters, gains.
HALF_KEEPS = (".A_log", ".dt_bias", ".D", ".low_pass", ".high_pass", ".frequency.weight", ".log_gain")
NO_SCORES = {"convention": "", "scored_in": "", "scores": {}}  # `update_cards.py` fills them in
LICENCE = "weights fitted to images with research terms of their owners; the code alone is MIT"
DATA_LICENCES = {  # as stated by the repositories of the images
    "ivf": "RoadScene (hanna-xu/RoadScene) and M3FD (TarDAL): no licence stated, ask for citation; MSRS (PIAFusion, "
    "SuperFusion): MIT; EPFL RGB-NIR: none stated",
    "mef": "MEFB (xingchenzhang/MEFB): no licence stated, asks for citation",
    "mff": "Lytro triples (uzeful/IFCNN), MFFW and MFI-WHU (xingchenzhang/MFIF), classic gray pairs "
    "(yuliu316316/MFIF): no licence stated, ask for citation",
    "mif": "AANLIB slices of the Whole Brain Atlas (xianming-gu/Havard-Medical-Image-Fusion-Datasets): no licence "
    "stated, asks for citation",
    "photographs": "Berkeley segmentation images (CBSD68, BSD100): no licence stated, research use",
}
PET_LIMIT = (
    "The PET-MRI split is not subject-independent: its training and test slices come from the same few cases, so these "
    "scores say little about other patients."
)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--run", type=Path, help="folder of a training run")
    source.add_argument("--of", metavar="NAME", help="released weights that --file was made from, e.g. general_small")
    parser.add_argument(
        "--file",
        default=RUN_WEIGHTS,
        help="weights in the folder of the run, such as best.safetensors, or the path of a made file (default: "
        "%(default)s)",
    )
    parser.add_argument("--half", action="store_true", help="store in half precision, but for A, dt, D and the filters")
    parser.add_argument("--data", required=True, help="what the weights were fitted to, for the card")
    parser.add_argument("--limits", required=True, help="what users should know, for the card")
    parser.add_argument("--data_licence", help="terms of these data (default: those of the development data)")
    parser.add_argument(
        "--hardware", help="hardware of the training, for the card (default: what the manifest of the run says)"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_script(release, parse_args(argv))


def release(args: argparse.Namespace) -> None:
    """Put the weights and their card into the package; on failure nothing is changed."""
    source = Path(args.file) if args.of else args.run / args.file
    with tempfile.TemporaryDirectory() as folder:
        model, task = load_weights(source)
        if args.of:
            made = card_of(args.of, model, task, source)
            for name in ("data_licence", "hardware"):
                if getattr(args, name):
                    made[name] = getattr(args, name)
            size = made["size"]
        else:
            options = load_options(args.run / "options.json")
            size = options.size
            made = {
                "options": recipe(options),
                **trained_with(args.run, args.hardware),
                "licence": LICENCE,
                "data_licence": args.data_licence or data_licence(options),
            }
        target = RELEASED / f"{task}_{size}.safetensors"
        weights = Path(folder, target.name)
        if args.half:
            write_half(source, weights)
        else:
            shutil.copyfile(source, weights)
        card = {
            **made,
            "task": task,
            "size": size,
            "parameters": sum(p.numel() for p in model.parameters()),
            "stored_as": "float16, but float32 for A, dt, D and the filters" if args.half else "float32",
            "sha256": file_sha256(weights),
            "data": args.data,
            "record": read_record(weights),
            **NO_SCORES,
            "limits": limits(args.limits, made["options"]),
        }
        with replacing_all() as temporary:
            shutil.copyfile(weights, temporary(target))
            temporary(target.with_suffix(".json")).write_bytes((json.dumps(card, indent=2) + "\n").encode())
    say(f"released {target}")


def card_of(name: str, model: AdaSFFuse, task: str, source: Path) -> dict:
    """The card of released weights, after checking that the network of `source` can derive from them.

    It may have other `dark`, `hot`, `unshaded`, `lights` and `targets`, and lack the `residual`.

    Raises:
        ValueError: no such weights, or they have another task or shape.
    """
    path = RELEASED / f"{name}.json"
    if not path.is_file():
        known = ", ".join(sorted(one.stem for one in RELEASED.glob("*.json")))
        raise ValueError(f"--of {name}: no such released weights; there are {known}")
    card = json.loads(path.read_text(encoding="utf-8"))
    if task != card["task"]:
        raise ValueError(f"{source} is for task {task!r}, {name} for {card['task']!r}")
    before = load_weights(path.with_suffix(".safetensors"))[0].options
    own = model.options
    changed = {name: getattr(own, name) for name in KINDS_NEEDED}
    if own != replace(before, **changed, residual=own.residual and before.residual):
        raise ValueError(f"{source} holds a network of another shape than {name}: {model.options}")
    return card


def write_half(source: Path, target: Path) -> None:
    """Write the weights of a file in half precision, except HALF_KEEPS, with the same record.

    Raises:
        ValueError: a value exceeds the range of half precision.
    """
    state = load_file(source)
    for name, value in state.items():
        if not f".{name}".endswith(HALF_KEEPS):
            state[name] = value.half()
            if not state[name].isfinite().all():
                raise ValueError(f"{source}: {name} exceeds half precision; release it without --half")
    model, task = load_weights(source)
    save_weights(target, state, model.options, task, **read_record(source))


def recipe(options: Options) -> dict:
    """The run's options without the paths of this machine."""
    values = options.to_dict()
    for part in values["parts"]:
        part["data"]["root_path"] = Path(part["data"]["root_path"]).name
        part["teacher"] = _run_and_file(part["teacher"])
    values["train"]["init"] = _run_and_file(options.train.init)
    return values


def _run_and_file(weights: str) -> str:
    return Path(*Path(weights).parts[-2:]).as_posix() if weights else ""


def trained_with(run: Path, hardware: str | None) -> dict:
    """Hardware, versions and data fingerprint from the run's manifest, if there is one."""
    path = run / "manifest.json"
    if not path.is_file():
        return {"hardware": hardware or "not recorded"}
    manifest = json.loads(path.read_text(encoding="utf-8"))
    start = manifest["starts"][-1]
    found = start["hardware"]
    described = f"{found['device']}, {found['cpu_cores']} CPU cores, {found['processes']} process(es)"
    return {
        "hardware": hardware or described,
        "torch": start["packages"]["torch"],
        "git_commit": start["git_commit"],
        "data_sha256": manifest["data"]["sha256"],
    }


def data_licence(options: Options) -> str:
    """Terms of the development data that the run's parts used."""
    used = [part.task for part in options.parts if part.data.datasets]
    used += ["photographs" for part in options.parts if part.data.sharp_folder]
    return "; ".join(DATA_LICENCES[name] for name in dict.fromkeys(used))


def limits(text: str, options: dict) -> str:
    """The limits for the card, with a remark on the PET-MRI split if these slices were trained on."""
    names = [name for part in options["parts"] for name in part["data"]["datasets"]]
    pet = any(name.startswith("MIF") and ("/" not in name or "PET" in name) for name in names)
    return f"{text} {PET_LIMIT}" if pet and "subject-independent" not in text else text


if __name__ == "__main__":
    sys.exit(main())
