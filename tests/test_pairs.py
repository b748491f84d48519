"""Finding pairs in folders, and saying what is wrong with those that are none."""

from pathlib import Path

import numpy as np
import pytest

from adasffuse.images.pairs import Pair, find_pairs, pair_folders, read_pair
from adasffuse.images.read import ImageError, write_png


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def reasons(problems) -> str:
    return "\n".join(problem.reason for problem in problems)


def test_pairs_match_by_stem_whatever_the_suffix(tmp_path):
    touch(tmp_path, "a/2.PNG", "a/10.jpg", "a/x.y.bmp", "b/x.y.webp", "b/10.jpeg", "b/2.tif")
    pairs, problems = find_pairs(tmp_path / "a", str(tmp_path / "b"))
    assert [pair.stem for pair in pairs] == ["10", "2", "x.y"] and problems == []
    assert pairs[0] == Pair("10", tmp_path / "a/10.jpg", tmp_path / "b/10.jpeg")


def test_stem_without_partner(tmp_path):
    touch(tmp_path, "a/1.png", "a/2.png", "b/2.png", "b/3.png")
    pairs, problems = find_pairs(tmp_path / "a", tmp_path / "b")
    assert [pair.stem for pair in pairs] == ["2"]
    assert [problem.name for problem in problems] == ["1", "3"]
    assert problems[0].reason == f"{tmp_path}/a/1.png has no partner in {tmp_path}/b"


def test_two_files_with_one_stem(tmp_path):
    touch(tmp_path, "a/1.png", "a/1.jpg", "b/1.png", "a/2.png", "b/2.png")
    pairs, problems = find_pairs(tmp_path / "a", tmp_path / "b")
    assert [pair.stem for pair in pairs] == ["2"]
    assert f"1.jpg and 1.png in {tmp_path}/a share one stem; keep one of them" in reasons(problems)


def test_a_file_that_is_no_image_is_reported_and_skipped(tmp_path):
    touch(tmp_path, "a/1.png", "a/1.txt", "a/notes.md", "b/1.png", "b/sub/7.png")
    pairs, problems = find_pairs(tmp_path / "a", tmp_path / "b")
    assert [pair.stem for pair in pairs] == ["1"]
    assert [problem.name for problem in problems] == ["1.txt", "notes.md"]
    assert "notes.md is not an image file (.avif, .bmp" in reasons(problems)


def test_system_files_are_ignored(tmp_path):
    touch(
        tmp_path, "a/1.png", "a/.DS_Store", "a/._1.png", "a/Thumbs.db", "b/1.png", "b/desktop.ini", "b/.1.png.77.part"
    )
    assert find_pairs(tmp_path / "a", tmp_path / "b")[1] == []


def test_missing_folder_names_what_is_there_instead(tmp_path):
    touch(tmp_path, "infrared/1.png", "vis/1.png")
    with pytest.raises(ImageError, match=rf"no folder {tmp_path}/visible; {tmp_path} holds infrared/, vis/"):
        find_pairs(tmp_path / "infrared", tmp_path / "visible")


def test_empty_folder(tmp_path):
    touch(tmp_path, "a/1.png")
    (tmp_path / "b").mkdir()
    with pytest.raises(ImageError, match=r"no images in .*/b; put files ending in \.avif"):
        find_pairs(tmp_path / "a", tmp_path / "b")


def test_folders_of_a_task_and_of_its_older_name(tmp_path):
    touch(tmp_path, "IVF/infrared/1.png", "IVF/visible/1.png", "VIF_TNO/infrared/1.png", "VIF_TNO/visible/1.png")
    for dataset in ("IVF", "VIF"):
        (folder,) = pair_folders(tmp_path, dataset)
        assert (folder.name, folder.folder_a, folder.folder_b) == (
            "IVF",
            tmp_path / "IVF/infrared",
            tmp_path / "IVF/visible",
        )
    assert pair_folders(tmp_path, "IVF_TNO")[0].name == "VIF_TNO"


