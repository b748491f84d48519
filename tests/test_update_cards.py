"""scripts/update_cards.py: scores go onto the card of the very file that was scored, and nothing else changes."""

import json
from pathlib import Path

import pytest
import update_cards

SHA = {"general_small": "a" * 64, "mff_small": "b" * 64}


@pytest.fixture
def cards(tmp_path, monkeypatch):
    """Two cards; a function that calls update_cards.py with files of scores and returns status and cards."""
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setattr(update_cards, "RELEASED", folder)
    for name, sha in SHA.items():
        task, size = name.split("_")
        card = {"task": task, "size": size, "sha256": sha, "convention": "adasffuse", "scored_in": "bfloat16"}
        (folder / f"{name}.json").write_text(json.dumps(card | {"scores": {"MFF": 1, "IVF": 2}, "limits": "x"}))

    def call(*measured: dict, options: tuple[str, ...] = ()) -> tuple[int, dict]:
        files = []
        for number, content in enumerate(measured):
            files.append(str(tmp_path / f"{number}.json"))
            Path(files[-1]).write_text(json.dumps(content))
        status = update_cards.main([*files, *options])
        return status, {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}

    return call


def measured(names: tuple[str, ...], sets: dict, precision: str = "bfloat16 on cpu") -> dict:
    weights = {f"{name}.safetensors": SHA.get(name, "c" * 64) for name in names}
    return {"weights": weights, "precision": precision, "convention": "adasffuse", "sets": sets}


def test_scores_reach_their_card_and_nothing_else_changes(cards):
    status, after = cards(measured(("general_small",), {"MFF": {"pairs": 10}, "MEF": {"pairs": 15}}))
    assert status == 0
    assert after["general_small"]["scores"] == {"IVF": 2, "MFF": {"pairs": 10}, "MEF": {"pairs": 15}}
    assert after["general_small"]["limits"] == "x" and after["mff_small"]["scores"] == {"MFF": 1, "IVF": 2}


def test_several_files_of_scores_replace_all(cards):
    files = [measured(("general_small",), {name: {"pairs": 3}}, "float32 on cuda") for name in ("IVF", "MEF")]
    status, after = cards(*files, options=("--replace",))
    assert status == 0 and after["general_small"]["scores"] == {"IVF": {"pairs": 3}, "MEF": {"pairs": 3}}
    assert after["general_small"]["scored_in"] == "float32"


def test_sets_of_several_weights_go_to_the_file_of_their_task(cards):
    """As they are scored without `--weights`: the task's own file where there is one, else the general one."""
    sets = {"MFF": {"pairs": 10}, "IVF_MSRS": {"pairs": 25}, "MIF/CT-MRI": {"pairs": 20}}
    _, after = cards(measured(("general_small", "mff_small"), sets), options=("--replace",))
    assert set(after["mff_small"]["scores"]) == {"MFF"}
    assert set(after["general_small"]["scores"]) == {"IVF_MSRS", "MIF/CT-MRI"}


@pytest.mark.parametrize(
    "content, message",
    [
        ({"methods": {}}, "holds no scores of weights; score_weights.py --json writes them"),
        (measured(("other",), {"IVF": {}}), "scores of other.safetensors, SHA-256 cccccccccccc; no card in weights/"),
        (
            measured(("mff_small",), {"MFF": {}}, "float32 on cpu"),
            "scored_in is float32, but bfloat16 on the card of mff small for IVF; score these sets too, or drop them",
        ),
    ],
)
def test_what_does_not_fit_changes_no_card(cards, content, message, capsys):
    status, after = cards(measured(("general_small",), {"MEF": {}}), content)
    assert status == 1 and message in capsys.readouterr().err
    assert [card["scores"] for card in after.values()] == [{"MFF": 1, "IVF": 2}] * 2
