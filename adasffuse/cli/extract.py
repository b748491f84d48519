"""Take temperatures and photographs out of FLIR's radiometric JPEG files.

  adasffuse extract camera -o pairs           pairs/infrared/NAME.tif in degrees C, pairs/visible/NAME.png
  adasffuse fuse pairs/infrared pairs/visible -o fused --range_a folder --align affine

The photograph shows more of the scene than the thermal image and has another size, hence --align.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import tifffile

from adasffuse.cli.arguments import SourcesParser, add_out_option
from adasffuse.cli.shared import ended_by
from adasffuse.files import check_outputs, remove_abandoned, replacing_all
from adasffuse.images.flir import read_shot
from adasffuse.images.folders import images_of
from adasffuse.images.image import ImageError
from adasffuse.images.notices import few_of_each
from adasffuse.images.write import write_image
from adasffuse.inference.results import alone_in_folder
from adasffuse.messages import printable
from adasffuse.process import say

_SUFFIXES = (".jpg", ".jpeg")


def make_parser(prog: str | None = None) -> argparse.ArgumentParser:
    parser = SourcesParser(prog=prog, description=__doc__)
    parser.add_argument(
        "sources", nargs="+", type=Path, metavar="FILES", help="radiometric JPEG files, or a folder of such files"
    )
    add_out_option(parser, "DIR", "folder that gets infrared/ and visible/", required=True)
    return parser


def run(argv: list[str] | None = None, prog: str | None = None) -> int:
    """Write what the files hold; the exit status: 0, or 1 where a file holds no temperatures."""
    args = make_parser(prog).parse_args(argv)
    failed, written, photographs = [], 0, 0
    try:
        files, folders = _files(args.sources), [args.out / name for name in ("infrared", "visible")]
        check_outputs(folders={"-o": args.out})
        for folder in folders:
            check_outputs(folders={"-o": folder}, inputs={path.parent for path in files})
        places = {path: (folders[0] / f"{path.stem}.tif", folders[1] / f"{path.stem}.png") for path in files}
        remove_abandoned(place for pair in places.values() for place in pair)
        with alone_in_folder(args.out):
            for path, (celsius, photograph) in places.items():
                try:
                    shot = read_shot(path)
                except ImageError as error:
                    failed.append(str(error))
                    continue
                with replacing_all() as new:
                    _write_celsius(shot.celsius, new(celsius))
                    if shot.photograph is not None:
                        write_image(new(photograph), shot.photograph)
                written += 1
                photographs += shot.photograph is not None
    except (ValueError, OSError) as error:
        return ended_by(error)
    for line in few_of_each(("", reason) for reason in failed):
        say(f"  failed: {printable(line)}", sys.stderr)
    counts = f"files with temperatures: {written}, with a photograph: {photographs}, failed: {len(failed)}"
    say(f"{counts} -> {printable(args.out)}" if written else counts)
    return int(bool(failed))


def _write_celsius(celsius, path: Path) -> None:
    tifffile.imwrite(path, celsius, photometric="minisblack", compression="zlib", metadata=None)


def _files(sources: Sequence[Path]) -> list[Path]:
    for path in sources:
        if not path.exists():
            raise ImageError(f"{path}: no such file or folder")
        if path.is_dir() and len(sources) > 1:
            raise ImageError(f"{path} is a folder; give files, or one folder")
    folder = sources[0] if sources[0].is_dir() else None
    files = [path for path in images_of(folder) if path.suffix.lower() in _SUFFIXES] if folder else list(sources)
    if not files:
        raise ImageError(f"{folder} holds no JPEG files")
    stems = {}
    for path in files:
        if path.stem in stems:
            raise ImageError(f"{stems[path.stem]} and {path} would be written to the same files; rename one of them")
        stems[path.stem] = path
    return files
