"""Give the package's doors malformed files and show that each is refused in one clear error, or accepted, in time.

python scripts/torture.py                     (2,277 cases, a minute; --kinds, --count and --seed choose others)

Kinds: images, radiometric JPEG, DICOM and NIfTI files (if the packages that read them are installed), weights files,
checkpoints and options files that were cut, flipped, zeroed, padded or rewritten; special files (pipes, devices,
folders, dangling links, sockets); and odd names.  Every case is given to the function that users call.  Failures are:
another type of error than documented, a message that a terminal cannot show, more than --seconds, gigabytes of memory.
"""

import argparse
import faulthandler
import io
import json
import os
import random
import resource
import signal
import socket
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from special_files import dicom_file, nifti_file, radiometric_jpeg, voi_lut

from adasffuse.cli.arguments import Parser, at_least, positive
from adasffuse.images.extras import is_installed
from adasffuse.images.read import ImageError, read_image
from adasffuse.images.volumes import read_volume
from adasffuse.messages import printable
from adasffuse.models.weights import WeightsError, load_weights, save_weights
from adasffuse.options import shown
from adasffuse.registration.camera import read_camera_pair
from adasffuse.training.options import load_options, parse_options
from adasffuse.training.processes import Processes
from adasffuse.training.run import Run
from adasffuse.training.trainer import resume

