"""Draw figures that show several methods side by side.

  adasffuse compare thermal rgb ours=results/IVF other=OTHER/IVF -o figures
  adasffuse compare thermal/7.png rgb/7.png ours=results/IVF/7.png -o figure.png --crop 200 120 160 120
  adasffuse compare thermal/7.png rgb/7.png --save_features features --task ivf

A figure has a column for each source and method: the image with a box, what lies in the box, and maps of its difference
to each source in luminance.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from adasffuse.cli.arguments import (
    SourcesParser,
    add_out_option,
    add_results_range_option,
    add_size_option,
    add_source_options,
    at_least,
    given_path,
    ranges_of,
    refuse_pairing_options,
    results_ranges,
    split_patterns,
    task_by_names,
    thermal_by_names,
)
from adasffuse.cli.score import methods
from adasffuse.cli.shared import ended_by
from adasffuse.files import check_outputs, ends_like_a_file, real_path, replacing_all, write_text
from adasffuse.images.color import luminance
from adasffuse.images.comparison import FULL, Crop, comparison_figure
from adasffuse.images.image import Image, ImageError
from adasffuse.images.notices import few_of_each, notices_of, notices_of_files, pick_evenly
from adasffuse.images.pairs import Scene, read_scene, scene_of_files
from adasffuse.images.panel import contact_sheet
from adasffuse.images.ranges import is_thermal, resolve_ranges
from adasffuse.images.read import read_image
from adasffuse.images.trees import scenes_in
from adasffuse.images.write import quantise, write_image
from adasffuse.inference.results import alone_in_folder
from adasffuse.messages import printable, told
from adasffuse.metrics.matching import match_results
from adasffuse.process import say, say_notices
from adasffuse.tasks import TASKS

_STRETCH = 1.1  # factor between width by height of a box and of the image, from which on white is left beside it
_HIGHEST = 4320  # pixels of an image in a figure


def make_parser(prog: str | None = None) -> argparse.ArgumentParser:
    parser = SourcesParser(
        prog,
        usage="%(prog)s A B [NAME=]FUSED ... -o OUT [options]",
        description=__doc__,
    )
    parser.add_argument("source_a", type=Path, metavar="A", help="file or folder of source A")
    parser.add_argument("source_b", type=Path, metavar="B", help="file or folder of source B")
    parser.add_argument(
        "fused",
        nargs="*",
        metavar="[NAME=]FUSED",
        help='results of a method: a file, a folder, or "FOLDER/*_fused.png"',
    )
    add_out_option(parser, "OUT", "figure, a .png file, of one scene; of several a folder")
    reading = parser.add_argument_group("reading the images")
    add_source_options(parser, reading)
    add_results_range_option(reading)
    shown = parser.add_argument_group("what is shown")
    shown.add_argument("--names", nargs="+", metavar="STEM", help="scenes to show (default: --count of them)")
    shown.add_argument(
        "--count",
        type=at_least(1),
        default=8,
        help="number of scenes, evenly spread over the folder (default: %(default)s)",
    )
    shown.add_argument(
        "--crop",
        nargs=4,
        type=int,
        metavar=("LEFT", "TOP", "WIDTH", "HEIGHT"),
        help="box to enlarge, in pixels (default: where the methods differ most)",
    )
    shown.add_argument(
        "--height", type=int, default=240, help="height of each image in the figure, in pixels (default: %(default)s)"
    )
    shown.add_argument("--no_differences", action="store_true", help="leave out the maps of differences")
    inside = parser.add_argument_group("inside the network")
    inside.add_argument(
        "--save_features",
        type=given_path,
        metavar="DIR",
        help="folder for what the network computes: bands, outputs of blocks, filters, responses of the FFT branch",
    )
    inside.add_argument(
        "--task", type=str.lower, choices=TASKS, help="task of the network (default: what the names say, else ivf)"
    )
    add_size_option(inside)
    inside.add_argument(
        "--weights",
        metavar="FILE",
        help="weights of the network: a file, a run's folder or a released name (default: released weights)",
    )
    return parser


def run(argv: list[str] | None = None, prog: str | None = None) -> int:
    """Write all figures and features, or none where one cannot be made; the exit status: 0, or that of an error."""
    parser = make_parser(prog)
    args = parser.parse_args(argv)
    split_patterns(args, "source_a", "source_b")
    if not 16 <= args.height <= _HIGHEST:
        parser.error(f"--height lies in 16..{_HIGHEST}, got {args.height}")
    if args.out is None and args.save_features is None:
        parser.error("give -o OUT for figures, --save_features DIR, or both")
    for option in ("weights", "size", "task"):
        if args.save_features is None and getattr(args, option):
            parser.error(f"--{option} is of the network that --save_features looks into; give that too")
    for option, given in (("-o", args.out is not None), ("--range_fused", args.range_fused)):
        if given and not args.fused:
            parser.error(f"{option} needs results to compare: [NAME=]FUSED ...")
    try:
        scenes, names = _scenes(args)
        _check_places(args, scenes)
        folders = [args.save_features, None if _is_one_file(args.out) else args.out]
        with ExitStack() as stack:
            for folder in {real_path(folder) for folder in folders if folder is not None}:
                stack.enter_context(alone_in_folder(folder))
            new = stack.enter_context(replacing_all())
            files = _figures(args, scenes, names, new) if args.out else []
            if args.save_features:
                files += _features(args, scenes, new)
    except (ValueError, OSError) as error:
        return ended_by(error)
    for file in files:
        say(printable(file))
    return 0


def _scenes(args: argparse.Namespace) -> tuple[list[Scene], list[str]]:
    """Scenes whose files are those of both sources and of each method, and the methods' names."""
    named = methods(args.fused)
    sources = [args.source_a, args.source_b]
    places = [*sources, *named.values()]
    if all(place.is_file() for place in places):
        refuse_pairing_options(args)
        return [scene_of_files(args.source_a.stem, places)], list(named)
    for place in places:
        if not place.exists() and "*" not in str(place):
            raise ImageError(f"{place}: no such file or folder")
    for place in places:
        if place.is_file():
            raise ImageError(f"{place}: is no folder, as others here are; give files only, or folders only")
    scenes, problems = scenes_in(sources, (args.pattern_a, args.pattern_b), args.within)
    said, results = [problem.reason for problem in problems], {}
    for name, place in named.items():
        results[name], lacking, notices = match_results(scenes, place, {problem.name for problem in problems})
        if not results[name]:
            raise ImageError(f"{name}: {next(iter(lacking.values()))}" if lacking else said[0])
        said += [*(f"{stem}: {reason}" for stem, reason in lacking.items()), *notices]
    say_notices(few_of_each(("", reason) for reason in dict.fromkeys(said)))
    found = [
        Scene(scene.stem, (*scene.paths, *(files[scene.stem] for files in results.values())))
        for scene in scenes
        if all(scene.stem in files for files in results.values())
    ]
    if not found:
        raise ImageError(f"no scene has one file in each of {', '.join(map(str, places))}; {said[0]}")
    if args.names:
        known = {scene.stem: scene for scene in found}
        missing = [name for name in args.names if name not in known]
        if missing:
            raise ImageError(f"--names {', '.join(missing)}: no such scene in {', '.join(map(str, places))}")
        return [known[name] for name in args.names], list(named)
    if len(found) > args.count:
        say_notices([f"{args.count} of {len(found)} scenes are shown, evenly spread; --count {len(found)} shows all"])
    return list(pick_evenly(found, args.count)), list(named)


