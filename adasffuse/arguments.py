"""Checking the arguments of public functions against their annotations: an error of type names the argument.

Values (a share above 1, an unknown word) are checked by the functions themselves.
"""

import functools
import inspect
import os
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from adasffuse.options import shown

CALLER = 3  # `stacklevel` of warnings.warn in a checked function, for a warning that points at its caller

T = TypeVar("T", bound=Callable[..., Any])
_LISTS = (tuple, list, Sequence)
_SHOWN = (str, bytes, Real, list, tuple, Mapping, os.PathLike, types.NoneType)  # types whose values messages show
_WORDS = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
    types.NoneType: "None",
}


def checked(target: T) -> T:
    """Decorate a function, method or dataclass: arguments of other types than its annotations raise ValueError.

    The error names the function, the argument, what was expected and what was given.  NumPy's numbers become Python's;
    True and False are no numbers; text is accepted as a path, and any ordered iterable but text as a list.  The items
    of an `Iterable` are checked one by one as they are taken.  `Any` and arguments without annotation accept
    everything.
    """
    if isinstance(target, type):
        target.__init__ = _checked(target.__init__, target.__name__)
        return target
    return _checked(target, target.__qualname__.removesuffix(".__init__").removesuffix(".__call__"))


def check_arguments(function: Callable[..., Any], values: Mapping[str, Any], name: str | None = None) -> dict[str, Any]:
    """Check and convert the arguments of a function by name; errors as in a `checked` function.

    For functions that must not be wrapped, because the wrapper would keep their arguments alive.
    """
    parameters, hints = _annotated(function)
    found = dict(values)
    for key, value in values.items():
        kind, parameter = hints.get(key, Any), parameters[key]
        where = f"{name or function.__name__}: {key}"
        if kind is Any or parameter.kind is inspect.Parameter.VAR_KEYWORD:
            continue
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            found[key] = tuple(_taken(kind, one, f"{where}[{k}]") for k, one in enumerate(value))
        else:
            found[key] = _taken(kind, value, where, parameter.default)
    return found


def check_batches(name: str, batches: Sequence[Any], wanted: str, least: int) -> None:
    """Raise ValueError unless there are `least` or more floating-point tensors (B, 1, H, W) of one shape, not empty.

    Args:
        name: name of the function or network, for the error.
        wanted: description of the tensors, for the error.
    """
    for batch in batches:
        is_tensor = hasattr(batch, "is_floating_point")  # PyTorch is not imported for a check
        if not is_tensor or not batch.is_floating_point():
            kind = batch.dtype if is_tensor else type(batch).__name__
            raise ValueError(f"{name} needs floating-point tensors in [0, 1], got {kind}")
    shapes = [tuple(batch.shape) for batch in batches]
    if len(shapes) < least or len(set(shapes)) > 1 or len(shapes[0]) != 4 or shapes[0][1] != 1:
        raise ValueError(f"{name} needs {wanted} (B, 1, H, W) of one shape, got {shapes}")
    if 0 in shapes[0]:
        raise ValueError(f"{name} needs at least one sample of at least one pixel, got {shapes[0]}")


@functools.cache
def _annotated(function: Callable[..., Any]) -> tuple[Mapping[str, inspect.Parameter], dict[str, Any]]:
    """Parameters and types; resolved at the first call, since annotations may name classes defined later."""
    return inspect.signature(function).parameters, get_type_hints(function)


def _checked(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        try:
            bound = signature.bind(*args, **options)
        except TypeError:  # too many or unknown arguments: Python's own words
            return function(*args, **options)
        bound.arguments.update(check_arguments(function, bound.arguments, name))
        return function(*bound.args, **bound.kwargs)

    return call


def _taken(kind: Any, value: Any, where: str, default: Any = None) -> Any:
    """The value converted to its annotation; raises ValueError if it has another type."""
    options = get_args(kind) if get_origin(kind) in (types.UnionType, Union) else (kind,)
    for option in options:
        origin = get_origin(option) or option
        if origin in _LISTS and _is_listed(value):
            return _list(option, value, where)
        if origin is Iterable and get_args(option) and _fits(origin, value):
            return (_taken(get_args(option)[0], one, f"{where}[{k}]") for k, one in enumerate(value))
        if origin not in _LISTS and _fits(origin, value):
            return _plain(origin, value)
    wanted = " or ".join(map(_words, options))
    example = f" such as {default!r}" if isinstance(default, str) and default else ""
    raise ValueError(f"{where} must be {wanted}{example}, got {_given(value)}")


def _fits(kind: Any, value: Any) -> bool:
    """Whether a value has a type, which is no list."""
    if kind is Any or isinstance(kind, TypeVar):
        return True
    if kind is Path:
        return isinstance(value, str | os.PathLike)
    if kind is bool:
        return isinstance(value, bool | np.bool_)
    if kind in (int, float):
        return isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool | np.bool_)
    if kind is Callable:
        return callable(value)
    if kind is Iterable:
        return isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)
    return isinstance(value, kind)


def _plain(kind: Any, value: Any) -> Any:
    if isinstance(value, np.generic) and kind in (bool, int, float):
        return value.item()
    return Path(value) if kind is Path and not isinstance(value, Path) else value


def _is_listed(value: Any) -> bool:
    """Whether a value is an ordered collection, and no text."""
    return (
        isinstance(value, Iterable)
        and np.ndim(value if isinstance(value, np.ndarray) else ())
        and not isinstance(value, str | bytes | Mapping | AbstractSet)
    )


def _list(kind: Any, value: Iterable[Any], where: str) -> Any:
    """A list or tuple of checked values."""
    values, inner = list(value), get_args(kind)
    fixed = get_origin(kind) is tuple and Ellipsis not in inner
    if fixed and len(values) != len(inner):
        raise ValueError(f"{where} must be {_words(kind)}, got {_given(value)}")
    if inner:
        kinds = inner if fixed else [inner[0]] * len(values)
        values = [_taken(one, item, f"{where}[{k}]") for k, (one, item) in enumerate(zip(kinds, values))]
    return tuple(values) if (get_origin(kind) or kind) is tuple or isinstance(value, tuple) else values


def _words(kind: Any) -> str:
    """Name of a type in messages."""
    if kind in _WORDS:
        return _WORDS[kind]
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if origin in (types.UnionType, Union):
        return " or ".join(map(_words, inner))
    if origin is tuple and Ellipsis not in inner:
        return f"({', '.join(map(_words, inner))})"
    if origin in _LISTS:
        if not inner:
            return "a list"
        return f"a list of ({_words(inner[0])})" if get_args(inner[0]) else f"a list, each {_words(inner[0])}"
    if origin is Iterable:
        return f"an iterable, each {_words(inner[0])}" if inner else "an iterable"
    if origin is Mapping:
        return "a dict"
    if origin is Callable:
        return "a function"
    article = "an" if origin.__name__[0] in "AEIOU" else "a"
    return f"{article} {origin.__name__} ({origin.__module__})"


def _given(value: Any) -> str:
    """A value in a message, on one line; arrays and other objects are shown by their type."""
    if isinstance(value, _SHOWN):
        return " ".join(shown(value).split())
    return f"{type(value).__module__}.{type(value).__name__}"
