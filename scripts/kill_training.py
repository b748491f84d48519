"""Kill a training run at random moments, and check that it ends with the same weights as a run without interruption.

python scripts/kill_training.py --kills 20        (a tiny network on the built-in samples, in a temporary folder)
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

from adasffuse.cli.arguments import Parser, at_least, positive
from adasffuse.data.samples import write_samples
from adasffuse.files import write_text
from adasffuse.training import train
from adasffuse.training.checkpoint import load_checkpoint, newest_checkpoint
from adasffuse.training.options import Options, parse_options

ROOT = Path(__file__).resolve().parents[1]
NEVER = 10**9  # steps of a run that only a kill ends


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--kills", type=at_least(1), default=20, help="number of kills (default: %(default)s)")
    parser.add_argument(
        "--longest", type=positive, default=1.0, help="seconds of training before a kill (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed of the moments (default: %(default)s)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    moments = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_samples(root / "data", "ivf")
        options = tiny_run(root / "data", NEVER)
        write_text(root / "run.json", json.dumps(options.to_dict()))
        run = root / "killed" / options.name
        step = 0
        for kill in range(1, args.kills + 1):
            reached = train_and_kill(root, run, moments.uniform(0, args.longest))
            if reached <= step:
                print(f"error: kill {kill}: no progress, step {reached} after step {step}", file=sys.stderr)
                return 1
            print(f"kill {kill}: whole checkpoint of step {reached}, {len(list(run.glob('.*')))} partial files")
            step = reached
        options = tiny_run(root / "data", step + 3)
        continued, unbroken = (load_file(train(options, root / name, "cpu")) for name in ("killed", "unbroken"))
    same = all(torch.equal(continued[name], unbroken[name]) for name in unbroken)
    print(f"weights of step {step + 3}: {'equal to' if same else 'different from'} those of a run that never stopped")
    return 0 if same else 1


def tiny_run(data: Path, steps: int) -> Options:
    """Options of a run that spends much of its time writing checkpoints; step sizes do not depend on `steps`."""
    return parse_options(
        {
            "name": "tiny",
            "task": "ivf",
            "data": {"root_path": str(data), "datasets": ["IVF"], "crop": 16},
            "model": {"channels": 8, "band_blocks": 1, "full_blocks": 1, "head_dim": 8, "d_state": 8},
            "train": {"steps": steps, "batch_size": 2, "lr": 1e3, "warmup": NEVER},  # 1e-6 per step
            "log": {"panel": 0, "validate": 0, "checkpoint": 1},
        }
    )


def train_and_kill(root: Path, run: Path, seconds: float) -> int:
    """Start or continue the run, kill it `seconds` after its first new checkpoint, and return the newest step."""
    before = set(run.glob("step_*.pt"))
    command = [sys.executable, "train_AdaSFFuse.py", "--opt", str(root / "run.json"), "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}  # sums depend on it
    process = subprocess.Popen(
        [*command, "--out_dir", str(root / "killed")], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL
    )
    try:
        while process.poll() is None and set(run.glob("step_*.pt")) <= before:
            time.sleep(0.01)
        time.sleep(seconds)
        if process.poll() is not None:
            raise RuntimeError(f"training ended by itself with status {process.returncode}: {' '.join(command)}")
    finally:
        process.kill()
        process.wait()
    newest = newest_checkpoint(run)
    return load_checkpoint(newest)["step"] if newest else 0


if __name__ == "__main__":
    sys.exit(main())
