"""The trainer: it learns, it continues exactly where it stopped, and several processes equal one."""

import csv
import errno
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import kill_training
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import SHAPE, network, texture, write_ivf, write_weights
from torch.utils.data import default_collate

import train_AdaSFFuse
from adasffuse.data.mixture import MixedCrops
from adasffuse.files import LOCK_FILE, InUseError, keeping_others_out
from adasffuse.images.read import ImageError
from adasffuse.images.write import write_image
from adasffuse.inference import load_fuser
from adasffuse.losses.fusion import LossOptions
from adasffuse.metrics import evaluate
from adasffuse.models import SIZES, AdaSFFuse
from adasffuse.models.targets import TargetLift
from adasffuse.models.weights import WeightsError, load_weights, read_record, released_weights
from adasffuse.tasks import KINDS, TASKS
from adasffuse.training import train, trainer
from adasffuse.training.checkpoint import CheckpointError, load_checkpoint, newest_checkpoint, save_checkpoint
from adasffuse.training.log import CsvLog
from adasffuse.training.options import Options, PartOptions, parse_options
from adasffuse.training.processes import Processes, join_processes
from adasffuse.training.run import FusedBatch, Run
from adasffuse.training.terms import Terms, merged
from adasffuse.training.validation import ScoredPair, best_score, mean_scores, validate

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")
PROGRAM = ROOT / "train_AdaSFFuse.py"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = write_ivf(tmp_path_factory.mktemp("data"), ("1", "2", "3", "val"))
    for number, folder in enumerate(("low", "over")):
        for stem in ("1", "2", "val"):
            write_image(root / "MEF" / folder / f"{stem}.png", texture(40, 48, seed=20 + 2 * int(stem, 36) + number))
    return root


@pytest.fixture(scope="module")
def begun(root, tmp_path_factory) -> Path:
    """The folder of a run of one step; tests that change it copy it."""
    return train(run_options(root, steps=1), tmp_path_factory.mktemp("begun"), "cpu").parent


@pytest.fixture(scope="module")
def unbroken(root, tmp_path_factory) -> Path:
    """The folder of a run of four steps that was never stopped."""
    return train(run_options(root, steps=4), tmp_path_factory.mktemp("unbroken"), "cpu").parent


NO_KINDS = {"kinds": [], "dark": False, "hot": False, "unshaded": False, "lights": False, "targets": False}
DIRECT = {"output": "direct", "exposure": False, "contrast": False, **NO_KINDS}  # the paper's head


def run_options(
    root: Path, steps: int = 6, name: str = "run", task: str = "ivf", teacher: str | Path = "", **sections
) -> Options:
    """A tiny run on the pairs below `root`; `sections` change keys of the options' sections."""
    values = {
        "data": {"root_path": str(root), "datasets": ["IVF"], "validation": ["val"], "crop": 16},
        "model": {"patch": 1, **SHAPE},
        "train": {"steps": steps, "batch_size": 2, "lr": 1e-3, "warmup": 2, "ema": 0.9},
        "log": {"panel": 0, "validate": 0, "checkpoint": 0},
    }
    for key, changes in sections.items():
        values[key] = {**values.get(key, {}), **changes}
    return parse_options({"name": name, "task": task, "teacher": str(teacher), **values})


def mixed_options(root: Path, steps: int = 3, **sections) -> Options:
    """A run of two parts with different losses: three IVF samples for each MEF sample."""
    options = run_options(root, steps, **sections)
    data = replace(options.parts[0].data, datasets=("MEF",))
    mef = PartOptions("mef", data, LossOptions(intensity=5, gradient=1, ssim=2, target="mean", ssim_share="equal"))
    return replace(options, parts=(replace(options.parts[0], weight=3), replace(mef, teacher=options.parts[0].teacher)))


def newest_state(folder: Path) -> dict:
    """State in the newest checkpoint of a run."""
    return load_checkpoint(newest_checkpoint(folder))


def scalars(folder: Path, tag: str) -> list[float]:
    events = EventAccumulator(str(folder / "log"))
    events.Reload()
    return [event.value for event in events.Scalars(tag)]


def assert_same_run(one: Path, two: Path) -> None:
    """Checkpoints and weights of two runs hold the same bits."""
    states = [newest_state(folder) for folder in (one, two)]
    assert states[0]["step"] == states[1]["step"]
    for key in ("model", "average"):
        assert all(torch.equal(v, states[1][key][name]) for name, v in states[0][key].items())
    for index, moments in states[0]["optimizer"]["state"].items():
        assert all(torch.equal(v, states[1]["optimizer"]["state"][index][name]) for name, v in moments.items())
    weights = [load_file(folder / "weights.safetensors") for folder in (one, two)]
    assert all(torch.equal(v, weights[1][name]) for name, v in weights[0].items())


def stop_at(monkeypatch, step: int, number: int = signal.SIGTERM) -> None:
    """Send a signal to this process in the middle of an update."""
    update = Run.update

    def interrupted(run: Run, batch: dict) -> dict:
        if run.step + 1 == step:
            os.kill(os.getpid(), number)
        return update(run, batch)

    monkeypatch.setattr(Run, "update", interrupted)


def test_a_run_learns_and_leaves_what_it_promises(root, tmp_path):
    logged = {"panel": 12, "validate": 12, "checkpoint": 10}
    options = run_options(root, steps=24, log=logged, train={"lr": 1e-2}, model=DIRECT)
    weights = train(options, tmp_path, "cpu")
    folder = tmp_path / "run"
    assert weights == folder / "weights.safetensors"
    assert sorted(p.name for p in folder.glob("*")) == [
        "best.safetensors",
        "lock",
        "log",
        "log.csv",
        "manifest.json",
        "options.json",
        "step_00000020.pt",
        "step_00000024.pt",  # the newest two are kept
        "weights.safetensors",
    ]
    assert parse_options(json.loads((folder / "options.json").read_text())) == options
    loss = scalars(folder, "loss/total")
    assert len(loss) == 24 and np.mean(loss[-8:]) < 0.9 * np.mean(loss[:8])
    parts = sum(np.array(scalars(folder, f"loss/{name}")) for name in ("intensity", "gradient", "ssim"))
    np.testing.assert_allclose(parts, loss, rtol=1e-5)
    assert scalars(folder, "lr")[:3] == pytest.approx([5e-3, 1e-2, 1e-2])
    validation = scalars(folder, "validation/total")
    assert len(validation) == 2 and validation[1] < 0.85 * validation[0]
    events = EventAccumulator(str(folder / "log"))
    events.Reload()
    assert len(events.Images("A, B, fused")) == 2
    model, task = load_weights(weights)
    assert task == "ivf" and model.options == options.model


def test_a_log_file_gets_few_lines_of_progress(root, tmp_path, capsys):
    """Not one for every step; what is written here is no terminal."""
    train(run_options(root, steps=9), tmp_path)
    assert capsys.readouterr().err.count("\r") <= 3


def test_a_panel_shows_the_sources_and_the_result_side_by_side(root, tmp_path):
    train(run_options(root, steps=1, log={"panel": 1}), tmp_path)
    events = EventAccumulator(str(tmp_path / "run/log"))
    events.Reload()
    (image,) = events.Images("A, B, fused")
    assert (image.height, image.width) == (2 * (16 + 2), 3 * (16 + 2))  # two samples of 16 pixels, and borders


def test_weights_are_the_running_average(unbroken):
    state, weights = newest_state(unbroken), load_file(unbroken / "weights.safetensors")
    assert all(torch.equal(weights[name], state["average"][f"module.{name}"]) for name in weights)
    assert any(not torch.equal(weights[name], state["model"][name]) for name in weights)


