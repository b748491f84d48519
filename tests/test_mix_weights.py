"""Mixed weights are the mean of the parameters, and a weaker residual is the decoder's image times a factor."""

import json
from dataclasses import replace

import pytest
import torch
from mix_weights import main as mix
from safetensors import safe_open
from tiny import network, write_weights

from adasffuse.models.weights import load_weights, read_record
from adasffuse.tasks import KINDS


def test_a_mean_weighted_by_shares(tmp_path):
    a, b = (write_weights(tmp_path / f"{name}.safetensors", "ivf", seed=seed) for name, seed in (("a", 1), ("b", 2)))
    out = tmp_path / "mean.safetensors"
    assert mix([f"{a}=1", f"{b}=3", "--out", str(out)]) == 0
    mixed, task = load_weights(out)
    assert task == "ivf"
    first, second = (network(seed).state_dict() for seed in (1, 2))
    for name, value in mixed.state_dict().items():
        torch.testing.assert_close(value, 0.25 * first[name] + 0.75 * second[name])
    with safe_open(out, framework="pt") as file:
        record = json.loads(file.metadata()["record"])
    assert record == {"mean_of": [{"share": 1.0, "steps": 0, "seed": 0}, {"share": 3.0, "steps": 0, "seed": 0}]}


def test_weights_are_not_replaced_by_what_is_made_of_them(tmp_path, capsys):
    start = write_weights(tmp_path / "a.safetensors", "ivf", output="pyramid")
    before = start.read_bytes()
    assert mix([str(start), "--residual", "0.25", "--out", str(tmp_path / "x/../a.safetensors")]) == 1
    assert "would overwrite an input; choose another name" in capsys.readouterr().err
    assert start.read_bytes() == before


def test_a_weaker_residual(tmp_path):
    start = write_weights(tmp_path / "a.safetensors", "ivf", output="pyramid")
    out = tmp_path / "calm.safetensors"
    assert mix([str(start), "--residual", "0.25", "--out", str(out)]) == 0
    whole, calm = network(output="pyramid"), load_weights(out)[0]
    a, b = torch.rand(2, 1, 1, 32, 32)
    with torch.no_grad():
        decoded, weaker = (model.weight_maps(torch.stack([a, b]))[0] for model in (whole, calm))
    torch.testing.assert_close(weaker, 0.25 * decoded, atol=1e-5, rtol=0)
    assert decoded.abs().max() > 1e-2


def test_sharper_decisions_of_some_kinds(tmp_path):
    start = write_weights(tmp_path / "a.safetensors", "general", patch=2, kinds=KINDS)
    out = tmp_path / "sharp.safetensors"
    changes = ["--logits", "focus=8", "--fine_logits", "infrared=2", "--residual_of", "focus=0"]
    assert mix([str(start), *changes, "--out", str(out)]) == 0
    whole, sharp = network(patch=2, kinds=KINDS), load_weights(out)[0]
    sources = torch.rand(2, 1, 1, 32, 32)
    with torch.no_grad():
        (residual, *before), after = (m.weight_maps(sources, ("focus", "focus")) for m in (whole, sharp))
        assert residual.abs().max() > 1e-2 and len(after) == len(before)
        for logits, sharper in zip(before[:-1], after[:-1]):
            torch.testing.assert_close(sharper, 8 * logits)
        kinds = ("infrared", "visible")
        (_, *before), (_, *after) = (m.weight_maps(sources, kinds) for m in (whole, sharp))
        for band, (logits, sharper) in enumerate(zip(before[:-1], after[:-1])):
            torch.testing.assert_close(sharper[0], logits[0] * (2 if band < 3 else 1))
            torch.testing.assert_close(sharper[1], logits[1])
    with safe_open(out, framework="pt") as file:
        record = json.loads(file.metadata()["record"])
    assert record["logits"] == {"focus": 8} and record["fine_logits"] == {"infrared": 2}


def test_exposures_are_chosen_more_by_exposure_alone(tmp_path):
    options = {"patch": 2, "kinds": KINDS, "exposure": True}
    start, out = write_weights(tmp_path / "a.safetensors", "general", **options), tmp_path / "lit.safetensors"
    changes = ["--residual_of", "exposure=0.25", "--exposure_power", "-0.25"]
    assert mix([str(start), *changes, "--out", str(out)]) == 0
    whole, lit = network(**options), load_weights(out)[0]
    sources = torch.rand(2, 1, 1, 32, 32)
    with torch.no_grad():
        before, after = (model.weight_maps(sources, ("exposure", "exposure")) for model in (whole, lit))
        others = [model(*sources, kinds=("infrared", "visible")) for model in (whole, lit)]
    for number, (own, changed) in enumerate(zip(before, after, strict=True)):  # residual, logits, powers, octaves
        torch.testing.assert_close(changed, own * (1 if number else 0.25) - (0.25 if 5 <= number < 9 else 0))
    assert torch.equal(*others)
    with pytest.raises(SystemExit):
        mix([str(start), "--exposure_power", "nan", "--out", str(out)])
    unfit = write_weights(tmp_path / "b.safetensors", "mff", patch=2)
    assert mix([str(unfit), "--exposure_power", "1", "--out", str(out)]) == 2


