"""Parsed JSON to frozen dataclasses: an unknown key, a wrong type or a missing value is an error that names the key."""

from collections.abc import Iterable
from dataclasses import MISSING, Field, asdict, fields, is_dataclass
from difflib import get_close_matches
from math import isfinite
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints


def check_names(values: dict[str, Any], known: Iterable[str], where: str) -> None:
    known = list(known)
    for key in values:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"unknown option {f'{where}.' if where else ''}{key}{hint}")


def build(cls: type, values: Any, where: str, base: dict[str, Any] | None = None) -> Any:
    """Fill dataclass `cls` from parsed JSON; `where` is the dotted path in messages, `base` holds starting objects."""
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


def _required(f: Field) -> bool:
    return f.default is MISSING and f.default_factory is MISSING


def _check(kind: Any, value: Any, where: str) -> Any:
    """Scalar or tuple of type `kind`; integers pass as floats, booleans never as numbers."""
    if get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{where} must be a list, got {value!r}")
        return tuple(_check(get_args(kind)[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    accepted: type | UnionType = int | float if kind is float else kind
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{where} must be {kind.__name__}, got {value!r}")
    if kind is float and not isfinite(value):  # Python's JSON parser lets NaN and Infinity through
        raise ValueError(f"{where} must be a finite number, got {value}")
    return kind(value)