def test_average_by_hand(root):
    run = Run(run_options(root, train={"ema": 0.75}), Processes(0, 1, CPU))
    values = []
    for value in (1.0, 2.0, 6.0):
        with torch.no_grad():
            run.model.embed.bias.fill_(value)
        run.average.update_parameters(run.model)
        values.append(run.average.module.embed.bias[0].item())
    assert values == pytest.approx([1, 1.25, 2.4375])  # the first is copied


@pytest.mark.parametrize("number, workers", [(signal.SIGTERM, 0), (signal.SIGINT, 2)])
def test_a_stopped_run_continues_bit_for_bit(root, unbroken, tmp_path, monkeypatch, caplog, number, workers):
    """In the middle of an epoch; the run that never stops has no loader processes."""
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        stop_at(patch, 2, number)
        train(run_options(root, steps=4, data={"workers": workers}), tmp_path, "cpu")
    assert [one.message for one in caplog.records] == ["stopped after 2 of 4 steps; the same command continues"]
    assert signal.getsignal(number) is before
    assert newest_state(tmp_path / "run")["step"] == 2  # the update is finished, then all is saved
    train(run_options(root, steps=4), tmp_path, "cpu")
    assert_same_run(tmp_path / "run", unbroken)
    assert scalars(tmp_path / "run", "loss/total") == scalars(unbroken, "loss/total")


def test_the_numbers_of_images_are_said_before_training(root, tmp_path, caplog):
    caplog.set_level("INFO")
    train(mixed_options(root, steps=3), tmp_path, "cpu")
    counts = "ivf: pairs to train on: 3, held out: 1; mef: pairs to train on: 2, held out: 1"
    assert [one.message for one in caplog.records] == [counts]
    for name in "abc":
        write_image(tmp_path / "sharp" / f"{name}.png", texture(40, 40, seed=ord(name)))
    data = {"datasets": [], "sharp_folder": "sharp", "sharp_share": 1.0, "validation": ["b"]}
    train(run_options(tmp_path, 3, "made", task="mff", data=data), tmp_path, "cpu")
    assert caplog.records[-1].message == "mff: pairs to train on: 0, sharp photographs: 2, held out: 1"


def test_what_may_be_wrong_with_the_images_is_said_by_the_main_process(root, tmp_path, caplog):
    patterns = [*(f"none{number}" for number in range(14)), "val"]
    train(run_options(root, steps=3, data={"validation": patterns}), tmp_path, "cpu")
    said = [one.message for one in caplog.records]
    assert said[0] == "notice: data.validation: none0 holds no image out; names are stems, without folder and suffix"
    assert len(said) == 11 and said[-1] == "notice: 4 more about the training images"


def test_a_run_that_should_hold_pairs_out_and_finds_none_is_refused(root, tmp_path, monkeypatch):
    """As an options file that was copied, with the names of other images in it; one that has begun goes on."""
    options = run_options(root, steps=1, data={"validation": ["FLIR_*"]}, train={"warmup": 0})
    with pytest.raises(ValueError, match=r"data.validation holds nothing out: no image is called FLIR_\*; name .*\[\]"):
        train(options, tmp_path, "cpu")
    assert not (tmp_path / options.name).exists()
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "_check_held_out", lambda *_, **__: None)
        train(options, tmp_path, "cpu")
    longer = replace(options, train=replace(options.train, steps=2))
    train(longer, tmp_path, "cpu")
    assert newest_checkpoint(tmp_path / options.name).name == "step_00000002.pt"


def test_held_out_pairs_that_are_also_trained_on_are_said(tmp_path):
    write_ivf(tmp_path, stems=("1", "2", "val"))
    pair = [tmp_path / "IVF" / folder for folder in ("infrared", "visible")]
    shutil.copy(pair[0] / "val.png", pair[0] / "1.png")  # one source alone, as of focus series, is another pair
    options = run_options(tmp_path, steps=1, train={"warmup": 0})
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        train(options, tmp_path / "apart", "cpu")
    shutil.copy(pair[1] / "val.png", pair[1] / "1.png")
    with pytest.warns(UserWarning, match="trained on and held out, under another name.*: IVF/val; their validation"):
        train(options, tmp_path / "shared", "cpu")


def test_a_warmup_that_never_ends_is_said(root, tmp_path, caplog):
    for warmup in (1, 2):
        train(run_options(root, steps=2, name=f"w{warmup}", train={"warmup": warmup}), tmp_path, "cpu")
        assert ("train.warmup 2 lasts as long as train.steps 2" in caplog.text) == (warmup == 2)


@pytest.mark.parametrize("signalled", [True, False])
def test_a_signal_that_also_ends_the_loader_s_processes(root, tmp_path, monkeypatch, signalled):
    def dying(options: Options, data: MixedCrops, *_, **__):
        yield default_collate([data[0], data[1]])
        if signalled:
            os.kill(os.getpid(), signal.SIGTERM)
        raise RuntimeError("DataLoader worker exited unexpectedly")

    monkeypatch.setattr("adasffuse.training.trainer.make_loader", dying)
    if signalled:
        train(run_options(root), tmp_path, "cpu")
        assert newest_state(tmp_path / "run")["step"] == 1
    else:
        with pytest.raises(RuntimeError, match="worker exited"):
            train(run_options(root), tmp_path, "cpu")


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_is_damaged_while_the_run_goes_on(tmp_path, monkeypatch, workers):
    root = write_ivf(tmp_path / "data", ("1", "2", "val"))
    manifest = trainer.write_manifest

    def damaged(*arguments):
        manifest(*arguments)
        for path in (root / "IVF/infrared").iterdir():
            path.write_bytes(path.read_bytes()[:100])

    monkeypatch.setattr(trainer, "write_manifest", damaged)
    with pytest.raises(ImageError, match=r"^\S*/IVF/infrared/[12]\.png: damaged or truncated") as raised:
        train(run_options(root, data={"workers": workers, "cache_mb": 0}), tmp_path, "cpu")
    assert "Traceback" not in str(raised.value)


def _without_shared_memory(loader):
    yield from ()
    raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")


def _without_semaphores(loader):
    raise OSError(errno.EROFS, "Read-only file system")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("begin", "said"),
    [
        (_without_shared_memory, "have too little shared memory; make /dev/shm larger, "),
        (_without_semaphores, r"cannot be started \(Read-only file system\); "),
    ],
)
def test_loader_processes_without_shared_memory(root, tmp_path, monkeypatch, begin, said):
    monkeypatch.setattr(trainer.DataLoader, "__iter__", begin)
    with pytest.raises(OSError, match=f"^loader processes {said}.*set data.workers to 0$"):
        train(run_options(root), tmp_path, "cpu")


def test_there_are_no_more_loader_processes_than_cores(root, monkeypatch):
    monkeypatch.setattr(trainer, "available_cores", lambda: 2)
    for asked, started in ((0, 0), (1, 1), (64, 2)):
        options = run_options(root, data={"workers": asked})
        loader = trainer.make_loader(options, MixedCrops(options.parts, 0), Processes(0, 1, CPU), 0)
        assert loader.num_workers == started


def test_a_finished_run_is_left_as_it_is_but_for_removed_weights(root, begun, tmp_path):
    shutil.copytree(begun, tmp_path / "run")
    weights = tmp_path / "run/weights.safetensors"
    before = weights.stat()
    assert train(run_options(root, steps=1), tmp_path, "cpu") == weights and weights.stat() == before
    content = weights.read_bytes()
    weights.unlink()
    assert train(run_options(root, steps=1), tmp_path, "cpu").read_bytes() == content


def test_what_cannot_be_written_is_named(root, tmp_path):
    (tmp_path / "run/log.csv").mkdir(parents=True)
    with pytest.raises(OSError, match=r"cannot write .*run/log\.csv: Is a directory; something else is in its place"):
        train(run_options(root), tmp_path, "cpu")


