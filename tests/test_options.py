"""Options files: what they give, and what is wrong with those that cannot be used."""

import json
import math
from pathlib import Path

import pytest

from adasffuse.losses import LossOptions
from adasffuse.models import SIZES, AdaSFFuse, ModelOptions
from adasffuse.options import TrainOptions, load_options, parse_options
from adasffuse.tasks import TASKS

SHIPPED = sorted((Path(__file__).parents[1] / "options").glob("*.json"))
MINIMAL = {"name": "run", "task": "ivf", "data": {"root_path": "data", "datasets": ["IVF"]}}


def changed(**changes) -> dict:
    return {**MINIMAL, **changes}


def with_data(**changes) -> dict:
    return changed(data={**MINIMAL["data"], **changes})


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_options(path):
    options = load_options(path)
    assert path.stem.startswith(f"train_AdaSFFuse_{options.task}")
    assert options.size in SIZES and options.data.validation and options.data.crop % 8 == 0
    assert all(name.startswith(options.task.upper()) for name in options.data.datasets)
    assert not any("test" in text for text in (options.data.root_path, *options.data.datasets))


def test_every_task_has_options_and_names_of_runs_differ():
    assert {load_options(path).task for path in SHIPPED} == set(TASKS)
    assert {f"train_AdaSFFuse_{task}" for task in TASKS} <= {path.stem for path in SHIPPED}
    assert len({load_options(path).name for path in SHIPPED}) == len(SHIPPED)


def test_urban_photographs_stay_out_of_training():
    for path in SHIPPED:
        data = load_options(path).data
        assert not data.sharp_folder or "urban_*" in data.sharp_exclude


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_to_dict_and_back(path):
    options = load_options(path)
    values = json.loads(json.dumps(options.to_dict()))
    assert parse_options(values) == options


def test_defaults_come_from_size_and_task():
    small = parse_options(changed(size="small", task="MIF", model={"scan": "raster"}, loss={"intensity": 1}))
    assert small.task == "mif"
    assert small.model == ModelOptions(32, 1, 2, 32, 32, scan="raster")
    assert small.loss == LossOptions(1, 100, 50, "max", "equal")
    base = parse_options(MINIMAL)
    assert base.model == SIZES["base"] and base.loss == LossOptions(20, 20, 10, "max", "gradient")
    assert base.data.datasets == ("IVF",)


def test_options_are_frozen():
    with pytest.raises(AttributeError, match="cannot assign"):
        parse_options(MINIMAL).task = "mef"


def test_root_path_replaces_the_one_in_the_file(tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(MINIMAL))
    assert load_options(path, root_path="elsewhere").data.root_path == "elsewhere"
    assert load_options(path).data.root_path == "data"


