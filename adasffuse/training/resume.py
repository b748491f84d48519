"""Options that may differ, and options that must not, when a run continues from a checkpoint."""

import re
from typing import Any

from adasffuse.training.options import Options

# Options that do not change what is learned, and the length of the run.  `size` only sets the defaults of `model`.
MAY_CHANGE = r"name|size|train\.(steps|accumulate)|log\.\w+|parts\[\d+\]\.data\.(root_path|workers|cache_mb)"

Changes = dict[str, tuple[Any, Any]]  # option: before, now


def changed_options(before: Options, now: Options) -> Changes:
    """Options that differ from those of the checkpoint from which a run continues.

    Raises:
        ValueError: options differ that must not; the message names them.
    """
    old, new = (_flat(options.to_dict()) for options in (before, now))
    missing = object()
    changes = {}
    for key in dict.fromkeys([*old, *new]):
        values = old.get(key, missing), new.get(key, missing)
        if values[0] != values[1]:
            changes[key] = tuple(None if value is missing else value for value in values)
    refused = {key: values for key, values in changes.items() if not re.fullmatch(MAY_CHANGE, key)}
    if refused:
        listed = ", ".join(
            f"{_described(key, before, now)} {was!r} instead of {is_!r}" for key, (was, is_) in [*refused.items()][:10]
        )
        more = f" and {len(refused) - 10} more" if len(refused) > 10 else ""
        raise ValueError(
            f"run {now.name!r} was started with other options: {listed}{more}; "
            "choose another name, or restore these values"
        )
    return changes


def _described(key: str, before: Options, now: Options) -> str:
    """An option as its file names it; of several parts with the part's label, as parts of parts are numbered anew."""
    found = re.match(r"parts\[(\d+)\]\.", key)
    if found is None:
        return key
    labels, own = max(now.labels, before.labels, key=len), key[found.end() :]
    return own if len(labels) == 1 else f"{own} (part {labels[int(found[1])]})"


def _flat(values: Any, where: str = "") -> dict[str, Any]:
    """Values of nested objects by their dotted names; lists of objects by number, other lists whole."""
    if isinstance(values, dict):
        items = [(f"{where}.{key}" if where else key, value) for key, value in values.items()]
    elif isinstance(values, list) and any(isinstance(value, dict) for value in values):
        items = [(f"{where}[{number}]", value) for number, value in enumerate(values)]
    else:
        return {where: values}
    flat: dict[str, Any] = {}
    for key, value in items:
        flat |= _flat(value, key)
    return flat
