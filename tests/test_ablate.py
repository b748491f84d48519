"""The ablation: which rows there are, that it goes on where it stopped, and what its table says."""

import csv
import fcntl
import json
import os
import signal

import ablate
import pytest
import torch
from tiny import SHAPE, texture, write_ivf
from torch.utils.data import default_collate

from adasffuse.data.mixture import MixedCrops
from adasffuse.images.write import write_image
from adasffuse.losses.fusion import LossOptions
from adasffuse.training import train
from adasffuse.training.options import parse_options
from adasffuse.training.processes import Processes
from adasffuse.training.run import Run

IVF = {"task": "ivf", "data": {"root_path": "nowhere", "datasets": ["IVF"], "validation": ["val"], "crop": 16}}
MEF = {**IVF, "task": "mef", "data": {**IVF["data"], "datasets": ["MEF"]}}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = write_ivf(tmp_path_factory.mktemp("data"), ("1", "2", "val", "val2"))
    for number, folder in enumerate(("low", "over")):
        for stem in ("1", "val"):
            write_image(root / "MEF" / folder / f"{stem}.png", texture(40, 48, seed=20 + 2 * int(stem, 36) + number))
    return root


@pytest.fixture
def call(root, tmp_path, capsys):
    """Run the script on a tiny run; its status, standard output and errors."""

    def run(*arguments, parts: tuple[dict, ...] = (IVF,), out: str = "out", **model) -> tuple[int, str, str]:
        train_options = {"steps": 4, "batch_size": 2, "lr": 1e-3, "warmup": 2, "ema": 0.5}
        values = {"name": "tiny", "parts": list(parts), "model": {"patch": 1, **SHAPE, **model}, "train": train_options}
        (tmp_path / "tiny.json").write_text(json.dumps(values))
        given = ["--opt", tmp_path / "tiny.json", "--root_path", root, "--out", tmp_path / out, "--device", "cpu"]
        status = ablate.main([str(argument) for argument in (*given, *arguments)])
        return status, *capsys.readouterr()

    return run


class Here:
    """The trainer in this process, in place of one of its own."""

    def __init__(self, trial, device) -> None:
        self.returncode = 0
        train(trial.options, trial.folder.parent, device, ablate.ROWS[trial.row].prepare)

    def poll(self) -> int:
        return self.returncode

    def terminate(self) -> None:
        pass


def scores(text: str) -> list[list[str]]:
    """Cells of the rows of a page's tables."""
    return [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]


def test_a_dry_run_lists_all_rows_and_why_some_are_left_out(call, tmp_path):
    status, out, err = call("--dry_run")
    assert status == 0 and not (tmp_path / "out").exists()
    listed = [line.split()[0] for line in out.splitlines()]
    reasons = {name: reason for name, _, reason in (line.split(": ", 2) for line in err.splitlines())}
    same = {"bidirectional", "pyramid", "n1_1", "n2_1", "patch_1", "paper_loss", "exposure", "contrast"}
    same |= {
        f"no_{term}_loss"
        for term in ("vif", "edges", "correlation", "exposure", "decision", "targets", "spurious", "steady")
    }
    assert reasons == dict.fromkeys(same, "the reference itself")
    assert listed == [name for name in ablate.ROWS if name not in same] * 3
    assert listed[0] == "reference" and "haar" in listed and "no_gradient_loss" in listed
    assert out.count("seed 2  new ") == len(listed) // 3


def test_rows_that_cannot_be_are_left_out(call):
    only_ssim = {**IVF, "loss": {"intensity": 0, "gradient": 0}}
    blocks = {"band_blocks": 0, "full_blocks": 0}
    _, out, err = call("--dry_run", "--rows", "no_spatial", "no_ssim_loss", "haar", parts=(only_ssim,), **blocks)
    assert "no_spatial: left out: the network has no parameters whose names end with .spatial.weight" in err
    assert "no_ssim_loss: left out: loss has no term" in err
    assert {line.split()[0] for line in out.splitlines()} == {"reference", "haar"}


