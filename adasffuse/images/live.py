"""Cameras and a window, by OpenCV: what a live preview, or a recording without one, needs."""

import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import cv2
import numpy as np

from adasffuse.images.color import as_rgb
from adasffuse.images.image import ImageError

_PROBE = "import cv2; cv2.namedWindow('probe'); cv2.waitKey(1); cv2.destroyAllWindows()"
_TITLE = "AdaSFFuse"
_PATIENCE = 5.0  # seconds that a camera may take for a frame


class Camera:
    """A capture device, read in a thread of its own, so that frames which nobody takes do not queue up.

    Args:
        name: number of the device, or what else OpenCV's VideoCapture opens: /dev/video2, rtsp://...
    Raises:
        ImageError: it cannot be opened.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._device = cv2.VideoCapture(int(name) if name.isdecimal() else name)
        if not self._device.isOpened():
            raise ImageError(f"camera {name} cannot be opened; is it plugged in, free, and may you read it?")
        self._changed, self._frame, self._count, self._ended = threading.Condition(), None, 0, False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        self._given = 0

    def latest(self) -> np.ndarray:
        """The newest frame, (H, W, 3) RGB uint8; waits until there is one that was not given yet.

        Raises:
            ImageError: the camera gives no frame, or no more.
        """
        with self._changed:
            there = self._changed.wait_for(lambda: self._ended or self._count > self._given, _PATIENCE)
            if not there or (self._ended and self._count == self._given):
                raise ImageError(f"camera {self.name} gives no more frames")
            self._given = self._count
            return np.ascontiguousarray(self._frame[..., ::-1])

    def close(self) -> None:
        """End the thread and release the device."""
        with self._changed:
            self._ended = True
        self._thread.join(_PATIENCE)
        self._device.release()

    def _read(self) -> None:
        """Keep the newest frame until the camera is closed or gives no more; runs in the thread."""
        while not self._ended:
            there, frame = self._device.read()
            with self._changed:
                if there:
                    self._frame = as_rgb(frame)
                    self._count += 1
                else:
                    self._ended = True
                self._changed.notify_all()


class Window:
    """A window that shows frames; q, Escape or its close button end it.

    Raises:
        ImageError: there is no display, or this OpenCV has no windows.
    """

    def __init__(self) -> None:
        reason = why_no_window()
        if reason:
            raise ImageError(reason)
        self._open = False

    def show(self, pixels: np.ndarray, title: str) -> None:
        """Show (H, W) or (H, W, 3) RGB uint8 pixels, and a title; the first ones open the window, at their size."""
        if not self._open:
            os.environ.setdefault("QT_LOGGING_RULES", "default.warning=false")  # it misses fonts that nothing needs
            cv2.namedWindow(_TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
            cv2.resizeWindow(_TITLE, pixels.shape[1], pixels.shape[0])
            self._open = True
        cv2.imshow(_TITLE, pixels if pixels.ndim == 2 else pixels[..., ::-1])
        cv2.setWindowTitle(_TITLE, title)

    def closed(self, seconds: float = 0.0) -> bool:
        """Wait for at most `seconds`; whether the user wants to end."""
        until = time.perf_counter() + seconds
        while True:
            left = until - time.perf_counter()
            key = cv2.waitKey(max(1, min(50, round(1000 * left)))) & 0xFF
            if key in (ord("q"), 27) or cv2.getWindowProperty(_TITLE, cv2.WND_PROP_VISIBLE) < 1:
                return True
            if until - time.perf_counter() <= 0.001:
                return False

    def close(self) -> None:
        cv2.destroyAllWindows()


class Unseen:
    """In place of a window where nobody looks, as in a recording: SIGINT, of Ctrl-C, or SIGTERM ends it properly.

    Signals are handled from the first call of `show` until the first signal or `close`: a second Ctrl-C does what it
    did before.
    """

    def __init__(self) -> None:
        self._ended = False
        self._before: dict[int, Any] = {}  # handlers of signals

    def show(self, pixels: np.ndarray, title: str) -> None:
        """Show nothing; take arguments as `Window.show`."""
        if self._before or self._ended or threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._end)

    def closed(self, seconds: float = 0.0) -> bool:
        """Whether a signal has ended it; does not wait."""
        return self._ended

    def close(self) -> None:
        while self._before:
            signal.signal(*self._before.popitem())

    def _end(self, number: int, frame: object) -> None:
        self._ended = True
        self.close()


def why_no_window() -> str:
    """The reason why OpenCV cannot open a window here, in one line; '' where it can.

    It is tried in a process of its own: without a display some builds end the whole process.
    """
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "--show needs a display, and there is none (DISPLAY is not set); write to a file instead: -o OUT.mp4"
    tried = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, check=False)
    if not tried.returncode:
        return ""
    if "not implemented" in tried.stderr:
        return (
            "this OpenCV cannot open windows (opencv-python-headless): pip uninstall opencv-python-headless and then "
            "pip install opencv-python, or write to a file: -o OUT.mp4"
        )
    said = [line for line in tried.stderr.splitlines() if line.strip()] or [f"status {tried.returncode}"]
    return f"OpenCV cannot open a window on this display: {said[0].strip()}; write to a file instead: -o OUT.mp4"
