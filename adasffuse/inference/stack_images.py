"""The images of a stack: read one by one, checked, registered, without ghosts and completed, as they are fused."""

import itertools
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from adasffuse.arguments import checked
from adasffuse.choices import GHOSTS
from adasffuse.files import real_path
from adasffuse.images.content import measure_content
from adasffuse.images.formats import file_of
from adasffuse.images.image import Image, ImageError, Plane
from adasffuse.images.levels import luma_of
from adasffuse.images.no_data import continued, fill_missing, nearest_known
from adasffuse.images.notices import notices_of_files
from adasffuse.images.plane import check_same_place
from adasffuse.images.ranges import RangeSpec, resolve_range
from adasffuse.images.read import read_image
from adasffuse.images.write import result_depth
from adasffuse.inference.drift import Exposure, drift_notices, evening_factors, measure_exposure, scale_brightness
from adasffuse.inference.ghosts import GhostRemover, Watch, as_bright_as, unclipped_share
from adasffuse.inference.movement import MovementWatch
from adasffuse.messages import first_of
from adasffuse.registration.stacks import register_to, same_scene, thumbnail
from adasffuse.registration.transform import AlignmentError, Transform, corner_shifts, warp_image


@checked
@dataclass(frozen=True)
class StackOptions:
    """How a stack is read and fused."""

    range: RangeSpec | None = None  # values that become black and white, one window for the whole stack
    no_data: float | None = None
    align: str = "none"  # or a method of `adasffuse.registration.stacks`
    depth: str = "auto"
    ghosts: str = "keep"  # or 'remove': what moves between exposures is shown as in the one that is clipped least