def test_every_medical_subset_that_is_there(tmp_path):
    touch(
        tmp_path, "MIF/CT-MRI/CT/1.png", "MIF/CT-MRI/MRI/1.png", "MIF/SPECT-MRI/SPECT/1.png", "MIF/SPECT-MRI/MRI/1.png"
    )
    assert [folder.name for folder in pair_folders(tmp_path, "MIF")] == ["MIF/CT-MRI", "MIF/SPECT-MRI"]
    assert [folder.name for folder in pair_folders(tmp_path, "MIF/SPECT-MRI")] == ["MIF/SPECT-MRI"]


def test_medical_folders_without_subset(tmp_path):
    touch(tmp_path, "MIF/CT/1.png", "MIF/MRI/1.png", "MIF_PET/PET/1.png", "MIF_PET/MRI/1.png")
    assert [(f.name, f.folder_a.name) for f in pair_folders(tmp_path, "MIF")] == [("MIF", "CT")]
    assert [(f.name, f.folder_a.name) for f in pair_folders(tmp_path, "MIF_PET")] == [("MIF_PET", "PET")]


def test_half_a_subset_is_an_error(tmp_path):
    touch(tmp_path, "MIF/CT-MRI/CT/1.png", "MIF/CT-MRI/MRI/1.png", "MIF/PET-MRI/PET/1.png")
    with pytest.raises(ImageError, match=r"PET-MRI/PET is there, its partner .*PET-MRI/MRI is not"):
        pair_folders(tmp_path, "MIF")


def test_folder_names_and_full_paths_can_be_given(tmp_path):
    touch(
        tmp_path,
        "IVF/ir/1.png",
        "IVF/visible/1.png",
        "elsewhere/vi/1.png",
        "MIF/PET-MRI/PET/1.png",
        "MIF/PET-MRI/MRI/1.png",
    )
    assert pair_folders(tmp_path, "IVF", a_dir="ir")[0].folder_a == tmp_path / "IVF/ir"
    folder = pair_folders(tmp_path, "IVF", "ir", str(tmp_path / "elsewhere/vi"))[0]
    assert folder.folder_b == tmp_path / "elsewhere/vi" and folder.name == "IVF"
    (folder,) = pair_folders(tmp_path, "MIF", "PET", "MRI")
    assert folder.name == "MIF/PET-MRI"
    full = [str(tmp_path / "IVF/ir"), str(tmp_path / "elsewhere/vi")]
    (folder,) = pair_folders("nowhere", "MIF", *full)  # a root is not needed then
    assert folder.name == "MIF" and folder.folder_a == tmp_path / "IVF/ir"


def test_nothing_found_lists_what_was_looked_for_and_what_is_there(tmp_path):
    touch(tmp_path, "IVF/ir/1.png")
    with pytest.raises(ImageError, match=r"looked for .*IVF/infrared, .*IVF/visible; .*IVF holds ir/"):
        pair_folders(tmp_path, "IVF")
    with pytest.raises(ImageError, match=rf"no source folders for MEF: .*; {tmp_path} holds IVF/"):
        pair_folders(tmp_path, "MEF")
    with pytest.raises(ValueError, match="unknown task 'photos'"):
        pair_folders(tmp_path, "photos")


def test_read_pair(tmp_path):
    write_png(tmp_path / "a/1.png", np.zeros((4, 6), np.uint8))
    write_png(tmp_path / "b/1.png", np.full((4, 6), 255, np.uint8))
    a, b = read_pair(find_pairs(tmp_path / "a", tmp_path / "b")[0][0])
    assert a.pixels.max() == 0 and b.pixels.min() == 1


def test_partners_of_different_size(tmp_path):
    write_png(tmp_path / "a/1.png", np.zeros((4, 6), np.uint8))
    write_png(tmp_path / "b/1.png", np.zeros((6, 4), np.uint8))
    pair = find_pairs(tmp_path / "a", tmp_path / "b")[0][0]
    with pytest.raises(ImageError, match=r"sizes differ: .*a/1\.png is 6x4, .*b/1\.png is 4x6 pixels; register"):
        read_pair(pair)


@pytest.mark.parametrize("dataset", ["IVF", "IVF_MSRS", "MEF", "MFF", "MIF"])
def test_development_images_are_all_pairs(data_root, dataset):
    for folder in pair_folders(data_root / "test", dataset):
        pairs, problems = find_pairs(folder.folder_a, folder.folder_b)
        assert pairs and not problems
        assert read_pair(pairs[0])[0].notices == ()
