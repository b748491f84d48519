"""Options files: what they give, and what is wrong with those that cannot be used."""

import json
import math
import os
from dataclasses import fields, replace
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
        and options.model == SIZES["small"]
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
    medical = with_data(datasets=["MIF"])
    small = parse_options({**medical, "size": "small", "task": "MIF", "model": {"scan": "raster"}, "loss": {"ssim": 1}})
    assert small.task == "mif"
    assert small.model == replace(SIZES["small"], scan="raster")
    assert small.parts[0].loss == replace(LossOptions.for_task(TASKS["mif"]), ssim=1)
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


def expanded(part: dict, shared: dict) -> list[dict]:
    """The parts below an object, each with all that it shares written out."""
    own = {**shared, **{key: value for key, value in part.items() if key != "parts"}}
    for key in ("data", "loss"):
        if key in shared or key in part:
            own[key] = {**shared.get(key, {}), **part.get(key, {})}
    return [whole for inner in part["parts"] for whole in expanded(inner, own)] if "parts" in part else [own]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_what_parts_share_is_what_each_would_say(path):
    values = json.loads(path.read_text())
    shared = {key: values.pop(key) for key in ("task", "data", "loss", "parts") if key in values}
    assert parse_options({**values, "parts": expanded(shared, {})}) == load_options(path)


def test_a_part_overrides_what_it_shares():
    inner = [{"weight": 2}, {"data": {"datasets": ["MEF_2"]}, "loss": {"ssim": 1}}]
    group = {"task": "mef", "loss": {"gradient": 7}, "parts": inner}
    first = {"task": "ivf", "data": {"datasets": ["IVF"]}}
    shared = {"data": {"root_path": "data", "datasets": ["MEF"]}, "loss": {"ssim": 3}}
    options = parse_options({"name": "run", **shared, "parts": [first, group]})
    assert [part.task for part in options.parts] == ["ivf", "mef", "mef"]
    assert [part.loss.ssim for part in options.parts] == [3, 3, 1]
    assert [part.loss.gradient for part in options.parts] == [20, 7, 7]
    assert [part.weight for part in options.parts] == [1, 2, 1]
    assert options.parts[0].loss == replace(LossOptions.for_task(TASKS["ivf"]), ssim=3)
    assert options.parts[2].data.datasets == ("MEF_2",) and options.parts[2].data.root_path == "data"


def test_recipes_for_all_tasks_differ_in_size_alone():
    folder = Path(__file__).parents[1] / "options"
    recipes = [load_options(folder / f"train_AdaSFFuse_general_{size}.json") for size in ("tiny", "small", "base")]
    assert recipes[0].parts == recipes[1].parts == recipes[2].parts
    assert [recipe.size for recipe in recipes] == ["tiny", "small", "base"]


def test_the_ablation_s_reference_has_as_many_parameters_as_its_page_says():
    root = Path(__file__).parents[1]
    network = AdaSFFuse(load_options(root / "options/ablation_small.json").model)
    thousands = round(sum(p.numel() for p in network.parameters()) / 1000)
    assert f"| reference | the options file itself | {thousands} k |" in (root / "docs/ablation.md").read_text()


def test_cards_of_released_weights_hold_options_that_parse():
    cards = sorted((Path(__file__).parents[1] / "adasffuse/weights").glob("*.json"))
    assert len(cards) >= 3
    for card in cards:
        options = parse_options(json.loads(card.read_text())["options"])
        assert card.stem == f"{options.task}_{options.size}"


def test_options_are_frozen():
    with pytest.raises(AttributeError, match="cannot assign"):
        parse_options(MINIMAL).task = "mef"


def test_root_path_replaces_the_one_in_the_file(tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(MINIMAL))
    assert roots(path, "elsewhere") == ["elsewhere"] and roots(path) == ["data"]
    path.write_text(json.dumps(with_data(root_path="/data")))
    assert roots(path, "elsewhere") == ["elsewhere"]


