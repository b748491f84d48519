"""Lay a published data set out for training, fusing and scoring.

  adasffuse data --list                                  all known sets: pairs, page, terms, what to download
  adasffuse data MSRS --source ~/MSRS-main --root datasets
  adasffuse data MSRS --download archives --root datasets

Writes ROOT/train/TASK_NAME/FOLDER and ROOT/test/TASK_NAME/FOLDER as links to the source's files.
"""

import argparse
import shutil
import sys
import zipfile
import zlib
from contextlib import ExitStack
from pathlib import Path

from adasffuse.cli.arguments import Parser, given_path
from adasffuse.cli.shared import ended_by
from adasffuse.data.datasets import CATALOG, find_data_set, prepare
from adasffuse.data.datasets.catalog import DataSet
from adasffuse.data.datasets.download import download
from adasffuse.files import check_outputs, real_path
from adasffuse.images.image import ImageError
from adasffuse.inference.results import alone_in_folder
from adasffuse.messages import counted, printable
from adasffuse.process import say, say_all_notices
from adasffuse.tasks import TASKS

_SHOWN = 20  # problems that are listed


def make_parser(prog: str | None = None) -> argparse.ArgumentParser:
    parser = Parser(prog=prog, description=__doc__)
    parser.add_argument("name", nargs="?", metavar="NAME", help="name of the data set, see --list")
    parser.add_argument("--list", action="store_true", help="describe all sets, or the one named, and exit")
    parser.add_argument("--source", type=Path, metavar="DIR", help="folder to which its archive was unpacked")
    parser.add_argument("--root", type=given_path, metavar="DIR", help="folder that gets train/ and test/")
    parser.add_argument(
        "--download",
        type=given_path,
        metavar="DIR",
        help="first download the archive to this folder and unpack it, where that is possible",
    )
    parser.add_argument(
        "--copy",
        action="store_true",
        help="copy the files instead of linking to them; done anyway where links are impossible",
    )
    parser.add_argument("--quick", action="store_true", help="read only the headers of the images, decode none")
    return parser


def run(argv: list[str] | None = None, prog: str | None = None) -> int:
    """Prepare a data set; the exit status: 0, or 1 where something is wrong with it."""
    parser = make_parser(prog)
    args = parser.parse_args(argv)
    asked = [name for name in ("source", "root", "download", "copy", "quick") if getattr(args, name)]
    if args.name is None and asked:
        parser.error(f"--{asked[0]} is for one data set; name it, --list describes all")
    if args.source is not None and args.download is not None:
        parser.error("--source names what is there and --download fetches it; give one of them")
    try:
        if args.list or args.name is None:
            chosen = [find_data_set(args.name)] if args.name else list(CATALOG.values())
            say("\n\n".join(described(data_set) for data_set in chosen))
            return 0
        data_set = find_data_set(args.name)
        if args.root is None or (args.source is None and args.download is None):
            parser.error("give --root, and --source DIR or --download DIR")
        check_outputs(folders={"--root": args.root, "--download": args.download})
        with ExitStack() as stack:
            for folder in {real_path(folder) for folder in (args.download, args.root) if folder is not None}:
                stack.enter_context(alone_in_folder(folder))
            source = args.source or _downloaded(data_set, args.download)
            result = prepare(data_set, source, args.root, args.copy, not args.quick)
    except (ValueError, OSError) as error:
        return ended_by(error)
    for part, folder in zip(result.counts, result.folders):
        say(f"{data_set.name}: {counted(result.counts[part], 'pair')} -> {printable(folder)}")
    say_all_notices(result.notices)
    for problem in result.problems[:_SHOWN]:
        say(f"problem: {printable(problem)}", sys.stderr)
    if len(result.problems) > _SHOWN:
        say(f"problem: and {len(result.problems) - _SHOWN} more", sys.stderr)
    say(f"terms: {data_set.terms} ({data_set.page})")
    return int(bool(result.problems))


def described(data_set: DataSet) -> str:
    """What a user should know before downloading a set, as lines."""
    lines = [
        f"{data_set.name}: {TASKS[data_set.task].title}, {data_set.pairs}, {data_set.size} pixels",
        f"  page      {data_set.page}",
        f"  terms     {data_set.terms}",
        f"  download  {data_set.get}" + (f"; or --download, from {data_set.url}" if data_set.url else ", by hand"),
    ]
    lines += [f"  pairs     {data_set.rule}"] if data_set.rule else []
    lines += [f"  note      {data_set.note}"] if data_set.note else []
    return "\n".join(lines)


def _downloaded(data_set: DataSet, folder: Path) -> Path:
    """The folder of the downloaded and unpacked archive."""
    if not data_set.url:
        raise ValueError(
            f"{data_set.name} has no plain address; download {data_set.get} by hand at {data_set.page}, unpack it and "
            "give --source"
        )
    archive, target = folder / f"{data_set.name}.zip", folder / data_set.name
    if not archive.is_file():
        say(f"{printable(archive)}: SHA-256 {download(data_set.url, archive)} (its owners publish none to compare)")
    if not target.is_dir():
        partial = target.with_name(f"{target.name}.part")
        try:
            with zipfile.ZipFile(archive) as file:
                file.extractall(partial)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise ImageError(f"{archive}: no whole ZIP archive ({error}); remove it, and download it again") from error
        partial.replace(target)
    return target