def test_sharper_decisions_without_a_decoder(tmp_path):
    start, out = write_weights(tmp_path / "a.safetensors", "mff", patch=2), tmp_path / "sharp.safetensors"
    assert mix([str(start), "--all_logits", "8", "--residual", "0", "--out", str(out)]) == 0
    whole, sharp = network(patch=2), load_weights(out)[0]
    sources = torch.rand(2, 1, 1, 32, 32)
    with torch.no_grad():
        (_, *before), after = whole.weight_maps(sources), sharp.weight_maps(sources)
    assert sharp.decode is None and len(after) == len(before)
    for logits, sharper in zip(before[:-1], after[:-1]):  # the last one is the octaves' share
        torch.testing.assert_close(sharper, 8 * logits)
    torch.testing.assert_close(after[-1], before[-1])


def test_less_trust_in_the_dark(tmp_path):
    start = write_weights(tmp_path / "a.safetensors", "general", patch=2, kinds=KINDS)
    out, again = tmp_path / "night.safetensors", tmp_path / "again.safetensors"
    assert mix([str(start), "--dark", "visible=2", "--out", str(out)]) == 0
    assert mix([str(out), "--dark", "visible=1", "--out", str(again)]) == 0
    models = [network(patch=2, kinds=KINDS), load_weights(out)[0], load_weights(again)[0]]
    sources = torch.stack([torch.rand(1, 1, 32, 64), 0.3 * torch.rand(1, 1, 32, 64)])
    with torch.no_grad():
        maps = [model.weight_maps(sources, ("infrared", "visible")) for model in models]
        fused = [model(*sources, kinds=("infrared", "visible")) for model in models]
    for own, others in zip(maps[0], zip(*maps[1:])):
        assert all(torch.equal(own, other) for other in others)
    assert models[0].base_logit(("infrared", "visible")) is None
    base = torch.zeros(2, 1, 1, 2, 2)
    for model, logit in zip(models[1:], (2, 1)):
        added = model.base_logit(("infrared", "visible"))(base)
        torch.testing.assert_close(added.flatten(), torch.tensor([0.0] * 4 + [logit] * 4))
        assert not model.base_logit(("focus", "focus"))(base).any()
    assert not torch.equal(fused[1], fused[0]) and not torch.equal(fused[2], fused[1])


def test_hot_things_are_shown(tmp_path):
    start = write_weights(tmp_path / "a.safetensors", "general", patch=2, kinds=KINDS)
    assert mix([str(start), "--hot", "infrared=6", "visible=1", "--out", str(tmp_path / "hot.safetensors")]) == 0
    model = load_weights(tmp_path / "hot.safetensors")[0]
    assert model.options == replace(network(patch=2, kinds=KINDS).options, hot=True)
    assert model.kinds.hot.tolist() == [{"infrared": 6, "visible": 1}.get(kind, 0) for kind in KINDS]
    assert read_record(tmp_path / "hot.safetensors")["hot"] == {"infrared": 6, "visible": 1}


@pytest.mark.parametrize(
    "files, options, message",
    [
        (["a=x"], [], "a=x: expected FILE or FILE=SHARE with a number"),
        (["a=0"], [], "a=0: the share must be positive"),
        (["none.safetensors"], [], "weights file none.safetensors does not exist"),
        (["{a}", "{b}"], [], "b.safetensors was trained for task 'mef', "),
        (["{a}", "{c}"], [], "a.safetensors: residual False where True is asked for"),
        (["{c}"], ["--residual", "0.5"], "c.safetensors has none"),
        (["{a}"], ["--logits", "focus=8"], "the network knows no kind focus; it knows none"),
        (["{d}"], ["--residual", "0"], "d.safetensors is a decoder alone"),
        (["{d}"], ["--all_logits", "8"], "d.safetensors is a decoder alone"),
    ],
)
def test_what_cannot_be_mixed_is_refused(tmp_path, capsys, files, options, message):
    shapes = {"a": ("ivf", {}), "b": ("mef", {}), "c": ("ivf", {"residual": False}), "d": ("ivf", {"output": "direct"})}
    paths = {n: write_weights(tmp_path / f"{n}.safetensors", task, **changes) for n, (task, changes) in shapes.items()}
    out = tmp_path / "out.safetensors"
    of_files = any(word in message for word in ("does not exist", "'mef'", "residual False"))
    status = mix([*(name.format(**paths) for name in files), *options, "--out", str(out)])
    assert status == (1 if of_files else 2)
    assert message in capsys.readouterr().err and not out.exists()