@pytest.mark.parametrize(
    "values, message",
    [
        (changed(train={"batchsize": 4}), "unknown option train.batchsize; did you mean 'batch_size'?"),
        (changed(trian={}), "unknown option trian; did you mean 'train'?"),
        (with_data(xyzzy=1), "unknown option data.xyzzy$"),
        (changed(task="ixf"), "unknown task 'ixf'; .* TASK one of IVF, MEF, MFF, MIF"),
        (changed(size="bass"), "size must be one of base, small, got 'bass'"),
        (changed(size=["base"]), r"size must be one of base, small, got \['base'\]"),
        (changed(task=3), "task must be str, got 3"),
        ({"task": "ivf"}, "missing option name, data"),
        (changed(data={}), "missing option data.root_path, data.datasets"),
        (changed(data=[]), "data must be a JSON object, got list"),
        (changed(model=3), "model must be a JSON object, got int"),
        (changed(loss=["max"]), "loss must be a JSON object, got list"),
        (changed(train=None), "train must be a JSON object, got NoneType"),
        ([], "options must be a JSON object, got list"),
        (changed(train={"lr": "2e-4"}), "train.lr must be float, got '2e-4'"),
        (changed(train={"lr": True}), "train.lr must be float, got True"),
        (changed(train={"steps": 1.5}), "train.steps must be int, got 1.5"),
        (changed(model={"frequency": 1}), "model.frequency must be bool, got 1"),
        (with_data(datasets="IVF"), "data.datasets must be a list, got 'IVF'"),
        (with_data(datasets=["IVF", 3]), r"data.datasets\[1\] must be str, got 3"),
        (changed(train={"lr": 0}), "train.lr must be positive, got 0"),
        (changed(train={"lr": math.nan}), "train.lr must be a finite number, got nan"),
        (changed(loss={"gradient": math.inf}), "loss.gradient must be a finite number, got inf"),
        (changed(train={"batch_size": -2}), "train.batch_size must be positive, got -2"),
        (changed(train={"clip": -1.0}), "train.clip must not be negative, got -1.0"),
        (changed(train={"warmup": -1}), "train.warmup must not be negative, got -1"),
        (changed(train={"milestones": [0.5, 9000]}), "train.milestones are shares of train.steps in .*, got .*9000"),
        (changed(train={"ema": 1}), r"train.ema must lie in \[0, 1\), got 1"),
        (changed(train={"schedule": "steps"}), "train.schedule must be one of step, cosine, got 'steps'"),
        (changed(train={"precision": "float16"}), "train.precision must be one of float32, bfloat16, got 'float16'"),
        (with_data(crop=8), "data.crop must be at least 16 pixels, got 8"),
        (with_data(sharp_share=1.5), r"data.sharp_share must lie in \[0, 1\], got 1.5"),
        (with_data(workers=-1), "data.workers must not be negative, got -1"),
        (changed(log={"keep": 0}), "log.keep is too small: 0"),
        (changed(log={"panel": -1}), "log.panel is too small: -1"),
        (changed(loss={"target": "sum"}), "loss.target must be one of max, mean, got 'sum'"),
        (changed(model={"output": "blnd"}), "model.output must be one of direct, blend, got 'blnd'; did you mean"),
        (changed(model={"channels": 30}), "model.channels must be a multiple of 4"),
    ],
)
def test_what_is_wrong_is_named(values, message):
    with pytest.raises(ValueError, match=message):
        parse_options(values)


@pytest.mark.parametrize(
    "text",
    ['{"name": "run" // of the day\n}', '{"name": "run",}', "", "{'name': 'run'}"],
    ids=["comment", "trailing comma", "empty", "single quotes"],
)
def test_what_is_not_json(tmp_path, text):
    path = tmp_path / "run.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"run\.json: not JSON \(.*\); comments and trailing commas are not allowed"):
        load_options(path)


def test_an_error_names_the_file(tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(changed(train={"stepz": 3})))
    with pytest.raises(ValueError, match=r"run\.json: unknown option train\.stepz; did you mean 'steps'\?"):
        load_options(path)


def test_a_missing_file_lists_those_beside_it(tmp_path):
    (tmp_path / "there.json").touch()
    with pytest.raises(FileNotFoundError, match=r"gone\.json does not exist; JSON files in .*: there\.json"):
        load_options(tmp_path / "gone.json")


def test_step_schedule():
    train = TrainOptions(steps=100, lr=1.0, warmup=4, milestones=(0.5, 0.75), gamma=0.1)
    assert [train.lr_at(step) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert [train.lr_at(step) for step in (4, 49)] == [1, 1]
    assert [train.lr_at(step) for step in (50, 74)] == pytest.approx([0.1, 0.1])
    assert [train.lr_at(step) for step in (75, 99)] == pytest.approx([0.01, 0.01])


def test_cosine_schedule():
    train = TrainOptions(steps=110, lr=2.0, warmup=10, schedule="cosine")
    assert train.lr_at(9) == train.lr_at(10) == 2
    assert train.lr_at(60) == pytest.approx(1)
    assert train.lr_at(35) == pytest.approx(1 + math.cos(math.pi / 4))
    assert 0 < train.lr_at(109) < 1e-3


def test_no_warmup():
    assert TrainOptions(warmup=0, lr=0.5).lr_at(0) == 0.5


@pytest.mark.parametrize("size", SIZES)
def test_sizes_build(size):
    assert AdaSFFuse(parse_options(changed(size=size)).model).options == SIZES[size]