def _check_places(args: argparse.Namespace, scenes: list[Scene]) -> None:
    """Raise OutputError where figures or features would lie in folders that are compared, or replace an image."""
    images = {path for scene in scenes for path in scene.paths}
    compared = {path.parent for path in images}
    one_file = _is_one_file(args.out)
    if one_file and len(scenes) > 1:
        raise ValueError(f"-o {args.out} is one file, but there are {len(scenes)} scenes; give a folder, or --names")
    if args.out is not None and not one_file and ends_like_a_file(args.out):
        raise ValueError(f"-o {args.out}: the figure of one scene is a file ending in .png, those of several a folder")
    folders = {"-o": None if one_file else args.out, "--save_features": args.save_features}
    check_outputs({"-o": args.out if one_file else None}, folders, images)
    check_outputs(folders=folders, inputs=compared)
    if one_file and not args.source_a.is_file():  # beside single files a figure is at home
        check_outputs({"-o": args.out}, inputs=compared)


def _is_one_file(out: Path | None) -> bool:
    """Whether -o names the one figure, not a folder of figures."""
    return out is not None and out.suffix.lower() == ".png" and not out.is_dir()


def _read(
    args: argparse.Namespace,
    scene: Scene,
    windows: list,
    thermal: tuple[bool, ...] | None,
    of_results: Sequence[tuple[float, float] | None] = (),
) -> list[Image]:
    """Images of a scene: the sources as they are fused, the results by the values that are black and white in them."""
    sources = Scene(scene.stem, scene.paths[:2])
    hot = [is_thermal(number, path, thermal) for number, path in enumerate(sources.paths)]
    images = read_scene(sources, windows, [args.no_data_a, args.no_data_b], hot)
    height, width = images[0].pixels.shape[:2]
    for path, window in zip(scene.paths[2:], of_results, strict=True):
        image = read_image(path, window, option="--range_fused", result=True)
        if image.pixels.shape[:2] != (height, width):
            own = f"{image.pixels.shape[1]}x{image.pixels.shape[0]}"
            raise ImageError(
                f"sizes differ: {path} is {own}, the sources are {width}x{height} pixels; fuse and save at their size"
            )
        images.append(image)
    return images


