"""Commands of README and docs: all are parsed by their programs; all but those of `NOT_RUN` run, on rendered files."""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import cv2
import pytest
from example_files import ROOT, write_example_files

from adasffuse.cli import score, task_script, train
from adasffuse.cli.main import COMMANDS, main
from adasffuse.tasks import find_task

PAGES = [ROOT / "README.md", ROOT / "README.zh-CN.md", *sorted((ROOT / "docs").glob("*.md"))]
INSTALLS = "makes or fills a virtual environment"
NETWORK = "needs the network"
DISPLAY = "needs a display; tests/test_video.py has a stand-in for it"
CAMERAS = "needs two cameras"
REPOSITORY = "writes the cards and pages of this repository; "
MACHINES = "needs two machines of eight GPUs"
EXPORTS = "takes minutes; tests/test_export.py exports smaller networks"
TRAINS = "takes minutes; tests/test_downstream.py trains on fewer frames"
MEASURES = "measures for minutes"
DATA = "needs MSRS, and an hour"

# Why a command is not run here, word by word as the pages have it.
NOT_RUN = {
    "bash scripts/test.sh": "runs these tests",
    "python3 -m venv .venv": INSTALLS,
    "python -m venv .venv": INSTALLS,
    "source .venv/bin/activate": INSTALLS,
    ".venv/bin/pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu": INSTALLS,
    ".venv/bin/pip install -e .": INSTALLS,
    'pip install -e ".[downstream]"': INSTALLS,
    'pip install -e ".[export]"': INSTALLS,
    'pip install -e ".[video]"': INSTALLS,
    ".venv/bin/mkdocs build --strict": "tests/test_docs.py runs it",
    "adasffuse data RoadScene --download archives --root datasets": NETWORK,
    "adasffuse video infrared.mp4 visible.mp4 --show": DISPLAY,
    "adasffuse video --camera_a 0 --camera_b 1 --show -o shown.mp4": CAMERAS,
    "adasffuse video --camera_a 0 --camera_b 1 -o fused.mp4": CAMERAS,
    "python scripts/update_cards.py scores.json": REPOSITORY + "tests/test_update_cards.py runs it on others",
    "python scripts/rank_beside_published.py IVF scores.json": "needs RoadScene; tests/test_write_tables.py runs it",
    "python scripts/write_tables.py": REPOSITORY + "tests/test_write_tables.py runs it on others",
    "torchrun --nnodes 2 --node_rank 0 --nproc_per_node 8 --master_addr HOST --master_port 29500 "
    "train_AdaSFFuse.py --opt options/train_AdaSFFuse_ivf.json": MACHINES,
    "srun --ntasks-per-node 1 torchrun --nnodes $SLURM_NNODES --nproc_per_node 8 --rdzv_backend c10d --rdzv_id "
    "$SLURM_JOB_ID --rdzv_endpoint HOST:29500 train_AdaSFFuse.py --opt options/train_AdaSFFuse_ivf.json": MACHINES,
    "adasffuse export --task ivf --size small --colour -o ivf_rgb.onnx": EXPORTS,
    "adasffuse export --task mef --size base -o mef.pt2": EXPORTS,
    "adasffuse export --task mff --sources 3 -o stack.onnx": EXPORTS,
    'adasffuse downstream DATA --task segment --out runs --groups day="*D" night="*N"': TRAINS,
    "adasffuse downstream DATA --task detect --out runs_boxes --modalities infrared visible average fused "
    "mine=FOLDER": TRAINS,
    "adasffuse downstream objects --task segment --out runs --size 128x96 --epochs 8 --seeds 1": TRAINS,
    "python scripts/benchmark_video.py --steadiness": MEASURES,
    "GOMP_SPINCOUNT=2000 python scripts/benchmark_video.py": MEASURES,
    "adasffuse downstream MSRS --task segment --classes msrs --out runs --modalities infrared visible "
    'average max fused fused_tiny fused_base --epochs 8 --groups day="*D" night="*N" --jobs 2': DATA,
    "python scripts/train_targets.py segmentation/MSRS detection/MSRS --task segment --classes msrs --steps 5000 "
    "--boxes IVF_M3FD=scripts/people/m3fd.json IVF_NIR=scripts/people/nir.json --also_boxes "
    "IVF=scripts/people/roadscene.json --weights general_tiny general_small general_base "
    "--out tiny.safetensors small.safetensors base.safetensors": DATA,
    "python scripts/score_people.py detection/M3FD IVF_M3FD=scripts/people/m3fd.json IVF=scripts/people/roadscene.json "
    "detection/LLVIP detection/MSRS --weights general_tiny general_small general_base": DATA,
}
# Run with -m slow: seconds to minutes each.
SLOW = (
    "bash scripts/demo.sh",
    "torchrun --nproc_per_node 4 -m adasffuse fuse infrared visible -o fused",
    "torchrun --nproc_per_node 4 train_AdaSFFuse.py --opt options/train_AdaSFFuse_ivf.json",
    "adasffuse export --task ivf --size small -o ivf.onnx",
    "python scripts/score_weights.py --weights general --size small --root_path DATA/test "
    "--datasets IVF IVF_MSRS IVF_LLVIP MEF MFF MIF --every IVF_LLVIP=2 --json scores.json",
)
ENLARGED = {"data.md": (384, 256)}  # width, height; its comparison names a box
THERMAL = {"files.md": "radiometric"}  # what is called `thermal` on a page, else counts of 16 bits
SMALL = (80, 104)  # height, width


