"""Finding scenes in folders, naming what belongs to none and saying what would help."""

import os
import unicodedata
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from adasffuse.images.dataset_folders import scene_folders
from adasffuse.images.folders import images_of
from adasffuse.images.pairs import Scene, SceneError, find_scenes, read_scene
from adasffuse.images.patterns import pattern_for, patterns_in
from adasffuse.images.read import ImageError
from adasffuse.images.write import write_image


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def reasons(problems) -> str:
    return "\n".join(problem.reason for problem in problems)


def test_pairs_match_by_stem_whatever_the_suffix(tmp_path):
    touch(tmp_path, "a/2.PNG", "a/10.jpg", "a/x.y.bmp", "b/x.y.webp", "b/10.jpeg", "b/2.tif")
    pairs, problems = find_scenes((tmp_path / "a", str(tmp_path / "b")))
    assert [pair.stem for pair in pairs] == ["10", "2", "x.y"] and problems == []
    assert pairs[0] == Scene("10", (tmp_path / "a/10.jpg", tmp_path / "b/10.jpeg"))


def test_images_of_a_folder_are_in_the_order_of_their_numbers(tmp_path):
    touch(tmp_path, "z10.tif", "z2.tif", "z1.tif", ".z3.tif", "z4.txt")
    assert [path.name for path in images_of(tmp_path)] == ["z1.tif", "z2.tif", "z10.tif"]


def test_stem_without_partner(tmp_path):
    touch(tmp_path, "a/1.png", "a/2.png", "b/2.png", "b/3.png")
    pairs, problems = find_scenes((tmp_path / "a", tmp_path / "b"))
    assert [pair.stem for pair in pairs] == ["2"]
    assert [(problem.name, problem.kind, problem.harmless) for problem in problems] == [
        ("1", "unpaired", False),
        ("3", "unpaired", False),
    ]
    assert problems[0].reason == f"{tmp_path}/a/1.png has no partner in {tmp_path}/b"


def test_files_are_paired_by_the_times_in_their_names(tmp_path):
    """Results are called like the second source's files; what has no partner is named, with the nearest."""
    first = ["1699352114100", "1699352114205", "1699352114300", "1699352114301"]
    touch(tmp_path, *(f"a/IR_{name}.png" for name in first), "a/IR_x.png")
    touch(tmp_path, *(f"b/20231107_101514_{part}.jpg" for part in ("104", "199", "299", "500", "500-x")))
    places = (tmp_path / "a", tmp_path / "b")
    pairs, problems = find_scenes(places, ("IR_*", None), within=0.05)
    assert [(pair.stem[-3:], pair.paths[0].stem[-3:]) for pair in pairs] == [
        ("104", "100"),
        ("199", "205"),
        ("299", "300"),
    ]
    for part in (
        "IR_x.png states no time in its name, or several; one is expected, such as 1699351234123 or",
        "IR_1699352114301.png has no partner in",
        "within 0.05 s; the nearest, 20231107_101514_299.jpg, is 0.002 s apart, and has a partner that is nearer",
        "20231107_101514_500.jpg has no partner in",
        "the nearest, IR_1699352114301.png, is 0.199 s apart",
        "20231107_101514_500.jpg and 20231107_101514_500-x.jpg in",
        "state one time; keep one of them",
    ):
        assert part in reasons(problems)
    assert all(not problem.harmless for problem in problems)
    touch(tmp_path, "d/1699352114298.png", "d/1699352114108.png")
    triples, _ = find_scenes((*places, tmp_path / "d"), ("IR_*", None, None), within=0.003)
    assert [scene.stem[-3:] for scene in triples] == ["299"]
    apart = (tmp_path / "d", tmp_path / "e")
    touch(tmp_path, "e/1699352114300.png", "e/1699352114112.png")
    with pytest.raises(SceneError, match=r"no images are taken within 0\.0001 s of each other: .* 0\.004 s apart"):
        find_scenes(apart, within=0.0001)
    with pytest.raises(
        SceneError, match=r"names state times: --within SECONDS .* half of the nearest are at most 0\.003"
    ):
        find_scenes(apart)
    touch(tmp_path, "c/plain.png")
    with pytest.raises(SceneError, match=r"plain\.png states no time .*; without --within equal names are paired"):
        find_scenes((places[0], tmp_path / "c"), ("IR_*", None), within=1)
    with pytest.raises(ValueError, match="within is a number of seconds above 0"):
        find_scenes(places, within=0)