class StackImages:
    """The images of a stack, read one by one as often as they are wanted, each where the middle one lies.

    Args:
        exposures: whether they are exposures, or focus settings.
        evens: whether they are made equally bright where their exposure has drifted.
    """

    def __init__(self, paths: Sequence[Path], options: StackOptions, exposures: bool, evens: bool) -> None:
        if len(paths) < 2:
            raise ImageError(f"a stack has two or more images, got {len(paths)}")
        files: set[Path] = set()
        for path in paths:
            if real_path(path) in files:
                raise ImageError(f"{path} is given twice; give each image once")
            files.add(real_path(path))
        result_depth(options.depth, ["8"])  # knows the words
        if options.ghosts not in GHOSTS:
            raise ValueError(f"ghosts must be {' or '.join(GHOSTS)}, got {options.ghosts!r}")
        if options.ghosts == "remove" and not exposures:
            raise ValueError("ghosts are removed from exposures; in focus stacks movement cannot be told from blur")
        self._paths, self._options, self._exposures, self._evens = paths, options, exposures, evens
        self._name, self._called = _what_holds(paths)
        self._window = resolve_range(options.range, paths, options.no_data)
        self._survey = _Survey(self._name, paths, self._called)
        if self._window is not None and options.range.kind != "fixed":
            low, high = self._window
            self._survey.notices.append(f"{self._name}: the values {low:g} to {high:g} become black to white")
        self.shifts: list[float] = []
        self._order = list(range(len(paths)))  # neighbours in it are most alike; its middle gives the grid
        self._transforms: list[Transform | None] = [None] * len(paths)
        self._first: tuple[int, tuple[int, int], Plane | None] | None = None  # the image that was read first: its
        # number, its height and width, and where it lies
        self._filling: Image | None = None  # `_middle_image`, once an image holds no data somewhere
        self._nearest: tuple[np.ndarray, np.ndarray] | None = None  # `nearest_known`, where no image holds data
        self._watch = self._watch_for_movement()
        self._ghosts: GhostRemover | None = None
        self._moving = 0.0  # largest share of an image that moves
        self._clearest: int | None = None
        self._factors = [1.0] * len(paths)  # which make images equally bright
        if evens or options.align != "none" or options.ghosts == "remove":
            self._look_ahead()
        if options.align != "none":
            self._register(options.align)
        if options.ghosts == "remove" and self._clearest is not None:
            self._ghosts = GhostRemover(self._registered(self._clearest, self._read_checked(self._clearest)))

    def _watch_for_movement(self) -> Watch | MovementWatch | None:
        """What looks whether the images, as they are fused, show things in different places; None for nothing."""
        align = self._options.align
        if self._exposures:
            return Watch(align != "none") if self._options.ghosts == "keep" else None
        return MovementWatch(align != "none") if align != "similarity" else None

    def _read(self, number: int) -> Image:
        image = read_image(self._paths[number], self._window, self._options.no_data, levels=True, option="--range")
        return scale_brightness(image, self._factors[number])

    def first_reads(self) -> Iterator[tuple[int, Image]]:
        """Number and image of each image that has content, registered.

        Raises:
            ImageError: sizes differ, all images are equal, none has content, or they show several scenes.
        """
        for number in range(len(self._paths)):
            image = self._read_checked(number)
            if not self._survey.see(number, image):
                continue
            image = self._registered(number, image)
            if self._watch is not None:
                self._watch.see(image)
            yield number, image
        self._survey.check()

    def read(self, number: int) -> Image:
        """An image, registered and `completed`."""
        return self.completed(self._registered(number, self._read(number)))

    @property
    def depths(self) -> list[str]:
        """Of all images that have been read."""
        return self._survey.depths

    @property
    def size(self) -> tuple[int, int]:
        """Height and width; known once an image has been read."""
        return self._first[1]

    @property
    def known(self) -> np.ndarray | None:
        """(H, W) bool, False where no image of those `completed` holds data; None where some does everywhere."""
        return None if self._filling is None else self._filling.valid

    def completed(self, image: Image) -> Image:
        """A registered image, without ghosts where they are removed.

        Where it holds no data, and fading beside it, its pixels are the middle image's, of exposures as bright as its
        own; where no image holds any, those of the nearest place where one does.
        """
        if self._ghosts is not None:
            image, moving = self._ghosts.removed(image)
            self._moving = max(self._moving, moving)
        if image.valid is None:
            return image
        if self._filling is None:
            self._filling = self._middle_image()
            if self.known is not None and self.known.any():
                self._nearest = nearest_known(self.known)
        image = self._filled(image, self._filling)
        if self._nearest is None:
            return image
        return replace(image, pixels=continued(image.pixels, self._nearest))

    def _filled(self, image: Image, other: Image) -> Image:
        """An image with another one's pixels where it holds no data."""
        other = as_bright_as(other, image) if self._exposures else other
        filled, _ = fill_missing([image.pixels, other.pixels], [image.valid, other.valid])
        return replace(image, pixels=filled[0])

    def _registered(self, number: int, image: Image) -> Image:
        if self._transforms[number] is None:
            return image
        return warp_image(image, self._transforms[number])

    def _middle_image(self) -> Image:
        """The middle image; where it holds no data, what the images nearest to it show."""
        middle = len(self._order) // 2
        found: Image | None = None
        for place in sorted(range(len(self._order)), key=lambda k: abs(k - middle)):
            number = self._order[place]
            image = self._registered(number, self._read_checked(number))
            if found is None:
                found = image
            else:
                known = np.ones(self.size, bool) if image.valid is None else found.valid | image.valid
                if (known & ~found.valid).any():
                    found = replace(self._filled(found, image), valid=None if known.all() else known)
            if found.valid is None:
                break
        return found

    def _read_checked(self, number: int) -> Image:
        """An image, not registered, that has the size of the others and, where they stay so, lies where they do."""
        image = self._read(number)
        size = image.pixels.shape[:2]
        self._first = self._first or (number, size, image.plane)
        first, _, plane = self._first
        if size != self.size:
            listed = [(first, self.size), (number, size)]
            sizes = ", ".join(f"{self._called[one]} is {width}x{height}" for one, (height, width) in listed)
            raise ImageError(
                f"{self._name}: sizes differ: {sizes} pixels; a stack has one size: put each scene into a folder of "
                f"its own, or cut them apart by {_cut_by(self._called) or '--images_per_stack'}"
            )
        if self._options.align == "none":
            check_same_place((self._paths[first], self._paths[number]), (plane, image.plane), size, in_stack=True)
        return image

    def _look_ahead(self) -> None:
        """Put the images with content in order: exposures by their brightness, focus settings by their names.

        Of exposures the one with the fewest clipped pixels is what ghosts are removed with.  From here on, focus
        settings are equally bright where they ought to be.
        """
        means, clear = {}, {}
        looks: list[Exposure | None] = [None] * len(self._paths)
        for number in self._order:
            image = self._read_checked(number)
            if measure_content(image.pixels, image.valid) == 0:
                continue  # it is left out
            if self._exposures:
                luma = luma_of(image.pixels)
                means[number], clear[number] = float(luma.mean()), unclipped_share(luma)
            else:
                looks[number] = measure_exposure(image)
        if self._exposures:
            self._order = sorted(means, key=means.get)
            self._clearest = max(clear, key=clear.get, default=None)
            return
        self._order = [number for number in self._order if looks[number] is not None]
        if self._evens:
            self._factors = evening_factors(looks)
        self._survey.notices += [f"{self._name}: {text}" for text in drift_notices(self._factors)]

    def _register(self, method: str) -> None:
        """Each image with content to its neighbour towards the middle one."""
        if not self._order:
            return
        middle = len(self._order) // 2
        start = luma_of(self._read_checked(self._order[middle]).pixels)
        for side in (self._order[:middle][::-1], self._order[middle + 1 :]):
            before, matrix = start, np.eye(3)
            for number in side:
                luma = luma_of(self._read_checked(number).pixels)
                try:
                    found = register_to(before, luma, method)
                except AlignmentError as error:
                    raise AlignmentError(f"{self._paths[number]}: {error}") from None
                matrix = found.matrix @ matrix
                self._transforms[number] = Transform(found.method, matrix, self.size, self.size)
                before = luma
        for transform in self._transforms:
            matrix = np.eye(3) if transform is None else transform.matrix
            self.shifts.append(float(corner_shifts(matrix, np.eye(3), self.size).max()))

    def all_notices(self) -> list[str]:
        """Notices of reading, each once, and what is worth knowing of the stack."""
        said = self._survey.all_notices()
        if self._watch is not None:
            said += [f"{self._name}: {text}" for text in self._watch.notices()]
        if self._moving:
            name = self._called[self._clearest]
            said.append(f"{self._name}: what moves, {self._moving:.1%} of an image at most, is shown as in {name}")
        return said