@pytest.mark.parametrize(
    "row, ends, zero",
    [
        ("haar", (".low_pass", ".high_pass"), False),
        ("no_fft", (".frequency.weight",), True),
        ("no_spatial", (".spatial.weight", ".spatial.bias"), True),
    ],
)
def test_rows_that_fix_parameters_keep_them_in_training(root, row, ends, zero):
    options = parse_options({"name": "tiny", "parts": [IVF], "model": {"patch": 1, **SHAPE}}).with_root(str(root))
    run = Run(options, Processes(0, 1, torch.device("cpu")), ablate.ROWS[row].prepare)
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    data = MixedCrops(options.parts)
    for number in (0, 1):
        run.update(default_collate([data[2 * number], data[2 * number + 1]]))
    for model in (run.model, run.average.module):
        state = model.state_dict()
        fixed = {name for name in state if f".{name}".endswith(ends)}
        assert fixed and all(torch.equal(state[name], before[name]) for name in fixed)
        assert not (zero and any(state[name].any() for name in fixed))
    assert any(not torch.equal(value, before[name]) for name, value in run.model.state_dict().items())


def test_a_row_changes_one_thing_of_all_parts():
    options = parse_options({"name": "tiny", "parts": [{**IVF, "loss": {"vif": 0, "correlation": 3}}, MEF]})
    losses = [part.loss for part in ablate.ROWS["no_gradient_loss"].applied(options).parts]
    assert [loss.gradient for loss in losses] == [0, 0] and [loss.correlation for loss in losses] == [3, 0]
    paper = ablate.ROWS["paper_loss"].applied(options)
    assert [part.loss for part in paper.parts] == [LossOptions(), LossOptions(target="mean", ssim_share="equal")]
    assert ablate.ROWS["haar"].applied(options) == options


def test_an_interrupted_ablation_goes_on_and_gives_the_same_table(call, monkeypatch, tmp_path):
    monkeypatch.setattr(ablate, "start", Here)
    arguments = ["--rows", "haar", "--seeds", "3", "--markdown", tmp_path / "doc" / "table.md"]
    assert call(*arguments)[0] == 0
    expected = (tmp_path / "doc" / "table.md").read_text()
    update, updates = Run.update, []

    def interrupted(run: Run, batch: dict) -> dict:
        updates.append(run.step)
        if len(updates) == 6:  # the second step of the second run
            os.kill(os.getpid(), signal.SIGTERM)
        return update(run, batch)

    monkeypatch.setattr(Run, "update", interrupted)
    status, out, err = call(*arguments, out="again")
    assert status == 1 and "error: 1 of 2 runs are not finished" in err
    assert "haar_seed3: stopped; continues after step 2" in out
    status, out, _ = call(*arguments, out="again")
    assert status == 0 and updates[4:6] == [0, 1] and updates[-2:] == [2, 3]
    assert len(updates) == 8  # nothing was done twice
    assert scores((tmp_path / "doc" / "table.md").read_text()) == scores(expected)
    assert call(*arguments, "--jobs", "0", out="again")[0] == 0 and len(updates) == 8
    assert "continues" not in call(*arguments, "--dry_run", out="again")[1]


class Endless(Here):
    """A training that only SIGTERM ends; one comes to the ablation as soon as it has begun."""

    begun = ended = 0

    def __init__(self, trial, device) -> None:
        self.returncode = None
        Endless.begun += 1
        os.kill(os.getpid(), signal.SIGTERM)

    def terminate(self) -> None:
        self.returncode = 0
        Endless.ended += 1


def test_a_signal_ends_what_runs_and_nothing_else_begins(call, monkeypatch):
    monkeypatch.setattr(ablate, "start", Endless)
    before = signal.getsignal(signal.SIGTERM)
    status, out, err = call("--seeds", "0")
    assert status == 1 and (Endless.begun, Endless.ended) == (1, 1)
    assert "reference_seed0: stopped; new" in out and "runs are not finished" in err
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_table_says_what_was_done(call, monkeypatch, tmp_path):
    monkeypatch.setattr(ablate, "start", Here)
    two = ({**IVF, "data": {**IVF["data"], "validation": ["val*"]}}, MEF)
    status, out, _ = call("--rows", "direct", "--seeds", "0", "--steps", "2", parts=two)
    assert status == 0
    for fact in (
        "`tiny.json`",
        "2 steps of 2 crops of 16 x 16",
        "seeds 0,",
        "commit ",
        "`adasffuse`",
        "ivf: 2, mef: 1",
        "- **Network of the reference.** 8 channels, ",
        "- **Loss of the reference for ivf.** Target max; intensity ",
    ):
        assert fact in out
    assert [line for line in out.splitlines() if line.startswith("## ")] == [
        "## How it was measured",
        "## Mean over the parts",
    ]
    rows = scores(out)[2:]
    assert [row[0] for row in rows] == ["reference", "direct"]
    for row in rows:  # VIFF comes fourth; one seed has no spread and no mark
        *_, last = csv.DictReader((tmp_path / "out" / f"{row[0]}_seed0" / "log.csv").open())
        parts = [float(last[f"{part}/VIFF"]) for part in ("ivf", "mef")]
        assert float(row[3]) == pytest.approx(sum(parts) / 2, abs=1e-3)