def test_where_few_times_are_equal_by_chance_a_notice_tells_of_the_option(tmp_path):
    touch(tmp_path, *(f"a/1699352114{k}00.png" for k in range(4)), *(f"b/1699352114{k}0{k}.png" for k in range(4)))
    pairs, problems = find_scenes((tmp_path / "a", tmp_path / "b"))
    assert [pair.stem for pair in pairs] == ["1699352114000"]
    assert [problem.kind for problem in problems] == ["unpaired"] * 6 + ["times"]
    assert "--within SECONDS pairs the nearest of them" in problems[-1].reason and problems[-1].harmless


def test_two_files_with_one_stem(tmp_path):
    touch(tmp_path, "a/1.png", "a/1.jpg", "b/1.png", "a/2.png", "b/2.png")
    pairs, problems = find_scenes((tmp_path / "a", tmp_path / "b"))
    assert [pair.stem for pair in pairs] == ["2"]
    assert f"1.jpg and 1.png in {tmp_path}/a share one stem; keep one of them" in reasons(problems)


def test_dicom_files_are_said_to_be_paired_by_their_names(tmp_path):
    touch(tmp_path, "ct/1.dcm", "ct/2.dcm", "mri/1.png", "mri/2.png", "series/1.dcm", "series/2.dcm", "one/1.dcm")
    touch(tmp_path, "other/1.png")
    (problem,) = find_scenes((tmp_path / "ct", tmp_path / "mri"))[1]
    assert problem.harmless and problem.reason == (
        f"DICOM files in {tmp_path}/ct are paired by their names, not by where their slices lie; check that files of "
        "one name show the same slice"
    )
    (problem,) = find_scenes((tmp_path / "ct", tmp_path / "series"))[1]
    assert problem.reason.startswith(f"DICOM files in {tmp_path}/ct and {tmp_path}/series are paired by their names")
    assert problem.reason.endswith("or fuse both as volumes, by position: adasffuse fuse A B -o NAME.nii.gz")
    assert not find_scenes((tmp_path / "ct",))[1] and not find_scenes((tmp_path / "one", tmp_path / "other"))[1]


def test_a_file_that_is_no_image_is_reported_and_skipped(tmp_path):
    touch(tmp_path, "a/1.png", "a/1.txt", "a/notes.md", "b/1.png", "b/4.txt", "b/5.txt", "b/6.txt", "b/7.txt")
    pairs, problems = find_scenes((tmp_path / "a", tmp_path / "b"))
    assert [pair.stem for pair in pairs] == ["1"]
    assert [(problem.kind, problem.harmless) for problem in problems] == [("not_image", True)] * 2
    assert problems[0].reason == f"{tmp_path}/a also holds 1.txt, notes.md, no images by name"
    assert problems[1].reason == f"{tmp_path}/b also holds 4.txt, 5.txt, 6.txt and 1 more, no images by name"


def test_system_files_are_ignored(tmp_path):
    touch(
        tmp_path, "a/1.png", "a/.DS_Store", "a/._1.png", "a/Thumbs.db", "b/1.png", "b/desktop.ini", "b/.1.png.77.part"
    )
    touch(tmp_path, "a/@eaDir/1.png", "b/__MACOSX/1.png")
    assert find_scenes((tmp_path / "a", tmp_path / "b"))[1] == []