def _what_holds(paths: Sequence[Path]) -> tuple[Path, list[str]]:
    """The folder, or file of several pages, that holds the images of a stack, and what messages call each of them."""
    file = file_of(paths[0])
    if file != paths[0]:
        return file, [path.name for path in paths]
    folders = {path.parent for path in paths}
    if len(folders) == 1:
        return paths[0].parent, [path.name for path in paths]
    try:
        return Path(os.path.commonpath(folders)), [str(path) for path in paths]
    except ValueError:  # some are relative, or lie on another drive
        return paths[0].parent, [str(path) for path in paths]


def _cut_by(names: Sequence[str]) -> str:
    """The option that takes the first of several stacks by the names of all images, '' where these are one series.

    Two parts of the names vary, numbers or words, and each value of one occurs with each of the other: 'z1_c1.tif' to
    'z9_c2.tif' are two stacks of nine slices rather than one of 18 images.
    """
    split = [re.split(r"(\d+|[^\W\d_]+)", Path(name).name) for name in names]
    if len({len(parts) for parts in split}) > 1:
        return ""
    values = [set(column) for column in zip(*split)]
    varying = [k for k, found in enumerate(values) if len(found) > 1]
    if len(varying) != 2 or len(values[varying[0]]) * len(values[varying[1]]) != len(set(names)):
        return ""
    fixed = min(varying[::-1], key=lambda k: len(values[k]))  # there are fewer channels than slices
    pattern = "".join("*" if k in varying and k != fixed else part for k, part in enumerate(split[0]))
    return f"--pattern {shlex.quote(pattern)}"