def _windows(
    args: argparse.Namespace, scenes: list[Scene], thermal: tuple[bool, ...] | None
) -> list[tuple[float, float] | None]:
    columns, no_data = [[scene.paths[k] for scene in scenes] for k in (0, 1)], (args.no_data_a, args.no_data_b)
    return list(resolve_ranges(ranges_of(args), columns, no_data, thermal))


def _figures(
    args: argparse.Namespace, scenes: list[Scene], names: list[str], new: Callable[[Path], Path]
) -> list[Path]:
    """Figures of all scenes; `new` gives the places to write to.

    Raises:
        ImageError: of some scenes no figure can be made; the first one is told.
    """
    crop = Crop(*args.crop) if args.crop else None
    thermal = thermal_by_names(args.source_a, args.source_b, (args.pattern_a, args.pattern_b))
    windows, files, told_of, faults = _windows(args, scenes, thermal), [], [], []
    of_results = results_ranges(args.range_fused, names)
    for scene in scenes:
        try:
            files_read = _read(args, scene, windows, thermal, [of_results.get(name) for name in names])
            images = [quantise(image.pixels, "8") for image in files_read]
            results = dict(zip(names, images[2:]))
            figure = comparison_figure(dict(zip("AB", images)), results, crop, not args.no_differences, args.height)
        except (ValueError, OSError) as error:
            faults.append(f"{scene.stem}: {told(error)}")
            continue
        told_of += notices_of(scene, files_read)
        if crop is not None and not _alike(crop, images[0].shape):
            height, width = images[0].shape[:2]
            shape = f"the box of {crop} has another shape than the image of {width}x{height}: white is left beside it"
            told_of.append((scene.paths[0], shape))
        files.append(args.out if _is_one_file(args.out) else args.out / f"{scene.stem}.png")
        write_image(new(files[-1]), figure)
    if faults:
        more = f" ({len(faults)} of {len(scenes)} scenes have such faults)" if len(faults) > 1 else ""
        raise ImageError(f"{faults[0]}{more}; no figure is written")
    say_notices(notices_of_files(told_of))
    if not args.no_differences:
        say(f"differences: black is 0, the brightest colour {FULL} gray levels or more")
    return files


def _alike(crop: Crop, shape: tuple[int, ...]) -> bool:
    """Whether a box has about the proportions of an image (H, W) or (H, W, 3), so that it fills it when enlarged."""
    stretch = crop.width * shape[0] / (max(1, crop.height) * shape[1])
    return 1 / _STRETCH <= stretch <= _STRETCH


def _features(args: argparse.Namespace, scenes: list[Scene], new: Callable[[Path], Path]) -> list[Path]:
    """Maps, responses and filters of the network on each scene; `new` gives the places to write to."""
    from adasffuse.inference.features import drawn, feature_maps, responses, wavelet_filters
    from adasffuse.inference.fuser import load_fuser

    by_names = task_by_names(args.source_a, args.source_b, (args.pattern_a, args.pattern_b))
    task = args.task or (by_names.id if by_names else "ivf")
    fuser = load_fuser(task, args.size, args.weights)
    windows, files, told_of = _windows(args, scenes, fuser.task.thermal), [], []
    for scene in scenes:
        images = _read(args, Scene(scene.stem, scene.paths[:2]), windows, fuser.task.thermal)
        told_of += notices_of(scene, images)
        maps = feature_maps(fuser, *(luminance(image.pixels) for image in images))
        folder = args.save_features / scene.stem
        for name, values in maps.items():
            files.append(folder / f"{name.replace(' ', '_')}.png")
            write_image(new(files[-1]), drawn(values))
        files.append(folder / "all.png")
        cells = [(name, drawn(values)) for name, values in maps.items()]
        write_image(new(files[-1]), contact_sheet([cells[k : k + 4] for k in range(0, len(cells), 4)]))
    shown = [(name, drawn(values)) for name, values in responses(fuser).items()]
    files.append(args.save_features / "fft_responses.png")
    write_image(new(files[-1]), contact_sheet([shown[k : k + 4] for k in range(0, len(shown), 4)]))
    files.append(args.save_features / "wavelet_filters.json")
    write_text(new(files[-1]), json.dumps(wavelet_filters(fuser), indent=1) + "\n")
    if not args.out:  # the figures have told them
        say_notices(notices_of_files(told_of))
    return files