def test_missing_folder_names_what_is_there_instead(tmp_path):
    touch(tmp_path, "infrared/1.png", "vis/1.png")
    with pytest.raises(ImageError, match=rf"no folder {tmp_path}/visible; {tmp_path} holds infrared/, vis/"):
        find_scenes((tmp_path / "infrared", tmp_path / "visible"))


def test_empty_folder(tmp_path):
    touch(tmp_path, "a/1.png")
    (tmp_path / "b").mkdir()
    with pytest.raises(ImageError, match=r"no images in .*/b; put files ending in \."):
        find_scenes((tmp_path / "a", tmp_path / "b"))


def test_a_folder_of_files_that_are_not_read_says_what_they_are(tmp_path):
    touch(tmp_path, "a/1.png", "b/0.txt")
    (tmp_path / "b/1.npy").write_bytes(b"\x93NUMPY\x01\x00")
    with pytest.raises(ImageError, match=r"no images in .*/b, but 1\.npy: it is an array of NumPy: write it as TIFF"):
        find_scenes((tmp_path / "a", tmp_path / "b"))


def test_folders_of_a_task_and_of_its_older_name(tmp_path):
    touch(tmp_path, "IVF/infrared/1.png", "IVF/visible/1.png", "VIF_TNO/infrared/1.png", "VIF_TNO/visible/1.png")
    for dataset in ("IVF", "VIF"):
        (folder,) = scene_folders(tmp_path, dataset)
        assert (folder.name, folder.folders[0], folder.folders[1]) == (
            "IVF",
            tmp_path / "IVF/infrared",
            tmp_path / "IVF/visible",
        )
    assert scene_folders(tmp_path, "IVF_TNO")[0].name == "VIF_TNO"


def test_every_medical_subset_that_is_there(tmp_path):
    touch(
        tmp_path, "MIF/CT-MRI/CT/1.png", "MIF/CT-MRI/MRI/1.png", "MIF/SPECT-MRI/SPECT/1.png", "MIF/SPECT-MRI/MRI/1.png"
    )
    assert [folder.name for folder in scene_folders(tmp_path, "MIF")] == ["MIF/CT-MRI", "MIF/SPECT-MRI"]
    assert [folder.name for folder in scene_folders(tmp_path, "MIF/SPECT-MRI")] == ["MIF/SPECT-MRI"]


def test_medical_folders_without_subset(tmp_path):
    touch(tmp_path, "MIF/CT/1.png", "MIF/MRI/1.png", "MIF_PET/PET/1.png", "MIF_PET/MRI/1.png")
    assert [(f.name, f.folders[0].name) for f in scene_folders(tmp_path, "MIF")] == [("MIF", "CT")]
    assert [(f.name, f.folders[0].name) for f in scene_folders(tmp_path, "MIF_PET")] == [("MIF_PET", "PET")]


def test_half_a_subset_is_an_error(tmp_path):
    touch(tmp_path, "MIF/CT-MRI/CT/1.png", "MIF/CT-MRI/MRI/1.png", "MIF/PET-MRI/PET/1.png")
    with pytest.raises(ImageError, match=r"PET-MRI/PET is there, its partner .*PET-MRI/MRI is not"):
        scene_folders(tmp_path, "MIF")


def test_folder_names_and_full_paths_can_be_given(tmp_path):
    touch(
        tmp_path,
        "IVF/ir/1.png",
        "IVF/visible/1.png",
        "elsewhere/vi/1.png",
        "MIF/PET-MRI/PET/1.png",
        "MIF/PET-MRI/MRI/1.png",
    )
    assert scene_folders(tmp_path, "IVF", a_dir="ir")[0].folders[0] == tmp_path / "IVF/ir"
    folder = scene_folders(tmp_path, "IVF", "ir", str(tmp_path / "elsewhere/vi"))[0]
    assert folder.folders[1] == tmp_path / "elsewhere/vi" and folder.name == "IVF"
    (folder,) = scene_folders(tmp_path, "MIF", "PET", "MRI")
    assert folder.name == "MIF/PET-MRI"
    full = [str(tmp_path / "IVF/ir"), str(tmp_path / "elsewhere/vi")]
    (folder,) = scene_folders("nowhere", "MIF", *full)  # a root is not needed then
    assert folder.name == "MIF" and folder.folders[0] == tmp_path / "IVF/ir"