ROOT = Path(__file__).resolve().parents[1]
MEMORY = 2 * 2**30  # bytes that the cases may take beyond what the process has
LONGEST_MESSAGE = 1500  # characters
EMPTY_ZIP = b"PK\x05\x06" + bytes(18)
ODD_NAMES = (b"a\nb", b"a\x1b[31m", b"\xff\xfe", b"\xc3", b"\xc2\xa0", b"e\xcc\x81", b"-h", b"%s{0}", b"a'\"b")
# What a number, word or list of an options file or a header may be replaced by.
ODD_VALUES = (
    *(None, True, False, 0, -1, 1, 2, 10**9, -(10**9), 10**18, 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf")),
    *("", "x", "../x", "/abs", "a\nb", "\x00", "\x1b[31m", "\ud800", "\udcff", "x" * 10000, "1e9", "nan", "folder"),
    *([], [[]], [0], ["x"], [None], [1, "x"], [0] * 5000, {}, {"x": 1}, {"": {}}, {"lr": {"lr": {}}}),
)


@dataclass(frozen=True)
class Door:
    """One way into the package."""

    open: Callable[[Path], object]
    errors: tuple[type[Exception], ...]  # what it states that it raises
    suffix: str
    whole: tuple[bytes, ...]  # files that are as they should be


@dataclass(frozen=True)
class Case:
    """One file and the door that it is brought to."""

    kind: str
    what: str
    door: Door
    make: Callable[[Path], None]  # writes the file
    name: bytes = b""  # of the file, where that is the point


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    kinds = tuple(KINDS)
    parser.add_argument("--kinds", nargs="+", choices=kinds, default=kinds, help="kinds of files to try (default: all)")
    parser.add_argument(
        "--count", type=at_least(0), default=300, help="cases of each kind that draws them (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed of the cases (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=positive, default=10, help="longest time that a case may take (default: %(default)s)"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    counts: dict[str, Counter[str]] = {}
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, limited_memory(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        doors = make_doors(Path(folder))
        for kind in args.kinds:
            if kind in EXTRAS and not is_installed(EXTRAS[kind]):
                print(f"{kind}: left out, {EXTRAS[kind]} is not installed")
                continue
            for case in KINDS[kind](doors, random.Random(f"{args.seed} {kind}"), args.count):
                outcome, why = bring(case, Path(folder), args.seconds)
                counts.setdefault(kind, Counter())[outcome] += 1
                if outcome == "FAILED":
                    print(printable(f"FAILED {kind}: {case.what}: {why}"), flush=True)
    print(f"{'kind':12} {'cases':>6} {'refused':>8} {'accepted':>9} {'FAILED':>7}")
    total = sum(counts.values(), Counter())
    for kind, count in [*counts.items(), ("all", total)]:
        print(f"{kind:12} {count.total():6} {count['refused']:8} {count['accepted']:9} {count['FAILED']:7}")
    print(f"seed {args.seed}, {time.monotonic() - started:.0f} s")
    return 1 if total["FAILED"] else 0


def bring(case: Case, folder: Path, seconds: float) -> tuple[str, str]:
    """Make a case's file and open it: 'refused', 'accepted' or 'FAILED', and why."""
    place = folder / "case"
    place.mkdir()
    path = Path(os.fsdecode(os.path.join(os.fsencode(place), case.name or b"case" + case.door.suffix.encode())))
    if case.door.suffix == ".pt" and not case.name:
        path = place / "step_00000001.pt"
    try:
        case.make(path)
        with time_limit(seconds):
            case.door.open(path)
        return "accepted", ""
    except case.door.errors as error:
        message = printable(error)
        if not message.strip() or len(message) > LONGEST_MESSAGE or "Traceback" in message:
            return "FAILED", f"a message of {len(message)} characters: {message[:200]}"
        return "refused", message
    except (Exception, TooLong) as error:  # that there is none is what is shown here
        where = traceback.extract_tb(error.__traceback__)[-1]
        return "FAILED", f"{type(error).__name__}: {str(error)[:200]} ({Path(where.filename).name}:{where.lineno})"
    finally:
        empty(place)


def empty(place: Path) -> None:
    """Remove a flat folder of files, whatever their names."""
    for name in os.listdir(os.fsencode(place)):
        inner = os.path.join(os.fsencode(place), name)
        if os.path.isdir(inner) and not os.path.islink(inner):
            os.rmdir(inner)
        else:
            os.unlink(inner)
    place.rmdir()


class TooLong(BaseException):
    """The time of a case is over; no door may take it for an error of the file."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """End the block after some seconds; where it does not come back from a library, the process, with a traceback."""

    def end(number: int, frame: object) -> None:
        raise TooLong(f"more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    faulthandler.dump_traceback_later(10 * seconds, exit=True, file=2)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def limited_memory() -> Iterator[None]:
    """Let this process take `MEMORY` more than it has."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        has = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (has + MEMORY, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def make_doors(folder: Path) -> dict[str, Door]:
    """The doors, each with whole files; the network that checkpoints are loaded into is a tiny one."""
    run = tiny_run()
    torch.save(run.state(), folder / "whole.pt")
    save_weights(folder / "whole.safetensors", run.model.state_dict(), run.options.model, "ivf", steps=1)
    recipes = tuple(path.read_bytes() for path in sorted((ROOT / "options").glob("*.json")))
    weights, checkpoint = ((folder / f"whole{suffix}").read_bytes() for suffix in (".safetensors", ".pt"))
    doors = {
        "image": Door(read_image, (ImageError,), ".png", whole_images()),
        "weights": Door(load_weights, (WeightsError,), ".safetensors", (weights,)),
        "checkpoint": Door(lambda path: resume(run, path.parent), (ValueError,), ".pt", (checkpoint,)),
        "options": Door(load_options, (ValueError, OSError), ".json", recipes),
    }
    if is_installed("flyr"):
        doors["camera pair"] = Door(read_camera_pair, (ImageError,), ".jpg", whole_shots())
    if is_installed("pydicom"):
        doors["dicom"] = Door(read_image, (ImageError,), ".dcm", whole_dicom())
    if is_installed("nibabel"):
        doors["nifti"] = Door(read_volume, (ImageError,), ".nii", whole_volumes())
    return doors


def tiny_run() -> Run:
    """A run of one update, so that Adam has its moments."""
    options = parse_options(
        {
            "name": "torture",
            "task": "ivf",
            "data": {"root_path": "data", "datasets": ["IVF"], "crop": 16},
            "model": {"patch": 1, "channels": 8, "band_blocks": 1, "full_blocks": 1, "head_dim": 8, "d_state": 8},
            "train": {"batch_size": 1},
        }
    )
    run = Run(options, Processes(0, 1, torch.device("cpu")))
    images = {name: torch.rand(1, 1, 16, 16) for name in ("a", "b", "truth")}
    run.update({**images, "part": torch.tensor([0]), "name": ["noise"]})
    return run


def whole_images() -> tuple[bytes, ...]:
    """Noise as 8-bit and 16-bit files of several formats and colour modes."""
    noise = np.random.default_rng(0)
    gray, deep = noise.integers(0, 256, (24, 30), np.uint8), noise.integers(0, 65536, (24, 30), np.uint16)
    color = Image.fromarray(noise.integers(0, 256, (24, 30, 3), np.uint8))
    images = [(color, name) for name in ("PNG", "JPEG", "TIFF", "BMP", "WEBP")]
    images += [(Image.fromarray(gray), name) for name in ("PNG", "TIFF")] + [(Image.fromarray(deep), "PNG")]
    images += [(color.convert("P"), "PNG"), (color.convert("CMYK"), "TIFF"), (color.convert("RGBA"), "WEBP")]
    files = []
    for image, name in images:
        file = io.BytesIO()
        image.save(file, name)
        files.append(file.getvalue())
    return tuple(files)


def whole_shots() -> tuple[bytes, ...]:
    """Radiometric JPEGs with a photograph as JPEG, as PNG, and with none; one says nothing of how they lie."""
    noise = np.random.default_rng(0)
    counts = noise.integers(18000, 18900, (24, 30)).astype(np.uint16)
    photograph = noise.integers(0, 256, (96, 120, 3), np.uint8)
    placement = (1.5, 3, -2)
    return (
        radiometric_jpeg(counts, photograph, placement),
        radiometric_jpeg(counts, photograph, placement, "PNG"),
        radiometric_jpeg(counts, photograph),
        radiometric_jpeg(counts),
    )


def whole_dicom() -> tuple[bytes, ...]:
    """Gray values with a window, a curve and a table, and colour."""
    noise = np.random.default_rng(0)
    values = noise.integers(-500, 500, (24, 30)).astype(np.int16)
    window = {"WindowCenter": 40, "WindowWidth": 400, "RescaleSlope": 2, "RescaleIntercept": -100}
    return (
        dicom_file(values, PixelPaddingValue=-500, **window),
        dicom_file(values, VOILUTFunction="SIGMOID", **window),
        dicom_file(values, VOILUTSequence=voi_lut(list(range(200)), -100, 8)),
        dicom_file(noise.integers(0, 256, (24, 30, 3), np.uint8)),
    )


def whole_volumes() -> tuple[bytes, ...]:
    """Volumes of integers and of floating-point numbers."""
    noise = np.random.default_rng(0).normal(size=(8, 9, 5)) * 100
    return nifti_file(noise.astype(np.int16)), nifti_file(noise.astype(np.float32))


def damaged(content: bytes, draw: random.Random) -> tuple[str, bytes]:
    """A file with its bytes changed at random, and what was done."""
    at, length = draw.randrange(len(content) + 1), draw.choice((1, 2, 4, 16, 300))
    ways = {
        "cut": lambda: content[:at],
        "beginning lost": lambda: content[at:],
        "zeroed": lambda: content[:at] + bytes(length) + content[at + length :],
        "set": lambda: content[:at] + b"\xff" * length + content[at + length :],
        "noise": lambda: content[:at] + draw.randbytes(length) + content[at + length :],
        "inserted": lambda: content[:at] + draw.randbytes(length) + content[at:],
        "doubled": lambda: content[:at] + content[max(0, at - length) :],
        "padded": lambda: content + draw.randbytes(length),
        "flipped": lambda: flipped(content, draw, draw.choice((1, 3, 30))),
        "header flipped": lambda: flipped(content[:200], draw, draw.choice((1, 2, 5))) + content[200:],
        "other": lambda: draw.choice((b"", b"\0", b"text\n", b"[" * 10000, EMPTY_ZIP, draw.randbytes(length))),
    }
    way = draw.choice(list(ways))
    return f"{way} at {at}, {length} bytes", ways[way]()


def flipped(content: bytes, draw: random.Random, times: int) -> bytes:
    """Some bits turned."""
    changed = bytearray(content)
    for _ in range(times if changed else 0):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def writing(content: bytes) -> Callable[[Path], None]:
    """A function that writes this content to a file."""

    def write(path: Path) -> None:
        path.write_bytes(content)

    return write


def damaged_files(door: Door, kind: str, draw: random.Random, count: int) -> Iterator[Case]:
    """Valid files with changed bytes."""
    for number in range(count):
        what, content = damaged(draw.choice(door.whole), draw)
        yield Case(kind, f"{number}: {what}", door, writing(content))


def image_cases(doors: dict[str, Door], draw: random.Random, count: int) -> Iterator[Case]:
    door = doors["image"]
    yield from damaged_files(door, "images", draw, count - count // 4)
    for number in range(count // 4):  # a PNG whose header promises something, with the right checksum
        sides = [draw.choice((0, 1, 24, 30, 65535, 2**20, 2**31 - 1)) for _ in ("height", "width")]
        depth, color = draw.choice((1, 2, 4, 8, 16, 3)), draw.choice((0, 2, 3, 4, 6, 1))
        header = struct.pack(">IIBBBBB", *sides, depth, color, 0, 0, draw.choice((0, 1)))
        chunks = b"".join(
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
            for name, body in ((b"IHDR", header), (b"IDAT", zlib.compress(draw.randbytes(100))), (b"IEND", b""))
        )
        what = f"{number}: PNG of {sides}, depth {depth}, type {color}"
        yield Case("images", what, door, writing(b"\x89PNG\r\n\x1a\n" + chunks))


def camera_cases(doors: dict[str, Door], draw: random.Random, count: int) -> Iterator[Case]:
    door = doors["camera pair"]
    yield from damaged_files(door, "radiometric", draw, count - count // 2)
    for number in range(count // 2):  # the records alone are changed: header, directory, sizes, constants, placement
        content = bytearray(draw.choice(door.whole))
        start = content.index(b"FFF\0")
        at = start + draw.choice((20, 24, 28, *range(64, 260, 4), *range(260, 700)))
        value = draw.choice((0, 1, 255, 65535, 2**31 - 1, 2**32 - 1, draw.getrandbits(32)))
        struct.pack_into(draw.choice("<>") + "I", content, at, value)
        yield Case(
            "radiometric", f"{number}: {value} at byte {at - start} of the records", door, writing(bytes(content))
        )


def weights_cases(doors: dict[str, Door], draw: random.Random, count: int) -> Iterator[Case]:
    door = doors["weights"]
    yield from damaged_files(door, "weights", draw, count // 2)
    (whole,) = door.whole
    size = struct.unpack("<Q", whole[:8])[0]
    for number in range(count - count // 2):  # a whole file whose header says something else
        header = json.loads(whole[8 : 8 + size])
        where = draw.choice([key for key in header if key != "__metadata__"] + ["__metadata__"] * 40)
        entry = header[where]
        key = draw.choice(list(entry))
        if key == "model":
            model = json.loads(entry[key])
            name = draw.choice(list(model))
            model[name] = draw.choice(ODD_VALUES)
            entry[key], what = json.dumps(as_json(model)), f"model.{name} = {shown(model[name])}"
        else:
            entry[key] = draw.choice(ODD_VALUES)
            what = f"{where}.{key} = {shown(entry[key])}"
        text = json.dumps(as_json(header)).encode()
        content = struct.pack("<Q", len(text)) + text + whole[8 + size :]
        yield Case("weights", f"{number}: {what}", door, writing(content))


def checkpoint_cases(doors: dict[str, Door], draw: random.Random, count: int) -> Iterator[Case]:
    door = doors["checkpoint"]
    yield from damaged_files(door, "checkpoints", draw, count // 3)
    (whole,) = door.whole
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    pickled = next(name for name in members if name.endswith("data.pkl"))
    for number in range(count // 3):  # whole archives of a damaged pickle
        what, content = damaged(members[pickled], draw)
        changed = {**members, pickled: content}
        if number % 5 == 0:
            gone = draw.choice(list(members))
            changed, what = {name: data for name, data in members.items() if name != gone}, f"without {gone}"
        yield Case("checkpoints", f"{number}: pickle {what}", door, writing(archived(changed)))
    state = torch.load(io.BytesIO(whole), weights_only=True)
    for number in range(count - 2 * (count // 3)):  # whole checkpoints of an odd state
        changed = copied(state)
        what = replace_at_random(changed, draw, [*ODD_VALUES, *odd_tensors()])
        content = io.BytesIO()
        torch.save(changed, content)
        yield Case("checkpoints", f"{number}: {what}", door, writing(content.getvalue()))


def archived(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def odd_tensors() -> list[torch.Tensor]:
    """Tensors of shapes, types and layouts that no checkpoint has."""
    return [
        torch.zeros(0),
        torch.tensor(torch.nan),
        torch.zeros(1).expand(10**12),
        torch.zeros(3, dtype=torch.int8),
        torch.zeros(2, dtype=torch.complex64),
        torch.zeros(2).to(torch.float8_e4m3fn),
        torch.zeros(1, device="meta"),
        torch.nn.Parameter(torch.ones(2)),
    ]


def option_cases(doors: dict[str, Door], draw: random.Random, count: int) -> Iterator[Case]:
    door = doors["options"]
    yield from damaged_files(door, "options", draw, count // 3)
    for number in range(count - count // 3):
        values = json.loads(draw.choice(door.whole))
        what = replace_at_random(values, draw, ODD_VALUES)
        text = json.dumps(as_json(values))
        way = draw.choice(("plain", "plain", "plain", "mark", "utf-16", "twice", "deep", "long"))
        if way == "twice":
            text = text.replace('"name"', '"name": "a", "name"', 1)
        elif way == "deep":
            text = text.replace("{", '{"x":' + "[" * 5000 + "]" * 5000 + ",", 1)
        elif way == "long":
            text = text.replace(": ", ": 1" + "0" * draw.choice((30, 5000)) + ', "y": ', 1)
        encoding = {"mark": "utf-8-sig", "utf-16": "utf-16"}.get(way, "utf-8")
        yield Case("options", f"{number}: {way}, {what}", door, writing(text.encode(encoding, "surrogatepass")))


def copied(values: Any) -> Any:
    """Nested dictionaries and lists of their own, with the same leaves."""
    if isinstance(values, dict):
        return {key: copied(value) for key, value in values.items()}
    return [copied(value) for value in values] if isinstance(values, list) else values


def replace_at_random(values: Any, draw: random.Random, odd: Any) -> str:
    """Change, add or remove one entry somewhere in nested dictionaries and lists; what was done."""
    where = []
    while True:
        keys = list(values) if isinstance(values, dict) else list(range(len(values)))
        if not keys:
            return "nothing"
        key = draw.choice(keys)
        where.append(str(key))
        inner = values[key]
        if not isinstance(inner, dict | list) or not inner or draw.random() < 0.25:
            break
        values = inner
    path, way = ".".join(where), draw.random()
    if way < 0.15 and isinstance(values, dict):
        del values[key]
        return f"without {path}"
    value = draw.choice(odd)
    if way < 0.25 and isinstance(values, dict):
        values[draw.choice(("x", "", "lr", "a\nb", "x" * 5000))] = value
        return f"one more beside {path}"
    values[key] = value
    return f"{path} = {shown(value) if not isinstance(value, torch.Tensor) else list(value.shape)}"


def as_json(values: Any) -> Any:
    """Values that JSON can hold; integers of hundreds of digits included."""
    if isinstance(values, dict):
        return {key: as_json(value) for key, value in values.items()}
    return [as_json(value) for value in values] if isinstance(values, list | tuple) else values


def special_cases(doors: dict[str, Door], draw: random.Random, count: int) -> Iterator[Case]:
    """Special files, at every door; reading some of them would wait for ever, or fill the memory."""
    makes = {
        "pipe": os.mkfifo,
        "link to /dev/zero": lambda path: path.symlink_to("/dev/zero"),
        "link to /dev/null": lambda path: path.symlink_to("/dev/null"),
        "link to /dev/tty": lambda path: path.symlink_to("/dev/tty"),
        "link to nothing": lambda path: path.symlink_to("nowhere"),
        "link to itself": lambda path: path.symlink_to(path.name),
        "folder": lambda path: path.mkdir(),
        "socket": make_socket,
        "sparse gigabytes": make_sparse,
    }
    for name, door in doors.items():
        for what, make in makes.items():
            yield Case("special", f"{what} as {name}", door, make)


def make_socket(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(before)


def make_sparse(path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(2**40)


def name_cases(doors: dict[str, Door], draw: random.Random, count: int) -> Iterator[Case]:
    """Odd names of whole and of damaged files; the checkpoint's door looks for names of its own."""
    for name, door in doors.items():
        if name == "checkpoint":
            continue
        for odd in ODD_NAMES:
            for content in (door.whole[0], door.whole[0][:40]):
                what = f"{name} {odd!r}, {len(content)} bytes"
                yield Case("names", what, door, writing(content), odd + door.suffix.encode())
        longest = b"x" * (255 - len(door.suffix)) + door.suffix.encode()
        yield Case("names", f"{name} of 255 bytes", door, writing(door.whole[0]), longest)


KINDS = {
    "images": image_cases,
    "radiometric": camera_cases,
    "dicom": lambda doors, draw, count: damaged_files(doors["dicom"], "dicom", draw, count),
    "nifti": lambda doors, draw, count: damaged_files(doors["nifti"], "nifti", draw, count),
    "weights": weights_cases,
    "checkpoints": checkpoint_cases,
    "options": option_cases,
    "special": special_cases,
    "names": name_cases,
}
EXTRAS = {"radiometric": "flyr", "dicom": "pydicom", "nifti": "nibabel"}  # kind to the package that reads it


if __name__ == "__main__":
    sys.exit(main())
