"""Scoring how people show: contrasts of all people together, and what else is raised."""

import json
from pathlib import Path

import numpy as np
import pytest
import score_people as script

from adasffuse.downstream.frames import Frame
from adasffuse.images.boxes import Annotation, Box
from adasffuse.images.write import write_image

BOXES = (Box("People", 8, 8, 16, 16), Box("ignored", 24, 0, 32, 8), Box("car", 0, 24, 16, 32))


def frame(shape: tuple[int, int], boxes: tuple[Box, ...]) -> Frame:
    return Frame("a", {}, shape, boxes=Annotation(Path("a.xml"), shape, boxes))


def test_contrasts_and_raised_pixels_by_hand():
    infrared, bare = np.full((32, 32), 20, np.uint8), np.full((32, 32), 50, np.uint8)
    infrared[8:16, 8:16] = 120
    shown = bare.copy()
    shown[8:16, 8:16] += 70
    shown[24:28, :4] += 8  # as much as does not count
    shown[28:32, :4] += 9
    shown[:8, 24:] += 99  # in a box that may hold people
    found = script.seen_in(infrared, bare, shown, frame((32, 32), BOXES))
    assert found == (100, 0, 70, 16, 32 * 32 - 2 * 64)
    scores = script.row([found, script.Seen(300, 30, 330, 0, 1104), script.Seen(0, 0, 0, 0, 1000)])
    assert scores == pytest.approx(
        {"bare": 30 / 400, "retention": 400 / 400, "mean": (0.7 + 1.1) / 2, "elsewhere": 1000 * 16 / 3000}
    )


def test_equal_sources_keep_people_and_raise_nothing(tmp_path, capsys):
    image = np.random.default_rng(0).integers(20, 60, (48, 64)).astype(np.uint8)
    image[8:24, 8:16] += 150
    for kind in ("infrared", "visible"):
        write_image(tmp_path / "data" / kind / "a.png", image)
    coco = {
        "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 48}],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [8, 8, 8, 16]}],
    }
    file = tmp_path / "boxes.json"
    file.write_text(json.dumps(coco))
    table = tmp_path / "table.md"
    words = [f"{tmp_path / 'data'}={file}", "--weights", "general_tiny", "--device", "cpu", "--markdown", str(table)]
    assert script.main(words) == 0
    assert table.read_text(encoding="utf-8").splitlines()[-1] == "| general_tiny | 1.000 | 1.000 | 1.000 | 0.000 |"

    (tmp_path / "data/visible/a.png").rename(tmp_path / "a.png")
    assert script.main(words) == 1
    assert "a: has no infrared or no visible image; both are needed" in capsys.readouterr().err
    assert script.main([str(tmp_path / "data"), "--weights", "general_tiny"]) == 1
    assert "holds no boxes" in capsys.readouterr().err
