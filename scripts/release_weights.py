"""Turn a finished run into released weights: copy them into the package, with a card (data, steps, scores, SHA-256).

python scripts/release_weights.py --run checkpoint/ivf_small --score_root DATA/test --datasets IVF IVF_MSRS \
    --data "201 RoadScene pairs" --limits "small network, trained on a CPU"
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from safetensors import safe_open

from adasffuse.allocator import keep_freed_memory
from adasffuse.data.pairs import pair_folders
from adasffuse.inference import cli, fuse_folder, load_fuser
from adasffuse.models.weights import file_sha256, load_weights
from adasffuse.options import parse_options
from adasffuse.training.trainer import WEIGHTS_FILE

RELEASED = Path(__file__).resolve().parents[1] / "adasffuse" / "weights"
LICENCE = "weights fitted to images with research terms of their owners; the code alone is MIT"


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of a training run")
    parser.add_argument("--score_root", type=Path, required=True, help="folder of data sets to score on")
    parser.add_argument("--datasets", nargs="+", required=True, help="data sets below it")
    parser.add_argument("--data", required=True, help="what the weights were fitted to, for the card")
    parser.add_argument("--limits", required=True, help="what users should know, for the card")
    parser.add_argument("--hardware", default="2 CPU cores", help="(default: %(default)s)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    keep_freed_memory()
    weights = args.run / WEIGHTS_FILE
    options = parse_options(json.loads((args.run / "options.json").read_text(encoding="utf-8")))
    model, task = load_weights(weights)
    recipe = options.to_dict()
    for part in recipe["parts"]:
        part["data"]["root_path"] = Path(part["data"]["root_path"]).name  # where it lay on this machine helps nobody
    with safe_open(weights, framework="pt") as file:
        record = json.loads(file.metadata()["record"])
    card = {
        "task": task,
        "size": options.size,
        "parameters": sum(p.numel() for p in model.parameters()),
        "sha256": file_sha256(weights),
        "data": args.data,
        "record": record,
        "options": recipe,
        "hardware": args.hardware,
        "convention": "adasffuse",
        "scores": {dataset: scores for name in args.datasets for dataset, scores in score(args, task, weights, name)},
        "licence": LICENCE,
        "limits": args.limits,
    }
    target = RELEASED / f"{task}_{options.size}.safetensors"
    temporary = target.with_name(f".{target.name}")
    shutil.copyfile(weights, temporary)
    os.replace(temporary, target)
    target.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    print(f"released {target}")
    return 0


def score(args: argparse.Namespace, task: str, weights: Path, dataset: str):
    """Name and mean scores per method of each folder of a data set, fused with these weights and saved as PNG."""
    fuser = load_fuser(task, weights=weights)
    for folder in pair_folders(args.score_root, dataset):
        with tempfile.TemporaryDirectory() as results:
            report = fuse_folder(fuser, folder, Path(results))
            table = cli.score(report)
            print(f"{folder.name}\n{table.text()}", flush=True)
            means = {m: {k: round(v, 4) for k, v in table.means(m).items()} for m in table.methods}
            yield folder.name, {"pairs": len(report.fused), **means}


if __name__ == "__main__":
    sys.exit(main())
