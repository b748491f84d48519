"""Whether sources that are about to be fused seem to lie on each other, and what is said where they do not."""

from collections.abc import Sequence

from adasffuse.images.content import measure_content
from adasffuse.images.image import Image
from adasffuse.images.levels import luma_of
from adasffuse.images.notices import MISTAKEN
from adasffuse.inference.movement import MovementWatch
from adasffuse.messages import counted
from adasffuse.registration.aligner import Aligner, measure_of
from adasffuse.registration.estimate import CROSS_MODAL, Glance, notable_misalignment, turn_of_scan
from adasffuse.registration.stacks import same_scene, thumbnail
from adasffuse.registration.turns import how_to_turn
from adasffuse.tasks import Task

_FEWEST_APART = 3  # pairs, of which half or more have to be so: 1 of 15 registered ones is
_TURNED_SHARE = 1 / 4  # of the pairs, that have to be turned in one way: 5 of 40 right scans seem to be in some way
_APART = "seem to have no edges in common: A and B are far off each other, show two scenes, or one of them shows little"
_UNLIKE = (
    "seem to have nothing in common: A and B show two scenes, are mirrored or turned, or one of them shows little; "
    "they are fused as they are"
)
_SAVE = "adasffuse align A B --save FILE"
_REGISTER = f"they are fused as they are; fixed cameras are aligned by --align affine, or --calibration FILE of {_SAVE}"
_REGISTER_LIVE = (
    f"they are fused as they are; fixed cameras are aligned by --calibration FILE, which {_SAVE} writes from recordings"
)
_RECALIBRATE = (
    f"were the cameras moved, since their calibration or while they recorded? look at the results; {_SAVE} makes a new "
    "calibration"
)
_TURN_VIDEO = "turn one source, or correct the rotation that its file states"
_TURN_LIVE = "turn one camera, or its image where the camera is set up"


def seen_misalignment(
    task: Task, images: Sequence[Image], align: Aligner | None, closely: bool = True
) -> Glance | None:
    """How sources seem not to lie on each other, where that is worth a notice.

    None also where nothing is known, and where `align` has registered this pair by itself: it refuses what it cannot.
    But it registers mirrored scans, so these are looked for all the same.

    Args:
        images: as they will be fused.
        closely: whether scans are compared in all `TURNS`, which takes longer than fusing them.
    """
    registered = align is not None and align.calibration is None
    if closely and len(images) == 2 and are_scans(task):
        way = turn_of_scan(*images, align is not None)
        if way:
            return Glance(None, way)
    if registered or len(images) != 2:
        return None
    if task.id in CROSS_MODAL:
        return notable_misalignment(*images, measure_of(task.id))
    shows = all(measure_content(image.pixels, image.valid) > 0 for image in images)
    if shows and not same_scene(*(thumbnail(luma_of(image.pixels)) for image in images)):
        return Glance(None, unlike=True)
    watch = MovementWatch(shifted=False)
    for image in images:
        watch.see(image)
    moved = watch.notable()
    return None if moved is None else Glance(moved)


def are_scans(task: Task) -> bool:
    """Whether a task's sources are scans, of which few pairs are looked at closely, see `seen_misalignment`."""
    return measure_of(task.id) == "medical"


def misaligned_pairs_notice(
    off: Sequence[tuple[str, Glance | None]], align: Aligner | None, closely: int | None = None
) -> list[str]:
    """Notices of the pairs of a folder, their names and `seen_misalignment`; [] for none.

    Args:
        closely: how many were looked at closely, of scans; None: all.
    """
    cure = _RECALIBRATE
    if align is None:
        cure = "they are fused as they are; look at the results, and try --align affine"
    shifts = [(seen.shift, name) for name, seen in off if seen is not None and seen.shift is not None]
    closely = len(off) if closely is None else closely
    turned, apart, unlike = _without_shift(off, closely)
    notices = []
    if shifts:
        pixels, name = max(shifts)
        notices.append(
            f"{len(shifts)} of {counted(len(off), 'pair')} seem not to lie on each other, {name} by about "
            f"{pixels:.0f} pixels; {cure}"
        )
    for way, names in turned.items():
        notices.append(
            f"in {len(names)} of {counted(closely, 'pair')}, such as {names[0]}, A seems to fit B only if it is {way}; "
            f"they are used as they are: {how_to_turn(way)}, or correct the orientation that they state (EXIF)"
        )
    if apart:
        notices.append(f"{len(apart)} of {counted(len(off), 'pair')}, such as {apart[0]}, {_APART}; {cure}")
    if unlike:
        notices.append(f"{len(unlike)} of {counted(len(off), 'pair')}, such as {unlike[0]}, {_UNLIKE}")
    return notices


def misaligned_frames_notice(off: Sequence[Glance | None], align: Aligner | None, live: bool = False) -> list[str]:
    """Notices of the frames of a sequence, or of live cameras, that were looked at, of each its `seen_misalignment`.

    [] where too few are off.
    """
    cure = _RECALIBRATE
    if align is None:
        cure = _REGISTER_LIVE if live else _REGISTER
    shifts = [seen.shift for seen in off if seen is not None and seen.shift is not None]
    turned, apart, unlike = _without_shift([("", seen) for seen in off], len(off))
    notices = []
    if len(shifts) > MISTAKEN * len(off) and len(shifts) >= sum(map(len, turned.values())):
        notices.append(
            f"A and B seem not to lie on each other in {len(shifts)} of {counted(len(off), 'frame')} looked "
            f"at, by about {max(shifts):.0f} pixels; {cure}"
        )
    for way, names in turned.items():
        notices.append(
            f"A seems to fit B only if it is {way}, in {len(names)} of {counted(len(off), 'frame')} looked at; they "
            f"are fused as they are: {_TURN_LIVE if live else _TURN_VIDEO}"
        )
    if apart:
        notices.append(f"{len(apart)} of {counted(len(off), 'pair')} of frames looked at {_APART}; {cure}")
    if len(unlike) > MISTAKEN * len(off):
        notices.append(f"{len(unlike)} of {counted(len(off), 'pair')} of frames looked at {_UNLIKE}")
    return notices


def _without_shift(
    off: Sequence[tuple[str, Glance | None]], closely: int
) -> tuple[dict[str, list[str]], list[str], list[str]]:
    """Names of pairs that seem to be turned, by the way, of those without edges in common, and of two scenes.

    Empty for the first two where too few are.
    """
    turned: dict[str, list[str]] = {}
    for name, seen in off:
        if seen is not None and seen.turned:
            turned.setdefault(seen.turned, []).append(name)
    apart = [name for name, seen in off if seen is not None and seen.apart]
    return (
        {way: names for way, names in turned.items() if len(names) > _TURNED_SHARE * closely},
        apart if len(apart) >= max(_FEWEST_APART, len(off) / 2) else [],
        [name for name, seen in off if seen is not None and seen.unlike],
    )