def test_a_run_of_several_parts(root, tmp_path):
    options = mixed_options(root, train={"batch_size": 4}, log={"validate": 3})
    weights = train(options, tmp_path, "cpu")
    assert load_weights(weights)[1] == "general"
    assert all(load_fuser(task, weights=weights, device="cpu").task.id == task for task in TASKS)
    logged = {name: np.array(scalars(tmp_path / "run", f"loss/{name}")) for name in ("total", "ivf/total", "mef/total")}
    np.testing.assert_allclose(logged["total"], 0.75 * logged["ivf/total"] + 0.25 * logged["mef/total"], rtol=1e-5)
    assert len(scalars(tmp_path / "run", "validation/mef/ssim")) == 1


def test_the_loss_of_a_batch_is_the_mean_of_its_samples(root):
    run = Run(mixed_options(root, loss={"correlation": 2.0}), Processes(0, 1, CPU))
    data = MixedCrops(run.options.parts)

    def loss(*numbers: int) -> tuple[torch.Tensor, Terms]:
        batch = default_collate([data[n] for n in numbers])
        return run.loss(run.fuse(run.model, batch), batch["part"])

    whole, terms = loss(*range(6))
    single = [loss(n) for n in range(6)]
    assert whole.item() == pytest.approx(np.mean([loss.item() for loss, _ in single]), rel=1e-5)
    together = merged(terms for _, terms in single)
    assert together.means() == pytest.approx(terms.means(), rel=1e-5) and terms.means()["total"] == pytest.approx(
        whole.item()
    )
    assert terms.counts == {"ivf": 5, "mef": 1} and "mef/correlation" not in terms.means()


def test_terms_by_hand():
    terms = Terms()
    terms.sums.update({("ivf", "ssim"): 6.0, ("ivf", "vif"): -3.0, ("mef", "ssim"): 2.0})
    terms.counts.update({"ivf": 3, "mef": 1})
    expected = {"total": 1.25, "ssim": 2.0, "vif": -0.75, "ivf/total": 1, "ivf/ssim": 2, "ivf/vif": -1}
    assert terms.means() == expected | {"mef/total": 2, "mef/ssim": 2}