@dataclass(frozen=True)
class Command:
    """A command of a page, in parts."""

    text: str
    settings: dict[str, str]  # environment variables before it
    words: tuple[str, ...]
    output: str = ""  # file that > names


def command_of(text: str) -> Command:
    words = shlex.split(text)
    settings = {}
    while "=" in words[0]:
        name, value = words.pop(0).split("=", 1)
        settings[name] = value
    if ">" in words:
        return Command(text, settings, tuple(words[: words.index(">")]), words[-1])
    return Command(text, settings, tuple(words))


def commands_on(page: Path) -> list[Command]:
    """Those of the bash blocks; && joins two."""
    found = []
    for block in re.findall(r"^```bash\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S):
        lines = re.sub(r"(^|\s)#.*", "", block.replace("\\\n", " "), flags=re.M).splitlines()
        found += [command_of(" ".join(text.split())) for line in lines for text in line.split("&&") if text.strip()]
    return found


def called(command: Command) -> tuple[str, list[str]]:
    """Program and arguments, without the interpreter: 'adasffuse', a script's path, or 'pip', 'ruff', 'mkdocs'."""
    words = list(command.words)
    if words[0] == "srun":
        words = words[words.index("torchrun") :]
    if words[0] == "torchrun":
        run = import_module("torch.distributed.run").get_args_parser().parse_args(words[1:])
        return run.training_script, run.training_script_args
    if words[0] in ("python", "python3", "bash"):
        words = words[2:] if words[1] == "-m" else words[1:]
    name = words[0].removeprefix(".venv/bin/")
    return name, words[1:]


def parse(command: Command) -> None:
    """Parse with the program's own parser; nothing is run."""
    program, arguments = called(command)
    if program == "adasffuse":
        verb, *rest = arguments
        import_module(f"adasffuse.cli.{COMMANDS[verb].module}").make_parser(f"adasffuse {verb}").parse_args(rest)
    elif program.endswith((".py", ".sh")):
        assert (ROOT / program).is_file(), command.text
        name = Path(program).stem
        if name == "train_AdaSFFuse":
            assert (ROOT / train.make_parser().parse_args(arguments).opt).is_file(), command.text
        elif name == "test_fusion_metrics":
            score.parse_args(arguments)
        elif name.startswith("test_"):
            task_script.parse_args(find_task(name.split("_")[1]), arguments)
        elif program.endswith(".py"):
            import_module(name).parse_args(arguments)
    else:
        assert program in ("pip", "venv", "source", "ruff", "mkdocs", "mkdir"), f"who runs {command.text!r}?"


def run(command: Command) -> int:
    """Run in this process and this folder, but for what the repository itself is checked by; the exit status."""
    program, arguments = called(command)
    if program == "ruff":
        return subprocess.run([sys.executable, "-m", "ruff", *arguments], cwd=ROOT).returncode
    if program == "mkdir":
        for folder in arguments[1:]:  # the first one is -p
            Path(folder).expanduser().mkdir(parents=True, exist_ok=True)
        return 0
    call = main if program == "adasffuse" else import_module(Path(program).stem).main
    with redirect_stdout(open(Path(command.output).expanduser(), "w") if command.output else sys.stdout):
        return call(list(map(os.path.expanduser, arguments))) or 0


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    """The folder of example files."""
    for package in ("av", "flyr", "nibabel", "pydicom", "shtab", "matplotlib"):
        pytest.importorskip(package)
    root = tmp_path_factory.mktemp("examples")
    write_example_files(root, SMALL)
    return root


@pytest.fixture
def reader(examples, tmp_path, tmp_path_factory, monkeypatch):
    """A function that makes a folder of example files the current one, and its folder `home` the user's."""
    cache = tmp_path_factory.getbasetemp() / "cache"  # of scores: pages score the same images

    def enter(page: str) -> Path:
        folder = tmp_path / "reader"
        shutil.copytree(examples, folder, symlinks=True)
        for name in ("thermal", "rgb", "results/IVF", "OTHER/IVF") if page in ENLARGED else ():
            for path in (folder / name).iterdir():
                image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
                cv2.imwrite(str(path), cv2.resize(image, ENLARGED[page]))
        if page in THERMAL:
            shutil.rmtree(folder / "thermal")
            shutil.copytree(folder / THERMAL[page], folder / "thermal")
        monkeypatch.chdir(folder)
        monkeypatch.setenv("HOME", str(folder / "home"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
        return folder

    return enter


def test_all_blocks_are_of_a_known_language():
    """So that no command hides in a block that is not read."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for language, block in re.findall(r"^ *```(\w*)\n(.*?)^ *```", text, re.M | re.S):
            assert language in ("bash", "python", "bibtex", "bat", ""), page
            assert language or not re.search(r"^\W*(adasffuse|python|bash|pip|torchrun) ", block, re.M), page


def test_what_is_not_run_is_on_a_page():
    texts = {command.text for page in PAGES for command in commands_on(page)}
    assert [text for text in (*NOT_RUN, *SLOW) if text not in texts] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_those_of_the_programs(page, monkeypatch):
    monkeypatch.setattr(argparse.ArgumentParser, "exit", lambda self, *_: pytest.fail(self.prog))
    for command in commands_on(page):
        parse(command)
    text = page.read_text(encoding="utf-8")
    for inline in re.findall(r"`(python \S+\.py [^`]+)`", text):
        parse(command_of(inline))
    assert [name for name in re.findall(r"\b(?:scripts|tests)/\w+\.\w+", text) if not (ROOT / name).is_file()] == []
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.findall(r"\.\[(\w+)\]", text)) <= set(extras)


def commands_to_run() -> dict[Path, list[Command]]:
    """Of each page; what several pages have is run on the first of them."""
    seen = {*NOT_RUN, *SLOW}
    found = {}
    for page in PAGES:
        new = [command for command in commands_on(page) if command.text not in seen]
        found |= {page: new} if new else {}
        seen |= {command.text for command in new}
    return found


@pytest.mark.parametrize(("page", "commands"), commands_to_run().items(), ids=[page.name for page in commands_to_run()])
def test_commands_run(page, commands, reader):
    """One after the other, as a reader of the page does."""
    reader(page.name)
    for command in commands:
        assert run(command) == 0, command.text


@pytest.mark.slow
@pytest.mark.parametrize("text", SLOW)
def test_slow_commands_run(text, reader):
    """As a shell runs them, in a folder that looks like a clone with example files."""
    page = next(page for page in PAGES if text in {command.text for command in commands_on(page)})
    folder = reader(page.name)
    binaries = Path(sys.executable).parent
    for path in (ROOT / "adasffuse", ROOT / "scripts", ROOT / "pyproject.toml", *ROOT.glob("*.py")):
        (folder / path.name).symlink_to(path)
    if not (binaries / "activate").is_file() and text.startswith("bash"):
        pytest.skip("no virtual environment")
    (folder / ".venv").mkdir()
    (folder / ".venv/bin").symlink_to(binaries)
    checksum = subprocess.run(["cksum", "pyproject.toml"], cwd=ROOT, capture_output=True, text=True).stdout.split()[0]
    (folder / f".venv/installed-plots-{checksum}").touch()
    path = f"{binaries}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", text], env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
