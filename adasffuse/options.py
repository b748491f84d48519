"""JSON to frozen dataclasses: an unknown key, a wrong type or an impossible value is an error that names the key."""

import json
from collections.abc import Iterable
from dataclasses import MISSING, Field, asdict, field, fields, is_dataclass
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from reprlib import Repr
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

LARGEST_FILE = 2**20  # bytes of an options file
LONGEST_TEXT = 4096  # characters of a string
LONGEST_LIST = 1000  # entries of a list
_LONGEST_NUMBER = 30  # digits of an integer; longer ones are read as floating-point numbers
_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = 80


def load_json(path: str | Path, kind: str = "options file") -> Any:
    """Values of a JSON file: UTF-8 with or without a byte-order mark, every key once.

    Args:
        kind: name of the file in errors.
    Raises:
        FileNotFoundError: there is no such file; the message lists the JSON files beside it.
        ValueError: no regular file, larger than `LARGEST_FILE`, no JSON, nested too deeply, or an object has a key
            twice.
    """
    path = Path(path)
    if not path.exists():
        beside = ", ".join(sorted(p.name for p in path.parent.glob("*.json"))) or "none"
        raise FileNotFoundError(f"{kind} {path} does not exist; JSON files in {path.parent}: {beside}")
    if not path.is_file():
        raise ValueError(f"{kind} {path} is no regular file")
    with open(path, "rb") as file:
        content = file.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise ValueError(f"{path} is no {kind}: it has more than {LARGEST_FILE} bytes")
    try:
        return parse_json(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def parse_json(content: bytes) -> Any:
    """Values of a JSON text, as `load_json`; errors do not name a file."""
    try:
        return json.loads(content.decode("utf-8-sig"), object_pairs_hook=_without_repeats, parse_int=_integer)
    except UnicodeDecodeError:
        raise ValueError("not JSON (the file is not UTF-8 text); save it as UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error}); comments and trailing commas are not allowed") from None
    except RecursionError:
        raise ValueError("brackets are nested too deeply") from None


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"option {shown(key)} stands twice in one object; keep one of them")
            seen.add(key)
    return values


def _integer(text: str) -> int | float:
    return int(text) if len(text) <= _LONGEST_NUMBER else float(text)


def bounded(default: Any, low: float, high: float) -> Any:
    """A dataclass field of a number with limits, for `check_bounds`; `MISSING` for no default."""
    return field(default=default, metadata={"bounds": (low, high)})


def check_bounds(options: Any, where: str) -> None:
    """Check the fields of a dataclass instance that were made by `bounded`.

    Raises:
        ValueError: a number is outside its limits; the message names option, limits and number.
    """
    for f in fields(options):
        if "bounds" in f.metadata:
            low, high = f.metadata["bounds"]
            value = getattr(options, f.name)
            if not low <= value <= high:  # NaN fails as well
                name = f"{where}.{f.name}" if where else f.name
                raise ValueError(f"{name} must lie in {low:g} .. {high:g}, got {shown(value)}")


def check_names(values: dict[str, Any], known: Iterable[str], where: str) -> None:
    """Raise ValueError for keys that are not known, with the nearest known key, or all if none is near."""
    known = list(known)
    for key in values:
        if key not in known:
            near = get_close_matches(str(key)[:100], known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"
            name = str(key) if str(key).isprintable() and len(str(key)) <= 100 else shown(key)
            raise ValueError(f"unknown option {f'{where}.' if where else ''}{name}{hint}")


def build(cls: type, values: Any, where: str, base: dict[str, Any] | None = None) -> Any:
    """Fill dataclass `cls` from parsed JSON.

    Args:
        where: dotted path of the object, for messages.
        base: field name to object, from which a nested dataclass starts.
    Raises:
        ValueError: an unknown or missing key, a wrong type or an impossible value; the message names the key.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{where or 'a part'} must be a JSON object, got {type(values).__name__}")
    types = get_type_hints(cls)
    check_names(values, types, where)
    given = {}
    for key, value in values.items():
        dotted = f"{where}.{key}" if where else key
        if is_dataclass(types[key]):
            start = (base or {}).get(key)
            if start is not None and isinstance(value, dict):
                value = {**asdict(start), **value}
            given[key] = build(types[key], value, dotted)
        else:
            given[key] = _check(types[key], value, dotted)
    given = {**{k: v for k, v in (base or {}).items() if k not in given}, **given}
    missing = [f.name for f in fields(cls) if f.name not in given and _required(f)]
    if missing:
        raise ValueError(f"missing option {', '.join(f'{where}.{m}' if where else m for m in missing)}")
    return cls(**given)


def shown(value: Any) -> str:
    """A value for messages, as Python writes it, shortened if it is long or deep."""
    if isinstance(value, int) and abs(value) >= 10**_LONGEST_NUMBER:
        return f"an integer of more than {_LONGEST_NUMBER} digits"
    return _SHORT.repr(value)


def _required(f: Field) -> bool:
    return f.default is MISSING and f.default_factory is MISSING


def _check(kind: Any, value: Any, where: str) -> Any:
    """Scalar or tuple of type `kind`; integers pass as floats, booleans never as numbers."""
    if isinstance(kind, UnionType):
        return _check_union(kind, value, where)
    if get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{where} must be a list, got {shown(value)}")
        if len(value) > LONGEST_LIST:
            raise ValueError(f"{where} must have at most {LONGEST_LIST} entries, got {len(value)}")
        return tuple(_check(get_args(kind)[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    accepted: type | UnionType = int | float if kind is float else kind
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{where} must be {kind.__name__}, got {shown(value)}")
    if kind is float and isinstance(value, float) and not isfinite(value):
        raise ValueError(f"{where} must be a finite number, got {value}")  # JSON allows 1e999, Python's also NaN
    if isinstance(value, int) and abs(value) >= 2**63:
        raise ValueError(f"{where} must be a number of at most 64 bits, got {shown(value)}")
    if kind is str:
        _check_text(value, where)
    return kind(value)


def _check_union(kind: UnionType, value: Any, where: str) -> Any:
    """A value of one of several scalar types, such as `float | None`."""
    for option in get_args(kind):
        accepted = int | float if option is float else option
        if isinstance(value, accepted) and not isinstance(value, bool):
            return value if value is None else _check(option, value, where)
    names = " or ".join("null" if option is type(None) else option.__name__ for option in get_args(kind))
    raise ValueError(f"{where} must be {names}, got {shown(value)}")


def _check_text(value: str, where: str) -> None:
    """Raise ValueError for texts that are too long or hold control characters, which no file name has."""
    if len(value) > LONGEST_TEXT:
        raise ValueError(f"{where} must have at most {LONGEST_TEXT} characters, got {len(value)}")
    for c in value:
        undecoded = "\udc80" <= c <= "\udcff"  # how Python keeps bytes of file names that are not UTF-8
        if c < " " or c == "\x7f" or ("\ud800" <= c <= "\udfff" and not undecoded):
            raise ValueError(f"{where} must not hold control characters, got {shown(value)}")