def test_other_options_need_another_folder(call, monkeypatch):
    monkeypatch.setattr(ablate, "start", Here)
    assert call("--rows", "reference", "--seeds", "0", "--steps", "1")[0] == 0
    status, _, err = call("--rows", "reference", "--seeds", "0", "--steps", "2")
    assert status == 2 and "reference_seed0 holds a run of other options (train differs); choose another --out" in err


def test_held_out_pairs_count_once_whatever_their_files_are_called():
    names = ["IVF/infrared/1_ir.png", "IVF/visible/1_vis.png", "IVF_B/infrared/1_ir.png", "IVF_B/visible/1_vis.png"]
    files = [{"part": "ivf", "role": "validation", "name": name} for name in names]
    files.append({"part": "ivf", "role": "training", "name": "IVF/infrared/2_ir.png"})
    assert ablate.held_out_pairs(files) == {"ivf": 2}


def test_without_held_out_pairs_nothing_is_scored(call):
    status, _, err = call(parts=({**IVF, "data": {**IVF["data"], "validation": []}},))
    assert status == 2 and "holds no pairs out (data.validation): nothing would be scored" in err


@pytest.mark.slow
def test_the_ordinary_trainer_runs_in_a_process_of_its_own(call, tmp_path):
    """One run that works, and one that fails: its last line is reported."""
    status, out, _ = call("--rows", "reference", "--seeds", "0", "--steps", "1", "--jobs", "2")
    assert status == 0 and "[1/1] reference_seed0: VIFF " in out
    (tmp_path / "out" / "reference_seed0" / "log.csv").unlink()
    (tmp_path / "out" / "reference_seed0" / "step_00000001.pt").write_bytes(b"damaged")
    status, out, err = call("--rows", "reference", "--seeds", "0", "--steps", "1")
    assert status == 1 and "reference_seed0: failed: error: " in out and "no usable checkpoint" in out
    assert "error: 1 of 1 runs are not finished" in err


@pytest.mark.slow
def test_two_processes_never_train_one_run(call, tmp_path):
    (tmp_path / "out" / "reference_seed0").mkdir(parents=True)
    with open(tmp_path / "out" / "reference_seed0" / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        status, out, _ = call("--rows", "reference", "--seeds", "0")
    assert status == 1 and "reference_seed0 is in use by another run" in out


@pytest.mark.parametrize(
    "values, reference, mark",
    [
        ([0.5, 0.7], [0.55, 0.75], "="),  # 0.05 apart, spreads of 0.2
        ([0.5, 0.5], [0.4, 0.6], "="),  # the larger spread counts
        ([0.8, 0.81], [0.5, 0.51], "+"),
        ([0.2, 0.21], [0.5, 0.51], "-"),
        ([0.2], [0.5, 0.51], ""),  # no spread to compare with
    ],
)
def test_marks(values, reference, mark):
    assert ablate.compare(values, reference) == mark


@pytest.mark.parametrize(
    "marks, word",
    [("===", "equal"), ("=+=", "better"), ("-=", "worse"), ("+-=", "mixed"), (["=", ""], "")],
)
def test_a_row_is_equal_only_where_all_its_scores_are(marks, word):
    assert ablate.verdict(list(marks)) == word


def test_scores_show_mean_spread_and_mark():
    assert ablate.score_text([0.5, 0.6, 0.55], "=") == "0.550 (0.100) ="
    assert ablate.score_text([38.0, 39.0], "+") == "38.50 (1.00) +"
    assert ablate.score_text([0.5], "") == "0.500"