def test_the_home_folder_in_paths(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))  # Windows
    path = tmp_path / "run.json"
    path.write_text(json.dumps(with_parts(part(root="~/data"), part(root="~data"))))
    assert roots(path) == [f"{tmp_path}/data", "~data"]


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
        (with_data(xyzzy=1), "unknown option data.xyzzy; known are root_path, datasets, .*, crop, workers$"),
        (changed(task="ixf"), "^task: unknown task 'ixf'; use one of ivf, mef, mff, mif"),
        (with_data(datasets=["MINE"]), "^data.datasets: unknown task 'MINE'; .* name of a data set, such as IVF_MSRS"),
        (changed(size="bass"), "size must be one of base, small, .*got 'bass'"),
        (changed(task=3), "task must be str, got 3"),
        ({"task": "ivf"}, "missing option name"),
        ({"name": "run", "task": "ivf"}, "missing option data"),
        (changed(data={}), "missing option data.root_path, data.datasets"),
        (changed(loss=["max"]), "loss must be a JSON object, got list"),
        (
            with_parts({"parts": [{"parts": [part()]}]}),
            r"parts\[0\].parts\[0\]: parts of parts cannot hold parts again",
        ),
        (with_parts({"parts": [part(), part(wait=2)]}), r"parts\[0\].parts\[1\]: unknown option wait; did you mean"),
        ({**with_parts(part()), "loss": {"sim": 1}}, r"parts\[0\]: unknown option loss.sim; did you mean 'ssim'"),
        ({"name": "run", "parts": {}}, "parts must be a list, got {}"),
        ({"name": "run", "parts": []}, "parts must hold at least one part"),
        (with_parts(part(), 3), r"parts\[1\]: a part must be a JSON object, got int"),
        (with_parts(part(), {"task": "mef"}), r"parts\[1\]: missing option data"),
        (with_parts(part(wait=2)), r"parts\[0\]: unknown option wait; did you mean 'weight'?"),
        (with_parts(part(), part(weight=0)), r"parts\[1\]: weight must lie in 1e-06 .. 1e\+06, got 0"),
        (with_parts(part(crop=8)), r"parts\[0\]: data.crop must lie in 16 .. 4096, got 8"),
        (with_parts(part(), part("mef", crop=96)), "data.crop must be the same in all parts, got ivf: 64, mef: 96"),
        ([], "options must be a JSON object, got list"),
        (changed(train={"lr": True}), "train.lr must be float, got True"),
        (changed(train={"steps": 1.5}), "train.steps must be int, got 1.5"),
        (with_data(datasets="IVF"), "data.datasets must be a list, got 'IVF'"),
        (with_data(datasets=["IVF", 3]), r"data.datasets\[1\] must be str, got 3"),
        (changed(train={"lr": 0}), "train.lr must lie in 1e-12 .. 1e.06, got 0"),
        (changed(loss={"gradient": math.inf}), "loss.gradient must be a finite number, got inf"),
        (changed(train={"schedule": "steps"}), "train.schedule must be one of step, cosine, got 'steps'"),
        (with_data(exposures=0.5), "data.exposures makes pairs from the photographs in data.sharp_folder; name that"),
        (with_data(exposures=0.5, sharp_folder="x"), "data.exposures 0.5 and data.sharp_share 0.5 exclude each other"),
        (with_data(datasets=[]), "data.datasets is empty: name a data set, or give data.sharp_folder with sharp_share"),
        (with_data(datasets=["IVF", "IVF"]), "data.datasets names IVF twice; give a part a larger weight instead"),
        (with_data(datasets=["IVF", "MEF"]), "data.datasets: MEF is no data set of the part's task, ivf"),
        (with_data(sharp_folder="x"), "data.sharp_share makes pairs of task mff, the part's task is ivf; set it to 0"),
        (
            with_data(sharp_folder="x", sharp_share=0, exposures=1),
            "data.exposures makes pairs of task mef, the part's task is ivf; set it to 0",
        ),
        (
            changed(loss={"intensity": 0, "gradient": 0, "ssim": 0}),
            "loss has no term: give one of intensity, gradient, ssim, .*steady a weight above 0",
        ),
        (
            changed(log={"best": "VIFF+Qab"}),
            "log.best must be different names out of VIFF, .*PSNR_GT, loss, joined by .*; got 'VIFF.Qab'",
        ),
        (changed(log={"best": "VIFF+VIFF"}), "log.best must be different names"),
        (changed(log={"keep": 0}), "log.keep must lie in 1 .. 1e.06, got 0"),
        (changed(loss={"target": "sum"}), "loss.target must be one of max, mean.*, got 'sum'"),
        (
            changed(model={"output": "pyramyd"}),
            "model.output must be one of direct, pyramid, got 'pyramyd'; did",
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
    train = TrainOptions(steps=100, lr=1.0, warmup=4, schedule="step")
    assert [train.lr_at(step) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert [train.lr_at(step) for step in (4, 49, 50, 74, 75, 89, 90, 99)] == [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]


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


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"train": {"lr": 10**400}},
            "train.lr must be a number of at most 64 bits, got an integer of more",
        ),
        ({"model": {"channels": 4 * 10**9}}, "model.channels must lie in 4 .. 512, got 4000000000"),
        ({"loss": {"vif": 1e300}}, "loss.vif must lie in 0 .. 1e.06, got 1e.300"),
        (
            {"train": {"batch_size": 60000}, "data": {"crop": 4096}},
            "train.batch_size 60000 crops of data.crop 4096 x 4096",
        ),
        ({"train": {"schedule": "x" * 10**6}}, r"train.schedule must have at most 4096 characters, got 1000000"),
        ({"data": {"datasets": ["IVF"] * 2000}}, "data.datasets must have at most 1000 entries, got 2000"),
        ({"train": {"init": "a\nb"}}, r"train.init must not hold control characters, got 'a\\nb'"),
        ({"x" * 5000: 1}, r"unknown option 'xxxx.*\.\.\..*x'"),
        ({"parts": [{}] * 5000, "task": "ivf"}, "parts must be at most 100, got 5000"),
    ],
)
def test_absurd_values_are_refused_by_name_before_anything_is_made_of_them(changes, message):
    values = {**MINIMAL, **changes}
    values["data"] = {**MINIMAL["data"], **changes.get("data", {})}
    with pytest.raises(ValueError, match=message) as caught:
        parse_options(values)
    assert len(str(caught.value)) < 500


