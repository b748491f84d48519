"""Options files: what they give, and what is wrong with those that cannot be used."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from adasffuse.losses.fusion import LossOptions
from adasffuse.models import SIZES, AdaSFFuse, ModelOptions
from adasffuse.tasks import TASKS
from adasffuse.training.options import PartOptions, TrainOptions, load_options, parse_options

SHIPPED = sorted((Path(__file__).parents[1] / "options").glob("*.json"))
MINIMAL = {"name": "run", "task": "ivf", "data": {"root_path": "data", "datasets": ["IVF"]}}


def changed(**changes) -> dict:
    return {**MINIMAL, **changes}


def part(task: str = "ivf", root: str = "data", crop: int = 64, **changes) -> dict:
    return {"task": task, "data": {"root_path": root, "datasets": [task.upper()], "crop": crop}, **changes}


def with_parts(*parts) -> dict:
    return {"name": "run", "parts": list(parts)}


def with_data(**changes) -> dict:
    return changed(data={**MINIMAL["data"], **changes})


def shipped_parts() -> list[PartOptions]:
    return [part for path in SHIPPED for part in load_options(path).parts]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_options(path):
    options = load_options(path)
    assert path.stem.startswith((f"train_AdaSFFuse_{options.task}", "ablation_"))
    assert options.size in SIZES
    for part in options.parts:
        assert part.data.validation and part.data.crop % 8 == 0
        assert all(name.startswith(part.task.upper()) for name in part.data.datasets)
        assert not any("test" in text for text in (part.data.root_path, *part.data.datasets))


def test_every_task_has_options_and_names_of_runs_differ():
    assert {load_options(path).task for path in SHIPPED} >= set(TASKS)
    assert {f"train_AdaSFFuse_{task}" for task in TASKS} <= {path.stem for path in SHIPPED}
    assert len({load_options(path).name for path in SHIPPED}) == len(SHIPPED)


@pytest.mark.parametrize("task", TASKS)
def test_the_paper_s_recipe(task):
    """Loss weights by the table of tasks, decoder alone, raster scan, one token per pixel, real pairs only."""
    options = load_options(Path(__file__).parents[1] / f"options/train_AdaSFFuse_{task}_paper.json")
    (part,) = options.parts
    assert part.loss == LossOptions.for_task(TASKS[task]) and part.task == options.task == task
    assert options.model == ModelOptions(patch=1, output="direct", scan="raster")
    assert not (part.data.sharp_folder or part.data.jitter or part.data.exposures)


def test_the_general_recipe_mixes_all_tasks():
    options = load_options(Path(__file__).parents[1] / "options/train_AdaSFFuse_general_small.json")
    assert (
        options.task == "general"
        and {part.task for part in options.parts} == set(TASKS)
        and options.model == replace(SIZES["small"], exposure=True)
    )


def test_urban_photographs_stay_out_of_training():
    assert all(not part.data.sharp_folder or "urban_*" in part.data.sharp_exclude for part in shipped_parts())


def roots(path: Path, root_path: str | None = None) -> list[str]:
    return [part.data.root_path for part in load_options(path, root_path).parts]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_to_dict_and_back(path):
    options = load_options(path)
    values = json.loads(json.dumps(options.to_dict()))
    assert parse_options(values) == options


def test_defaults_come_from_size_and_task():
    small = parse_options(changed(size="small", task="MIF", model={"scan": "raster"}, loss={"intensity": 1}))
    assert small.task == "mif"
    assert small.model == replace(SIZES["small"], scan="raster")
    assert small.parts[0].loss == replace(LossOptions.for_task(TASKS["mif"]), intensity=1)
    base = parse_options(MINIMAL)
    assert base.model == SIZES["base"] and base.parts[0].loss == LossOptions.for_task(TASKS["ivf"])
    assert base.parts[0].data.datasets == ("IVF",)


def test_the_short_form_is_one_part():
    short = {"loss": {"ssim": 3}, **MINIMAL}
    assert parse_options(short) == parse_options(with_parts(part(crop=128, loss={"ssim": 3})))


def test_parts_start_from_the_recipes_of_their_tasks():
    options = parse_options(with_parts(part(), part("MEF", weight=2, loss={"gradient": 7})))
    assert options.task == "general" and options.labels == ("ivf", "mef")
    assert [p.weight for p in options.parts] == [1, 2] and options.parts[0].loss == LossOptions.for_task(TASKS["ivf"])
    assert options.parts[1].loss == replace(LossOptions.for_task(TASKS["mef"]), gradient=7)
    again = parse_options(with_parts(part(), part("mef"), part()))
    assert again.labels == ("ivf_1", "mef", "ivf_2")
    assert parse_options(with_parts(part(), part())).task == "ivf"


def test_options_are_frozen():
    with pytest.raises(AttributeError, match="cannot assign"):
        parse_options(MINIMAL).task = "mef"


def test_root_path_replaces_the_one_in_the_file(tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(MINIMAL))
    assert roots(path, "elsewhere") == ["elsewhere"] and roots(path) == ["data"]
    path.write_text(json.dumps(with_data(root_path="/data")))
    assert roots(path, "elsewhere") == ["elsewhere"]


def test_absolute_roots_of_several_parts_stay(tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(with_parts(part(root="data"), part(root="/own"), part(root="more"))))
    assert roots(path, "elsewhere") == ["elsewhere", "/own", "elsewhere"]
    path.write_text(json.dumps(with_parts(part(root="/data"), part(root="/own"))))
    with pytest.raises(ValueError, match=r"--root_path elsewhere replaces nothing: data\.root_path of every part is"):
        load_options(path, "elsewhere")


@pytest.mark.parametrize(
    "values, message",
    [
        (changed(train={"batchsize": 4}), "unknown option train.batchsize; did you mean 'batch_size'?"),
        (changed(trian={}), "unknown option trian; did you mean 'train'?"),
        (with_data(xyzzy=1), "unknown option data.xyzzy$"),
        (changed(task="ixf"), "unknown task 'ixf'; .* TASK one of IVF, MEF, MFF, MIF"),
        (changed(size="bass"), "size must be one of base, small, .*got 'bass'"),
        (changed(size=["base"]), r"size must be one of base, small, .*got \['base'\]"),
        (changed(task=3), "task must be str, got 3"),
        ({"task": "ivf"}, "missing option name"),
        ({"name": "run", "task": "ivf"}, "missing option data"),
        (changed(dat={}), "unknown option dat; did you mean 'data'?"),
        (changed(data={}), "missing option data.root_path, data.datasets"),
        (changed(data=[]), "data must be a JSON object, got list"),
        (changed(model=3), "model must be a JSON object, got int"),
        (changed(loss=["max"]), "loss must be a JSON object, got list"),
        (changed(train=None), "train must be a JSON object, got NoneType"),
        (changed(parts=[part()]), "task, data and parts exclude each other; move task, data into the parts"),
        ({"name": "run", "parts": {}}, "parts must be a list, got {}"),
        ({"name": "run", "parts": []}, "parts must hold at least one part"),
        (with_parts(part(), 3), r"parts\[1\]: a part must be a JSON object, got int"),
        (with_parts(part(), {"task": "mef"}), r"parts\[1\]: missing option data"),
        (with_parts(part(wait=2)), r"parts\[0\]: unknown option wait; did you mean 'weight'?"),
        (with_parts(part(), part(weight=0)), r"parts\[1\]: weight must be positive, got 0"),
        (with_parts(part(crop=8)), r"parts\[0\]: data.crop must be at least 16 pixels"),
        (with_parts(part(), part("mef", crop=96)), "data.crop must be the same in all parts, got ivf: 64, mef: 96"),
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
        (with_data(exposures=0.5), "data.exposures makes pairs from the photographs in data.sharp_folder; name that"),
        (with_data(exposures=0.5, sharp_folder="x"), "data.exposures 0.5 and data.sharp_share 0.5 exclude each other"),
        (with_data(exposures=2, sharp_folder="x"), r"data.exposures must lie in \[0, 1\], got 2"),
        (with_data(datasets=[]), "data.datasets is empty: name a data set, or give data.sharp_folder with sharp_share"),
        (with_data(jitter=0.7), r"data.jitter must lie in \[0, 0.5\], got 0.7"),
        (with_data(cache_mb=-1), "data.cache_mb must not be negative, got -1"),
        (changed(train={"accumulate": 0}), "train.accumulate must be positive, got 0"),
        (changed(train={"skip_nonfinite": -1}), "train.skip_nonfinite must not be negative, got -1"),
        (changed(log={"best": "VIFF+Qab"}), "log.best adds up names out of VIFF, .*PSNR_GT, loss; got 'VIFF.Qab'"),
        (with_data(workers=-1), "data.workers must not be negative, got -1"),
        (changed(log={"keep": 0}), "log.keep is too small: 0"),
        (changed(log={"panel": -1}), "log.panel is too small: -1"),
        (changed(loss={"target": "sum"}), "loss.target must be one of max, mean.*, got 'sum'"),
        (
            changed(model={"output": "blnd"}),
            "model.output must be one of direct, blend, pyramid, got 'blnd'; did",
        ),
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