class _Survey:
    """What the images of a stack show when each is read for the first time, and whether they are one stack."""

    def __init__(self, name: Path, paths: Sequence[Path], called: Sequence[str]) -> None:
        self._name, self._paths, self._called = name, paths, called
        self.notices: list[str] = []
        self.depths: list[str] = []
        self._of_files: list[tuple[Path, str]] = []  # notices of reading
        self._digests: dict[int, int] = {}  # number of the first image of each
        self._thumbnails: dict[int, tuple[np.ndarray, float]] = {}  # of images with content, and their mean luminance

    def see(self, number: int, image: Image) -> bool:
        """Take an image into account, not registered; whether it has content."""
        path = self._paths[number]
        self.depths.append(image.depth)
        self._of_files += [(path, notice.removeprefix(f"{path}: ")) for notice in image.notices]
        before = self._digests.setdefault(hash(image.pixels.tobytes()), number)
        if before != number:
            self.notices.append(f"{path}: shows the same as {self._called[before]}, pixel by pixel")
        if measure_content(image.pixels, image.valid) == 0:
            self.notices.append(f"{path}: has no content, it is left out")
            return False
        luma = luma_of(image.pixels)
        self._thumbnails[number] = thumbnail(luma), float(luma.mean())
        return True

    def all_notices(self) -> list[str]:
        """Notices of reading, each once, and what is worth knowing of the images."""
        return notices_of_files(self._of_files) + self.notices

    def check(self) -> None:
        """Raise ImageError for a stack of equal images, of flat ones, or of several scenes; all have been seen."""
        if len(self._digests) == 1:
            raise ImageError(f"{self._name}: all {len(self._paths)} images are equal; nothing to fuse")
        if not self._thumbnails:
            raise ImageError(f"{self._name}: none of {len(self._paths)} images has content; nothing to fuse")
        if len(self._thumbnails) == 1:
            (only,) = self._thumbnails
            self.notices.append(f"{self._paths[only]}: is the only image with content, so the result shows it alone")
        scenes, pattern = self._scenes(), _cut_by(self._called)
        several = [scene for scene in scenes if len(scene) > 1]
        if len(several) > 1:
            parts = [f"{self._called[one[0]]} to {self._called[one[-1]]} ({len(one)})" for one in several]
            raise ImageError(
                f"{self._name}: holds {len(several)} scenes that have nothing in common: {first_of(parts, 4)}; "
                f"put each into a folder of its own, or cut them apart by {pattern or '--images_per_stack'}"
            )
        if pattern:
            self.notices.append(
                f"{self._name}: two parts of the names vary, as of slices and channels; if these are several stacks, "
                f"fuse one at a time, the first by {pattern}"
            )
        if len(scenes) > 2 and not several:  # two may be the ends of a bracket
            self.notices.append(f"{self._name}: no image has anything in common with another; are they of one scene?")
        if several:
            for scene in scenes:
                if len(scene) == 1:
                    name = self._paths[scene[0]]
                    self.notices.append(
                        f"{name}: seems to have nothing in common with the others; is it of this scene?"
                    )
        if len(set(self.depths)) > 1:
            depths = " and ".join(sorted(set(self.depths)))
            self.notices.append(f"{self._name}: holds files of {depths} bits")

    def _scenes(self) -> list[list[int]]:
        """The numbers of the images with content, those that show one scene together.

        Neighbours by name are compared, and neighbours in brightness: the ends of a bracket have little in common.
        """
        numbers = sorted(self._thumbnails)
        by_brightness = sorted(numbers, key=lambda number: self._thumbnails[number][1])
        group = {number: {number} for number in numbers}
        for one, other in (*itertools.pairwise(numbers), *itertools.pairwise(by_brightness)):
            if other not in group[one] and same_scene(self._thumbnails[one][0], self._thumbnails[other][0]):
                together = group[one] | group[other]
                group.update(dict.fromkeys(together, together))
        return [sorted(one) for one in {min(group[number]): group[number] for number in numbers}.values()]
