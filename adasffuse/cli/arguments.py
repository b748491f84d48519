"""Options that the command lines share."""

import argparse
import errno
import json
import math
import os
import re
import sys
from collections.abc import Callable, Collection, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from adasffuse.choices import DEFAULT_OVERLAP, DEFAULT_TILE, PALETTES, PRECISIONS, RELEASED_SIZES
from adasffuse.files import FILE_ENDINGS, NO_ADDRESS, is_address
from adasffuse.images.boxes import FOLDER_OF_BOXES, PEOPLE
from adasffuse.images.image import ImageError
from adasffuse.images.patterns import folder_and_pattern
from adasffuse.images.ranges import RangeSpec, parse_range
from adasffuse.process import say, wants_json
from adasffuse.registration.aligner import GRIDS, Aligner, load_calibration, measure_of
from adasffuse.registration.transform import METHODS
from adasffuse.tasks import Task, guess_task

if TYPE_CHECKING:
    from adasffuse.inference.fuser import Fuser


OR_ONE_FOLDER = "or one folder with --pattern_a and --pattern_b"  # what `complete_sources` takes


class Parser(argparse.ArgumentParser):
    """A parser that refuses empty arguments, and knows ~ in quotes and behind '=', where shells leave it alone.

    An empty argument is a shell variable that was never set, and would name the current folder.  Lines of descriptions
    are printed as they are.
    """

    def __init__(self, prog: str | None = None, **options: Any) -> None:
        super().__init__(prog, formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None):
        words = list(map(_at_home, sys.argv[1:] if args is None else args))
        for before, word in zip(["", *words], words):
            name, equals, value = word.partition("=")
            if name.startswith("--") and equals and not value.strip():
                self.error(f"argument {name}: the value is empty")
            if not word.strip():
                self.error(f"argument {before}: the value is empty" if before[:1] == "-" else "an argument is empty")
        return super().parse_known_args(words, namespace)

    def error(self, message: str) -> NoReturn:
        """End with wrong arguments; beside an unknown option stands the one that is most like it."""
        unknown = message.partition("unrecognized arguments: ")[2].split()
        options = [word.partition("=")[0] for word in unknown if word.startswith("--")]
        near = get_close_matches(options[0], self._option_string_actions, n=1) if options else []
        message += f"; did you mean {near[0]}?" if near else ""
        self._report(message)
        super().error(message)

    def _report(self, message: str) -> None:
        """What is said of wrong arguments elsewhere than on standard error."""


def _at_home(word: str) -> str:
    """A word with the home folder in place of ~, which may stand behind --option= or NAME=."""
    return re.sub(r"^([^/=]*=)?~(?=/|$)", lambda found: (found[1] or "") + os.path.expanduser("~"), word)


class SourcesParser(Parser):
    """The parser of a verb that takes several files or folders; options may stand between them."""

    def parse_args(self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None):
        words = list(sys.argv[1:] if args is None else args)
        if "--" in words:  # which parse_intermixed_args loses, with what follows
            return super().parse_args(words, namespace)
        return self.parse_intermixed_args(words, namespace)


class ReportingParser(SourcesParser):
    """The parser of a verb with `--json`: where that is given, impossible arguments are reported as JSON as well."""

    _words: Sequence[str] = ()  # being parsed

    def parse_args(self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None):
        self._words = sys.argv[1:] if args is None else args
        return super().parse_args(args, namespace)

    def _report(self, message: str) -> None:
        if wants_json(self._words):
            say(json.dumps({"ok": False, "error": message}))


def add_out_option(
    target: argparse.ArgumentParser | argparse._ArgumentGroup, metavar: str, content: str, required: bool = False
) -> None:
    """Add where results go: `args.out`."""
    target.add_argument("-o", "--out", type=given_path, required=required, metavar=metavar, help=content)


