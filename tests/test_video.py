"""Videos and folders of frames: what is read, which frames belong together, and what is written."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage
from skimage import data as photographs
from tiny import Mean, texture, writing

from adasffuse.cli import video as command
from adasffuse.files import keeping_others_out
from adasffuse.images import frames as frames_module
from adasffuse.images import live
from adasffuse.images.frame_folders import FrameFolder, list_frames
from adasffuse.images.frames import BT709, LIMITED, FrameError, VideoFile, is_video_name
from adasffuse.images.image import Image, ImageError
from adasffuse.images.ranges import parse_range
from adasffuse.images.video_writing import Sound, write_video
from adasffuse.images.write import write_image
from adasffuse.inference import live as live_module
from adasffuse.inference.frame_notices import FrameNotices
from adasffuse.inference.frame_pairs import FramePairs, check_pair
from adasffuse.inference.fuser import Fuser, load_fuser
from adasffuse.inference.live import show_cameras, show_files
from adasffuse.inference.video import fuse_video
from adasffuse.installation import install_command
from adasffuse.registration.aligner import Aligner
from adasffuse.registration.transform import Transform
from adasffuse.scenes.street import night_scene
from adasffuse.tasks import find_task

av = pytest.importorskip("av", reason="needs PyAV (extra 'video')")

HEIGHT, WIDTH, RATE = 48, 64, 25


def mean_fuser(task: str = "ivf") -> Fuser:
    return Fuser(Mean(), find_task(task), precision="float32")


def scene(count: int = 10, seed: int = 0, height: int = HEIGHT, width: int = WIDTH) -> list[np.ndarray]:
    """A textured background over which a bright square moves by 3 pixels a frame."""
    images = [texture(height, width, seed).copy() for _ in range(count)]
    for number, image in enumerate(images):
        image[10:20, 3 * number : 3 * number + 10] = 250
    return images


def make_video(
    path: Path,
    images: list[np.ndarray],
    rate: int = RATE,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    times: list[int] | None = None,
    audio: str = "",
    rotated: int = 0,
    matrix: list[int] | None = None,
    aspect: Fraction | None = None,
    tone: tuple[float, float] = (0, 60),
    tags: dict[str, int] | None = None,
) -> Path:
    """Encode gray or RGB images, or uint16 ones, nearly without loss; `times` in milliseconds, `tone` in seconds.

    `tags` are attributes of the codec's context, such as its range and primaries.
    """
    with av.open(str(path), "w") as container:
        options = {"crf": "4"} if codec == "libx264" else {}
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.height, stream.width, stream.pix_fmt = *images[0].shape[:2], pix_fmt
        if rotated:
            stream.set_display_rotation(rotated)
        if matrix:
            stream.set_display_matrix(matrix)
        for name, value in (tags or {}).items():
            setattr(stream.codec_context, name, value)
        if times:
            stream.codec_context.time_base = Fraction(1, 1000)
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        sound = container.add_stream(audio, rate=8000, layout="mono") if audio else None
        for number, image in enumerate(images):
            kind = "gray16le" if image.dtype == np.uint16 else "gray" if image.ndim == 2 else "rgb24"
            frame = av.VideoFrame.from_ndarray(image, kind)
            if times:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound:
            moments = np.arange(8000 * len(images) // rate)
            sounds = (tone[0] <= moments / 8000) & (moments / 8000 < tone[1])
            samples = (16000 * sounds * np.sin(moments / 3)).astype(np.int16)
            for start in range(0, len(samples), 1024):
                part = np.float32(samples[None, start : start + 1024]) / 32768
                frame = av.AudioFrame.from_ndarray(part, "fltp", "mono")
                frame.sample_rate, frame.pts = 8000, start
                container.mux(sound.encode(frame))
            container.mux(sound.encode())
    return path


def make_video_of_many_key_frames(path: Path, count: int = 30, every: int = 6, codec: str = "libx264") -> Path:
    """Frames that depend on later ones, and a key frame now and then; times are not equally far apart but in AVI."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE)
        stream.options = {"g": str(every), "bf": "2", "sc_threshold": "0"} if codec == "libx264" else {}
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        stream.codec_context.gop_size = every
        if path.suffix != ".avi":
            stream.codec_context.time_base = Fraction(1, 1000)
        for number, image in enumerate(scene(count)):
            frame = av.VideoFrame.from_ndarray(np.roll(image, 2 * number, axis=1), "gray")
            if path.suffix != ".avi":
                frame.pts, frame.time_base = 40 * number + number % 3, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def make_folder(folder: Path, images: list[np.ndarray], name: str = "{:d}.png") -> Path:
    for number, image in enumerate(images):
        write_image(folder / name.format(number + 1), image)
    return folder


def decoded(path: Path) -> list:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def pixels_of(path: Path) -> list[np.ndarray]:
    return [frame.image.pixels for frame in VideoFile(path)]


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> tuple[Path, Path]:
    """Infrared and visible, 10 frames each; the visible one has sound."""
    folder = tmp_path_factory.mktemp("pair")
    visible = [cv2.merge([image, image // 2, 255 - image]) for image in scene(seed=1)]
    return make_video(folder / "ir.mp4", scene()), make_video(folder / "vis.mp4", visible, audio="aac")


# ---- files written and read


@pytest.mark.skipif(os.name != "posix", reason="files are not locked on Windows")
def test_what_a_run_that_was_killed_left_of_a_video_is_removed_by_the_next(tmp_path):
    with writing(tmp_path / "a.mp4", "die") as process:
        process.communicate(timeout=60)
    assert len(os.listdir(tmp_path)) == 1
    with write_video(tmp_path / "a.mp4", HEIGHT, WIDTH, Fraction(RATE), Fraction(1, RATE)) as writer:
        writer.write(texture(HEIGHT, WIDTH, 0), 0)
        writer.finish(1 / RATE)
    assert os.listdir(tmp_path) == ["a.mp4"]


def test_a_gray_ramp_survives_within_a_level(tmp_path):
    ramp = np.tile(np.arange(256, dtype=np.uint8), (HEIGHT, 1))
    with write_video(tmp_path / "ramp.mp4", HEIGHT, 256, Fraction(RATE), Fraction(1, RATE), 4) as writer:
        for pts in range(3):
            writer.write(ramp, pts)
        writer.finish(0.12)
    for pixels in pixels_of(tmp_path / "ramp.mp4"):
        assert pixels.ndim == 2  # neutral frames come as gray ones
        difference = 255 * pixels - ramp
        assert np.abs(difference).max() <= 1.01 and abs(difference.mean()) < 0.1  # 256 levels become 220


def test_colours_are_bt709_in_limited_range_and_tagged_so(tmp_path):
    colors = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [200, 120, 40]], np.uint8)
    image = np.kron(colors[None], np.ones((16, 16, 1), np.uint8))
    with write_video(tmp_path / "c.mkv", *image.shape[:2], Fraction(RATE), Fraction(1, RATE), 0) as writer:
        writer.write(image, 0)
        writer.finish(0.04)
    (frame,) = decoded(tmp_path / "c.mkv")
    with av.open(str(tmp_path / "c.mkv")) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (1, 1, 1, 1)
    luma = 16 + 219 / 255 * colors @ [0.2126, 0.7152, 0.0722]  # ITU-R BT.709
    assert frame.to_ndarray()[8, 8:64:16] == pytest.approx(luma, abs=1)
    (pixels,) = pixels_of(tmp_path / "c.mkv")
    assert 255 * pixels[8, 8::16] == pytest.approx(colors, abs=3)


@pytest.mark.parametrize("tagged, weights", [(1, (0.2126, 0.7152, 0.0722)), (5, (0.299, 0.587, 0.114))])
def test_tags_decide_how_colours_are_read(tmp_path, tagged, weights):
    color = np.array([40, 160, 220], np.uint8)
    frame = av.VideoFrame.from_ndarray(np.tile(color, (HEIGHT, WIDTH, 1)), "rgb24")
    with av.open(str(tmp_path / "t.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "0"})
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = tagged, 1
        container.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace=tagged, dst_color_range=1)))
        container.mux(stream.encode())
    y = decoded(tmp_path / "t.mp4")[0].to_ndarray()[0, 0]
    assert y == pytest.approx(16 + 219 / 255 * color @ weights, abs=1)  # the file is what it should be
    assert 255 * pixels_of(tmp_path / "t.mp4")[0][20, 20] == pytest.approx(color, abs=3)


def test_a_file_of_uneven_frame_times_lasts_until_its_last_frame(tmp_path):
    times = [0, 1, 3, 4, 10, 11, 13, 20, 22, 23, 30, 44]  # hundredths of a second
    noise = np.random.default_rng(0)
    with write_video(tmp_path / "uneven.mp4", HEIGHT, 64, Fraction(27), Fraction(1, 100)) as writer:
        for time in times:
            writer.write(noise.integers(0, 256, (HEIGHT, 64, 3), np.uint8), time)
        writer.finish(0.5)
    written = VideoFile(tmp_path / "uneven.mp4")
    assert written.duration > 0.44
    assert [float(frame.seconds) for frame in written] == pytest.approx([t / 100 for t in times], abs=1e-3)


def test_odd_sides_are_padded_by_one_copied_line(tmp_path):
    image = texture(47, 63, 0)
    with write_video(tmp_path / "odd.mp4", 47, 63, Fraction(RATE), Fraction(1, RATE), 0) as writer:
        writer.write(image, 0)
        writer.finish(0.04)
    (pixels,) = pixels_of(tmp_path / "odd.mp4")
    assert pixels.shape == (48, 64)
    assert np.abs(255 * pixels - np.pad(image, ((0, 1), (0, 1)), mode="edge")).max() <= 2


def test_gray_video_of_16_bits_keeps_its_depth_and_takes_a_range(tmp_path):
    counts = [np.full((HEIGHT, WIDTH), 7000 + 100 * number, np.uint16) for number in range(4)]
    for frame in counts:
        frame[-1, -1] += 300  # flat frames have a notice of their own
    path = make_video(tmp_path / "counts.mkv", counts, codec="ffv1", pix_fmt="gray16le")
    read = [frame.image for frame in VideoFile(path, value_range=(7000, 7400))]
    assert [image.depth for image in read] == ["16"] * 4
    assert [float(image.pixels[0, 0]) for image in read] == pytest.approx([0, 0.25, 0.5, 0.75])
    (notice,) = next(iter(VideoFile(path))).image.notices
    assert "give a value range for this source, e.g." in notice and "folder" not in notice  # which is not measured
    (notice,) = next(iter(VideoFile(path, option="--range_b"))).image.notices
    assert "give --range_b, e.g. 7000 7300" in notice and "folder" not in notice


