"""Which part of the repository may import which: a room of the package knows nothing of those above it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "adasffuse"
# Single files of the package, at its bottom.
TABLES = {"choices", "tasks", "options", "arguments", "device", "messages", "files", "installation", "process"}
BELOW = {  # room: what its files may import, beside themselves
    "choices": set(),
    "options": set(),
    "arguments": {"options"},
    "tasks": {"arguments"},
    "device": {"choices"},
    "messages": set(),
    "files": {"messages"},
    "installation": set(),
    "process": {"messages"},
    "images": TABLES,
    "classical": TABLES | {"images"},
    "scenes": TABLES | {"images"},
    "models": TABLES | {"classical"},
    "losses": TABLES | {"classical"},
    "data": TABLES | {"images", "scenes"},
    "metrics": TABLES | {"images", "classical", "scenes"},
    "registration": TABLES | {"images"},
    "inference": TABLES | {"images", "models", "classical", "registration"},
    "export": TABLES | {"images", "models", "inference"},
    "training": TABLES | {"images", "models", "losses", "data", "metrics"},
    "demo": TABLES | {"images", "models", "metrics", "data", "registration", "inference"},
    "downstream": TABLES | {"images", "models", "classical", "metrics", "inference"},
    "cli": TABLES
    | {"images", "models", "classical", "scenes", "data", "metrics", "registration", "inference", "export", "training"}
    | {"demo", "downstream"},
}
PROGRAMS = [*ROOT.glob("*.py"), *(ROOT / "scripts").glob("*.py")]


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Module and name of every import in a file, wherever it stands; the name is '' for a whole module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from ((node.module, alias.name) for alias in node.names)


def room_of(module: str) -> str:
    return module.split(".")[1]


def test_every_room_has_its_place():
    files = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert files | {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == set(BELOW)


@pytest.mark.parametrize("room", BELOW)
def test_a_room_imports_only_what_lies_below(room):
    folder = PACKAGE / room
    for path in folder.rglob("*.py") if folder.is_dir() else [folder.with_suffix(".py")]:
        for module, name in imports(path):
            if module.split(".")[0] == "adasffuse":
                imported = room_of(f"{module}.{name}")
                assert imported == room or imported in BELOW[room], f"{path.relative_to(ROOT)} imports {module}"


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.name)
def test_a_script_uses_public_names_and_no_other_program(path):
    beside, ours = {other.stem: other for other in PROGRAMS}, set()
    for module, name in imports(path):
        top = module.split(".")[0]
        if top == "adasffuse" or top in beside:
            assert not any(part.startswith("_") for part in (*module.split("."), name)), f"{module}.{name}"
            ours.add(name or module)
        if top in beside:
            source = beside[top].read_text(encoding="utf-8")
            assert "__main__" not in source, f"imports the program {top}.py; share a module without main"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ours:
            assert not node.attr.startswith("_"), f"{node.value.id}.{node.attr}"
