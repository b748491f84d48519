"""Patterns of file names, such as 'IR_*' and 'VIS_*': what `*` stands for, and which patterns names would fit."""

import itertools
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from adasffuse.images.formats import RAW_SUFFIXES
from adasffuse.images.read import IMAGE_SUFFIXES
from adasffuse.images.volumes import is_volume, stem_of
from adasffuse.tasks import TASKS

_LOOKED_AT = 64  # names for which a pattern is looked for
_SEPARATORS = "_-. "  # between the common part of a name and what tells the sources apart
_WORDS = (re.compile(r"[^\W_]+"), re.compile(r"[^\W\d_]+|\d+"))  # of a name: between separators, or numbers apart
_DEEP = (".tif", ".tiff")  # more often of the thermal images than of the visible ones
_MOST_WORDS = 3  # at an end of a name, of which one tells the sources apart
_MOST_HEADS = 8  # beginnings, or ends, of names that are compared


def folder_and_pattern(place: str | Path) -> tuple[Path, str | None]:
    """A folder, and how its files are called where the place ends in a pattern: 'results/*_fused.png'.

    A pattern of paths stays as it is, see `is_tree`.
    """
    path = Path(place)
    if "*" in path.name and not path.exists() and not is_tree(path):
        return path.parent, path.name
    return path, None


def is_tree(place: Path) -> bool:
    """Whether a path that does not exist is a pattern of paths: with '*' in the names of folders, or more than one."""
    stars = str(place).count("*")
    return stars > 0 and not place.exists() and (stars > 1 or "*" not in place.name)


def shared_name(path: Path, pattern: str) -> str:
    """What stands for `*` where a file's name fits the pattern, else ''."""
    name = stem_of(path)
    if Path(pattern).suffix.lower() in IMAGE_SUFFIXES or is_volume(pattern):
        name += path.name[len(name) :].lower()
        pattern = stem_of(pattern) + pattern[len(stem_of(pattern)) :].lower()
    name, pattern = (unicodedata.normalize("NFC", text) for text in (name, pattern))
    before, after = pattern.split("*")
    if len(name) <= len(before) + len(after) or not (name.startswith(before) and name.endswith(after)):
        return ""
    return name[len(before) : len(name) - len(after)]


def pattern_for(stems: Sequence[str], names: Sequence[str]) -> str:
    """The pattern under which most names fit a stem, '' where no name does."""
    found: Counter[str] = Counter()
    for name in names[:_LOOKED_AT]:
        for stem in stems:
            if stem in name and stem != name:
                before, _, after = name.partition(stem)
                found[f"{before}*{after}"] += 1
    return max(found, key=lambda pattern: (found[pattern], -len(pattern)), default="")


def suggest_patterns(names: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], int]:
    """Patterns under which most names of two sources match, and how many do; () and 0 where none would.

    The names of each source share a beginning (IR_, VIS_) or an end; what both sources' shares have in common is left
    to the `*`.
    """
    best: tuple[tuple[str, ...], int] = ((), 0)
    for backwards in (False, True):  # ends are looked for as beginnings of names read backwards
        turned = [[name[::-1] if backwards else name for name in group] for group in names]
        starts = [_common_start(group) for group in turned]
        alike = len(_common_start([start[::-1] for start in starts]))  # letters at the end of both starts
        heads = [start[: len(start) - alike] for start in starts]
        rest = starts[0][len(heads[0]) :]
        separator = rest[: len(rest) - len(rest.lstrip(_SEPARATORS))]
        heads = [head + separator for head in heads]
        kept = [{name[len(head) :] for name in group} - {""} for head, group in zip(heads, turned)]
        count = len(kept[0] & kept[1])
        if count > best[1]:
            patterns = tuple("*" + head[::-1] if backwards else head + "*" for head in heads)
            best = patterns, count
    return best


def _common_start(names: Sequence[str]) -> str:
    """The longest string that all names begin with: that of the first and the last one in order."""
    first, last = min(names), max(names)
    length = 0
    while length < min(len(first), len(last)) and first[length] == last[length]:
        length += 1
    return first[:length]


