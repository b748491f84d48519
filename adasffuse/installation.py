"""How optional packages are installed: the command that every message about a missing one gives."""

from pathlib import Path

_TOP = Path(__file__).resolve().parents[1]  # of a clone, or the folder that packages are installed in


def install_command(extra: str) -> str:
    """The command that installs the packages of an extra, such as 'video'.

    In a clone it names the clone's folder. Elsewhere it names this package, which pip then finds installed: no index
    needs to hold it.
    """
    project = _TOP / "pyproject.toml"
    if not project.is_file() or 'name = "adasffuse"' not in project.read_text(encoding="utf-8"):
        return f'pip install "adasffuse[{extra}]"'
    clone = "." if Path.cwd() == _TOP else _TOP
    return f'pip install -e "{clone}[{extra}]"'