@pytest.mark.skipif(not hasattr(av.video.stream.VideoStream, "set_display_rotation"), reason="needs PyAV 17")
@pytest.mark.parametrize("degrees", [90, -90, 180])
@pytest.mark.parametrize("name, codec, pix_fmt", [("r.mp4", "libx264", "yuv420p"), ("r.mov", "tiff", "gray")])
def test_a_rotated_video_is_turned_upright_as_opencv_does(tmp_path, degrees, name, codec, pix_fmt):
    """Beside the frames of TIFF lie EXIF data, which PyAV 18 does not know."""
    path = make_video(tmp_path / name, scene(2), codec=codec, pix_fmt=pix_fmt, rotated=degrees)
    there, other = cv2.VideoCapture(str(path)).read()
    pixels = next(iter(VideoFile(path))).image.pixels
    assert there and pixels.shape == other.shape[:2] == ((HEIGHT, WIDTH) if degrees == 180 else (WIDTH, HEIGHT))
    assert np.abs(255 * pixels - other[..., 1]).mean() < 4


@pytest.mark.skipif(not hasattr(av.video.stream.VideoStream, "set_display_matrix"), reason="needs PyAV 18")
@pytest.mark.parametrize(
    "x_by_x, y_by_x, x_by_y, y_by_y, upright",
    [
        (-1, 0, 0, 1, lambda image: image[:, ::-1]),
        (1, 0, 0, -1, lambda image: image[::-1]),
        (0, 1, 1, 0, lambda image: image.T),
        (0, -1, -1, 0, lambda image: image[::-1, ::-1].T),
    ],
)
def test_a_mirrored_video_is_mirrored(tmp_path, x_by_x, y_by_x, x_by_y, y_by_y, upright):
    """As selfie cameras write them; a mirror was taken for a turn by 180 degrees."""
    image = scene(1)[0]
    matrix = [x_by_x << 16, y_by_x << 16, 0, x_by_y << 16, y_by_y << 16, 0, 0, 0, 1 << 30]
    video = VideoFile(make_video(tmp_path / "m.mp4", [image], matrix=matrix))
    pixels = next(iter(video)).image.pixels
    assert pixels.shape == (video.height, video.width)
    assert np.abs(255 * pixels - upright(image)).mean() < 4


def test_of_several_videos_in_a_file_the_first_is_used_with_a_notice(tmp_path):
    with av.open(str(tmp_path / "two.mkv"), "w") as container:
        streams = [container.add_stream("libx264", rate=RATE) for _ in range(2)]
        for stream in streams:
            stream.height, stream.width = HEIGHT, WIDTH
        for stream, level in zip(streams, (50, 200)):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((HEIGHT, WIDTH), level, np.uint8), "gray")))
            container.mux(stream.encode())
    (image,) = [frame.image for frame in VideoFile(tmp_path / "two.mkv")]
    assert image.pixels.mean() * 255 == pytest.approx(50, abs=2)
    assert "two.mkv: holds 2 videos, of which the first is used; ffmpeg -i two.mkv -map 0:V:1" in image.notices[0]


@pytest.mark.skipif(not hasattr(av.video.stream.VideoStream, "set_display_rotation"), reason="needs PyAV 17")
@pytest.mark.parametrize("degrees, expected", [(90, Fraction(3, 4)), (180, Fraction(4, 3)), (0, Fraction(4, 3))])
def test_the_shape_of_pixels_is_turned_with_the_frames(tmp_path, degrees, expected):
    path = make_video(tmp_path / "r.mp4", scene(2), rotated=degrees, aspect=Fraction(4, 3))
    assert VideoFile(path).aspect == expected


def test_the_sound_is_copied_packet_by_packet(tmp_path, pair):
    def packets(path: Path) -> list[tuple[bytes, Fraction]]:
        with av.open(str(path)) as container:
            stream = container.streams.audio[0]
            return [(bytes(p), p.pts * p.time_base) for p in container.demux(stream) if p.size]

    report = fuse_video(mean_fuser(), *map(VideoFile, pair), tmp_path / "out.mp4")
    assert packets(tmp_path / "out.mp4") == packets(pair[1])
    assert report.sound == str(pair[1])
    fuse_video(mean_fuser(), VideoFile(pair[1]), VideoFile(pair[0]), tmp_path / "of_a.mkv")  # B has none
    assert [data for data, _ in packets(tmp_path / "of_a.mkv")] == [data for data, _ in packets(pair[1])]
    fuse_video(mean_fuser(), *map(VideoFile, pair), tmp_path / "mute.mp4", audio="none")
    assert VideoFile(tmp_path / "mute.mp4").audio is None
    with pytest.raises(ImageError, match="has no sound"):
        fuse_video(mean_fuser(), *map(VideoFile, pair), tmp_path / "x.mp4", audio="a")


@pytest.mark.parametrize(
    "sound, source, refused, holds", [("wavpack", ".mkv", ".mp4", ".mkv"), ("pcm_alaw", ".mov", ".mkv", ".mov")]
)
def test_sound_that_the_container_cannot_hold_is_refused(tmp_path, pair, sound, source, refused, holds):
    """The error names one that holds it."""
    b = make_video(tmp_path / f"b{source}", scene(), audio=sound)
    text = rf"\{refused} files cannot hold this sound \({sound}\); write \{holds}, or leave it out: --audio none"
    with pytest.raises(ImageError, match=text):
        fuse_video(mean_fuser(), VideoFile(pair[0]), VideoFile(b), tmp_path / f"out{refused}")
    assert [path.name for path in tmp_path.iterdir()] == [b.name]
    assert fuse_video(mean_fuser(), VideoFile(pair[0]), VideoFile(b), tmp_path / f"out{holds}").frames == 10


def test_where_no_video_holds_the_sound_it_is_left_out(tmp_path, pair):
    b = make_video(tmp_path / "b.avi", scene(), audio="adpcm_ima_wav", codec="mpeg4")
    with pytest.raises(ImageError, match=r"cannot hold this sound \(adpcm_ima_wav\); leave it out: --audio none$"):
        fuse_video(mean_fuser(), VideoFile(pair[0]), VideoFile(b), tmp_path / "out.mkv")


def test_sound_follows_the_frames_when_its_file_starts_later(tmp_path, pair):
    late = make_video(tmp_path / "late.mkv", scene(), times=[1000 + 40 * k for k in range(10)])
    shift = float(VideoFile(late).start)
    assert shift == pytest.approx(1.0)
    fuse_video(mean_fuser(), VideoFile(pair[1]), VideoFile(late), tmp_path / "out.mkv")
    with av.open(str(tmp_path / "out.mkv")) as container:
        first = next(p for p in container.demux(container.streams.audio[0]) if p.size)
    sound = Sound(pair[1])
    original = next(sound.template.container.demux(sound.template))
    assert float(first.pts * first.time_base) == pytest.approx(float(original.pts * original.time_base) + 1, abs=2e-3)
    sound.close()


# ---- which frames belong together


def test_frame_times_of_b_are_kept_and_a_gives_its_nearest_frame(tmp_path):
    times = [0, 40, 100, 130, 200, 330]
    b = VideoFile(make_video(tmp_path / "b.mkv", scene(6), times=times))
    a = VideoFile(make_video(tmp_path / "a.mkv", scene(11), times=[33 * k for k in range(11)]))
    together = [(round(one.seconds * 1000), round(other.seconds * 1000)) for one, other in FramePairs(a, b)]
    assert together == [(0, 0), (33, 40), (99, 100), (132, 130), (198, 200), (330, 330)]
    report = fuse_video(mean_fuser(), a, b, tmp_path / "out.mkv")
    assert [round(frame.time * 1000) for frame in decoded(tmp_path / "out.mkv")] == times
    assert (report.unused, report.repeated, report.apart) == (5, 0, pytest.approx(0.007))


def test_a_slower_source_a_is_repeated(tmp_path):
    a = FrameFolder([*make_folder(tmp_path / "a", scene(5)).iterdir()], Fraction(10))
    b = FrameFolder([*make_folder(tmp_path / "b", scene(10)).iterdir()], Fraction(20))
    pairs = FramePairs(a, b)
    assert [round(10 * one.seconds) for one, _ in pairs] == [0, 1, 1, 2, 2, 3, 3, 4, 4, 4]  # halfway: the later one
    assert (pairs.repeated, pairs.unused, pairs.shorter) == (4, 0, "")


def test_the_mean_of_two_videos(tmp_path, pair):
    a, b = map(VideoFile, pair)
    report = fuse_video(mean_fuser("mff"), a, b, tmp_path / "out.mkv", quality=0)
    assert (report.frames, report.problem, report.width, report.height) == (10, "", WIDTH, HEIGHT)
    luma = [0.299 * p[..., 0] + 0.587 * p[..., 1] + 0.114 * p[..., 2] for p in pixels_of(pair[1])]
    for one, other, fused in zip(pixels_of(pair[0]), luma, pixels_of(tmp_path / "out.mkv")):
        y = fused @ [0.299, 0.587, 0.114] if fused.ndim == 3 else fused
        difference = 255 * np.abs(y - (one + other) / 2)
        assert np.median(difference) < 2  # 4:2:0 moves chroma, at edges out of gamut


def test_a_last_frame_that_is_shown_for_long_serves_as_long(tmp_path):
    b = FrameFolder([*make_folder(tmp_path / "b", scene(10)).iterdir()], Fraction(10))
    still = FrameFolder([*make_folder(tmp_path / "a", scene(3)).iterdir()], Fraction(10))
    still.duration = 1.0
    pairs = FramePairs(still, b)
    assert [round(10 * one.seconds) for one, _ in pairs] == [0, 1] + [2] * 8
    assert (pairs.shorter, pairs.damage) == ("", "")


