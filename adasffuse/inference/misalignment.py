"""Whether sources that are about to be fused seem to lie on each other, and what is said where they do not."""

from collections.abc import Sequence

from adasffuse.images.image import Image
from adasffuse.images.notices import MISTAKEN
from adasffuse.registration.aligner import Aligner, measure_of
from adasffuse.registration.estimate import CROSS_MODAL, Glance, notable_misalignment
from adasffuse.tasks import Task

_SAVE = "adasffuse align A B --save FILE"
_REGISTER = f"they are fused as they are; fixed cameras are aligned by --align affine, or --calibration FILE of {_SAVE}"
_REGISTER_LIVE = (
    f"they are fused as they are; fixed cameras are aligned by --calibration FILE, which {_SAVE} writes from recordings"
)
_RECALIBRATE = (
    f"were the cameras moved, since their calibration or while they recorded? look at the results; {_SAVE} makes a new "
    "calibration"
)
_TURN = (
    "they are fused as they are; files are turned as they say themselves (EXIF, the rotation of a video): turn one "
    "source, or correct what its files say"
)
_TURN_LIVE = "they are fused as they are; turn one camera, or its image where the camera is set up"


def seen_misalignment(task: Task, images: Sequence[Image], align: Aligner | None) -> Glance | None:
    """How sources seem not to lie on each other, where that is worth a notice.

    None also where nothing is known, and where `align` has registered this pair by itself: it refuses what it cannot.

    Args:
        images: as they will be fused.
    """
    registered = align is not None and align.calibration is None
    if registered or task.id not in CROSS_MODAL or len(images) != 2:
        return None
    return notable_misalignment(*images, measure_of(task.id))


def misaligned_pairs_notice(off: Sequence[tuple[str, Glance | None]], align: Aligner | None) -> list[str]:
    """Notices of the pairs of a folder, their names and `seen_misalignment`; [] for none."""
    found = [(seen.shift, name) for name, seen in off if seen is not None and not seen.turned]
    turned = [name for name, seen in off if seen is not None and seen.turned]
    notices = []
    if found:
        pixels, name = max(found)
        cure = "they are fused as they are; look at the results, and try --align affine"
        notices.append(
            f"{len(found)} of {len(off)} pairs seem not to lie on each other, {name} by about {pixels:.0f} pixels; "
            f"{cure if align is None else _RECALIBRATE}"
        )
    if turned:
        notices.append(
            f"in {len(turned)} of {len(off)} pairs, such as {turned[0]}, A and B seem to be turned by 180 degrees "
            f"against each other; {_TURN}"
        )
    return notices


def misaligned_frames_notice(off: Sequence[Glance | None], align: Aligner | None, live: bool = False) -> list[str]:
    """Notices of the frames of a sequence, or of live cameras, that were looked at, of each its `seen_misalignment`.

    [] where too few are off.
    """
    found = [seen.shift for seen in off if seen is not None and not seen.turned]
    turned = [seen for seen in off if seen is not None and seen.turned]
    notices = []
    if len(found) > MISTAKEN * len(off):
        cure = _RECALIBRATE
        if align is None:
            cure = _REGISTER_LIVE if live else _REGISTER
        notices.append(
            f"A and B seem not to lie on each other in {len(found)} of {len(off)} frames that were looked at, by about "
            f"{max(found):.0f} pixels; {cure}"
        )
    if len(turned) > MISTAKEN * len(off):
        notices.append(
            f"A and B seem to be turned by 180 degrees against each other in {len(turned)} of {len(off)} frames that "
            f"were looked at; {_TURN_LIVE if live else _TURN}"
        )
    return notices