def test_folders_of_the_same_names_elsewhere_are_not_taken_for_a_missing_data_set(tmp_path, monkeypatch):
    touch(tmp_path, "infrared/1.png", "visible/1.png", "data/IVF/infrared/1.png", "data/IVF/visible/1.png")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SceneError, match="no source folders for IVF_MSRS"):
        scene_folders("data", "IVF_MSRS")
    assert scene_folders("data", "IVF_MSRS", "infrared", "visible")[0].folders == (Path("infrared"), Path("visible"))


def test_a_root_that_is_a_level_too_high_or_too_low(tmp_path):
    touch(tmp_path, "data/test/MIF/PET-MRI/PET/1.png", "data/test/MIF/PET-MRI/MRI/1.png", "data/train/x.png")
    for root in (tmp_path / "data", tmp_path / "data/test/MIF"):
        with pytest.raises(SceneError, match=rf"; as folder of data sets give {tmp_path}/data/test$") as caught:
            scene_folders(root, "MIF")
        assert scene_folders(caught.value.root, "MIF")


def test_nothing_found_lists_what_was_looked_for_and_what_is_there(tmp_path):
    touch(tmp_path, "IVF/ir/1.png")
    with pytest.raises(ImageError, match=r"looked for .*IVF/infrared, .*IVF/visible; .*IVF holds ir/"):
        scene_folders(tmp_path, "IVF")
    with pytest.raises(ImageError, match=rf"no source folders for MEF: .*; {tmp_path} holds IVF/"):
        scene_folders(tmp_path, "MEF")
    with pytest.raises(ValueError, match="unknown task 'photos'"):
        scene_folders(tmp_path, "photos")


def test_read_pair(tmp_path):
    write_image(tmp_path / "a/1.png", np.zeros((4, 6), np.uint8))
    write_image(tmp_path / "b/1.png", np.full((4, 6), 255, np.uint8))
    a, b = read_scene(find_scenes((tmp_path / "a", tmp_path / "b"))[0][0])
    assert a.pixels.max() == 0 and b.pixels.min() == 1


def test_partners_of_different_size(tmp_path):
    write_image(tmp_path / "a/1.png", np.zeros((4, 6), np.uint8))
    write_image(tmp_path / "b/1.png", np.zeros((6, 5), np.uint8))
    pair = find_scenes((tmp_path / "a", tmp_path / "b"))[0][0]
    with pytest.raises(ImageError, match=r"sizes differ: .*a/1\.png is 6x4, .*b/1\.png is 5x6 pixels; register"):
        read_scene(pair)


def test_a_partner_on_its_side(tmp_path):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # orientation: to be turned by 90 degrees
    write_image(tmp_path / "a/1.png", np.zeros((4, 6), np.uint8))
    (tmp_path / "b").mkdir()
    PIL.Image.new("L", (6, 4)).save(tmp_path / "b/1.jpg", exif=exif)
    pair = find_scenes((tmp_path / "a", tmp_path / "b"))[0][0]
    with pytest.raises(ImageError, match=r"a/1\.png is 6x4, .*b/1\.jpg is 4x6 pixels; .* turned as EXIF says"):
        read_scene(pair)


