"""README and docs: the commands that they show exist and take these options, Python lines run, links lead somewhere."""

import argparse
import re
import shlex
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from adasffuse.cli import score, task_script, train
from adasffuse.cli.main import COMMANDS
from adasffuse.images.write import write_image
from adasffuse.tasks import find_task

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [
    (page, language, text)
    for page in PAGES
    for language, text in re.findall(r"^```(\w+)\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
]


def commands(text: str) -> list[list[str]]:
    """Words of each command of a bash block, comments left out."""
    lines = text.replace("\\\n", " ").splitlines()
    return [words for words in (shlex.split(line, comments=True) for line in lines) if words]


def test_the_readme_is_short():
    text = PAGES[0].read_text(encoding="utf-8")
    words = re.sub(r"```.*?```|<!-- table.*?<!-- end -->", "", text, flags=re.S).split()
    assert len(words) < 800


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_those_of_the_programs(page, monkeypatch):
    """Parsed by each program's own parser, nothing is run."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    monkeypatch.setattr(argparse.ArgumentParser, "exit", lambda self, *_: pytest.fail(self.prog))
    blocks = [text for where, language, text in BLOCKS if where == page and language == "bash"]
    for words in (words for text in blocks for words in commands(text)):
        if "adasffuse" in words[:-1] and "install" not in words:  # the command, perhaps as `python -m adasffuse`
            verb, *rest = words[words.index("adasffuse") + 1 :]
            parser = import_module(f"adasffuse.cli.{COMMANDS[verb].module}").make_parser(f"adasffuse {verb}")
            parser.parse_args(rest[: rest.index(">")] if ">" in rest else rest)
            continue
        program = next((Path(word) for word in words if word.endswith((".py", ".sh"))), None)
        if program is None:  # pip, python -m venv
            continue
        assert (ROOT / program).is_file(), words
        arguments = words[words.index(str(program)) + 1 :]
        if program.name == "train_AdaSFFuse.py":
            args = train.parse_args(arguments)
            assert (ROOT / args.opt).is_file(), words
        elif program.name == "test_fusion_metrics.py":
            score.parse_args(arguments)
        elif program.name.startswith("test_"):
            task_script.parse_args(find_task(program.name.split("_")[1]), arguments)
        elif program.suffix == ".py":
            import_module(program.stem).parse_args(arguments)


def test_python_lines_of_the_readme_run(tmp_path, monkeypatch):
    (code,) = [text for page, language, text in BLOCKS if page == PAGES[0] and language == "python"]
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    images = {name: rng.integers(0, 256, (32, 40), np.uint8) for name in ("infrared", "visible", "dark", "middle")}
    images["bright"] = images["dark"] // 2
    write_image(tmp_path / "infrared.tif", images["infrared"].astype(np.uint16) * 4 + 7200, "16")
    write_image(tmp_path / "visible.png", images["visible"])
    values = dict(images)
    exec(compile(code, "README.md", "exec"), values)
    assert values["fused"].shape == (32, 40)