def test_a_run_of_an_earlier_version_may_name_options_that_do_nothing(root, tmp_path):
    train(run_options(root, steps=1, model=DIRECT), tmp_path)
    path = newest_checkpoint(tmp_path / "run")
    state = load_checkpoint(path)
    state["options"]["model"]["dark"] = True
    torch.save(state, path)
    train(run_options(root, steps=2, model=DIRECT), tmp_path)
    assert newest_state(tmp_path / "run")["step"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("alone", [0, 1])
def test_two_processes_equal_one(root, tmp_path, torchrun, alone):
    """Same samples and global batch; losses agree to 1e-4, weights to a tenth of Adam's step.

    Args:
        alone: steps that one process makes before two continue.
    """
    options = mixed_options(root, steps=2, train={"batch_size": 4}, loss={"correlation": 1.0}, log={"validate": 1})
    path = tmp_path / "run.json"
    path.write_text(json.dumps(options.to_dict()))
    if alone:
        train(replace(options, train=replace(options.train, steps=alone)), tmp_path / "two", "cpu")
    assert train_AdaSFFuse.main(["--opt", str(path), "--out_dir", str(tmp_path / "one"), "--device", "cpu"]) == 0
    done = torchrun(PROGRAM, "--opt", path, "--out_dir", tmp_path / "two", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("weights: ") == 1
    one, two = tmp_path / "one/run", tmp_path / "two/run"
    for term in ("total", "intensity", "gradient", "ssim", "correlation", "ivf/total", "mef/ssim"):
        np.testing.assert_allclose(scalars(one, f"loss/{term}"), scalars(two, f"loss/{term}"), rtol=1e-4, atol=1e-6)
    for name in ("total", "VIFF", "mef/Qabf"):  # each process scores one of the two pairs
        np.testing.assert_allclose(scalars(one, f"validation/{name}"), scalars(two, f"validation/{name}"), rtol=1e-3)
    states = [newest_state(folder)["model"] for folder in (one, two)]
    for name, value in states[0].items():
        assert (states[1][name] - value).abs().max() < 1e-4, name


def states_of(options: Options) -> tuple[dict, dict]:
    """Parameters and gradients after the first update."""
    run = Run(options, Processes(0, 1, CPU))
    data = MixedCrops(options.parts)
    run.update(default_collate([data[n] for n in range(options.train.batch_size)]))
    return dict(run.model.named_parameters()), {name: p.grad for name, p in run.model.named_parameters()}


def test_accumulated_gradients_are_those_of_the_whole_batch(root):
    """To 1e-4 of the largest gradient (float32 sums in another order)."""
    options = mixed_options(root, train={"batch_size": 8, "clip": 0}, loss={"correlation": 1.0})
    _, whole = states_of(options)
    largest = max(gradient.abs().max() for gradient in whole.values())
    for accumulate in (2, 4):
        _, parts = states_of(replace(options, train=replace(options.train, accumulate=accumulate)))
        assert all((parts[name] - gradient).abs().max() < 1e-4 * largest for name, gradient in whole.items())


def table(folder: Path) -> list[dict]:
    with open(folder / "log.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_holds_what_tensorboard_holds(root, tmp_path):
    options = mixed_options(root, steps=4, train={"batch_size": 4}, log={"validate": 2})
    train(options, tmp_path, "cpu")
    folder = tmp_path / "run"
    rows = {kind: [row for row in table(folder) if row["kind"] == kind] for kind in ("train", "validation")}
    assert [row["step"] for row in rows["train"]] == ["1", "2", "3", "4"]
    assert [row["step"] for row in rows["validation"]] == ["2", "4"]
    for name in ("total", "mef/ssim", "ivf/gradient"):
        assert [float(row[name]) for row in rows["train"]] == pytest.approx(scalars(folder, f"loss/{name}"), rel=1e-5)
    for name in ("total", "VIFF", "Qabf", "SSIM", "SCD", "MI", "ivf/VIFF", "mef/total"):
        logged = scalars(folder, f"validation/{name}")
        assert [float(row[name]) for row in rows["validation"]] == pytest.approx(logged, rel=1e-5)


def test_the_table_drops_what_comes_after_the_step_it_continues_from(tmp_path):
    path = tmp_path / "log.csv"
    log = CsvLog(path, 0)
    log.write(1, "train", {"total": 2.5})
    log.write(2, "validation", {"total": 1.0, "VIFF": 0.5})
    log.write(3, "train", {"total": 2.0})
    with open(path, "a") as file:
        file.write("4,tra")  # killed here
    log = CsvLog(path, 2)
    log.write(3, "train", {"total": 1.5})
    assert path.read_text() == "step,kind,total,VIFF\n1,train,2.5,\n2,validation,1,0.5\n3,train,1.5,\n"


def test_validation_scores_are_those_of_the_metrics(root):
    """Pairs of 40x48 pixels, smaller than some loss terms need, are extended for loss and metrics alike."""
    options = run_options(root, loss={"vif": 1.0}, data={"crop": 48})
    run, data = Run(options, Processes(0, 1, CPU)), MixedCrops(options.parts)
    means, panel = validate(run, data.validation)
    ((_, pair),) = data.validation
    assert pair.a.shape == (44, 48)
    with torch.no_grad():
        images = (torch.from_numpy(x / 255).float()[None, None] for x in (pair.a, pair.b))
        fused = run.average.module(*images, kinds=("infrared", "visible"))
    fused = fused[0, 0].clamp(0, 1).mul(255).round().byte().numpy()
    scores = evaluate(pair.a, pair.b, fused, ("VIFF", "Qabf", "SSIM", "SCD", "MI"))
    assert scores == pytest.approx({name: means[name] for name in scores}, abs=1e-12)
    assert means["total"] == pytest.approx(sum(means[k] for k in ("intensity", "gradient", "ssim", "vif")))
    assert panel.dtype == np.uint8 and panel.shape[2] == 3
    assert best_score(means, "VIFF+Qabf") == scores["VIFF"] + scores["Qabf"]
    assert best_score(means, "loss") == -means["total"] and np.isnan(best_score(means, "VIFF+PSNR_GT"))


def test_metrics_of_parts_count_alike():
    scored = [
        ScoredPair("ivf", "1", Terms(), {"VIFF": 1.0, "MI": 2.0}, {}),
        ScoredPair("ivf", "2", Terms(), {"VIFF": 3.0, "MI": float("nan")}, {}),
        ScoredPair("mff", "3", Terms(), {"VIFF": 6.0, "MI": 4.0, "PSNR_GT": 30.0}, {}),
    ]
    overall = {"VIFF": 4.0, "MI": 3.0, "PSNR_GT": 30.0}
    ivf, mff = {"ivf/VIFF": 2.0, "ivf/MI": 2.0}, {"mff/VIFF": 6.0, "mff/MI": 4.0, "mff/PSNR_GT": 30.0}
    assert mean_scores(scored) == overall | ivf | mff
    assert mean_scores(scored[:2]) == {"VIFF": 2.0, "MI": 2.0}


def test_the_best_validation_is_kept(root, tmp_path, monkeypatch):
    scores = iter([1.0, 3.0, 2.0, float("nan"), 3.5])
    monkeypatch.setattr("adasffuse.training.trainer.best_score", lambda means, name: next(scores))
    options = run_options(root, steps=3, log={"validate": 1})
    train(options, tmp_path, "cpu")
    folder = tmp_path / "run"
    best = read_record(folder / "best.safetensors")
    assert best["steps"] == 2 and best["score"] == {"name": "VIFF+Qabf+SSIM", "score": 3.0, "step": 2}
    expected = load_file(train(run_options(root, steps=2), tmp_path / "two", "cpu"))
    weights = load_file(folder / "best.safetensors")
    assert all(torch.equal(value, expected[name]) for name, value in weights.items())
    train(replace(options, train=replace(options.train, steps=4)), tmp_path, "cpu")  # NaN is never best
    assert read_record(folder / "best.safetensors")["steps"] == 2
    train(replace(options, train=replace(options.train, steps=5)), tmp_path, "cpu")
    assert read_record(folder / "best.safetensors")["steps"] == 5


def test_held_out_photographs_are_scored_against_their_truth(tmp_path):
    for name in "ab":
        write_image(tmp_path / "sharp" / f"{name}.png", texture(80, 80, seed=ord(name)))
    data = {"datasets": [], "sharp_folder": "sharp", "sharp_share": 1.0, "validation": ["b"]}
    options = run_options(tmp_path, 1, task="mff", data=data, log={"validate": 1, "best": "PSNR_GT"})
    train(options, tmp_path, "cpu")
    best = read_record(tmp_path / "run/best.safetensors")["score"]
    assert scalars(tmp_path / "run", "validation/PSNR_GT") == [pytest.approx(best["score"])] and best["score"] > 10
    unknown = replace(options.parts[0].data, sharp_share=0.0, exposures=1.0, exposures_truth=False)
    unknown = replace(options, parts=(replace(options.parts[0], task="mef", data=unknown),))
    with pytest.raises(ValueError, match=r"log\.best asks for PSNR_GT, but no held-out pair has a known truth"):
        train(unknown, tmp_path / "2", "cpu")


def test_a_manifest_says_what_a_run_was_made_of(root, tmp_path):
    data = write_ivf(tmp_path / "data", ("1", "val"))
    options = run_options(data, steps=1)
    train(options, tmp_path, "cpu")
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    assert parse_options(manifest["options"]) == options and manifest["seed"] == 0
    files = {file["name"]: file for file in manifest["data"]["files"]}
    assert {file["role"] for name, file in files.items() if "val" in name} == {"validation"} and len(files) == 4
    content = (data / "IVF/visible/1.png").read_bytes()
    assert files["IVF/visible/1.png"] == {
        "part": "ivf",
        "role": "training",
        "name": "IVF/visible/1.png",
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    (start,) = manifest["starts"]
    assert start["packages"]["torch"] == torch.__version__ and start["hardware"]["processes"] == 1
    write_image(data / "IVF/visible/1.png", texture(40, 48, seed=99))
    with pytest.warns(UserWarning, match="the images differ from those that run 'run' was started with"):
        train(run_options(data, steps=2), tmp_path, "cpu")
    starts = json.loads((tmp_path / "run/manifest.json").read_text())["starts"]
    assert [start["step"] for start in starts] == [0, 1]


@contextmanager
def largest_file(size: int):
    """No file may grow beyond `size` bytes: what a full disk does to a program, without one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room, what", [(100_000, "checkpoint .*step_00000004.pt"), (20_000, "weights .*run.weights")])
def test_a_full_disk_leaves_the_previous_checkpoint(root, begun, unbroken, tmp_path, capsys, room, what):
    shutil.copytree(begun, tmp_path / "run")
    weights = (tmp_path / "run/weights.safetensors").read_bytes()
    assert 20_000 < len(weights) < 100_000 < (tmp_path / "run/step_00000001.pt").stat().st_size
    (tmp_path / "run.json").write_text(json.dumps(run_options(root, steps=4).to_dict()))
    arguments = ["--opt", str(tmp_path / "run.json"), "--out_dir", str(tmp_path), "--device", "cpu"]
    with largest_file(room):
        assert train_AdaSFFuse.main(arguments) == 1
    assert re.search(rf"error: cannot write {what}.*: .*earlier checkpoints are intact", capsys.readouterr().err)
    assert sorted(p.name for p in (tmp_path / "run").glob("*.pt")) == ["step_00000001.pt"]
    assert not list((tmp_path / "run").glob(".*")) and newest_state(tmp_path / "run")["step"] == 1
    assert train_AdaSFFuse.main(arguments) == 0  # room again
    assert_same_run(tmp_path / "run", unbroken)


def test_machines_that_do_not_share_the_folder(root, tmp_path, monkeypatch):
    monkeypatch.setattr(Processes, "gather", lambda self, step: [500, step])
    with pytest.raises(
        ValueError, match=r"checkpoints of different steps \(\[500, 0\]\) in .*run; all machines must sh"
    ):
        train(run_options(root), tmp_path, "cpu")


FAILING = """
import sys
import torch
import train_AdaSFFuse
from adasffuse.training.run import FusedBatch, Run
update = Run.update
def broken(run, batch):
    if run.step == 1:
        torch.save(run.average.state_dict(), f"{folder}/average_{{run.processes.rank}}.pt")
    if run.step == 1 and run.processes.rank == 1:
        raise ValueError("image 7 is upside down")
    return update(run, batch)
Run.update = broken
sys.exit(train_AdaSFFuse.main())
"""


@pytest.mark.slow
def test_a_process_that_fails_ends_all(root, tmp_path, torchrun):
    """With its message, which torchrun repeats; until then the averaged weights were the same in both."""
    (tmp_path / "run.json").write_text(json.dumps(run_options(root, steps=10**6).to_dict()))
    (tmp_path / "failing.py").write_text(FAILING.format(folder=str(tmp_path)))
    arguments = ["--opt", str(tmp_path / "run.json"), "--out_dir", str(tmp_path), "--device", "cpu"]
    done = torchrun(tmp_path / "failing.py", *arguments)
    assert done.returncode != 0 and "error: image 7 is upside down" in done.stderr
    assert "Root Cause" in done.stderr and "ValueError: image 7 is upside down" in done.stderr
    averages = [torch.load(tmp_path / f"average_{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert all(torch.equal(value, averages[1][name]) for name, value in averages[0].items())


@pytest.mark.slow
def test_all_processes_end_where_the_main_one_is_refused(root, tmp_path, torchrun):
    """The other one waits for it outside of an update."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run.json").write_text(json.dumps(run_options(root, steps=10**6).to_dict()))
    arguments = ["--opt", str(tmp_path / "run.json"), "--out_dir", str(tmp_path), "--device", "cpu"]
    with keeping_others_out(tmp_path / "run", LOCK_FILE):
        done = torchrun(PROGRAM, *arguments)
    assert done.returncode != 0 and f"run is in use by another run, process {os.getpid()} on" in done.stderr
    assert not (tmp_path / "run/options.json").exists()


STOPPED = """
import os, signal, sys
import train_AdaSFFuse
from adasffuse.training import trainer
loader = trainer.make_loader
def dying(options, data, processes, start):
    for number, batch in enumerate(loader(options, data, processes, start)):
        if number == 2 and processes.rank == {rank}:
            os.kill(os.getpid(), signal.SIGTERM)
            raise RuntimeError("DataLoader worker exited unexpectedly")
        yield batch
trainer.make_loader = dying
sys.exit(train_AdaSFFuse.main())
"""


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_all_processes_stop_where_the_loader_of_one_was_ended(root, tmp_path, rank, torchrun):
    """The other one still has batches, and would wait in its next update for ever, or lose the steps before."""
    (tmp_path / "run.json").write_text(json.dumps(run_options(root, steps=10**6).to_dict()))
    (tmp_path / "stopped.py").write_text(STOPPED.format(rank=rank))
    arguments = ["--opt", str(tmp_path / "run.json"), "--out_dir", str(tmp_path), "--device", "cpu"]
    done = torchrun(tmp_path / "stopped.py", *arguments)
    assert done.returncode == 0, done.stderr
    assert newest_state(tmp_path / "run")["step"] == 2


PATIENT = """
import time
from datetime import timedelta
import torch.distributed as dist
from adasffuse.training.processes import join_processes
join = dist.init_process_group
dist.init_process_group = lambda backend: join(backend, timeout=timedelta(seconds=2))
with join_processes("cpu") as processes:
    time.sleep(5 * processes.main)
    processes.wait_for_main("breakfast", lambda: False)
    processes.any(True)
"""


@pytest.mark.slow
def test_the_others_wait_for_the_main_process_longer_than_the_group_does(tmp_path, torchrun):
    (tmp_path / "patient.py").write_text(PATIENT)
    done = torchrun(tmp_path / "patient.py")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_kills_lose_nothing():
    """Two SIGKILLs at random moments; scripts/kill_training.py does as many as it is asked for."""
    assert kill_training.main(["--kills", "2", "--longest", "0.3", "--seed", str(int.from_bytes(os.urandom(2)))]) == 0


def test_partial_files_are_ignored_and_removed(root, begun, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    for name in (".part-0123456789abcdef.pt", "step_00000009.pt.tmp", ".part-0123456789abcdef.csv"):
        (folder / name).write_bytes(b"half")
    train(run_options(root, steps=1), tmp_path, "cpu")
    assert_same_run(folder, begun)
    assert not list(folder.glob(".*"))


def checkpoint_state(step: int) -> dict:
    sections = {key: {} for key in ("model", "average", "optimizer", "options", "best")}
    return {"step": step, **sections, "rng": torch.get_rng_state()}


def test_the_newest_checkpoint_counts_and_older_ones_go(tmp_path):
    for step in (5, 100000000, 20):
        save_checkpoint(tmp_path, step, checkpoint_state(step), keep=3)
    assert newest_state(tmp_path)["step"] == 100000000
    save_checkpoint(tmp_path, 100000001, checkpoint_state(100000001), keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step_100000000.pt", "step_100000001.pt"]
    assert newest_checkpoint(tmp_path / "none") is None


def test_a_checkpoint_that_cannot_be_written_leaves_the_others(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, 1, checkpoint_state(1), keep=1)

    def full_disk(path, content):
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match=r"cannot write checkpoint .*step_00000002\.pt: .*No space left.*are intact"):
        save_checkpoint(tmp_path, 2, checkpoint_state(2), keep=1)
    assert [p.name for p in tmp_path.iterdir()] == ["step_00000001.pt"]
    assert newest_state(tmp_path)["step"] == 1


class Bomb:
    """A pickle of it would create a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_checkpoint_that_would_run_code_is_refused(root, tmp_path, capsys):
    options = run_options(root)
    (tmp_path / "run").mkdir()
    torch.save(Bomb(tmp_path / "exploded"), tmp_path / "run/step_00000001.pt")
    (tmp_path / "run.json").write_text(json.dumps(options.to_dict()))
    assert train_AdaSFFuse.main(["--opt", str(tmp_path / "run.json"), "--out_dir", str(tmp_path)]) == 1
    assert "step_00000001.pt is no usable checkpoint" in capsys.readouterr().err
    assert not (tmp_path / "exploded").exists()


def record(folder: Path) -> list[bytes]:
    return [
        (folder / name).read_bytes() for name in ("options.json", "manifest.json", "log.csv", "weights.safetensors")
    ]


OTHER = "run 'run' was started with other options: "


@pytest.mark.parametrize(
    "changes, refused",
    [
        ({"train": {"batch_size": 1, "ema": 0.8}}, rf"{OTHER}train\.batch_size 2 instead of 1, train\.ema 0\.9 inst"),
        ({"train": {"seed": 7}}, rf"{OTHER}train\.seed 0 instead of 7; choose another name"),
        ({"data": {"validation": []}}, rf"{OTHER}data\.validation \['val'\] instead of \[\]"),
        ({"loss": {"vif": 1}, "data": {"crop": 48}}, rf"{OTHER}data\.crop .*, loss\.vif 0\.0 "),
        ({"task": "mef", "data": {"datasets": ["MEF"]}}, rf"{OTHER}task 'ivf' instead of 'mef'"),
        ({"model": DIRECT}, rf"{OTHER}model\.\w+ "),
        ({"train": {"accumulate": 3}}, r"train\.batch_size 2 must be a multiple of the 1 processes times train\.acc"),
    ],
)
def test_a_run_does_not_continue_with_other_options(root, begun, changes, refused):
    """Refused by name, and what the folder says of the run stays as it was."""
    before = record(begun)
    with pytest.raises(ValueError, match=refused):
        train(run_options(root, steps=2, **changes), begun.parent, "cpu")
    assert record(begun) == before


def test_a_run_does_not_continue_with_more_parts_or_fewer_steps(root, unbroken):
    before = record(unbroken)
    with pytest.raises(ValueError, match=r"task \(part mef\) None instead of 'mef'"):
        train(mixed_options(root), unbroken.parent, "cpu")
    with pytest.raises(ValueError, match=r"run 'run' has made 4 steps, train.steps is 1; give as many or more"):
        train(run_options(root, steps=1), unbroken.parent, "cpu")
    assert record(unbroken) == before


def test_what_may_change_is_recorded_with_each_start(root, begun, tmp_path):
    shutil.copytree(begun, tmp_path / "run")
    changes = {"log": {"checkpoint": 1, "keep": 5}, "data": {"cache_mb": 0, "workers": 1}, "train": {"accumulate": 2}}
    train(run_options(root, steps=2, **changes), tmp_path, "cpu")
    starts = json.loads((tmp_path / "run/manifest.json").read_text())["starts"]
    assert [start["changed"] for start in starts] == [
        {},
        {
            "parts[0].data.cache_mb": {"before": 4096.0, "now": 0.0},
            "parts[0].data.workers": {"before": 0, "now": 1},
            "train.steps": {"before": 1, "now": 2},
            "train.accumulate": {"before": 1, "now": 2},
            "log.checkpoint": {"before": 0, "now": 1},
            "log.keep": {"before": 2, "now": 5},
        },
    ]
    assert json.loads((tmp_path / "run/options.json").read_text())["log"]["keep"] == 5


def test_a_run_without_its_checkpoints_does_not_begin_anew_over_its_weights(root, begun, tmp_path):
    weights = shutil.copytree(begun, tmp_path / "run") / "weights.safetensors"
    before = weights.read_bytes()
    for removed in ("step_*.pt", "manifest.json"):
        for path in (tmp_path / "run").glob(removed):
            path.unlink()
        with pytest.raises(CheckpointError, match=r"run holds weights\.safetensors but no checkpoint .* put .* back"):
            train(run_options(root, steps=2), tmp_path, "cpu")
        assert weights.read_bytes() == before


def test_a_kill_within_the_first_save_begins_anew(root, tmp_path, monkeypatch):
    """Weights are written before the checkpoint: where that never came, nothing is lost by a new beginning."""

    class Killed(BaseException):
        pass

    def killed(*arguments) -> None:
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(trainer, "save_checkpoint", killed)
        train(run_options(root, steps=1), tmp_path, "cpu")
    assert (tmp_path / "run/weights.safetensors").exists() and newest_checkpoint(tmp_path / "run") is None
    train(run_options(root, steps=1), tmp_path, "cpu")
    assert json.loads((tmp_path / "run/manifest.json").read_text())["saved"] is True


def test_weights_that_have_changed_since_the_run_began_are_said(root, tmp_path):
    """A teacher decides on what comes; what the run was started from is in its checkpoint, and stays on record."""
    start, teacher = (write_weights(tmp_path / name, "ivf", seed=5) for name in ("start.safetensors", "t.safetensors"))
    first = hashlib.sha256(start.read_bytes()).hexdigest()
    options = {"teacher": str(teacher), "train": {"init": str(start)}, "model": {"patch": network().options.patch}}
    train(run_options(root, steps=1, **options), tmp_path, "cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(run_options(root, steps=2, **options), tmp_path, "cpu")
    record = read_record(tmp_path / "run/weights.safetensors")  # and in the weights, whose terms follow theirs
    assert record["init"] == "start.safetensors" and record["teachers"] == ["t.safetensors"]
    for path in (start, teacher):
        write_weights(path, "ivf", seed=6)
    with pytest.warns(UserWarning) as caught:
        train(run_options(root, steps=3, **options), tmp_path, "cpu")
    said = sorted(str(one.message) for one in caught)
    assert len(said) == 2 and "the weights of teacher of ivf" in said[0] and "will not end as it would" in said[0]
    assert "the weights of train.init" in said[1] and "goes on from its checkpoint" in said[1]
    assert json.loads((tmp_path / "run/manifest.json").read_text())["weights"]["train.init"]["sha256"] == first


@pytest.mark.slow
def test_a_second_training_in_a_folder_is_refused(root, tmp_path):
    """It names the first one's process, which ends at the signal and leaves a run that continues."""
    (tmp_path / "run.json").write_text(json.dumps(run_options(root, steps=10**6).to_dict()))
    arguments = ["--opt", tmp_path / "run.json", "--out_dir", tmp_path, "--device", "cpu"]
    command = [sys.executable, "train_AdaSFFuse.py", *map(str, arguments)]
    first = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE)
    try:
        while first.poll() is None and not (tmp_path / "run/log.csv").exists():
            time.sleep(0.05)
        with pytest.raises(InUseError, match=rf"run is in use by another run, process {first.pid} on "):
            train(run_options(root), tmp_path, "cpu")
        first.terminate()
        assert first.wait(timeout=300) == 0 and b"Traceback" not in first.stderr.read()
    finally:
        first.kill()
        first.communicate()
    reached = newest_state(tmp_path / "run")["step"]
    train(run_options(root, steps=reached + 1), tmp_path, "cpu")


def test_a_lock_ends_with_its_training(tmp_path):
    lock, again = (keeping_others_out(tmp_path, LOCK_FILE) for _ in range(2))
    with lock, pytest.raises(InUseError, match=f"process {os.getpid()} on "), again:
        pass
    with keeping_others_out(tmp_path, LOCK_FILE):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked here")
def test_a_lock_ends_with_its_process_though_a_forked_one_lives(tmp_path):
    """As the loader's processes do for some seconds after a kill."""
    (started, start), (ended, end) = os.pipe(), os.pipe()
    with keeping_others_out(tmp_path, LOCK_FILE):
        child = os.fork()
        if not child:
            os.close(end)
            os.write(start, b".")
            os.read(ended, 1)  # until the parent closes its end
            os._exit(0)
        os.read(started, 1)
    try:
        with keeping_others_out(tmp_path, LOCK_FILE):
            pass
    finally:
        for one in (end, ended, started, start):
            os.close(one)
        os.waitpid(child, 0)


def test_training_in_a_thread(root, begun, tmp_path):
    """Python lets only the main thread handle signals; the result is the same."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(train, run_options(root, steps=1), tmp_path, "cpu").result()
    assert_same_run(tmp_path / "run", begun)


def test_images_whose_names_are_not_utf_8(tmp_path):
    data = write_ivf(tmp_path / "data", ("1", "val"))
    for folder in ("infrared", "visible"):
        os.rename(data / "IVF" / folder / "1.png", os.fsencode(data / "IVF" / folder) + b"/\xff\xe9.png")
    train(run_options(data, steps=1), tmp_path, "cpu")
    train(run_options(data, steps=2), tmp_path, "cpu")
    names = [file["name"] for file in json.loads((tmp_path / "run/manifest.json").read_text())["data"]["files"]]
    assert "IVF/infrared/\udcff\udce9.png" in names


def damages(state: dict, content: bytes) -> dict[str, dict | bytes]:
    """Ways in which a checkpoint can be wrong: other states, or other bytes."""
    name, value = next(iter(state["model"].items()))
    moments = state["optimizer"]["state"]

    def model(changed: object) -> dict:
        return {**state, "model": {**state["model"], name: changed}}

    flipped = bytearray(content)
    stored = value.numpy().tobytes()
    flipped[content.index(stored) + len(stored) // 2] ^= 16
    return {
        "half of it": content[: len(content) // 2],
        "a flipped bit": bytes(flipped),
        "nothing": b"",
        "text": b"step 1\n",
        "of another program": {"state_dict": state["model"]},
        "another shape": model(value[..., None]),
        "a huge shape": model(value.flatten()[:1].expand(10**12)),
        "another type": model(value.double()),
        "not finite": model(torch.full_like(value, torch.nan)),
        "no tensor": model([1.0]),
        "sparse": model(torch.sparse_coo_tensor([[0]], [1.0], (10**9,))),
        "a missing tensor": {**state, "model": {k: v for k, v in state["model"].items() if k != name}},
        "step as text": {**state, "step": "1"},
        "negative step": {**state, "step": -1},
        "endless step": {**state, "step": 10**30},
        "other random numbers": {**state, "rng": torch.zeros(3)},
        "options of nothing": {**state, "options": {}},
        "options of another version": {**state, "options": {**state["options"], "speed": 3}},
        "other moments": {**state, "optimizer": {"state": {**moments, 0: {"step": 1}}}},
        "moments of others": {**state, "optimizer": {"state": {**moments, 10**6: moments[0]}}},
        "best of something": {**state, "best": {"name": 3}},
    }


@pytest.mark.filterwarnings("ignore:.*[Ss]parse.*invariant")
def test_every_damage_of_a_checkpoint_is_one_error_that_names_it(root, begun, tmp_path):
    path = newest_checkpoint(shutil.copytree(begun, tmp_path / "run"))
    content = path.read_bytes()
    run = Run(run_options(root, steps=2), Processes(0, 1, CPU))
    for what, damaged in damages(load_checkpoint(path), content).items():
        path.write_bytes(damaged) if isinstance(damaged, bytes) else torch.save(damaged, path)
        with pytest.raises(CheckpointError) as caught:
            trainer.resume(run, path.parent)
        message = str(caught.value)
        assert re.fullmatch(
            r"\S*step_00000001\.pt is no usable checkpoint \(.+\); remove it to continue .*", message
        ), what
        assert len(message) < 500, what
        assert run.step == 0, what
    path.write_bytes(content)
    trainer.resume(run, path.parent)  # nothing was changed by the attempts
    assert run.step == 1


def test_a_compressed_checkpoint_is_not_unpacked(tmp_path):
    """A megabyte that would become a gigabyte."""
    with zipfile.ZipFile(tmp_path / "step_1.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(2**20))
    with pytest.raises(CheckpointError, match="its content is compressed"):
        load_checkpoint(tmp_path / "step_1.pt")


def test_a_loss_that_is_not_finite_names_step_terms_and_images(root, tmp_path, capsys):
    options = run_options(root, train={"lr": 1e6, "warmup": 0, "clip": 0})
    (tmp_path / "run.json").write_text(json.dumps(options.to_dict()))
    assert train_AdaSFFuse.main(["--opt", str(tmp_path / "run.json"), "--out_dir", str(tmp_path)]) == 1
    message = capsys.readouterr().err
    assert "error: loss or gradient is not finite in step 1: {'total': nan, 'intensity': " in message
    assert "images: IVF/" in message and "Lower train.lr" in message
    assert not (tmp_path / "run/weights.safetensors").exists()  # nothing broken is released


def test_starting_from_weights(root, tmp_path):
    shape = {"exposure": True, "contrast": True, "kinds": KINDS, "dark": True, "hot": True}
    start = write_weights(tmp_path / "start.safetensors", "ivf", seed=5, **shape)
    options = run_options(root, train={"init": str(start)})
    run = Run(options, Processes(0, 1, CPU))
    expected = network(5, **shape).state_dict()
    assert all(torch.equal(v, expected[name]) for name, v in run.model.state_dict().items())
    with pytest.raises(ValueError, match=r"train\.init .*start\.safetensors holds a network of another shape"):
        Run(run_options(root, train={"init": str(start)}, model={"d_state": 16}), Processes(0, 1, CPU))
    with pytest.raises(WeightsError, match=r"weights file ivf_tiny does not exist; .*general_small"):
        Run(run_options(root, train={"init": "ivf_tiny"}), Processes(0, 1, CPU))


def test_what_labels_have_taught_is_kept(root, tmp_path):
    """The fusion loss knows no people: where they are found is not trained, and comes along."""
    shape = {"exposure": True, "contrast": True, "kinds": KINDS, "dark": True, "hot": True, "targets": True}
    start = write_weights(tmp_path / "start.safetensors", "ivf", seed=5, **shape)
    options = run_options(root, steps=2, train={"init": str(start)}, model={"targets": True})
    after = load_weights(train(options, tmp_path, "cpu"))[0].state_dict()
    before = load_weights(start)[0].state_dict()
    taught = [name for name in before if name.startswith("targets.")]
    assert len(taught) == len(TargetLift().state_dict())
    assert all(torch.equal(before[name], after[name]) for name in taught)
    assert not torch.equal(before["embed.weight"], after["embed.weight"])


def test_a_teacher_says_what_no_truth_says(root, tmp_path):
    """What the teacher makes of a and b, though the network is shown another b; a known truth stays."""
    shape = {"exposure": True, "contrast": True, "kinds": KINDS}
    teacher = write_weights(tmp_path / "teacher.safetensors", "general", seed=5, **shape)
    taught, alone = mixed_options(root, teacher=teacher), mixed_options(root)
    run, batch = Run(taught, Processes(0, 1, CPU)), default_collate([MixedCrops(alone.parts)[n] for n in range(6)])
    batch["truth"] = torch.where(torch.arange(6)[:, None, None, None] == 1, batch["a"], torch.nan)
    batch["shown_b"] = torch.zeros_like(batch["b"])
    fused, a, b, truth, _ = run.fuse(run.model, batch)
    kinds = [[TASKS[taught.parts[part].task].kinds_of(2)[i] for part in batch["part"]] for i in (0, 1)]
    with torch.no_grad():
        expected = load_weights(teacher)[0](a, b, kinds=kinds)
        own = run.model(a, batch["shown_b"], kinds=kinds)
    assert len(run.teachers) == 2 and run.teachers[0] is run.teachers[1]
    assert torch.equal(truth[1], batch["a"][1]) and torch.equal(fused.detach(), own)
    others = [0, 2, 3, 4, 5]
    torch.testing.assert_close(truth[others], expected[others], atol=1e-6, rtol=0)
    assert Run(alone, Processes(0, 1, CPU)).fuse(run.model, batch).truth[others].isnan().all()


def test_the_result_before_something_passed_is_the_networks_own(root):
    options = mixed_options(root)
    passing = [replace(part, data=replace(part.data, passing=1.0)) for part in options.parts]
    run, batch = Run(options, Processes(0, 1, CPU)), default_collate([MixedCrops(passing)[n] for n in range(6)])
    batch["elsewhere"][2] = 0
    still = run.fuse(run.model, batch).still
    kinds = [[TASKS[options.parts[part].task].kinds_of(2)[i] for part in batch["part"]] for i in (0, 1)]
    with torch.no_grad():
        before = run.model(batch["before_a"], batch["before_b"], kinds=kinds)
    assert torch.equal(still.isnan(), batch["elsewhere"] == 0) and 0 < still.isnan().float().mean() < 1
    torch.testing.assert_close(still.nan_to_num(), before.where(batch["elsewhere"] == 1, 0), atol=1e-6, rtol=0)


def test_steady_needs_something_that_passes(root):
    with pytest.raises(ValueError, match=r"loss\.steady 5\.0 needs pairs with a passing object"):
        run_options(root, loss={"steady": 5.0})


def test_a_pupil_comes_nearer_to_its_teacher(root, tmp_path):
    teacher = write_weights(tmp_path / "teacher.safetensors", "ivf", seed=5)
    quick = {"lr": 2e-2, "warmup": 0, "ema": 0.8}
    options = run_options(root, steps=20, teacher=teacher, train=quick, log={"validate": 4})
    train(options, tmp_path, "cpu")
    distance = scalars(tmp_path / "run", "validation/intensity")
    assert distance[-1] < 0.7 * distance[0]


def test_a_teacher_that_is_not_there(root):
    with pytest.raises(WeightsError, match="weights file professor does not exist"):
        Run(run_options(root, teacher="professor"), Processes(0, 1, CPU))


def test_a_teacher_of_another_task(root, tmp_path):
    teacher = write_weights(tmp_path / "teacher.safetensors", "mff")
    with pytest.raises(WeightsError, match=r"teacher .*teacher\.safetensors was trained for task 'mff', not 'ivf'"):
        Run(run_options(root, teacher=teacher), Processes(0, 1, CPU))


def test_starting_from_the_folder_of_another_run(root, tmp_path):
    train(run_options(root, steps=1, name="first"), tmp_path, "cpu")
    run = Run(run_options(root, train={"init": str(tmp_path / "first")}), Processes(0, 1, CPU))
    expected = load_file(tmp_path / "first/weights.safetensors")
    assert all(torch.equal(value, expected[name]) for name, value in run.model.state_dict().items())


def test_starting_from_smaller_released_weights(root):
    options = run_options(root, model=asdict(SIZES["base"]), train={"init": "general_small"})
    run = Run(options, Processes(0, 1, CPU))
    released, _ = load_weights(released_weights("general", "small"))
    sources = torch.rand(2, 1, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(run.model.eval()(*sources), released(*sources), atol=1e-3, rtol=0)


def test_half_precision_trains_and_validates(root, tmp_path):
    options = run_options(root, steps=2, train={"precision": "bfloat16"}, log={"validate": 1, "panel": 1})
    train(options, tmp_path, "cpu")
    half, full = scalars(tmp_path / "run", "validation/total"), scalars(tmp_path / "run", "loss/total")
    assert len(half) == 2 and np.isfinite(half + full).all()


def test_photographs_and_a_known_truth(tmp_path):
    for name in "ab":
        write_image(tmp_path / "MFF" / f"image{name.upper()}" / "1.png", texture(40, 40, seed=ord(name)))
        write_image(tmp_path / "sharp" / f"{name}.png", texture(64, 64, seed=ord(name)))
    data = {"datasets": ["MFF"], "sharp_folder": "sharp", "sharp_share": 0.5, "validation": []}
    weights = train(run_options(tmp_path, steps=2, task="mff", data=data), tmp_path, "cpu")
    assert load_weights(weights)[1] == "mff"


def tf32() -> bool:
    """Whether cuDNN may round the inputs of float32 convolutions."""
    return torch.backends.cudnn.conv.fp32_precision == "tf32"


@pytest.mark.parametrize("allowed", [True, False])
def test_the_loss_is_computed_without_tf32_and_the_network_as_the_user_likes(root, monkeypatch, allowed):
    """Forward and backward, of both; the switch is what cuDNN reads, on machines without a GPU as well."""
    seen = {}

    class Watched(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, name):
            ctx.name, seen[name] = name, tf32()
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            seen[ctx.name + " gradient"] = tf32()
            return gradient, None

    loss, network = Run.loss, AdaSFFuse.compose

    def watched_loss(run: Run, batch: FusedBatch, part: torch.Tensor) -> tuple[torch.Tensor, Terms]:
        return loss(run, batch._replace(fused=Watched.apply(batch.fused, "loss")), part)

    monkeypatch.setattr(Run, "loss", watched_loss)
    monkeypatch.setattr(AdaSFFuse, "compose", lambda *args: Watched.apply(network(*args), "network"))
    options = run_options(root)
    run = Run(options, Processes(0, 1, CPU))
    batch = default_collate([MixedCrops(options.parts)[i] for i in range(2)])
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", allowed)
    run.update(batch)
    assert seen == {"network": allowed, "loss": False, "loss gradient": False, "network gradient": allowed}
    assert tf32() == allowed


def test_missing_images_stop_the_run_before_anything_is_written(tmp_path, capsys):
    root = write_ivf(tmp_path / "data", ("1", "2"))
    (root / "IVF/visible/2.png").unlink()
    (tmp_path / "run.json").write_text(json.dumps(run_options(root).to_dict()))
    assert train_AdaSFFuse.main(["--opt", str(tmp_path / "run.json"), "--out_dir", str(tmp_path / "out")]) == 1
    assert "1 problem in the training data" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments, status, message",
    [
        (["--opt", "nowhere.json"], 1, "options file nowhere.json does not exist"),
        (["--device", "gpu"], 2, "unknown device 'gpu'; use auto, cpu, cuda or cuda:N"),
        (["--device", "mps"], 2, "device 'mps' is not available"),
        (["--root_path", "/nowhere"], 1, "no source folders for IVF"),
    ],
)
def test_wrong_arguments(root, tmp_path, capsys, arguments, status, message):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(run_options(root).to_dict()))
    assert train_AdaSFFuse.main(["--opt", str(path), "--out_dir", str(tmp_path), *arguments]) == status
    assert message in capsys.readouterr().err


def test_unknown_arguments_and_options(root, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        train_AdaSFFuse.main(["--opt", "x.json", "--option", "1"])
    assert caught.value.code == 2 and "unrecognized arguments: --option" in capsys.readouterr().err
    values = run_options(root).to_dict()
    values["train"]["batchsize"] = 4
    (tmp_path / "run.json").write_text(json.dumps(values))
    assert train_AdaSFFuse.main(["--opt", str(tmp_path / "run.json")]) == 2
    assert "run.json: unknown option train.batchsize; did you mean 'batch_size'?" in capsys.readouterr().err


def test_main_trains_and_says_where_the_weights_are(root, tmp_path, capsys):
    values = run_options("elsewhere", steps=1).to_dict()
    (tmp_path / "run.json").write_text(json.dumps(values))
    arguments = ["--opt", str(tmp_path / "run.json"), "--root_path", str(root), "--out_dir", str(tmp_path)]
    assert train_AdaSFFuse.main([*arguments, "--device", "cpu", "--local-rank", "0"]) == 0
    assert capsys.readouterr().out == f"weights: {tmp_path}/run/weights.safetensors\n"


def test_a_single_process_needs_no_group(monkeypatch):
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    with join_processes("cpu") as processes:
        assert processes == Processes(0, 1, CPU) and processes.main
        assert processes.any(True) and not processes.any(False)
        assert processes.gather({"step": 3}) == [{"step": 3}]
    with pytest.raises(ValueError, match="unknown device 'xyz'"), join_processes("xyz"):
        pass


def test_a_cluster_s_rank_alone_makes_no_other_process(root, tmp_path, monkeypatch, capsys):
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "3")
    (tmp_path / "run.json").write_text(json.dumps(run_options(root, steps=1).to_dict()))
    arguments = ["--opt", str(tmp_path / "run.json"), "--out_dir", str(tmp_path), "--device", "cpu"]
    assert train_AdaSFFuse.main(arguments) == 0
    assert capsys.readouterr().out == f"weights: {tmp_path}/run/weights.safetensors\n"
    assert (tmp_path / "run/weights.safetensors").is_file()


@pytest.fixture
def two_gpus(monkeypatch) -> list[torch.device]:
    """As if PyTorch saw two GPUs; the ones that were made the current device."""
    chosen = []
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    return chosen


@pytest.mark.parametrize("name, expected", [("auto", "cuda:1"), ("cuda", "cuda:1"), ("cuda:0", "cuda:0")])
def test_every_process_of_a_machine_takes_its_own_gpu(two_gpus, monkeypatch, name, expected):
    """Without a GPU: PyTorch refuses to make 'cuda' without a number the current device."""
    monkeypatch.setenv("LOCAL_RANK", "1")
    with join_processes(name) as processes:
        assert [processes.device] == two_gpus == [torch.device(expected)]


@pytest.mark.parametrize(
    "name, local, message",
    [
        ("cuda:1", "0", "device 'cuda:1' is one GPU, and each of 4 processes needs its own; use cuda"),
        ("auto", "2", r"process 2 of this machine finds no GPU .* sees 2; .* \(torchrun --nproc_per_node 2\)"),
    ],
)
def test_processes_that_would_share_a_gpu(two_gpus, monkeypatch, name, local, message):
    for variable, value in {"WORLD_SIZE": "4", "RANK": local, "LOCAL_RANK": local}.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("MASTER_PORT", "29500")
    with pytest.raises(ValueError, match=message), join_processes(name):
        pass


def test_processes_that_do_not_know_of_each_other_are_said(root, tmp_path, monkeypatch, caplog):
    for variable in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    train(run_options(root, steps=1), tmp_path, "cpu")
    assert "srun started 4 processes, and each trains by itself" in caplog.text