@pytest.mark.parametrize("count", [3, 5])
def test_scenes_of_any_number_of_sources(tmp_path, count):
    folders = [tmp_path / f"source{number}" for number in range(count)]
    for number, folder in enumerate(folders):
        write_image(folder / "1.png", np.full((4, 6), 10 * number, np.uint8))
        write_image(folder / "2.png", np.zeros((4, 6 + (number == 1)), np.uint8))
    write_image(folders[-1] / "3.png", np.zeros((4, 6), np.uint8))
    scenes, problems = find_scenes(folders)
    assert [scene.stem for scene in scenes] == ["1", "2"] and all(len(scene.paths) == count for scene in scenes)
    others = " and ".join(map(str, folders[:-1]))
    assert reasons(problems) == f"{folders[-1]}/3.png has no partner in {others}"
    images = read_scene(scenes[0])
    assert [round(float(image.pixels[0, 0] * 255)) for image in images] == [10 * number for number in range(count)]
    with pytest.raises(
        ImageError, match=rf"sizes differ: .*0/2\.png is 6x4, .*1/2\.png is 7x4, .*{count - 1}/2\.png is 6"
    ):
        read_scene(scenes[1])


def test_one_folder_alone_gives_its_images(tmp_path):
    touch(tmp_path, "a/2.png", "a/1.png")
    assert [scene.paths for scene in find_scenes([tmp_path / "a"])[0]] == [
        (tmp_path / "a/1.png",),
        (tmp_path / "a/2.png",),
    ]


def test_names_that_mac_and_linux_write_differently(tmp_path):
    composed, apart = (unicodedata.normalize(form, "Zürich") for form in ("NFC", "NFD"))
    assert composed != apart
    touch(tmp_path, f"a/{composed}.png", f"b/{apart}.png")
    (scene,), problems = find_scenes((tmp_path / "a", tmp_path / "b"))
    assert scene.stem == composed and problems == []
    touch(tmp_path, f"a/{apart}.png")
    assert [problem.kind for problem in find_scenes((tmp_path / "a", tmp_path / "b"))[1]] == ["duplicate"]


def test_names_that_are_no_utf8(tmp_path):
    for folder in ("a", "b"):
        touch(tmp_path, f"{folder}/1.png", f"{folder}/" + os.fsdecode(b"caf\xe9.png"))
    scenes, _ = find_scenes((tmp_path / "a", tmp_path / "b"))
    assert [os.fsencode(scene.stem) for scene in scenes] == [b"1", b"caf\xe9"]


@pytest.mark.parametrize(
    "patterns, names_a, names_b",
    [
        (("IR_*", "VIS_*"), ["IR_1.png", "IR_2.png"], ["VIS_1.jpg", "VIS_2.png"]),
        (("*_ir", "*_co"), ["1_ir.png", "2_ir.png"], ["1_co.png", "2_co.png"]),
        (("*-ir.png", None), ["1-ir.png", "2-ir.png"], ["1.png", "2.png"]),
        (("x[1]?*", "*"), ["x[1]?1.png", "x[1]?2.png"], ["1.png", "2.png"]),  # nothing but the star is special
    ],
)
@pytest.mark.parametrize("one_folder", [False, True])
def test_patterns(tmp_path, patterns, names_a, names_b, one_folder):
    folders = [tmp_path / "a", tmp_path / ("a" if one_folder else "b")]
    for folder, names in zip(folders, (names_a, names_b)):
        touch(folder, *names)
    scenes, problems = find_scenes(folders, patterns)
    assert problems == []
    assert [scene.stem for scene in scenes] == ["1", "2"]
    expected = zip(*([folder / name for name in names] for folder, names in zip(folders, (names_a, names_b))))
    assert [scene.paths for scene in scenes] == list(expected)


@pytest.mark.parametrize(
    "name_a, name_b, cure",
    [
        ("A.PNG", "a.jpg", "some names differ in capital letters only: rename one of both"),
        (
            "T_101500.png",
            "R_101501.png",
            "partners share a name, whatever its suffix, or what stands for * in a pattern",
        ),
    ],
)
def test_where_nothing_matches_the_error_says_what_helps(tmp_path, name_a, name_b, cure):
    touch(tmp_path, f"a/{name_a}", f"b/{name_b}")
    with pytest.raises(SceneError, match=r"no image has a partner of the same name: ") as caught:
        find_scenes((tmp_path / "a", tmp_path / "b"))
    assert cure in str(caught.value)