class _Split(NamedTuple):
    """Two patterns that split the files of a folder in two sources."""

    pairs: int  # names that both sources have
    tells_task: bool  # whether words in the patterns tell a task
    patterns: tuple[str, ...]


def patterns_in(files: Sequence[Path]) -> tuple[tuple[str, ...], int]:
    """Patterns that split the files of one folder in two sources, and how many pairs they make; () and 0 for none.

    The names of each source begin, or end, with the same few words, of which one tells the sources apart, or is
    missing from one of them; or suffixes tell them apart, but for a camera's raw files, which show what others show.
    At least half of all files belong to a pair, and one pair alone has words that tell a task.  Of several such splits
    the one of most pairs, and of words that tell a task, is taken.
    """
    splits = [*_splits_by_words([stem_of(path) for path in files]), *_splits_by_suffixes(files)]
    splits = [one for one in splits if 4 * one.pairs >= len(files) and (one.pairs > 1 or one.tells_task)]
    if not splits:
        return (), 0
    best = max(splits, key=lambda one: (one.pairs, one.tells_task))
    return best.patterns, best.pairs


def _splits_by_words(stems: Sequence[str]) -> Iterator[_Split]:
    """Splits by the words at the beginning or the end of names."""
    for form, backwards, count in itertools.product(_WORDS, (False, True), range(1, _MOST_WORDS + 1)):
        rests: dict[str, set[str]] = defaultdict(set)  # of the names that have a beginning, or end, in common
        for stem in stems:
            words = list(form.finditer(stem))
            if len(words) > count:
                cut = words[-count - 1].end() if backwards else words[count].start()
                head, rest = (stem[cut:], stem[:cut]) if backwards else (stem[:cut], stem[cut:])
                rests[head].add(rest)
        common = sorted(rests, key=lambda head: (-len(rests[head]), head))[:_MOST_HEADS]
        if count == 1:
            rests[""] = set(stems)
            common.append("")
        for one, other in itertools.combinations(common, 2):
            heads, tells_task = _told_apart(one, other, form)
            if heads:
                patterns = tuple("*" + head if backwards else head + "*" for head in heads)
                yield _Split(len(rests[one] & rests[other]), tells_task, patterns)


def _splits_by_suffixes(files: Sequence[Path]) -> Iterator[_Split]:
    """Splits by the suffixes of files, without a camera's raw files."""
    suffixes: dict[str, set[str]] = defaultdict(set)
    for path in files:
        stem = stem_of(path)
        suffix = path.name[len(stem) :]
        if suffix.lower() not in RAW_SUFFIXES:
            suffixes[suffix].add(stem)
    in_order = sorted(suffixes, key=lambda suffix: (suffix.lower() not in _DEEP, suffix))
    for one, other in itertools.combinations(in_order, 2):
        yield _Split(len(suffixes[one] & suffixes[other]), False, ("*" + one, "*" + other))


def _told_apart(one: str, other: str, form: re.Pattern) -> tuple[tuple[str, ...], bool]:
    """Two parts of names that differ in one word, in the order of a task, and whether the words tell a task.

    () where they differ in more, or in a number: numbers tell scenes apart, not sources.

    Args:
        one, other: beginnings or ends of names.
        form: of a word.
    """
    words, others = (form.findall(part.lower()) or [""] for part in (one, other))
    differing = [both for both in itertools.zip_longest(words, others, fillvalue="0") if both[0] != both[1]]
    if len(differing) != 1 or any(word.isdigit() for word in differing[0]):
        return (), False
    word, other_word = differing[0]
    if re.sub(r"\d", "", word) == re.sub(r"\d", "", other_word):
        return (), False
    words_of_tasks = [task.words for task in TASKS.values()]

    def rank(word: str) -> int:
        """0 for words of a source A, 2 for those of a source B."""
        if any(word in a for a, _ in words_of_tasks):
            return 0
        return 2 if any(word in b for _, b in words_of_tasks) else 1

    if (rank(other_word), other_word) < (rank(word), word):
        word, other_word, one, other = other_word, word, other, one
    return (one, other), any(word in a and other_word in b for a, b in words_of_tasks)