NO_NAMES = ("", ".", "..", " ", "/abs", "a/b", "a\\b", "C:", "a\nb", "a\x00", "\ud800", "x" * 201, "\u00e4" * 101)


@pytest.mark.parametrize("name", NO_NAMES)
def test_names_of_runs_are_names_of_folders(name):
    with pytest.raises(ValueError, match=r"^name must"):
        parse_options(changed(name=name))


def test_a_name_may_have_spaces_and_letters_of_any_language():
    assert parse_options(changed(name="Übung 1, 夜")).name == "Übung 1, 夜"


NO_RANGES = ([5, 5], [9, 1], ["1%", 3], ["99%", "1%"], ["-1%", "5%"], ["0%", "101%"], ["a%", "b%"], [1, 2, 3])


@pytest.mark.parametrize(
    "words, possible",
    [([], True), ([0, 4095], True), (["folder"], True), (["1%", "99.5%"], True)]
    + [([w], False) for w in ("1%", 3, "all")]
    + [(w, False) for w in NO_RANGES],
)
def test_ranges_of_the_data(words, possible):
    for key in ("range_a", "range_b"):
        if possible:
            assert list(getattr(parse_options(with_data(**{key: words})).parts[0].data, key)) == words
        else:
            with pytest.raises(ValueError, match=rf"data\.{key}: .*value range"):
                parse_options(with_data(**{key: words}))


def test_no_data_values():
    data = parse_options(with_data(no_data_a=-9999, no_data_b=None)).parts[0].data
    assert data.no_data_a == -9999.0 and data.no_data_b is None
    with pytest.raises(ValueError, match=r"data\.no_data_a must be float or null, got 'x'"):
        parse_options(with_data(no_data_a="x"))


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "run.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_a_byte_order_mark_is_accepted(tmp_path):
    text = json.dumps(MINIMAL)
    assert load_options(written(tmp_path, b"\xef\xbb\xbf" + text.encode())) == parse_options(MINIMAL)
    with pytest.raises(ValueError, match=r"run\.json: not JSON \(the file is not UTF-8 text\); save it as UTF-8"):
        load_options(written(tmp_path, text.encode("utf-16")))


@pytest.mark.parametrize(
    "text, message",
    [
        ('{"name": "a", "name": "b"}', "option 'name' stands twice in one object"),
        ('{"name": "a", "train": {"lr": 1, "steps": 2, "lr": 3}}', "option 'lr' stands twice in one object"),
        ('{"name": "a", "train": {"lr": 1' + "0" * 5000 + "}}", "train.lr must be a finite number, got inf"),
        ('{"name": "a", "train": {"steps": -1' + "0" * 5000 + "}}", "train.steps must be int, got -inf"),
        ('{"name": "a", "train": {"lr": NaN}}', "train.lr must be a finite number, got nan"),
        ("[" * 5000 + "]" * 5000, "brackets are nested too deeply|options must be a JSON object, got list"),
        (
            '{"name": "a", "train": {"lr": ' + "[" * 5000 + "]" * 5000 + "}}",
            "nested too deeply|train.lr must be float, got",
        ),
        ('{"name": "a", "parts": ' * 300 + "1" + "}" * 300, "parts must be a list, got {"),
        ('"' + "x" * 2**20 + '"', "is no options file: it has more than 1048576 bytes"),
    ],
)
def test_odd_files_are_one_clear_error(tmp_path, text, message):
    values = json.dumps({key: value for key, value in MINIMAL.items() if key != "name"})
    if text.startswith('{"name": "a", "train"'):
        text = f"{values[:-1]}, {text[1:]}"
    with pytest.raises(ValueError, match=message) as caught:
        load_options(written(tmp_path, text))
    assert "run.json" in str(caught.value) and len(str(caught.value)) < 500


def test_what_is_no_regular_file_is_never_opened(tmp_path):
    """Reading these would wait for ever, or fill the memory."""
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "zero.json").symlink_to("/dev/zero")
    for path in (tmp_path / "pipe.json", tmp_path / "zero.json", tmp_path):
        with pytest.raises(ValueError, match="is no regular file"):
            load_options(path)


def test_the_page_on_training_explains_every_option_of_the_loss():
    page = (Path(__file__).parents[1] / "docs/training.md").read_text(encoding="utf-8")
    assert [field.name for field in fields(LossOptions) if f"`{field.name}`" not in page] == []