def test_capital_letters_of_suffixes_do_not_count_in_patterns(tmp_path):
    touch(tmp_path, "a/1_T.tiff", "a/1_V.JPG", "a/2_t.tiff", "a/2_V.JPG")
    scenes, _ = find_scenes([tmp_path / "a"] * 2, ("*_T.TIFF", "*_V.jpg"))
    assert [scene.paths for scene in scenes] == [(tmp_path / "a/1_T.tiff", tmp_path / "a/1_V.JPG")]


def test_names_that_fit_no_pattern_are_named(tmp_path):
    touch(tmp_path, "a/1_ir.png", "a/1_co.png", "a/2_ir.png", "a/map.png", "a/_ir.png")
    scenes, problems = find_scenes([tmp_path / "a"] * 2, ("*_ir", "*_co"))
    assert [scene.stem for scene in scenes] == ["1"]
    assert [problem.kind for problem in problems] == ["unpaired", "other_name"]
    assert problems[1].reason == f"{tmp_path}/a also holds _ir.png, map.png, not called like '*_ir' or '*_co'"
    with pytest.raises(ImageError, match=rf"no image in {tmp_path}/a is called like 'VIS_\*'; .*/a holds 1_co\.png"):
        find_scenes([tmp_path / "a"] * 2, ("*_ir", "VIS_*"))
    touch(tmp_path, "a/IM1")
    with pytest.raises(ImageError, match=r"called like 'IM\*', but IM1, no image by name; images end in .*\.png"):
        find_scenes([tmp_path / "a"] * 2, ("*_ir", "IM*"))
    (tmp_path / "a/IM1").write_bytes(bytes(128) + b"DICM")
    with pytest.raises(ImageError, match=r"but IM1, no image by name; DICOM files end in \.dcm here: rename them, or"):
        find_scenes([tmp_path / "a"] * 2, ("*_ir", "IM*"))
    for pattern in ("IR", "*_*"):
        with pytest.raises(ValueError, match=r"a pattern has one '\*'"):
            find_scenes([tmp_path / "a"] * 2, (pattern, "*"))
    with pytest.raises(ValueError, match="2 folders need as many patterns, got 1"):
        find_scenes([tmp_path / "a"] * 2, ("*",))


@pytest.mark.parametrize(
    "names_a, names_b, patterns, count",
    [
        (["IR_0001", "IR_0002"], ["VIS_0001", "VIS_0002"], ("IR_*", "VIS_*"), 2),
        (["IR_0001"], ["VIS_0001"], ("IR_*", "VIS_*"), 1),
        (["0001_ir", "0002_ir", "0003_ir"], ["0001_vis", "0003_vis"], ("*_ir", "*_vis"), 2),
        (["a7", "a8"], ["b7", "b8"], ("a*", "b*"), 2),
        (["7-ir", "8-ir"], ["7", "8"], ("*-ir", "*"), 2),
    ],
)
def test_where_nothing_matches_a_pattern_is_proposed(tmp_path, names_a, names_b, patterns, count):
    touch(tmp_path / "a", *(f"{name}.png" for name in names_a))
    touch(tmp_path / "b", *(f"{name}.png" for name in names_b))
    with pytest.raises(SceneError, match=r"no image has a partner of the same name: .* the patterns") as caught:
        find_scenes((tmp_path / "a", tmp_path / "b"))
    assert caught.value.patterns == patterns and f"would match {count} of them" in str(caught.value)
    assert len(find_scenes((tmp_path / "a", tmp_path / "b"), patterns)[0]) == count


def test_where_nothing_would_match_nothing_is_proposed(tmp_path):
    touch(tmp_path, "a/dog.png", "a/cat.png", "b/7.png", "b/8.png")
    with pytest.raises(
        SceneError, match=rf"same name: cat\.png in {tmp_path}/a, 7\.png in {tmp_path}/b; partners share a"
    ) as caught:
        find_scenes((tmp_path / "a", tmp_path / "b"))
    assert caught.value.patterns == ()