@pytest.mark.parametrize("which", [0, 1])
def test_a_shorter_source_is_refused_or_fused_as_far_as_both_go(tmp_path, pair, which):
    short = make_video(tmp_path / "short.mp4", scene(6))
    sources = [VideoFile(short), VideoFile(pair[1])] if which == 0 else [VideoFile(pair[0]), VideoFile(short)]
    with pytest.raises(ImageError, match=r"short\.mp4 lasts 0\.24 s.*0\.40 s; --shortest"):
        fuse_video(mean_fuser(), *sources, tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()
    report = fuse_video(mean_fuser(), *sources, tmp_path / "out.mp4", shortest=True)
    assert report.problem == "" and 6 <= report.frames <= 7  # A's last frame serves one more of B
    sources[which].duration = None  # where the header does not say, it turns out at the end
    report = fuse_video(mean_fuser(), *sources, tmp_path / "out.mp4")
    assert "short.mp4 ends at 0.20 s" in report.problem and 6 <= report.frames <= 7


def test_one_frame_less_is_no_difference(tmp_path, pair):
    a = VideoFile(make_video(tmp_path / "nine.mp4", scene(9)))
    report = fuse_video(mean_fuser(), a, VideoFile(pair[1]), tmp_path / "out.mp4")
    assert (report.frames, report.problem, report.repeated) == (10, "", 1)


def test_sizes_must_be_equal_unless_frames_are_aligned(tmp_path, pair):
    a = VideoFile(make_video(tmp_path / "large.mp4", scene(height=96, width=128)))
    b = VideoFile(pair[1])
    with pytest.raises(ImageError, match=r"sizes differ: .*large\.mp4 is 128x96, .*vis\.mp4 is 64x48"):
        check_pair(a, b)

    halves = Transform("affine", np.diag([2.0, 2.0, 1.0]), (HEIGHT, WIDTH), (96, 128))
    with pytest.raises(ValueError, match=r"the pixels of source B, which leads: Aligner\(grid='b'\), got 'a'"):
        fuse_video(mean_fuser(), a, b, tmp_path / "out.mp4", align=Aligner(grid="a", calibration=halves))
    report = fuse_video(mean_fuser(), a, b, tmp_path / "out.mp4", align=Aligner(calibration=halves))
    assert (report.frames, report.width, report.height) == (10, WIDTH, HEIGHT)


@pytest.mark.parametrize("start, first", [(0.0, 1), (0.119, 4), (0.121, 4), (0.1, 4), (0.09, 3), (0.38, 10)])
def test_a_sequence_starts_at_the_frame_nearest_to_the_seconds_to_skip(tmp_path, pair, start, first):
    """25 frames/s: frame 4 lies at 0.12 s; 0.1 s is halfway between frames 3 and 4."""
    make_folder(tmp_path, scene(10))
    folder = FrameFolder([tmp_path / f"{number}.png" for number in range(1, 11)], RATE, start_at=start)
    for sequence in (VideoFile(pair[1], start_at=start), folder):
        frames = list(sequence)
        assert [int(frame.name) for frame in frames] == list(range(first, 11))
        assert [frame.seconds for frame in frames] == [Fraction(k, RATE) for k in range(11 - first)]
        assert [frame.pts * sequence.time_base for frame in frames] == [frame.seconds for frame in frames]
        assert sequence.skipped == Fraction(first - 1, RATE)
        assert sequence.duration == pytest.approx((11 - first) / RATE)


@pytest.mark.parametrize("name, codec", [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mpeg4")])
def test_what_is_skipped_is_not_decoded_and_the_frames_are_the_same(tmp_path, name, codec):
    """From the last key frame before the start on, where the container's times tell all frames; AVI's do not."""
    path = make_video_of_many_key_frames(tmp_path / name, codec=codec)
    whole = list(VideoFile(path))
    for start in (0.1, 0.25, 0.239, 0.7, 0.97, 1.15):
        video = VideoFile(path, start_at=start)
        frames = list(video)
        first = int(frames[0].name) - 1
        assert abs(whole[first].seconds - Fraction(start)) == min(abs(one.seconds - Fraction(start)) for one in whole)
        assert video.skipped == whole[first].seconds
        for frame, same in zip(frames, whole[first:], strict=True):
            assert (frame.name, frame.seconds + video.skipped) == (same.name, same.seconds)
            assert np.array_equal(frame.image.pixels, same.image.pixels)
        assert (video._key is None) == (start < 0.24 or name == "a.avi")


@pytest.mark.parametrize("name, codec", [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mpeg4"), ("a", "")])
def test_frames_near_some_times_are_those_of_the_whole_sequence_and_few_others_are_decoded(
    tmp_path, monkeypatch, name, codec
):
    """Times on a frame, halfway, behind another key frame, twice in one frame, and behind the end."""
    if codec:
        sequence = VideoFile(make_video_of_many_key_frames(tmp_path / name, codec=codec), start_at=0.08)
    else:
        files = [make_folder(tmp_path / name, scene(30)) / f"{number}.png" for number in range(1, 31)]
        sequence = FrameFolder(files, RATE, start_at=0.08)
    whole, read = list(sequence), []
    for kind, method in ((VideoFile, "_image"), (VideoFile, "_timed"), (FrameFolder, "_read")):
        before = getattr(kind, method)

        def counting(self, *args, before=before, method=method):
            found = before(self, *args)
            if method != "_timed":
                read.append(method)
                return found
            return (read.append(method) or frame for frame in found)

        monkeypatch.setattr(kind, method, counting)
    times = [Fraction(time) for time in ("0", "0.3", "0.7", "0.705", "0.71", "2")]
    found = list(sequence.frames_near(times))
    for time, frame in zip(times[:-1], found, strict=True):
        same = min(reversed(whole), key=lambda one: abs(one.seconds - time))
        assert (frame.name, frame.seconds, frame.pts) == (same.name, same.seconds, same.pts)
        assert np.array_equal(frame.image.pixels, same.image.pixels)
    assert read.count("_read" if not codec else "_image") == len(found)
    assert name == "a.avi" or read.count("_timed") < len(whole)


def test_pairs_that_are_spread_are_those_of_all_pairs(tmp_path):
    """Every tenth of 60 frames of B; A has other times.  Of a folder beside a video as well."""
    from adasffuse.inference.frame_pairs import spread_pairs

    a = VideoFile(make_video(tmp_path / "a.mkv", scene(75), times=[33 * k for k in range(75)]))
    b = VideoFile(make_video(tmp_path / "b.mkv", scene(60), times=[40 * k for k in range(60)]))
    folder = make_folder(tmp_path / "frames", scene(20))
    folder = FrameFolder([folder / f"{number}.png" for number in range(1, 21)], 8)
    for first, second in ((a, b), (folder, b), (a, folder)):
        together = [(one.name, other.name) for one, other in FramePairs(first, second)]
        step = len(together) // 6
        spread = [(one.name, other.name) for one, other in spread_pairs(first, second, 6)]
        assert spread == together[step // 2 :: step]


def test_damage_in_what_is_skipped_does_not_matter_behind_a_key_frame(tmp_path):
    path = make_video_of_many_key_frames(tmp_path / "a.mp4")
    whole = list(VideoFile(path))
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    position, size = packets[9]
    content[position + 4 : position + size] = bytes([255]) * (size - 4)
    path.write_bytes(content)
    with pytest.raises(FrameError, match=r"frame .* (is damaged|cannot be decoded)"):
        list(VideoFile(path))
    frames = list(VideoFile(path, start_at=0.75))  # frame 19 at 0.72 s is a key frame, frame 20 lies at 0.761 s
    assert [frame.name for frame in frames] == [frame.name for frame in whole[19:]]
    assert np.array_equal(frames[0].image.pixels, whole[19].image.pixels)


def test_frames_after_the_seconds_skipped_belong_together(tmp_path, pair):
    b = VideoFile(make_video(tmp_path / "b.mkv", scene(6), times=[1000, 1040, 1100, 1130, 1200, 1330]), start_at=0.1)
    a = VideoFile(make_video(tmp_path / "a.mkv", scene(20), times=[33 * k for k in range(20)]), start_at=0.2)
    together = [(round(one.seconds * 1000), round(other.seconds * 1000)) for one, other in FramePairs(a, b)]
    assert together == [(0, 0), (33, 30), (99, 100), (231, 230)]  # A's from 198 on, B's from 1100 on
    fuse_video(mean_fuser(), a, b, tmp_path / "out.mkv", shortest=True)
    assert [round(frame.time * 1000) for frame in decoded(tmp_path / "out.mkv")] == [1000, 1030, 1100, 1230]


@pytest.mark.parametrize("giver", [0, 1])
def test_sound_stays_with_its_source_where_its_beginning_is_skipped(tmp_path, giver):
    """A tone of 40 ms sounds while a frame is white."""
    images = [texture(HEIGHT, WIDTH, 0)] * 25
    images[15] = np.full((HEIGHT, WIDTH), 255, np.uint8)
    loud = make_video(tmp_path / "loud.mkv", images, audio="libopus", tone=(0.6, 0.64))
    other = make_video(tmp_path / "other.mp4", scene(15))
    sources = [VideoFile(loud, start_at=0.4), VideoFile(other)]
    fuse_video(mean_fuser("mff"), *(sources if giver == 0 else sources[::-1]), tmp_path / "out.mp4")
    frames = decoded(tmp_path / "out.mp4")
    assert max(frames, key=lambda frame: frame.to_ndarray()[:HEIGHT].mean()).time == pytest.approx(0.2)
    with av.open(str(tmp_path / "out.mp4")) as container:
        sound = [(f.time, f.sample_rate, f.to_ndarray().ravel()) for f in container.decode(audio=0)]
    assert 0 <= sound[0][0] < 0.04
    times = np.concatenate([begin + np.arange(samples.size) / rate for begin, rate, samples in sound])
    heard = times[np.abs(np.concatenate([samples for *_, samples in sound])) > 0.2]
    assert heard.min() == pytest.approx(0.2, abs=0.01) and heard.max() == pytest.approx(0.24, abs=0.01)


def test_more_to_skip_than_there_is(tmp_path, pair, capsys):
    a, b = map(str, pair)
    folder = str(make_folder(tmp_path / "f", scene(10)))
    for sources, more, said in (
        ((a, b), ["--start_b", "5"], "--start_b 5: {1} lasts 0.40 s, and nothing is left from 5 s on; skip less"),
        ((a, b), ["--start_a", "0.4"], "--start_a 0.4: {0} lasts 0.40 s"),
        ((folder, b), ["--start_a", "0.5", "--fps", "20"], "--start_a 0.5: {0} lasts 0.50 s"),
        ((a, b), ["--start_a", "0.2"], "{0} lasts 0.20 s after 0.20 s that are skipped, {1} lasts 0.40 s; --shortest"),
    ):
        assert command.run([*sources, "-o", str(tmp_path / "out.mp4"), *more]) == 1
        assert said.format(*sources) in capsys.readouterr().err
    video = VideoFile(pair[0])
    video.duration, video._start_at = None, Fraction(5)  # where the header does not say
    with pytest.raises(ImageError, match=r"lasts 0\.40 s, and nothing is left from 5 s on"):
        list(video)
    assert command.run([a, b, "-o", str(tmp_path / "out.mp4"), "--start_a", "0.21", "--start_b", "0.2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["skipped"] == [0.2, 0.2]


def test_damage_in_what_is_skipped_counts_until_a_key_frame_follows(tmp_path, pair):
    class Decoded:
        def __init__(self, frame, number: int) -> None:
            self._frame, self.is_corrupt, self.key_frame = frame, number < 4, number in (1, 8)

        def __getattr__(self, name: str):
            return getattr(self._frame, name)

    class Damaged(VideoFile):
        def _decoded(self, container, key=None):
            return (Decoded(frame, number) for number, frame in enumerate(super()._decoded(container, key), 1))

    for start, said in (
        (0.0, "frame 1 is damaged$"),
        (0.08, "frame 3 is damaged$"),
        (0.24, "frame 3 is damaged, and frame 7 depends on it"),
    ):
        with pytest.raises(FrameError, match=said):
            Damaged(pair[1], start_at=start)
    assert [frame.name for frame in Damaged(pair[1], start_at=0.28)] == ["000008", "000009", "000010"]


# ---- damaged and foreign input


LOGGING = """
import subprocess
import sys
import av
from adasffuse.images.frames import VideoFile

av.logging.set_level(av.logging.ERROR)  # as torchvision before 0.26 does when it is imported
for _ in range(10):
    next(iter(VideoFile(sys.argv[1])))
"""


def test_a_video_that_is_not_read_to_its_end_can_be_closed_while_pyav_logs(tmp_path):
    rng = np.random.default_rng(0)
    path = make_video(tmp_path / "noise.mp4", list(rng.integers(0, 256, (12, 240, 320), np.uint8)))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", LOGGING, path], env=environment, check=True, timeout=60)


def test_what_is_no_video_is_refused(tmp_path, pair):
    (tmp_path / "text.txt").write_text("no video\n" * 40)
    (tmp_path / "text.mp4").write_text("no video\n" * 40)
    (tmp_path / "empty.mp4").write_bytes(b"")
    write_image(tmp_path / "image.png", texture(16, 16, 0))
    for name in ("text.txt", "text.mp4", "empty.mp4", "image.png"):
        with pytest.raises(ImageError, match=rf"{name}: is no video"):
            VideoFile(tmp_path / name)
    with pytest.raises(ImageError, match="no video file or folder of frames"):
        VideoFile(tmp_path / "absent.mp4")
    with pytest.raises(ImageError, match="one file"):
        check_pair(VideoFile(pair[0]), VideoFile(pair[0]))


def test_a_video_that_ffmpeg_cannot_decode_is_refused(tmp_path):
    """A thermal AVI with a code of its maker's own."""
    path = make_video(tmp_path / "y.avi", scene(2), codec="mjpeg", pix_fmt="yuvj420p")
    path.write_bytes(path.read_bytes().replace(b"MJPG", b"XQ16"))
    with pytest.raises(ImageError, match=r"y\.avi: FFmpeg has no decoder for its video; .*ffmpeg -i y\.avi -c copy"):
        VideoFile(path)


@pytest.mark.parametrize("suffix", ["avi", "mov"])
def test_raw_gray_video_of_16_bits_under_the_header_of_colour_is_refused(tmp_path, suffix):
    """FFmpeg writes it with a warning, and reads it as noise in colour."""
    images = [image.astype(np.uint16) << 6 for image in scene(2)]
    path = make_video(tmp_path / f"raw.{suffix}", images, codec="rawvideo", pix_fmt="gray16le")
    with pytest.raises(
        ImageError, match=rf"raw\.{suffix}: its header says raw RGB of 5 bits.*ffmpeg -i raw\.{suffix} -c"
    ):
        VideoFile(path)


def test_gray_tagged_as_limited_range_is_read_as_it_is_with_a_notice(tmp_path):
    images = scene(2)
    tags = {"color_range": LIMITED}
    path = make_video(tmp_path / "limited.mkv", images, codec="ffv1", pix_fmt="gray", tags=tags)
    frame = next(iter(VideoFile(path))).image
    np.testing.assert_array_equal(np.rint(frame.pixels * 255), images[0])
    assert ["tagged as limited range" in notice for notice in frame.notices] == [True]
    plain = make_video(tmp_path / "plain.mkv", images, codec="ffv1", pix_fmt="gray")
    assert not next(iter(VideoFile(plain))).image.notices


@pytest.mark.parametrize(("primaries", "said"), [(1, ""), (9, "BT.2020"), (12, "Display P3")])
def test_wide_colours_of_a_video_are_a_notice(tmp_path, primaries, said):
    path = make_video(tmp_path / "wide.mp4", scene(2), tags={"color_primaries": primaries, "color_trc": BT709})
    notices = next(iter(VideoFile(path))).image.notices
    assert [f"its colours are {said}" in notice for notice in notices] == ([True] if said else [])


def test_sound_alone_is_no_video(tmp_path):
    with av.open(str(tmp_path / "s.mkv"), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(ImageError, match="holds no video, only audio"):
        VideoFile(tmp_path / "s.mkv")


def test_the_cover_of_a_song_is_no_video(tmp_path):
    with av.open(str(tmp_path / "s.mp3"), "w") as container:
        sound = container.add_stream("libmp3lame", rate=8000, layout="mono")
        cover = container.add_stream("mjpeg", rate=1)
        cover.height, cover.width, cover.pix_fmt = HEIGHT, WIDTH, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame.from_ndarray(texture(HEIGHT, WIDTH, 0), "gray")))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        container.mux(sound.encode(frame))
        container.mux(sound.encode())
    with pytest.raises(ImageError, match=r"s\.mp3: holds no video, only audio"):
        VideoFile(tmp_path / "s.mp3")


def test_a_stream_cut_at_its_beginning_is_told_what_to_do(tmp_path, pair):
    with av.open(str(pair[1])) as source, av.open(str(tmp_path / "cut.ts"), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None and not packet.is_keyframe:
                packet.stream = stream
                container.mux(packet)
    with pytest.raises(ImageError, match=r"frame 1 cannot be decoded .*ffmpeg -i cut\.ts -c copy"):
        VideoFile(tmp_path / "cut.ts")


@pytest.mark.parametrize(
    "name, said", [("none.mkv", "is no video file that can be read"), ("none.mp4", "holds no video")]
)
def test_a_video_without_frames_is_refused(tmp_path, name, said):
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        container.start_encoding()
    with pytest.raises(ImageError, match=rf"{name}: {said}"):
        VideoFile(tmp_path / name)


def test_times_that_are_repeated_are_spread(tmp_path, pair):
    class Repeating(VideoFile):
        def _decoded(self, container, key=None):
            for frame in super()._decoded(container):
                frame.pts = 0  # as broken files have it
                yield frame

    b = Repeating(pair[1])
    b.duration = None
    assert [frame.pts for frame in b] == list(range(10))


def test_a_file_that_was_cut_off_is_fused_as_far_as_it_goes(tmp_path, pair, capsys):
    content = make_video(tmp_path / "whole.mkv", scene(10)).read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(content[: len(content) * 9 // 10])
    with pytest.raises(FrameError, match=r"cut\.mkv: (ends after frame|frame) \d"):
        list(VideoFile(cut))
    status = command.run([str(cut), str(pair[1]), "-o", str(tmp_path / "out.mp4"), "--shortest"])
    said = capsys.readouterr()
    assert status == 1 and "error: " in said.err and "cut.mkv" in said.err
    frames = len(decoded(tmp_path / "out.mp4"))
    assert 0 < frames < 10 and f"{frames} frames of 64x48 fused" in said.out


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_frames_of_an_avi_are_equally_far_apart_whatever_they_depend_on(tmp_path, codec):
    """AVI states no times, and FFmpeg guesses them in disorder where frames depend on later ones."""
    path = make_video_of_many_key_frames(tmp_path / "a.avi", codec=codec)
    frames = list(VideoFile(path))
    assert [frame.seconds for frame in frames] == [Fraction(number, RATE) for number in range(30)]


def test_an_avi_that_was_cut_off_does_not_end_early_without_a_word(tmp_path):
    """Its index is missing, and FFmpeg estimates how long it lasts by what is left."""
    path = make_video(tmp_path / "cut.avi", scene(10), codec="rawvideo", pix_fmt="gray")
    whole = path.read_bytes()
    assert len(list(VideoFile(path))) == 10
    path.write_bytes(b"00dc".join(whole.split(b"00dc")[:7]))  # five frames: the header holds the word, too
    with pytest.raises(FrameError, match=r"ends after frame 5, at 0\.20 s of the 0\.40 s that its header promises"):
        list(VideoFile(path))


def test_a_video_whose_index_is_missing_is_refused(tmp_path, pair):
    content = pair[0].read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) // 2])
    with pytest.raises(ImageError, match=r"cut\.mp4: is no video file that can be read .*; its index is missing"):
        VideoFile(tmp_path / "cut.mp4")


def test_an_interrupt_leaves_no_half_video(tmp_path, pair):
    class Interrupted(Mean):
        def forward(self, sources, kinds=()):
            self.calls = getattr(self, "calls", 0) + 1
            if self.calls == 5:
                raise KeyboardInterrupt
            return super().forward(sources, kinds)

    (tmp_path / "out.mp4").write_bytes(b"before")
    fuser = Fuser(Interrupted(), find_task("ivf"), precision="float32")
    with pytest.raises(KeyboardInterrupt):
        fuse_video(fuser, *map(VideoFile, pair), tmp_path / "out.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
    assert (tmp_path / "out.mp4").read_bytes() == b"before"


def test_a_disk_without_space_leaves_nothing(tmp_path, pair):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(ImageError, match=r"cannot write .*out\.mkv"):
            fuse_video(mean_fuser(), *map(VideoFile, pair), tmp_path / "out.mkv", quality=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_without_pyav_a_line_names_the_pip_command(tmp_path, pair, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "av", None)
    assert command.run([*map(str, pair), "-o", str(tmp_path / "out.mp4")]) == 1
    assert install_command("video") in capsys.readouterr().err


# ---- folders of frames


def test_frames_of_folders_go_by_number_and_name(tmp_path):
    a = make_folder(tmp_path / "a", scene(11), "ir_{:d}.png")
    b = make_folder(tmp_path / "b", scene(11, seed=1), "vis_{:d}.png")
    listed = list_frames([a, b], ["ir_*", "vis_*"])
    assert listed.names == [str(number) for number in range(1, 12)]  # 10 after 9
    fuse_video(mean_fuser(), *(FrameFolder(column) for column in listed.columns), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir())[:2] == ["vis_1.png", "vis_10.png"]
    fused = cv2.imread(str(tmp_path / "out" / "vis_7.png"), cv2.IMREAD_UNCHANGED)
    expected = (scene(11)[6].astype(float) + scene(11, seed=1)[6]) / 2
    assert np.abs(fused - expected).max() <= 0.51


def test_a_folder_and_a_video(tmp_path, pair):
    folder = make_folder(tmp_path / "a", scene(10))
    out = folder / "out.mp4"  # no frame, so it may lie among them
    assert command.run([str(folder), str(pair[1]), "-o", str(out), "--weights", "general_tiny"]) == 0
    assert len(decoded(out)) == 10 and VideoFile(out).audio == "aac"


def test_a_folder_beside_a_video_may_have_another_rate(tmp_path, pair):
    paths = [*make_folder(tmp_path / "a", scene(6)).iterdir()]
    a, b = FrameFolder(paths, RATE), VideoFile(pair[1])
    for sources in ((a, b), (b, a)):
        with pytest.raises(ImageError, match=r"/a was taken to have 25 frames per second, --fps gives another rate"):
            check_pair(*sources)
    b.duration = None  # where the header does not say, it turns out at the end
    report = fuse_video(mean_fuser(), a, b, tmp_path / "out.mp4")
    assert "/a ends at 0.20 s" in report.problem and "25 frames per second, --fps" in report.problem
    with pytest.raises(ImageError, match=r"--shortest fuses what both have$"):
        check_pair(VideoFile(make_video(tmp_path / "short.mp4", scene(6))), VideoFile(pair[1]))
    assert fuse_video(mean_fuser(), FrameFolder(paths, 15), VideoFile(pair[1]), tmp_path / "out.mp4").problem == ""


def test_gaps_in_the_numbers_are_refused(tmp_path):
    folder = make_folder(tmp_path / "a", scene(6))
    (folder / "4.png").unlink()
    with pytest.raises(ImageError, match="missing between 3 and 5"):
        list_frames([folder], [None])
    assert len(list_frames([folder], [None], gaps=True).names) == 5
    every_tenth = make_folder(tmp_path / "b", scene(4), "{:d}0.png")
    assert list_frames([every_tenth], [None]).names == ["10", "20", "30", "40"]


def test_frames_of_two_folders_are_paired_by_the_times_in_their_names(tmp_path):
    """Uneven steps are no gaps; an unpaired frame is one in the middle, and at an end --shortest leaves it out."""
    for folder, times in (("a", (0, 41, 79, 120, 160)), ("b", (3, 40, 83, 118))):
        for time in times:
            write_image(tmp_path / folder / f"1699352114{time:03d}.png", texture(8, 8, time))
    folders = [tmp_path / "a", tmp_path / "b"]
    with pytest.raises(ImageError, match=r"is 0\.042 s apart: one sequence is shorter; --shortest"):
        list_frames(folders, (None, None), within=0.02)
    listed = list_frames(folders, (None, None), shortest=True, within=0.02)
    assert (listed.names[-1], len(listed.names), listed.left_out) == ("1699352114118", 4, 1)
    assert [path.stem[-3:] for path in listed.columns[0]] == ["000", "041", "079", "120"]
    with pytest.raises(ImageError, match=r"0\.004 s apart; --allow_gaps"):
        list_frames(folders, (None, None), shortest=True, within=0.003)


def test_a_frame_without_partner_is_refused(tmp_path):
    a, b = make_folder(tmp_path / "a", scene(6)), make_folder(tmp_path / "b", scene(8))
    with pytest.raises(ImageError, match=r"no partner.*--shortest"):
        list_frames([a, b], [None, None])
    assert list_frames([a, b], [None, None], shortest=True).left_out == 2
    (a / "3.png").unlink()
    with pytest.raises(ImageError, match=r"3\.png has no partner.*--allow_gaps"):
        list_frames([a, b], [None, None], shortest=True)


def test_mixed_sizes_stop_at_the_frame_and_name_it(tmp_path):
    images = scene(5)
    images[3] = texture(40, 64, 0)
    a = FrameFolder(list_frames([make_folder(tmp_path / "a", images)], [None]).columns[0])
    b = FrameFolder(list_frames([make_folder(tmp_path / "b", scene(5))], [None]).columns[0])
    report = fuse_video(mean_fuser(), a, b, tmp_path / "out")
    assert report.frames == 3 and "frame 4 of" in report.problem and "4.png has 64x40 pixels" in report.problem


def test_one_range_holds_for_the_whole_sequence(tmp_path):
    folder = tmp_path / "a"
    for number, hottest in enumerate((8000, 9000, 20000)):
        counts = np.full((16, 16), 7000, np.uint16)
        counts[4:8, 4:8] = hottest
        write_image(folder / f"{number}.png", counts)
    paths = list_frames([folder], [None]).columns[0]
    whole = FrameFolder(paths, spec=parse_range("folder"))
    assert whole.value_range == (7000, 20000)
    assert [float(f.image.pixels[5, 5]) for f in whole] == pytest.approx([1 / 13, 2 / 13, 1])
    assert FrameFolder(paths, spec=parse_range("folder"), range_frames=2).value_range == (7000, 9000)


def test_float_frames_need_a_range_and_nan_shows_the_other_source(tmp_path):
    heat = np.linspace(20, 30, HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH)
    heat[8:40, 8:40] = np.nan
    for number in range(3):
        path = tmp_path / "a" / f"{number}.tif"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), heat)
    paths = list_frames([tmp_path / "a"], [None]).columns[0]
    for option, asked in (("", "give a value range for this source, LOW HIGH"), ("--range_a", "--range_a LOW HIGH")):
        with pytest.raises(ImageError, match=asked):
            FrameFolder(paths, option=option)
    b = FrameFolder(list_frames([make_folder(tmp_path / "b", scene(3))], [None]).columns[0])
    fuse_video(mean_fuser(), FrameFolder(paths, spec=parse_range("20 30")), b, tmp_path / "out")
    fused = cv2.imread(str(tmp_path / "out" / "2.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(fused[16:32, 16:32], scene(3)[1][16:32, 16:32])


def test_a_border_without_data_is_that_of_the_whole_sequence(tmp_path):
    images = scene(4)
    for image in images:
        image[image == 0] = 1
        image[:, :20] = 0  # a warp has left these columns empty
    images[1][:, 20:40] = 0  # dark in one frame only
    a = FrameFolder(list_frames([make_folder(tmp_path / "a", images)], [None]).columns[0], thermal=True)
    for frame in a:
        assert np.array_equal(~frame.image.valid, np.broadcast_to(np.arange(WIDTH) < 20, (HEIGHT, WIDTH)))
    for path in a.paths:  # upside down
        exif = PillowImage.Exif()
        exif[274] = 3
        PillowImage.open(path).save(path, exif=exif)
    for frame in FrameFolder(a.paths, thermal=True):
        assert np.array_equal(~frame.image.valid, np.broadcast_to(np.arange(WIDTH) >= WIDTH - 20, (HEIGHT, WIDTH)))


def test_frames_of_16_bits_can_be_written_at_16_bits(tmp_path):
    deep = [image.astype(np.uint16) * 257 for image in scene(2)]
    a, b = (FrameFolder(list_frames([make_folder(tmp_path / name, deep)], [None]).columns[0]) for name in "ab")
    fuse_video(mean_fuser(), a, b, tmp_path / "out")
    written = cv2.imread(str(tmp_path / "out" / "1.png"), cv2.IMREAD_UNCHANGED)
    assert written.dtype == np.uint16 and np.array_equal(written, deep[0])


def test_a_folder_of_frames_takes_any_rate_and_names(tmp_path):
    files = sorted(make_folder(tmp_path / "a", scene(2)).iterdir())
    frames = FrameFolder(list(map(str, files)), 29.97)
    assert frames.rate == Fraction(2997, 100) and [frame.seconds for frame in frames] == [0, Fraction(100, 2997)]
    assert FrameFolder(files, Fraction(30000, 1001)).rate == Fraction(30000, 1001)
    for rate in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="a positive number"):
            FrameFolder(files, rate)


def test_frames_of_several_depths_are_told(tmp_path):
    deep = [image.astype(np.uint16) * 257 for image in scene(3)]
    folders = [make_folder(tmp_path / name, deep) for name in "ab"]
    cv2.imwrite(str(folders[0] / "2.png"), scene(3)[1])
    a, b = (FrameFolder(list_frames([folder], [None]).columns[0]) for folder in folders)
    (notice,) = fuse_video(mean_fuser(), a, b, tmp_path / "out").notices
    assert notice == f"{tmp_path}/out: holds frames of depth 16 and 8; --depth makes them equal"
    assert fuse_video(mean_fuser(), a, b, tmp_path / "equal", depth="16").notices == []


def test_frames_of_floating_point_are_not_rounded(tmp_path):
    images = [np.full((HEIGHT, WIDTH), level, np.uint16) for level in (20000, 20001)]  # half a level of 16 bits apart
    for image in images:
        image[0, 0] += 5000  # flat frames have a notice of their own
    folders = [make_folder(tmp_path / name, [image]) for name, image in zip("ab", images)]
    a, b = (FrameFolder(list_frames([folder], [None]).columns[0]) for folder in folders)
    fuse_video(mean_fuser(), a, b, tmp_path / "out", depth="float")
    (written,) = (tmp_path / "out").iterdir()
    pixels = tifffile.imread(written)
    assert pixels.dtype == np.float32 and pixels[9, 9] * 65535 == pytest.approx(20000.5, abs=0.05)


def test_results_never_mix_with_other_images(tmp_path, pair):
    a, b = map(VideoFile, pair)
    with pytest.raises(ImageError, match="would overwrite a source"):
        fuse_video(mean_fuser(), a, b, pair[1])
    make_folder(tmp_path / "full", scene(2))
    with pytest.raises(ImageError, match="already holds 2 images"):
        fuse_video(mean_fuser(), a, b, tmp_path / "full")
    (tmp_path / "taken").mkdir()
    with (
        keeping_others_out(tmp_path / "taken"),
        pytest.raises(OSError, match=r"another run is writing results to .*taken; wait"),
    ):
        fuse_video(mean_fuser(), a, b, tmp_path / "taken")
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(OSError, match=r"cannot write results to .*file/out: Not a directory; something else is"):
        fuse_video(mean_fuser(), a, b, tmp_path / "file" / "out")
    for name in ("file", "out.avi", "out.png", "out.mp3", "out.txt"):
        with pytest.raises(ValueError, match=r"videos end in \.mp4"):
            fuse_video(mean_fuser(), a, b, tmp_path / name)


def test_sources_that_look_swapped_are_said(tmp_path, pair):
    a, b = map(VideoFile, pair)
    assert fuse_video(mean_fuser(), a, b, tmp_path / "right.mp4").notices == []
    said = " ".join(fuse_video(mean_fuser(), b, a, tmp_path / "wrong.mp4").notices)
    assert (
        "A and B may be swapped" in said and "false colours are no temperature" in said and "(10 of 10 frames)" in said
    )
    said = " ".join(fuse_video(mean_fuser("mif"), a, b, tmp_path / "scans.mp4").notices)  # PET would come first
    assert "all frames of A are gray and all of B have colour: A and B may be swapped" in said


# ---- steadiness


def test_a_static_scene_is_no_less_steady_than_its_sources():
    """Mean absolute change of luminance from frame to frame, with fresh sensor noise in every frame."""
    fuser, rng = load_fuser("ivf", "tiny", precision="float32"), np.random.default_rng(0)
    street = night_scene(np.random.default_rng(14), (96, 128))
    clean = [street.infrared, street.visible.mean(axis=2)]

    def change(noise: tuple[float, float]) -> list[float]:
        frames = []
        for _ in range(4):
            sources = [(x + rng.normal(0, level / 255, x.shape)).clip(0, 1) for x, level in zip(clean, noise)]
            frames.append([*sources, fuser.fuse_luminance(*sources)])
        return [255 * np.mean([np.abs(x - y).mean() for x, y in zip(one[1:], one)]) for one in zip(*frames)]

    for noise in ((1, 1), (3, 3)):
        a, b, fused = change(noise)
        assert fused < min(a, b)
    for noise in ((4, 1), (1, 4)):
        a, b, fused = change(noise)
        assert fused < max(a, b)


# ---- live


class Clock:
    """A clock that moves only when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


class FakeWindow:
    def __init__(self, clock: Clock, last: int = 1000) -> None:
        self.clock, self.last, self.shown = clock, last, []

    def show(self, pixels: np.ndarray, title: str) -> None:
        self.shown.append((self.clock.now, pixels))

    def closed(self, seconds: float = 0.0) -> bool:
        self.clock.now += seconds
        return len(self.shown) >= self.last

    def close(self) -> None:
        pass


def slow_fuser(clock: Clock, seconds: float) -> Fuser:
    class Slow(Mean):
        def forward(self, sources, kinds=()):
            self.clock.now += seconds
            return super().forward(sources, kinds)

        def __deepcopy__(self, memo):
            return self

    model = Slow()
    model.clock = clock
    return Fuser(model, find_task("ivf"), precision="float32")


def test_a_preview_drops_frames_to_stay_live(pair, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(live_module, "time", clock)
    window = FakeWindow(clock)
    report = show_files(slow_fuser(clock, 0.1), *map(VideoFile, pair), window)
    assert report.shown + report.dropped == 10 and report.dropped == 6
    assert [when for when, _ in window.shown] == pytest.approx([0.1, 0.2, 0.3, 0.4])  # 0.1 s each, none later


def test_a_preview_keeps_the_pace_of_the_file_and_ends_when_asked(pair, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(live_module, "time", clock)
    window = FakeWindow(clock, last=6)
    report = show_files(slow_fuser(clock, 0.0), *map(VideoFile, pair), window)
    assert (report.shown, report.dropped) == (6, 0)
    assert [when for when, _ in window.shown] == pytest.approx([0, 0, 0.04, 0.08, 0.12, 0.16])


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(live_module, "time", clock)
    FakeCamera.clock = clock
    return clock


class FakeCamera:
    """Gives a frame every 20 ms of a clock; before one of them a signal comes."""

    clock = Clock()
    signals: ClassVar[dict[int, signal.Signals]] = {}  # number of frames left to what comes then

    def __init__(self, name: str, count: int = 100) -> None:
        self.name, self.left = name, count

    def latest(self) -> np.ndarray:
        self.left -= 1
        if self.left < 0:
            raise ImageError(f"camera {self.name} gives no more frames")
        if self.name == "0" and self.left in self.signals:
            signal.raise_signal(self.signals[self.left])
        self.clock.now += 0.02
        return np.full((HEIGHT, WIDTH, 3), 100 + self.left % 8, np.uint8)

    def close(self) -> None:
        pass


def test_cameras_are_shown_and_recorded_until_the_user_ends(tmp_path, clock):
    cameras = FakeCamera("0"), FakeCamera("1")
    report = show_cameras(mean_fuser(), *cameras, FakeWindow(clock, last=5), tmp_path / "out.mkv")
    assert (report.shown, report.problem) == (5, "")
    assert [round(1000 * frame.time) for frame in decoded(tmp_path / "out.mkv")] == [40, 80, 120, 160, 200]
    report = show_cameras(mean_fuser(), FakeCamera("0", 3), FakeCamera("1"), FakeWindow(clock), tmp_path / "b.mkv")
    assert report.shown == 3 and "camera 0 gives no more" in report.problem
    assert len(decoded(tmp_path / "b.mkv")) == 3


def test_a_camera_that_shows_heat_in_black_is_inverted(tmp_path, clock, monkeypatch):
    """Source A is 8 levels above 100 at most, its negative 8 below 155: the mean of 155 and 100 is 127."""
    monkeypatch.setattr(command, "Camera", FakeCamera)
    monkeypatch.setattr(command, "fuser_from", lambda args, task: mean_fuser(task))
    words = ["--camera_a", "0", "--camera_b", "1", "-o", str(tmp_path / "out.mkv"), "--seconds", "0.1"]
    for more, level in (([], 100), (["--range_a", "0", "255", "inverted"], 127), (["--range_a", "inverted"], 127)):
        assert command.run([*words, *more]) == 0
        frames = [frame.to_ndarray(format="gray") for frame in decoded(tmp_path / "out.mkv")]
        assert all(abs(frame.mean() - level) < 9 for frame in frames)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_cameras_are_recorded_without_a_display_until_a_signal_ends_it(tmp_path, clock, monkeypatch, capsys, number):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setattr(command, "Camera", FakeCamera)
    monkeypatch.setattr(FakeCamera, "signals", {95: number})
    monkeypatch.setattr(command, "fuser_from", lambda args, task: mean_fuser(task))
    before = signal.getsignal(number)
    words = ["--camera_a", "0", "--camera_b", "1", "-o", str(tmp_path / "out.mp4")]
    assert command.run([*words, "--json"]) == 0
    out, err = capsys.readouterr()
    said = json.loads(out)
    assert (said["ok"], said["shown"], said["seen"], said["output"]) == (True, 5, False, str(tmp_path / "out.mp4"))
    assert f"recording to {tmp_path / 'out.mp4'}; Ctrl-C ends it" in err and signal.getsignal(number) == before
    assert len(decoded(tmp_path / "out.mp4")) == 5


@pytest.mark.parametrize("count, last", [(20, "16 of 16"), (4, "3 of 3")])
def test_notices_of_cameras_are_told_once_after_some_seconds(tmp_path, clock, capsys, monkeypatch, count, last):
    """A pair each 1.2 s, of which the second is the first one that is looked at; 16 are enough."""
    visible = cv2.resize(photographs.coffee(), (161, 120), interpolation=cv2.INTER_AREA)
    infrared = 255 - cv2.GaussianBlur(cv2.cvtColor(visible, cv2.COLOR_RGB2GRAY), (0, 0), 1.0)
    images = {"0": cv2.merge([np.roll(infrared, 6, axis=1)] * 3), "1": visible}

    class Cameras(FakeCamera):
        def latest(self) -> np.ndarray:
            clock.now += 0.58
            super().latest()
            return images[self.name]

    monkeypatch.setattr(command, "Camera", lambda name: Cameras(name, count))
    monkeypatch.setattr(command, "fuser_from", lambda args, task: mean_fuser(task))
    assert command.run(["--camera_a", "0", "--camera_b", "1", "-o", str(tmp_path / "out.mkv"), "--json"]) == 1
    out, err = capsys.readouterr()
    notices = json.loads(out)["notices"]
    assert err.count("notice: ") == len(notices) == 2
    off, even = notices
    assert off.startswith(f"A and B seem not to lie on each other in {last} frames looked at, by about ")
    assert "--calibration FILE" in off and "--align" not in off and off in err
    assert even == "H.264 needs even sides: the last row or column is written twice, 162x120 pixels"
    assert err.index(off) < err.index("camera 0 gives no more frames")


def test_a_second_signal_interrupts_a_recording(tmp_path, clock, monkeypatch):
    monkeypatch.setattr(FakeCamera, "signals", {95: signal.SIGINT})
    monkeypatch.setattr(live.Unseen, "closed", lambda self: self._ended and signal.raise_signal(signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore SIGINT
    try:
        with pytest.raises(KeyboardInterrupt):
            show_cameras(mean_fuser(), FakeCamera("0"), FakeCamera("1"), live.Unseen(), tmp_path / "out.mp4")
    finally:
        signal.signal(signal.SIGINT, before)
    assert os.listdir(tmp_path) == []


def test_a_recording_of_cameras_ends_after_some_seconds(tmp_path, clock):
    cameras = FakeCamera("0"), FakeCamera("1")
    report = show_cameras(mean_fuser(), *cameras, live.Unseen(), tmp_path / "out.mkv", seconds=0.1)
    assert (report.shown, report.problem) == (4, "")  # of 40 ms each, from the first on
    assert report.summary().startswith("4 frames recorded, ")


def test_a_camera_gives_its_newest_frame_and_says_when_it_ends(pair):
    camera = live.Camera(str(pair[0]))  # OpenCV opens files as well
    assert camera.latest().shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(ImageError, match="gives no more frames"):
        for _ in range(20):
            camera.latest()
    camera.close()
    with pytest.raises(ImageError, match="cannot be opened"):
        live.Camera("/dev/no_such_camera")


def test_without_a_display_one_line_says_so(pair, monkeypatch, capsys):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert command.run([*map(str, pair), "--show"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "said, expected",
    [
        ("cv2.error: (-2) The function is not implemented. Rebuild the library", "pip install opencv-python"),
        ("qt.qpa.xcb: could not connect to display :9\naborted", "could not connect to display"),
    ],
)
def test_what_opencv_says_of_windows_is_passed_on(monkeypatch, said, expected):
    monkeypatch.setenv("DISPLAY", ":9")
    failed = live.subprocess.CompletedProcess([], 1, "", said)
    monkeypatch.setattr(live.subprocess, "run", lambda *args, **kwargs: failed)
    assert expected in live.why_no_window()


# ---- the command


def test_the_command_reports_as_json(tmp_path, pair, capsys):
    assert command.run([*map(str, pair), "-o", str(tmp_path / "out"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["frames"], said["failed"], said["width"]) == (10, [], WIDTH)
    assert [path.name for path in sorted((tmp_path / "out").iterdir())][::9] == ["000001.png", "000010.png"]
    assert said["ok"] is True
    assert command.run([*map(str, pair), "-o", str(tmp_path / "out"), "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["ok"] is False and "already holds 10 images" in said["error"]


def test_names_tell_the_task_and_the_order(tmp_path, pair, capsys):
    def told(one: str, other: str, *words: str) -> dict:
        for name, source in zip((one, other), pair):
            shutil.copy(source, tmp_path / name)
        command.run([str(tmp_path / one), str(tmp_path / other), "-o", str(tmp_path / "out"), "--json", *words])
        return json.loads(capsys.readouterr().out)

    assert (
        "'vis' and source B 'ir': for infrared + visible give them in the other order"
        in (told("vis.mp4", "ir.mp4")["error"])
    )
    assert not (tmp_path / "out").exists()
    assert told("vis.mp4", "ir.mp4", "--task", "ivf", "--dry_run")["task"] == "ivf"
    assert told("low.mp4", "over.mp4", "--dry_run")["task"] == "mef"
    assert told("one.mp4", "two.mp4", "--dry_run")["task"] == "ivf"
    assert told("low.mp4", "over.mp4")["task"] == "mef"


def test_a_dry_run_writes_nothing(tmp_path, pair, capsys):
    assert command.run([*map(str, pair), "-o", str(tmp_path / "out.mp4"), "--dry_run"]) == 0
    said = capsys.readouterr().out
    assert "64x48, 25 frames/s, 0.40 s, sound aac" in said and "nothing was written" in said
    assert "only the first frames were read" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words, message",
    [
        (["A.mp4"], "give two sources"),
        (["A.mp4", "B.mp4"], "-o OUT"),
        (["A.mp4", "B.mp4", "-o", "x.mp4", "--depth", "16"], "needs a folder of frames"),
        (["A.mp4", "B.mp4", "-o", "x.mp4", "--show"], "leave out --show or -o"),
        (["A.mp4", "B.mp4", "-o", "x.mp4", "--quality", "60"], "--quality lies in 0..51"),
        (["A.mp4", "B.mp4", "-o", "frames", "--audio", "b"], "a folder of frames has no sound"),
        (["--camera_a", "0"], "--camera_a and --camera_b"),
        (["rtsp://x/a", "rtsp://x/b", "-o", "x.mp4", "--seconds", "3"], "rtsp:// is an address"),
        (["A.mp4", "B.mp4", "-o", "x.mp4", "--align", "affine", "--calibration", "c.json"], "give one of them"),
        (["A.mp4", "B.mp4", "-o", "x.mp4", "--align", "deformable"], "invalid choice: 'deformable'"),
        (["--camera_a", "0", "--camera_b", "1", "-o", "x.mp4", "--align", "affine"], "--align is for files"),
        (["--camera_a", "0", "--camera_b", "1"], "cameras need --show, or -o OUT.mp4 to record"),
        (["--camera_a", "0", "--camera_b", "1", "-o", "x.mp4", "--seconds", "0"], "--seconds is a number above 0"),
        (["A.mp4", "B.mp4", "-o", "x.mp4", "--seconds", "3"], "--seconds is for cameras"),
        (["A.mp4", "B.mp4", "-o", "x.mp4", "--fps", "0"], "frames per second"),
        (["A.mp4", "B.mp4", "-o", "x.mp4", "--start_a", "-1"], "--start_a: seconds to skip are a number from 0 on"),
        (["A.mp4", "B.mp4", "-o", "x.mp4", "--start_b", "inf"], "--start_b: seconds to skip are a number from 0 on"),
        (["--camera_a", "0", "--camera_b", "1", "-o", "x.mp4", "--start_b", "1"], "--start_b is for files"),
    ],
)
def test_impossible_arguments(words, message, capsys):
    with pytest.raises(SystemExit) as ended:
        command.run(words)
    assert ended.value.code == 2 and message in capsys.readouterr().err


def test_options_of_folders_are_refused_for_videos(tmp_path, pair, capsys):
    for options, message in (
        (["--range_a", "folder"], "--range_a: only folders"),
        (["--pattern_b", "*_vis"], "--pattern_b is for folders"),
        (["--fps", "30"], "--fps is for folders"),
        (["--range_frames", "5"], "--range_frames is for folders"),
        (["--allow_gaps"], "--allow_gaps is for folders"),
    ):
        assert command.run([*map(str, pair), "-o", str(tmp_path / "out.mp4"), *options]) == 2
        assert message in capsys.readouterr().err


def test_impossible_calls(tmp_path, pair):
    with pytest.raises(ValueError, match=r"lie in 0\.\.51, got 99"):
        fuse_video(mean_fuser(), *map(VideoFile, pair), tmp_path / "out.mp4", quality=99)
    with pytest.raises(ImageError, match="at least one file, got none"):
        FrameFolder([])
    assert list(tmp_path.iterdir()) == []


def test_which_names_are_videos():
    assert [is_video_name(name) for name in ("a.mp4", "a.MKV", "frames", "a.b/", "x.avi")] == [True, True] + [False] * 3
    assert set(frames_module.VIDEO_SUFFIXES) == {".mp4", ".mkv", ".mov", ".m4v"}


def test_a_calibration_brings_two_sizes_to_one_grid(tmp_path, capsys):
    from adasffuse.registration.aligner import Calibration
    from adasffuse.registration.transform import Transform, identity

    visible = scene(3)
    small = [cv2.resize(image, (WIDTH // 2, HEIGHT // 2), interpolation=cv2.INTER_AREA) for image in visible]
    a, b = make_folder(tmp_path / "a", small), make_folder(tmp_path / "b", visible)
    sizes = (HEIGHT, WIDTH), (HEIGHT // 2, WIDTH // 2)
    Calibration(Transform("affine", identity(*sizes), *sizes), 1, 0.0).save(tmp_path / "c.json")
    arguments = [str(a), str(b), "-o", str(tmp_path / "out")]
    assert command.run(arguments) == 1
    assert "sizes differ" in capsys.readouterr().err
    assert command.run([*arguments, "--calibration", str(tmp_path / "c.json")]) == 0
    assert cv2.imread(str(next((tmp_path / "out").glob("*.png")))).shape[:2] == (HEIGHT, WIDTH)
    arguments = [str(b), str(a), "-o", str(tmp_path / "turned"), "--calibration", str(tmp_path / "c.json")]
    for extra in (["--dry_run"], []):
        assert command.run([*arguments, *extra]) == 1
        assert "the calibration is for images A of 32x24 pixels, got 64x48; A and B are exch" in capsys.readouterr().err


def test_frames_that_do_not_lie_on_each_other_are_a_notice(tmp_path, capsys, monkeypatch):
    """Of frames as they are, and of those that a calibration aligns, which may be of other cameras."""
    from adasffuse.registration.aligner import Calibration

    monkeypatch.setattr(command, "fuser_from", lambda args, task: mean_fuser(task))
    visible = cv2.resize(photographs.coffee(), (320, 240), interpolation=cv2.INTER_AREA)
    infrared = 255 - cv2.GaussianBlur(cv2.cvtColor(visible, cv2.COLOR_RGB2GRAY), (0, 0), 1.0)
    off = [np.roll(infrared, 12, axis=1)] * 3
    a, b = make_video(tmp_path / "a.mp4", off), make_video(tmp_path / "b.mp4", [visible] * 3)
    said = "A and B seem not to lie on each other in {0} of {0} frames looked at, by about 12 pixels; "
    for moved, cure in (
        (None, "they are fused as they are"),
        (12, ""),
        (24, "were the cameras moved, since their calibration"),
    ):
        extra = []
        if moved is not None:
            matrix = np.array([[1, 0, moved], [0, 1, 0], [0, 0, 1.0]])
            Calibration(Transform("translation", matrix, (240, 320), (240, 320)), 1, 0.0).save(tmp_path / "c.json")
            extra = ["--calibration", str(tmp_path / "c.json")]
        for count, last in ((1, ["--dry_run"]), (3, [])):
            assert command.run([str(a), str(b), "-o", str(tmp_path / "out.mp4"), *extra, *last]) == 0
            err = capsys.readouterr().err
            assert (
                (said.format(count).replace("of 1 frames", "of 1 frame") + cure in err)
                if cure
                else ("seem not" not in err)
            )


def test_a_dry_run_says_what_is_to_know_of_the_first_frames(tmp_path, pair, capsys):
    deep = make_video(tmp_path / "deep.mkv", [np.uint16(i) + 7200 for i in scene()], codec="ffv1", pix_fmt="gray16le")
    for extra, expected in ((["--json"], True), (["--json", "--range_a", "7200", "7455"], False)):
        assert command.run([str(deep), str(pair[1]), "--dry_run", *extra]) == 0
        notices = json.loads(capsys.readouterr().out)["notices"]
        assert any("uses only 72" in notice for notice in notices) == expected


def test_two_videos_of_fixed_cameras_give_a_calibration(tmp_path, capsys, monkeypatch):
    from adasffuse.cli import align, sequences
    from adasffuse.registration.aligner import load_calibration

    monkeypatch.setattr(sequences, "FRAMES", 2)
    visible = cv2.resize(photographs.coffee(), (160, 120), interpolation=cv2.INTER_AREA)
    infrared = 255 - cv2.GaussianBlur(cv2.cvtColor(visible, cv2.COLOR_RGB2GRAY), (0, 0), 1.0)
    a = make_video(tmp_path / "a.mp4", [infrared[6:116, 8:152]] * 60)
    b, half = make_video(tmp_path / "b.mkv", [visible] * 60), make_video(tmp_path / "half.mp4", [visible] * 30)
    file = tmp_path / "c.json"
    assert align.run([str(a), str(b), "--save", str(file)]) == 0
    known = load_calibration(file)
    assert known.pairs == 2  # each thirtieth frame
    assert (known.transform.size, known.transform.moving_size) == ((120, 160), (110, 144))
    np.testing.assert_allclose(known.transform.matrix @ (80, 60, 1), (72, 54, 1), atol=0.5)
    assert align.run([str(a), str(half), "--save", str(file)]) == 0
    assert load_calibration(file).pairs == 2
    frames = make_folder(tmp_path / "frames", [np.uint16(infrared[6:116, 8:152]) + 7200] * 20)
    assert align.run([str(frames), str(b), "--save", str(file), "--range_a", "folder", "--fps", "10"]) == 0
    known = load_calibration(file)  # 20 frames in 2 s, beside 60 in 2.4
    assert known.pairs == 2 and known.transform.moving_size == (110, 144)
    deep = [np.uint16(infrared) + 256 * (k % 3) for k in range(60)]  # of other values
    deep = make_video(tmp_path / "deep.mkv", deep, codec="ffv1", pix_fmt="gray16le")
    capsys.readouterr()
    align.run([str(deep), str(b), "--save", str(file)])
    assert capsys.readouterr().err.count("uses only") == 1
    ir, vis = shutil.copy(a, tmp_path / "ir.mp4"), shutil.copy(b, tmp_path / "vis.mkv")
    for wrong, said in (
        ([a, b], "videos give a calibration: --save"),
        ([a, tmp_path / "none", "--save", file], "no video file or folder of frames"),
        ([a, b, "--save", file, "--fps", "9"], "--fps is for folders of frames"),
        (
            [tmp_path, tmp_path, "--save", file, "--fps", "9"],
            "--fps is for videos, or a folder of frames beside a video",
        ),
        ([a, b, "--save", file, "--range_a", "folder"], "--range_a: only folders of frames are measured"),
        ([a, b, "--save", file, "--pattern_b", "V*"], "--pattern_b is for folders"),
        ([tmp_path, tmp_path, "--save", file, "--start_b", "9"], "--start_b is for videos"),
        ([a, b, "--save", file, "--start_a", "9"], "--start_a 9: "),
        ([vis, ir, "--save", file], "give them in the other order"),
        ([a, a, "--save", file], "both sources are one file"),
        ([a, b, "--save", file, "-o", tmp_path / "out"], "--save estimates and writes a calibration only"),
    ):
        assert align.run([str(word) for word in wrong]) == (
            1 if said.startswith(("no video", "--start_a", "both sources")) else 2
        )
        assert said in capsys.readouterr().err


def test_a_calibration_never_overwrites_a_recording(pair, tmp_path, capsys):
    from adasffuse.cli import align

    copies = [shutil.copy(path, tmp_path) for path in pair]
    assert align.run([*copies, "--save", copies[1]]) == 2
    assert "vis.mp4: this file is written as .json" in capsys.readouterr().err
    plain = shutil.copy(copies[1], tmp_path / "vis")  # without a suffix that tells
    assert align.run([copies[0], str(plain), "--save", str(plain), "--task", "ivf"]) == 1
    assert Path(plain).read_bytes() == Path(copies[1]).read_bytes() == pair[1].read_bytes()


def test_fixed_cameras_are_registered_once_before_a_recording_is_fused(tmp_path, capsys, monkeypatch):
    """As `align --save` and `--calibration` in two calls; where that fails nothing is written."""
    from adasffuse.cli import align, sequences

    monkeypatch.setattr(sequences, "FRAMES", 1)
    monkeypatch.setattr(command, "fuser_from", lambda args, task: mean_fuser(task))
    visible = cv2.resize(photographs.coffee(), (160, 120), interpolation=cv2.INTER_AREA)
    infrared = 255 - cv2.GaussianBlur(cv2.cvtColor(visible, cv2.COLOR_RGB2GRAY), (0, 0), 1.0)
    a = make_video(tmp_path / "a.mp4", [infrared[6:116, 8:152]] * 4)
    b, file = make_video(tmp_path / "b.mp4", [visible] * 4), tmp_path / "c.json"
    assert align.run([str(a), str(b), "--save", str(file)]) == 0
    saved = capsys.readouterr().out.removeprefix(f"{file}: ").strip()
    assert saved.startswith("affine, 1 pair")
    arguments = [str(a), str(b), "-o"]
    assert command.run([*arguments, str(tmp_path / "two"), "--calibration", str(file)]) == 0
    capsys.readouterr()
    assert command.run([*arguments, str(tmp_path / "one"), "--align", "affine", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    registered = report["registered"]
    assert (registered["method"], registered["pairs"], registered["failed"]) == ("affine", 1, [])
    assert report["notices"][0].startswith("the calibration rests on one pair and nothing confirms it")
    for frame in ("000001.png", "000004.png"):
        assert (tmp_path / "one" / frame).read_bytes() == (tmp_path / "two" / frame).read_bytes()

    monkeypatch.setattr(command, "Window", lambda: FakeWindow(Clock()))
    assert command.run([*arguments[:2], "--show", "--align", "affine", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["registered"] == registered and report["notices"][0].startswith("the calibration rests on one pair")

    folder = make_folder(tmp_path / "noise", [texture(110, 144, seed) for seed in range(4)])
    arguments = [str(folder), str(b), "-o", str(tmp_path / "none.mp4"), "--align", "affine"]
    assert command.run([*arguments, "--dry_run"]) == 0
    assert "registered once, affine, by about 1 frames spread over both" in capsys.readouterr().out
    assert command.run(arguments) == 1
    said = capsys.readouterr().err
    for part in (
        "nothing was fused: --align affine: 1 of 1 pairs cannot be registered",
        "--start_a or --start_b",
        "25 frames per second, --fps",
        "--calibration FILE",
    ):
        assert part in said
    assert not (tmp_path / "none.mp4").exists()


def test_people_who_are_dark_in_a_video_are_a_notice(tmp_path):
    scene = night_scene(np.random.default_rng(0), (120, 160))
    infrared, visible = (np.rint(255 * image).astype(np.uint8) for image in (scene.infrared, scene.visible))
    b = make_video(tmp_path / "b.mp4", [visible] * 2)
    fuser = load_fuser("ivf", "tiny", device="cpu")
    for name, image, value_range, expected in (
        ("white", infrared, None, False),
        ("black", 255 - infrared, None, True),
        ("back", 255 - infrared, (255, 0), False),
    ):
        a = make_video(tmp_path / f"{name}.mp4", [image] * 2)
        report = fuse_video(fuser, VideoFile(a, value_range), VideoFile(b), tmp_path / f"{name}_out.mp4")
        said = "people seem to be dark in 2 of 2 frames looked at;"
        assert any(said in text for text in report.notices) == expected


def test_frames_are_looked_at_all_over_a_sequence(tmp_path, monkeypatch):
    looked_at = []
    monkeypatch.setattr(Fuser, "look_at", lambda self, path, images: looked_at.append(images[0].pixels.mean() * 255))
    a, b = (make_folder(tmp_path / name, [np.full((8, 8), n, np.uint8) for n in range(40)]) for name in "ab")
    listed = list_frames([a, b], [None, None])
    fuse_video(mean_fuser(), *(FrameFolder(column) for column in listed.columns), tmp_path / "out")
    assert np.rint(looked_at).tolist() == list(range(0, 40, 3))  # at most 16


def test_a_black_hot_video_of_8_bits_takes_the_plain_word(tmp_path, capsys, monkeypatch):
    """The mean of an image and its negative is 127.5.  Deeper video needs the values, which are not measured."""
    monkeypatch.setattr(command, "fuser_from", lambda args, task: mean_fuser(task))
    a, b = (make_video(tmp_path / name, scene(2)) for name in ("a.mp4", "b.mp4"))
    deep = [np.uint16(image) * 100 for image in scene(2)]
    deep = make_video(tmp_path / "deep.mkv", deep, codec="ffv1", pix_fmt="gray16le")
    for words in (["inverted"], ["0", "255", "inverted"]):
        out = tmp_path / "".join(words)
        assert command.run([str(a), str(b), "-o", str(out), "--range_a", *words]) == 0
        assert np.abs(cv2.imread(str(out / "000001.png")) - 127.5).max() < 1
    capsys.readouterr()
    assert command.run([str(deep), str(b), "-o", str(tmp_path / "out"), "--range_a", "inverted"]) == 2
    assert "--range_a: only folders of frames are measured; for a video of more than 8 bits" in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="files are not locked on Windows")
def test_what_a_run_that_was_killed_left_of_frames_is_removed_by_the_next(tmp_path, pair):
    for name in ("000003.png", "000300.png"):  # the pair has 10 frames
        with writing(tmp_path / name, "die") as process:
            process.communicate(timeout=60)
    assert len(os.listdir(tmp_path)) == 2
    fuse_video(mean_fuser(), *map(VideoFile, pair), tmp_path)
    assert len(list(tmp_path.glob("0*.png"))) == 10 and len(list(tmp_path.glob(".part-*"))) == 1


def test_notices_that_differ_in_numbers_are_said_once():
    """Also where one of the numbers is negative, or has an exponent."""
    notices, image = FrameNotices(mean_fuser("mef"), None, lambda: False), Image(np.zeros((4, 4), np.float32))
    for low, high in ((2, 5), (-3, 5.5), (0, 1e-05)):
        notices.add([f"the values {low:g} to {high:g} become black to white"], image, image)
    assert notices.texts("a", None) == ["the values 2 to 5 become black to white (3 of 3 frames)"]
