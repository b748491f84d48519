"""The size that a user asks for beside weights that have their own: it must be theirs, everywhere."""

import pytest
from tiny import write_ivf, write_weights

from adasffuse import load_fuser
from adasffuse.cli import main, task_script
from adasffuse.cli.export import make_parser as export_parser
from adasffuse.cli.video import make_parser as video_parser
from adasffuse.downstream.modalities import check_images, parse_modality
from adasffuse.models import DEFAULT_SIZE, SIZES, ModelOptions
from adasffuse.models.hub import load_network
from adasffuse.models.options import size_of
from adasffuse.models.weights import WeightsError

TINY = {key: getattr(SIZES["tiny"], key) for key in ("channels", "band_blocks", "full_blocks", "head_dim", "d_state")}


def test_the_size_of_a_network_is_its_width_and_depth():
    assert {name: size_of(options) for name, options in SIZES.items()} == {name: name for name in SIZES}
    assert size_of(ModelOptions(**TINY, patch=2)) == "tiny"
    assert size_of(ModelOptions(**TINY | {"channels": 24})) is None


def test_weights_have_their_own_size_and_no_other_may_be_asked_for(tmp_path):
    tiny = write_weights(tmp_path / "tiny.safetensors", "ivf", **TINY)
    other = write_weights(tmp_path / "other.safetensors", "ivf")
    for size in (None, "tiny"):
        assert load_fuser("ivf", size, tiny, "cpu").model.options.channels == 16
    with pytest.raises(WeightsError, match=r"tiny.safetensors holds a network of size 'tiny', not 'base'; leave out"):
        load_fuser("ivf", "base", tiny, "cpu")
    with pytest.raises(WeightsError, match=r"holds a network of size 'tiny', not ''; leave out size"):
        load_fuser("ivf", "", tiny, "cpu")
    with pytest.raises(WeightsError, match=r"of a size of its own \(8 channels\), not 'small'"):
        load_fuser("ivf", "small", other, "cpu")
    with pytest.raises(WeightsError, match=r"general_tiny.safetensors holds a network of size 'tiny', not 'small'"):
        load_fuser("ivf", "small", "general_tiny", "cpu")


def test_released_weights_named_without_a_size_take_the_one_asked_for():
    named = [("general", "tiny", "base"), ("general", None, "tiny"), (None, None, "tiny"), (None, None, DEFAULT_SIZE)]
    found = [load_network("ivf", weights, size, default)[1].stem for weights, size, default in named]
    assert found == ["general_tiny", "general_tiny", "general_tiny", "general_small"]


@pytest.mark.parametrize(
    "words",
    [
        "fuse A B -o out --task ivf",
        "fuse A B -o out --task ivf --dry_run",
        "stack A -o out --task mef",
        "video A B -o out --task ivf",
        "export --task ivf -o out.onnx",
        "compare A B --save_features out",
    ],
)
def test_every_command_refuses_another_size(words, tmp_path, capsys):
    base = write_ivf(tmp_path / "data", ("1", "2")) / "IVF"
    weights = write_weights(tmp_path / "mine.safetensors", "general")
    places = {"A": base / "infrared", "B": base / "visible", "out": tmp_path / "out", "out.onnx": tmp_path / "o.onnx"}
    argv = [str(places.get(word, word)) for word in words.split()]
    assert main.main([*argv, "--weights", str(weights), "--size", "base"]) == 1
    assert "mine.safetensors holds a network of a size of its own (8 channels), not 'base'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists() and not (tmp_path / "o.onnx").exists()


def test_scripts_refuse_another_size(tmp_path, capsys):
    base = write_ivf(tmp_path / "data", ("1",)) / "IVF"
    weights = write_weights(tmp_path / "mine.safetensors", "ivf")
    argv = ["--A_dir", base / "infrared", "--B_dir", base / "visible", "--save_dir", tmp_path / "out"]
    argv += ["--weights", weights, "--size", "tiny"]
    assert task_script.run("ivf", list(map(str, argv))) == 1
    assert "(8 channels), not 'tiny'" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_weights_of_any_size_serve_where_no_size_is_given(tmp_path):
    weights = write_weights(tmp_path / "mine.safetensors", "ivf")
    check_images(parse_modality(f"ours={weights}"), [])
    assert export_parser().parse_args(["--task", "ivf"]).size is None
    assert video_parser().parse_args(["a", "b"]).default_size == "tiny"
