"""The ways in which an image can be turned or mirrored against another one, as by a camera that hangs upside down."""

import numpy as np

TURNS = {  # what has to be done with the image: from positions in the turned image to those in it, about its middle
    "turned by 180 degrees": ((-1, 0), (0, -1)),
    "turned by 90 degrees clockwise": ((0, 1), (-1, 0)),
    "turned by 90 degrees counterclockwise": ((0, -1), (1, 0)),
    "mirrored left to right": ((-1, 0), (0, 1)),
    "mirrored top to bottom": ((1, 0), (0, -1)),
    "mirrored at its diagonal": ((0, 1), (1, 0)),
    "mirrored at its other diagonal": ((0, -1), (-1, 0)),
}
_COMMANDS = ("-rotate 180", "-rotate 90", "-rotate 270", "-flop", "-flip", "-transpose", "-transverse")


def size_of_turned(way: str, size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of an image of a height and width that is turned in one of the `TURNS`."""
    return size if TURNS[way][0][0] else size[::-1]


def turn_matrix(way: str, size: tuple[int, int]) -> np.ndarray:
    """(3, 3) from the pixel positions of the turned image to those of the image, which has a height and width."""
    matrix = np.eye(3)
    matrix[:2, :2] = TURNS[way]
    middle, turned = ((np.array(one[::-1]) - 1) / 2 for one in (size, size_of_turned(way, size)))
    matrix[:2, 2] = middle - matrix[:2, :2] @ turned
    return matrix


def how_to_turn(way: str) -> str:
    """What turns files, for messages."""
    return f"turn its files (ImageMagick: mogrify -path NEW_FOLDER {dict(zip(TURNS, _COMMANDS))[way]} FILES)"
