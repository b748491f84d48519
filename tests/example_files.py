"""Small files and folders with the names that the commands of README and docs use, all rendered."""

import json
import shutil
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import PIL.Image
import render_objects
import tifffile
from numpy import ndarray
from special_files import dicom_file, radiometric_jpeg

from adasffuse.data.synthesis import expose, focus_far, focus_near
from adasffuse.downstream.labels import write_voc
from adasffuse.images.boxes import Box
from adasffuse.images.color import luminance
from adasffuse.images.video_writing import write_video
from adasffuse.images.write import quantise, write_image
from adasffuse.scenes.head import head
from adasffuse.scenes.street import night_scene

ROOT = Path(__file__).resolve().parents[1]
STEMS = ("7", "8")
SEEDS = (6, 8, 14)  # of streets that can be registered at 80 x 104 pixels
STOPS = (-2, 0, 2)  # of the exposures of a bracket


def write_example_files(root: Path, size: tuple[int, int]) -> None:
    """All of them below `root`, images of `size` (height, width), at least 64 pixels each way."""
    scenes = [night_scene(np.random.default_rng(seed), size) for seed in SEEDS]
    infrared = [quantise(scene.infrared, "8") for scene in scenes]
    visible = [quantise(scene.visible, "8") for scene in scenes]
    counts = [(7200 + 4 * image.astype(np.uint16)) for image in infrared]
    _write_pairs(root, infrared, visible, counts)
    _write_thermal(root, infrared, visible)
    _write_orthophotos(root, counts[0], visible[0])
    _write_data_sets(root, infrared, visible)
    _write_published(root / "home/MSRS-main", infrared, visible)
    _write_stacks(root, visible)
    _write_videos(root, infrared, visible)
    _write_medical(root)
    _write_labelled(root)
    _write_options(root)


def _write_all(folder: Path, images: Sequence[ndarray], name: str = "{}.png") -> None:
    for stem, image in zip(STEMS, images):
        _write(folder / name.format(stem), image)


def _write(path: Path, image: ndarray) -> None:
    if path.suffix == ".jpg":
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(image).save(path, quality=95)
    else:
        write_image(path, image, "16" if image.dtype == np.uint16 else "8")


def _write_pairs(root: Path, infrared: list[ndarray], visible: list[ndarray], counts: list[ndarray]) -> None:
    """Pairs of files and folders; `thermal` holds a camera's counts of 16 bits."""
    for name, image in (("ir", infrared[0]), ("infrared", infrared[0]), ("vis", visible[0]), ("visible", visible[0])):
        write_image(root / f"{name}.png", image)
    for name, image in (("ir", infrared[0]), ("vis", visible[0])):
        write_image(root / f"data/s1/{name}.png", image)
    _write(root / "thermal.tif", counts[0])
    for folder in ("infrared", "infrared_frames"):
        _write_all(root / folder, infrared)
    for folder in ("visible", "visible_frames", "rgb"):
        _write_all(root / folder, visible)
    _write_all(root / "thermal", counts)
    for folder in ("all", "cam"):
        _write_all(root / folder, infrared, "IR_{}.jpg")
        _write_all(root / folder, visible, "VIS_{}.jpg")
    for folder in ("results/IVF", "OTHER/IVF"):
        _write_all(root / folder, visible)


def _write_thermal(root: Path, infrared: list[ndarray], visible: list[ndarray]) -> None:
    """Radiometric JPEG files, with a photograph in `camera` and without in `radiometric`."""
    for folder in ("camera", "radiometric"):
        (root / folder).mkdir()
    for stem, heat, photograph in zip(STEMS, infrared, visible):
        counts = heat.astype(np.uint16) * 8 + 18000
        file = radiometric_jpeg(counts, photograph, (1.0, 0, 0))
        (root / "camera" / f"FLIR{stem}.jpg").write_bytes(file)
        (root / "shot.jpg").write_bytes(file)
        (root / "radiometric" / f"{stem}.jpg").write_bytes(radiometric_jpeg(counts))
    rows = [";".join(f"{value / 10:.1f}".replace(".", ",") for value in row) for row in infrared[0]]
    text = "\n".join(["Datei;ir.jpg", "Emissivit\u00e4t;0,95", *rows])
    (root / "temperatures.csv").write_text(text, encoding="latin-1")