def add_json_option(target: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add the report for programs, see `adasffuse.cli.shared.say_report`: `args.json`."""
    target.add_argument("--json", action="store_true", help="report as JSON on standard output, and nothing else")


def add_dry_run_option(target: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add that nothing is written: `args.dry_run`."""
    target.add_argument(
        "--dry_run",
        action="store_true",
        help="read all files and say what would be done and what would fail; write nothing",
    )


def add_range_option(target: argparse.ArgumentParser | argparse._ArgumentGroup, side: str) -> None:
    """Add the values of source 'a' or 'b' that become black and white."""
    target.add_argument(
        f"--range_{side}",
        nargs="+",
        metavar=("LOW", "HIGH"),
        help="values of source A that become black and white, in files deeper than 8 bits: two numbers; 'folder', the "
        "lowest and highest of the folder; or two percentages, such as 1%% 99%%. 'inverted', alone or behind them, "
        "makes high values dark (black-hot cameras), also in 8-bit files"
        if side == "a"
        else "the same for source B",
    )


def add_pairing_options(target: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add which files of two sources belong together: `args.pattern_a`, `args.pattern_b` and `args.within`."""
    target.add_argument(
        "--pattern_a",
        metavar="NAME",
        help="names of the files of source A, such as 'IR_*'; * is what both sources share. With patterns both "
        "sources may lie in one folder (default: '*', equal names)",
    )
    target.add_argument("--pattern_b", metavar="NAME", help="the same for source B, such as 'VIS_*'")
    target.add_argument(
        "--within",
        type=positive,
        metavar="SECONDS",
        help="pair files by the times in their names, such as 1699351234123.png or 20231107_101514_123.jpg, of cameras "
        "that are not synchronised: those nearest to each other, at most so much apart; results are called like B's",
    )


def refuse_pairing_options(args: argparse.Namespace) -> None:
    """Raise ValueError where an option of `add_pairing_options` is given and the sources are files."""
    for option in ("pattern_a", "pattern_b", "within"):
        if getattr(args, option) is not None:
            raise ValueError(f"--{option} is for folders; files belong together whatever they are called")


def add_source_options(parser: argparse.ArgumentParser, group: argparse._ArgumentGroup | None = None) -> None:
    """Add how source A and source B are read, the same for fusing and scoring: names, range and no data.

    Args:
        group: where the help lists them; the parser's own list if None.
    """
    # Values such as -3.4e38, GDAL's usual "no data", are no options; argparse takes exponents for them.
    parser._negative_number_matcher = re.compile(r"-(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$|-inf$", re.IGNORECASE)
    target = group or parser
    add_pairing_options(target)
    for side in "ab":
        source = f"source {side.upper()}"
        add_range_option(target, side)
        target.add_argument(
            f"--no_data_{side}",
            type=float,
            metavar="VALUE",
            help=f"value of {source} that means 'no data', besides NaN and the file's own",
        )


def split_patterns(args: argparse.Namespace, *names: str) -> None:
    """Take sources that end in a pattern, such as 'cam/*_T.JPG', apart: folder, and `args.pattern_a` or `pattern_b`.

    Args:
        names: of the attributes that hold source A and source B.
    """
    for side, name in zip("ab", names):
        if getattr(args, name) is not None and getattr(args, f"pattern_{side}") is None:
            folder, pattern = folder_and_pattern(getattr(args, name))
            setattr(args, name, folder)
            setattr(args, f"pattern_{side}", pattern)


def complete_sources(args: argparse.Namespace) -> bool:
    """Take patterns apart, and let `args.b` be `args.a` where two tell the files of one folder apart.

    Returns:
        whether both sources are known.
    """
    if args.b is None and args.a is not None and args.pattern_a and args.pattern_b:
        args.b = args.a
    split_patterns(args, "a", "b")
    return args.a is not None and args.b is not None


def add_results_range_option(target: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add what is black and white in results of other programs; see `results_ranges`."""
    target.add_argument(
        "--range_fused",
        nargs="+",
        action="append",
        default=[],
        metavar=("[NAME] LOW", "HIGH"),
        help="values that are black and white in results deeper than 8 bits: of all methods (0 1), or of one "
        "(other 0 255), once for each. Needed for floating-point results that fuse did not write, and for "
        "16-bit results whose white is not 65535",
    )


def results_ranges(given: Sequence[Sequence[str]], names: Collection[str]) -> dict[str, tuple[float, float]]:
    """Method name to the values of black and white in its results, as `--range_fused` says.

    Args:
        given: the words of each time that the option is given.
        names: of all methods that have files.
    Raises:
        ValueError: something else than [NAME] LOW HIGH, another name, or two ranges for one method.
    """
    found: dict[str | None, tuple[float, float]] = {}
    for words in given:
        shown = f"--range_fused {' '.join(words)}"
        name = words[0] if len(words) == 3 else None
        try:
            low, high = map(float, words[-2:])
        except ValueError:
            low = high = math.nan
        if len(words) not in (2, 3) or not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(
                f"{shown}: expected [NAME] LOW HIGH, the values of black and white in the results, LOW < HIGH; it is "
                "what their program writes for them: measured values ('folder', percentages) would stretch the results"
            )
        if not names or name not in (None, *names):
            raise ValueError(f"{shown}: no results are called so; there are {', '.join(names) or 'none'}")
        if name in found:
            raise ValueError(f"{shown}: the range of {name or 'all results'} is given twice")
        found[name] = (low, high)
    common = found.pop(None, None)
    return dict.fromkeys(names, common) | found if common else found


def add_metadata_option(results: argparse._ArgumentGroup, giver: str) -> None:
    """Add `--keep_metadata`; `giver` is what the help calls the image whose metadata are kept."""
    from adasffuse.images.metadata import KEPT

    results.add_argument(
        "--keep_metadata",
        choices=KEPT,
        default="none",
        help=f"copy EXIF data from {giver} and mark colours as sRGB; gps: also the place (default: %(default)s)",
    )


def add_palette_option(target: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add the false colours that a gray PET or SPECT image is shown in."""
    target.add_argument(
        "--palette",
        choices=PALETTES,
        default=PALETTES[0],
        help="false colours of source A, a gray PET or SPECT image or volume, to tell activity from bright tissue; the "
        "result is RGB (default: %(default)s, gray)",
    )


def refuse_palette_of_ct(palette: str, word: str, otherwise: str) -> None:
    """Raise ValueError where a CT, as `word` in the names of source A says, is to be shown in false colours.

    Args:
        otherwise: what else can be done than to leave the palette out.
    """
    if palette != PALETTES[0] and word == "ct":
        raise ValueError(
            f"--palette {palette} is for the activity in PET and SPECT, and the names say {word}; leave it out, or "
            f"{otherwise}"
        )


def add_fusing_options(
    parser: argparse.ArgumentParser,
    *aliases: str,
    results: argparse._ArgumentGroup | None = None,
    size: str = "small",
    stretch: bool = True,
    strength: bool = True,
) -> None:
    """Add the network and how it runs, as a group of the help, and the depth of results; for everything that fuses.

    Args:
        aliases: further names of `--weights`; the value is `args.weights`.
        results: where the help lists options of results; a group of its own if None.
        size: of the released weights, unless another is chosen.
        stretch: whether results may be stretched.
        strength: whether the sources may be infrared and visible.
    """
    network = parser.add_argument_group("network")
    network.add_argument(
        "--weights",
        *aliases,
        dest="weights",
        metavar="NAME",
        help="weights file, folder of a training run, name of released weights such as general_small, or "
        "repository of the Hugging Face Hub (default: those that serve the task best)",
    )
    add_size_option(network, size)
    add_device_option(network)
    add_precision_option(network)
    network.add_argument(
        "--tile",
        type=int,
        default=DEFAULT_TILE,
        metavar="PIXELS",
        help="images of more than PIXELS x PIXELS are fused in tiles of that area; a multiple of 16, or 0: "
        "never (default: %(default)s)",
    )
    network.add_argument(
        "--tile_overlap",
        type=int,
        default=DEFAULT_OVERLAP,
        metavar="PIXELS",
        help="pixels that neighbouring tiles share, a multiple of 16 (default: %(default)s)",
    )
    if strength:
        network.add_argument(
            "--strength",
            type=float,
            default=1.0,
            metavar="SHARE",
            help="how much of the infrared image is brought in, from 0 (the visible image) to 1; infrared + visible "
            "only (default: 1)",
        )
        add_no_people_option(network)
        network.add_argument(
            "--denoise",
            type=float,
            default=0.0,
            metavar="SHARE",
            help="how much of the cameras' noise is taken away first, from 0 (nothing) to 1; infrared + visible only "
            "(default: 0)",
        )
    add_keep_brightness_option(network)
    results = results or parser.add_argument_group("results")
    results.add_argument(
        "--depth",
        choices=("auto", "8", "16", "float"),
        default="auto",
        help="bits of the results; auto: 8 unless all sources are deeper; float: TIFF (default: %(default)s)",
    )
    if not stretch:
        return
    results.add_argument(
        "--stretch", action="store_true", help="spread each result to 0..255, only to reproduce published numbers"
    )


def add_no_people_option(target: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add that people are fused as the network fuses everything else: `args.no_people`."""
    target.add_argument(
        "--no_people", action="store_true", help="do not make people stand out; infrared + visible only"
    )


def add_keep_brightness_option(target: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add that focus settings are fused as bright as they are: `args.keep_brightness`."""
    target.add_argument(
        "--keep_brightness",
        action="store_true",
        help="fuse focus settings as bright as they are (default: they are made equally bright); multi-focus only",
    )


def add_size_option(target: argparse.ArgumentParser | argparse._ArgumentGroup, default: str = "small") -> None:
    """Add the size of the network: `args.size`, None unless given, and `args.default_size`, see `load_network`."""
    target.add_argument("--size", choices=RELEASED_SIZES, help=f"size of the released weights (default: {default})")
    target.set_defaults(default_size=default)


def add_device_option(target: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add where the network runs: `args.device`."""
    target.add_argument(
        "--device", default="auto", help="device of the network: auto, cpu, cuda or cuda:N (default: %(default)s)"
    )


def add_precision_option(target: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add the arithmetic of the network: `args.precision`."""
    target.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="auto",
        help="arithmetic of the network; auto: bfloat16 where the processor has it (default: %(default)s)",
    )


def fuser_from(args: argparse.Namespace, task_id: str) -> "Fuser":
    """The fuser that the options of `add_fusing_options` ask for; of several processes each takes a GPU of its own.

    Raises:
        ValueError: as `load_fuser`.
    """
    from adasffuse.inference.fuser import Fuser
    from adasffuse.inference.ranks import own_device
    from adasffuse.models.hub import load_network
    from adasffuse.tasks import find_task

    model, _ = load_network(task_id, args.weights, args.size, args.default_size)
    return Fuser(
        model,
        find_task(task_id),
        own_device(args.device),
        args.tile,
        args.tile_overlap,
        args.precision,
        getattr(args, "strength", 1.0),  # stacks have none
        not getattr(args, "no_people", False),
        getattr(args, "denoise", 0.0),
        args.keep_brightness,
    )


def add_align_options(target: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add how sources that do not lie on each other are registered before they are fused; see `aligner_from`."""
    target.add_argument(
        "--align",
        choices=("none", *METHODS),
        default="none",
        help="register the sources of each pair first; their sizes may differ then (default: %(default)s)",
    )
    target.add_argument(
        "--calibration",
        type=Path,
        metavar="FILE",
        help="register all pairs as this file says, which 'adasffuse align A B --save FILE' writes",
    )
    add_grid_option(target)


def add_grid_option(target: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add the source whose pixels the result of an alignment has."""
    target.add_argument("--grid", choices=GRIDS, help=f"source that registration leaves as it is (default: {GRIDS[0]})")


def aligner_from(args: argparse.Namespace, task_id: str, camera: bool = False) -> Aligner | None:
    """What the options of `add_align_options` ask for; None: fuse as it is.

    Args:
        camera: the files are laid on the grid of one of their images in any case, see `read_camera_pair`.
    Raises:
        AlignmentError: the calibration file cannot be used.
        ValueError: the options contradict each other, or the task's measure does not serve the method.
    """
    if args.calibration is not None:
        if args.align != "none":
            raise ValueError("--align estimates and --calibration applies what is known; give one of them")
        known = load_calibration(args.calibration).transform
        return Aligner(known.method, args.grid or GRIDS[0], calibration=known)
    if args.align == "none":
        if args.grid and not camera:
            raise ValueError(
                f"--grid {args.grid} is about alignment; give --align METHOD or --calibration FILE with it"
            )
        return None
    return Aligner(args.align, args.grid or GRIDS[0], measure_of(task_id))


def add_truth_options(target: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add what is known about the scenes besides their sources: true images, and boxes around targets."""
    target.add_argument("--reference", type=Path, metavar="DIR", help="folder of true images; adds PSNR_GT and SSIM_GT")
    target.add_argument(
        "--range_reference",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="values that are black and white in true images deeper than 8 bits",
    )
    target.add_argument(
        "--boxes",
        type=Path,
        metavar="DIR",
        help="folder of Pascal VOC files NAME.xml; adds Retention, of the boxed targets in source A",
    )
    target.add_argument(
        "--classes",
        nargs="+",
        default=list(PEOPLE),
        metavar="LIST",
        help=f"classes of the boxes that are targets, separated by commas, or 'all' (default: {','.join(PEOPLE)})",
    )


def check_truth_options(args: argparse.Namespace) -> None:
    """Refuse options of `add_truth_options` that lack what belongs to them (ValueError) or a folder (ImageError)."""
    for option, holds in (("reference", "true images"), ("boxes", FOLDER_OF_BOXES)):
        folder = getattr(args, option)
        if folder is not None and not (folder.is_dir() or (option == "reference" and folder.is_file())):
            raise ImageError(f"no folder {folder}; --{option} is the folder of {holds}")
    if args.range_reference is not None:
        low, high = args.range_reference
        if args.reference is None:
            raise ValueError("--range_reference is of true images; give --reference DIR as well")
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"--range_reference {low:g} {high:g}: expected two numbers, LOW < HIGH")
    if args.boxes is None and args.classes != list(PEOPLE):
        raise ValueError("--classes says which boxes are targets; give --boxes DIR as well")


def named_values(words: Sequence[str], option: str, form: str, taken: Collection[str] = ()) -> dict[str, str]:
    """Name to value of words such as night="*N".

    Args:
        option, form: what errors name, and say that was expected.
        taken: names that stand for something else.
    Raises:
        ValueError: a word is not of that form.
    """
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals and value) or name in taken:
            raise ValueError(f"{option} {word}: expected {form}")
        found[name] = value
    return found


def listed(words: Sequence[str]) -> list[str]:
    """The names in words such as 'VIFF,Qabf' or 'VIFF,' 'Qabf'."""
    return [name.strip() for word in words for name in word.split(",") if name.strip()]


def check_report_name(option: str, path: Path | None, *suffixes: str) -> None:
    """Raise ValueError where a text file is called like one of another kind, such as a table s.xlsx or c.png.

    Args:
        path: None: it was not asked for.
        suffixes: those of `FILE_ENDINGS`, beside .txt, with which its name may end; others, as in rig.v2, are fine.
    """
    if path is not None and path.suffix.lower() in FILE_ENDINGS - {".txt", *suffixes}:
        raise ValueError(f"{option} {path}: this file is written as {suffixes[0]}; end its name with {suffixes[0]}")


def range_of(option: str, words: Sequence[str] | None) -> RangeSpec | None:
    """What an option for a value range asks for; errors, of type ValueError, name the option."""
    try:
        return parse_range(words)
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from None


def ranges_of(args: argparse.Namespace) -> list[RangeSpec | None]:
    """What `--range_a` and `--range_b` ask for; errors as `range_of`."""
    return [range_of(f"--range_{side}", getattr(args, f"range_{side}")) for side in "ab"]


def words_of_source(path: Path, pattern: str | None = None) -> list[str]:
    """What may tell a source's task, see `guess_task`: a folder's name and pattern, or a file's name and folder."""
    return [path.name, pattern or ""] if path.is_dir() else [path.stem, path.absolute().parent.name]


def in_other_order(a: Path, b: Path, patterns: Sequence[str | None]) -> bool:
    """Whether the names of the sources tell a task, but in the other order."""
    try:
        guess_task(*map(words_of_source, (a, b), patterns))
    except ValueError:
        return True
    return False


def task_by_names(a: Path, b: Path, patterns: Sequence[str | None]) -> Task | None:
    """The task that the names of the sources tell, in its order; None where they tell none."""
    try:
        guess = guess_task(*map(words_of_source, (a, b), patterns))
    except ValueError:  # they tell the other order
        return None
    return None if guess is None else guess[0]


def thermal_by_names(a: Path, b: Path, patterns: Sequence[str | None] = (None, None)) -> tuple[bool, ...] | None:
    """Which sources their names tell to be thermal, as `is_thermal` takes it; None where they tell no task."""
    task = task_by_names(a, b, patterns)
    return None if task is None else task.thermal


def given_path(text: str) -> Path:
    """A path that is not empty, no address on the network, and no loop of links."""
    if not text.strip():  # in scripts, whose parsers are not `Parser`
        raise argparse.ArgumentTypeError("the value is empty")
    if is_address(text):
        raise argparse.ArgumentTypeError(f"{text}: {NO_ADDRESS}")
    path = Path(text)
    try:
        path.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise argparse.ArgumentTypeError(f"{text}: a link that leads back to itself; choose another name") from None
    return path


def at_least(least: int) -> Callable[[str], int]:
    """A type of arguments: whole numbers from `least` on."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"-?\d+", text) or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text}: expected a whole number, {least} or more")
        return int(text)

    return parse


def positive(text: str) -> float:
    """A finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text}: expected a number above 0")
    return number


def width_and_height(text: str) -> tuple[int, int]:
    """Pixels of an image, such as 640x480."""
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text.lower())
    if not found:
        raise argparse.ArgumentTypeError(f"{text}: expected WIDTHxHEIGHT, e.g. 640x480")
    return int(found[1]), int(found[2])