@pytest.mark.parametrize("link", [False, True])
def test_one_folder_for_two_sources_is_refused(tmp_path, link):
    touch(tmp_path, "a/1_vis.png", "a/1_ir.png", "a/2_vis.png", "a/2_ir.png")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(
        SceneError, match=rf"one and the same folder, {tmp_path}/a; give a folder .*; or the pat"
    ) as caught:
        find_scenes((tmp_path / "a", tmp_path / ("b" if link else "a")))
    assert caught.value.patterns == ("*_ir", "*_vis")
    assert len(find_scenes((tmp_path / "a", tmp_path / "a"), caught.value.patterns)[0]) == 2


@pytest.mark.parametrize(
    "first, second, patterns",
    [
        ("{}_T", "{}_V", ("*_T", "*_V")),
        ("IR_{}", "VIS_{}", ("IR_*", "VIS_*")),
        ("FLIR_{}_rgb", "FLIR_{}_thermal", ("*_thermal", "*_rgb")),  # in the order of the task
        ("rgb{}", "t{}", ("t*", "rgb*")),
        ("cam_vis_{}", "cam_ir_{}", ("cam_ir_*", "cam_vis_*")),
        ("{}", "{}-ir", ("*-ir", "*")),
        ("scene1_{}", "scene2_{}", ()),  # a number tells scenes apart
        ("day_{}_a", "night_{}", ()),
    ],
)
def test_what_tells_two_sources_in_one_folder_apart(first, second, patterns):
    names = [Path(form.format(number)) for form in (first, second) for number in range(3)]
    assert patterns_in(names) == (patterns, 3 if patterns else 0)
    assert patterns_in([*names, *(Path(f"other{number}") for number in range(7))]) == ((), 0)  # less than half


def test_of_several_words_those_of_a_task_are_taken():
    names = [Path(f"{number}_{word}.png") for number in range(4) for word in ("mid", "over", "under")]
    assert patterns_in(names) == (("*_under", "*_over"), 4)
    assert patterns_in([Path("1_ir.png"), Path("1_vis.png")]) == (("*_ir", "*_vis"), 1)
    assert patterns_in([Path("1_ab.png"), Path("1_cd.png")]) == ((), 0)


def test_suffixes_tell_two_sources_apart():
    names = [Path(f"{number}.{suffix}") for number in range(4) for suffix in ("JPG", "TIF")]
    assert patterns_in(names) == (("*.TIF", "*.JPG"), 4)
    assert patterns_in([path.with_suffix(".dng") if path.suffix == ".TIF" else path for path in names]) == ((), 0)


def test_images_in_sub_folders_only(tmp_path):
    touch(tmp_path, "a/test/1.png", "a/train/2.png", "a/train/3.png", "b/test/1.png", "b/train/2.png", "b/.git/9.png")
    message = (
        f"no images in {tmp_path}/a itself; {tmp_path}/a/test holds 1, {tmp_path}/a/train holds 2: give {tmp_path}"
    )
    with pytest.raises(SceneError) as caught:
        find_scenes((tmp_path / "a", tmp_path / "b"))
    assert str(caught.value).startswith(message)
    assert caught.value.folders == (tmp_path / "a/test", tmp_path / "b/test")
    os.replace(tmp_path / "b/test", tmp_path / "elsewhere")  # behind a link; a second one leads around in a circle
    (tmp_path / "b/test").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "b/test/round").symlink_to(tmp_path / "b")
    with pytest.raises(SceneError) as caught:
        find_scenes((tmp_path / "a", tmp_path / "b"))
    assert caught.value.folders == (tmp_path / "a/test", tmp_path / "b/test")
    assert len(find_scenes(caught.value.folders)[0]) == 1