def _write_orthophotos(root: Path, infrared: ndarray, visible: ndarray) -> None:
    """A thermal and an RGB one that lie in one place on a map."""
    place = [(33550, "d", 3, (0.1, 0.1, 0.0), True), (33922, "d", 6, (0.0, 0.0, 0.0, 500000.0, 5500000.0, 0.0), True)]
    for name, pixels in (("thermal_ortho.tif", infrared), ("rgb_ortho.tif", visible)):
        tifffile.imwrite(root / name, pixels, extratags=place, metadata=None)


def _write_data_sets(root: Path, infrared: list[ndarray], visible: list[ndarray]) -> None:
    """Sets for fusing, scoring and training."""
    ivf = ["DATA/test/IVF", "DATA/test/IVF_MSRS", "DATA/test/IVF_LLVIP", "LLVIP", "datasets/train/IVF"]
    for folder in ivf:
        _write_all(root / folder / "infrared", infrared)
        _write_all(root / folder / "visible", visible)
    height, width = visible[0].shape[:2]
    for stem in STEMS:
        box = Box("person", width // 4, height // 4, width // 2, height // 2)
        write_voc(root / "LLVIP/Annotations" / f"{stem}.xml", stem, (height, width), [box])


def _write_published(root: Path, infrared: list[ndarray], visible: list[ndarray]) -> None:
    """MSRS as its owners lay it out, a pair in each part."""
    for number, part in ((1, "train"), (2, "test")):
        for folder, images in (("ir", infrared), ("vi", visible), ("Segmentation_labels", infrared)):
            write_image(root / part / folder / f"{number}.png", images[number])


def _write_stacks(root: Path, visible: list[ndarray]) -> None:
    """Exposures and focus settings: data sets of two, folders of three."""
    for stem, image in zip(STEMS, visible):
        scene = image.astype(np.float32) / 255
        near = np.zeros(image.shape[:2], np.float32)
        near[:, : near.shape[1] // 2] = 1
        low, middle, over = (quantise(expose(scene, stops), "8") for stops in STOPS)
        focused = [quantise(focus(scene, near, 3.0), "8") for focus in (focus_near, focus_far)]
        for folder, one in zip(("under", "middle", "over"), (low, middle, over)):
            write_image(root / folder / f"{stem}.png", one)
            write_image(root / "photos" / f"{stem}_{folder}.png", one)
        for folder, one in zip(("low", "over"), (low, over)):
            write_image(root / "DATA/test/MEF" / folder / f"{stem}.png", one)
        for data_set in ("MFF", "MFF_MADE"):
            for folder, one in zip(("imageA", "imageB"), focused):
                write_image(root / "DATA/test" / data_set / folder / f"{stem}.png", one)
        write_image(root / "results/MFF_MADE" / f"{stem}.png", image)
        write_image(root / "TRUE" / f"{stem}.png", image)
        for number, one in enumerate(focused):
            write_image(root / "stacks" / stem / f"{number}.png", one)
        deep = np.stack([luminance(one / np.float32(255)) * 4095 for one in focused]).astype(np.uint16)
        for name in ("z.tif", f"plate/{stem}.tif"):
            (root / name).parent.mkdir(exist_ok=True)
            tifffile.imwrite(root / name, deep, photometric="minisblack")
    for name, one in zip("abc", (low, middle, over)):
        for suffix in ("jpg", "tif"):
            _write(root / f"shots/1/{name}.{suffix}", one)
        _write(root / f"{name}.jpg", one)
        write_image(root / "bracket" / f"{name}.png", one)


def _write_videos(root: Path, infrared: list[ndarray], visible: list[ndarray]) -> None:
    for name, images in (("infrared", infrared), ("visible", visible)):
        for suffix in (".mp4", ".mkv"):
            height, width = images[0].shape[:2]
            with write_video(root / f"{name}{suffix}", height, width, Fraction(25), Fraction(1, 25)) as video:
                for number, image in enumerate(images):
                    video.write(image, number)
                video.finish(len(images) / 25)


def _write_medical(root: Path) -> None:
    """Slices of rendered heads as data sets, NIfTI volumes and DICOM series."""
    import nibabel
    import pydicom

    slices = [head(seed, 64) for seed in (4, 5)]
    for modality in ("CT", "PET", "SPECT"):
        for folder in (modality, "MRI"):
            _write_all(root / f"DATA/test/MIF/{modality}-MRI" / folder, [images[folder] for images in slices])
    for modality in ("PET", "SPECT", "MRI"):
        _write_all(root / modality.lower(), [images[modality] for images in slices])
        _write_all(root / "data/p1" / modality.lower(), [images[modality] for images in slices])
    spect = np.stack([images["SPECT"].mean(axis=2).astype(np.int16) for images in slices])
    detector = pydicom.Dataset()
    detector.ImagePositionPatient, detector.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    file = dicom_file(
        spect.reshape(-1, spect.shape[2]),
        Rows=spect.shape[1],
        NumberOfFrames=len(spect),
        ImageType=["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"],
        DetectorInformationSequence=[detector],
        PixelSpacing=[2, 2],
        SpacingBetweenSlices=3,
    )
    (root / "spect.dcm").write_bytes(file)
    coarse = np.stack([images["PET"].mean(axis=2)[::2, ::2].astype(np.int16) for images in slices])
    nibabel.save(nibabel.Nifti1Image(coarse.transpose(2, 1, 0), np.diag([4, 4, 3, 1])), root / "pet.nii.gz")
    for folder in ("pet_volumes", "mri_volumes", "bids"):
        (root / folder).mkdir()
    place = {"SeriesInstanceUID": "1.2", "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
    for name in ("ct", "mri", "pet"):
        gray = [images[name.upper()].reshape(64, 64, -1).mean(axis=2).astype(np.int16) for images in slices]
        values = 4 * np.stack(gray) - 500
        if name != "pet":
            volume = nibabel.Nifti1Image(values.transpose(2, 1, 0), np.diag([2, 2, 3, 1]))
            nibabel.save(volume, root / f"{name}.nii.gz")
        for number, one in enumerate(values):
            file = dicom_file(one, ImagePositionPatient=[0, 0, 3 * number], PixelSpacing=[2, 2], **place)
            (root / f"{name}_series").mkdir(exist_ok=True)
            (root / f"{name}_series/{number}.dcm").write_bytes(file)
    for name, stem, kind in (("pet", "sub-01_pet", "pet"), ("mri", "sub-01_T1w", "anat")):
        content = (root / f"{name}.nii.gz").read_bytes()
        (root / f"sub-01/{kind}").mkdir(parents=True)
        for path in (f"{name}_volumes/p1", f"bids/{stem}", f"sub-01/{kind}/{stem}"):
            (root / f"{path}.nii.gz").write_bytes(content)
        shutil.copytree(root / f"{name}_series", root / "archive/p1" / name)
    (root / "mri.dcm").write_bytes((root / "mri_series/0.dcm").read_bytes())
    pet = dicom_file(coarse[0], ImagePositionPatient=[1, 1, 0], PixelSpacing=[4, 4], **place)
    (root / "pet.dcm").write_bytes(pet)


def _write_labelled(root: Path) -> None:
    """Frames with boxes and masks, and a method's images of them."""
    render_objects.main([str(root / "DATA"), "--train", "16", "--test", "4"])
    (root / "FOLDER").symlink_to(root / "DATA/visible")


def _write_options(root: Path) -> None:
    """Options of training, as a reader copies and changes them, but for one step of the smallest network."""
    name = "options/train_AdaSFFuse_ivf.json"
    options = json.loads((ROOT / name).read_text(encoding="utf-8"))
    options["data"].update(validation=[STEMS[0]], crop=48)
    options["train"].update(steps=1, batch_size=4, warmup=0, init="general_tiny")
    options["size"] = "tiny"
    (root / "options").mkdir()
    (root / name).write_text(json.dumps(options), encoding="utf-8")