def test_images_in_sub_folders_as_well_are_counted(tmp_path):
    touch(tmp_path, "a/1.png", "b/1.png", "b/more/2.png", "b/more/deep/3.png", "b/more/deep/4.png", "b/labels/1.txt")
    scenes, (problem,) = find_scenes((tmp_path / "a", tmp_path / "b"))
    assert len(scenes) == 1 and problem.kind == "subfolder" and problem.harmless
    where = f"1 in {tmp_path}/b/more, 2 in {tmp_path}/b/more/deep"
    assert problem.reason.startswith(f"images in sub-folders of {tmp_path}/b are left out: {where}; give")


def test_panels_below_results_are_no_images_left_out(tmp_path):
    touch(tmp_path, "a/1.png", "b/1.png", "b/panels/1.png")
    scenes, problems = find_scenes((tmp_path / "a", tmp_path / "b"))
    assert len(scenes) == 1 and not problems


def test_what_is_no_regular_file_is_named_and_never_opened(tmp_path):
    touch(tmp_path, "a/1.png", "b/1.png", "b/2.png")
    os.mkfifo(tmp_path / "a/2.png")
    (tmp_path / "a/zero.png").symlink_to("/dev/zero")
    (tmp_path / "a/gone.png").symlink_to(tmp_path / "nowhere")
    scenes, problems = find_scenes((tmp_path / "a", tmp_path / "b"))
    assert [scene.stem for scene in scenes] == ["1"]
    assert [(problem.name, problem.kind) for problem in problems] == [
        ("2", "unpaired"),
        ("2", "special"),
        ("gone", "special"),
        ("zero", "special"),
    ]
    kinds = [problem.reason.partition("(")[2].partition(")")[0] for problem in problems[1:]]
    assert kinds == ["a pipe", "a link to nothing", "a device"]


def test_what_a_folder_without_images_holds_instead(tmp_path):
    touch(tmp_path, "a/1.txt", "b/1.png")
    os.mkfifo(tmp_path / "a/1.png")
    with pytest.raises(
        SceneError, match=r"no images in .*/a; put .*; .*/1\.png is no regular file \(a pipe\).* 1\.txt"
    ):
        find_scenes((tmp_path / "a", tmp_path / "b"))


def test_a_folder_called_skipped_hides_no_missing_partner(tmp_path):
    touch(tmp_path, "a/1.png", "a/2.png", "skipped/1.png")
    _, problems = find_scenes((tmp_path / "a", tmp_path / "skipped"))
    assert reasons(problems).endswith("skipped") and not problems[0].harmless


def test_a_data_set_written_as_on_windows(tmp_path):
    touch(tmp_path, "MIF/PET-MRI/PET/1.png", "MIF/PET-MRI/MRI/1.png")
    assert [folder.name for folder in scene_folders(tmp_path, "MIF\\PET-MRI")] == ["MIF/PET-MRI"]


@pytest.mark.parametrize("dataset", ["IVF", "IVF_MSRS", "MEF", "MFF", "MIF"])
def test_development_images_are_all_pairs(data_root, dataset):
    for folder in scene_folders(data_root / "test", dataset):
        pairs, problems = find_scenes(folder.folders)
        assert pairs and not problems
        assert read_scene(pairs[0])[0].notices == ()


@pytest.mark.parametrize(
    "stems, names, expected",
    [
        (["1", "11", "12"], ["1_fused", "11_fused", "12_fused"], "*_fused"),
        (["04N", "08N"], ["res_04N_fused", "res_08N_fused"], "res_*_fused"),
        (["1", "11"], ["11_out"], "*_out"),
        (["7"], ["8_out"], ""),
    ],
)
def test_a_pattern_for_results_of_other_names(stems, names, expected):
    assert pattern_for(stems, names) == expected


def test_a_proposed_command_holds_where_names_have_spaces(tmp_path):
    folder = tmp_path / "my bracket"
    for seed in (1, 2):
        write_image(folder / f"{seed}.png", np.full((4, 4), seed, np.uint8))
    with pytest.raises(SceneError) as refused:
        find_scenes((folder, folder))
    assert str(refused.value).endswith(f"are a stack: adasffuse stack '{folder}'")
