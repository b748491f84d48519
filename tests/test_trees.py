"""Scenes that lie in many folders: patterns of paths."""

from pathlib import Path

import pytest

from adasffuse.images.pairs import SceneError
from adasffuse.images.trees import find_groups, hold_volumes, is_tree, scenes_of_groups, tree_below


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def scenes(root: Path, a: str, b: str, volumes: bool = False) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """The names of the files of each scene below a folder, and what belongs to none."""
    groups, problems = find_groups((root / a, root / b))
    found, others = scenes_of_groups(groups, volumes)
    names = {one.stem: tuple(path.relative_to(root).as_posix() for path in one.paths) for one in found}
    return names, [problem.reason.replace(f"{root}/", "") for problem in (*problems, *others)]


def test_a_folder_for_each_patient_with_folders_of_both_sources(tmp_path):
    touch(tmp_path, "p1/pet/1.png", "p1/pet/2.png", "p1/mri/1.png", "p1/mri/2.png", "p1/mri/3.png", ".p0/pet/1.png")
    touch(tmp_path, "p2/pet/x.png", "p2/mri/y.png", "p3/pet/1.png", "p4/pet/1.png", "p4/pet/2.png", "p4/mri/9.png")
    found, problems = scenes(tmp_path, "*/pet", "*/mri")
    assert found == {
        "p1_1": ("p1/pet/1.png", "p1/mri/1.png"),
        "p1_2": ("p1/pet/2.png", "p1/mri/2.png"),
        "p2": ("p2/pet/x.png", "p2/mri/y.png"),  # the only file of each
    }
    assert problems[:2] == ["p3/pet has no partner in */mri", "p1/mri/3.png has no partner in p1/pet"]
    assert problems[2].startswith("no image has a partner of the same name: 1.png in p4/pet, 9.png in p4/mri")
    both = {key: paths for key, paths in found.items() if key.startswith("p1")}
    assert scenes(tmp_path, "*/pet/*.png", "*/mri/*.png")[0] == both


def test_files_of_a_folder_for_each_scene(tmp_path):
    touch(tmp_path, "s [1]/ir.png", "s [1]/vis.jpg", "s2/ir.png", "s2/vis.jpg")
    both = {"1": ("s [1]/ir.png", "s [1]/vis.jpg"), "2": ("s2/ir.png", "s2/vis.jpg")}
    assert scenes(tmp_path, "s*/ir.png", "s*/vis.jpg")[0] == {"2": both["2"], " [1]": both["1"]}
    touch(tmp_path, "b/sub-1/anat/sub-1_T1w.nii.gz", "b/sub-1/pet/sub-1_pet.nii.gz")
    found, _ = scenes(tmp_path / "b", "sub-*/pet/sub-*_pet.nii.gz", "sub-*/anat/sub-*_T1w.nii.gz", volumes=True)
    assert list(found) == ["1"]
    assert scenes(tmp_path / "b", "sub-*/pet", "sub-*/anat/sub-1_T1w.nii.gz", volumes=True)[0] == found


def test_folders_of_images_hold_no_volumes(tmp_path):
    touch(tmp_path, "p1/pet.nii.gz", "p1/mri.nii.gz", "p2/pet/a.nii", "p2/mri/b.nii", "p3/pet/a.nii", "p3/mri/b.nii")
    assert hold_volumes(find_groups((tmp_path / "*/pet.nii.gz", tmp_path / "*/mri.nii.gz"))[0])
    assert hold_volumes(find_groups((tmp_path / "*2/pet", tmp_path / "*2/mri"))[0])
    touch(tmp_path, "q1/pet/1.png", "q1/mri/1.png", "q1/pet/x.nii")
    assert not hold_volumes(find_groups((tmp_path / "q*/pet", tmp_path / "q*/mri"))[0])


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        ("*/pet", "*/ct", r"no file or folder is called like .*/\*/ct"),
        ("*/pet", "*/*/mri", r"as many '\*', for what these share, but .*pet has 1 and .*mri has 2"),
        ("*/pet", "q*/mri", r"no path has a partner in which '\*' stands for the same: .*_b/pet, .*q1/mri"),
        ("**/pet", "**/mri", r"'\*' stands for a part of one name, and a pattern has none of \? \[ \*\*"),
        ("*_b/pet", "a*/mri", "no image has a partner of the same name"),
    ],
)
def test_what_is_refused(tmp_path, a, b, words):
    touch(tmp_path, "p1/pet/1.png", "p1/mri/1.png", "q1/mri/1.png", "_b/pet/1.png", "_b/pet/2.png", "x_b/pet/3.png")
    touch(tmp_path, "x_b/pet/4.png", "ax/mri/9.png", "x/y/mri/1.png")
    with pytest.raises(ValueError, match=words):
        scenes(tmp_path, a, b)


def test_two_scenes_of_one_name(tmp_path):
    touch(tmp_path, *(f"{place}/{side}/1.png" for place in ("a/b_c", "a_b/c") for side in ("ir", "vis")))
    with pytest.raises(SceneError, match="several scenes are called a_b_c"):
        scenes(tmp_path, "*/*/ir", "*/*/vis")


def test_patterns_of_paths_are_known(tmp_path):
    touch(tmp_path, "a*b/c/1.png")
    names = {"x/*/pet": True, "x/*/*.png": True, "x/*.png": False, "x/1.png": False, "a*b/c": False}
    assert {name: is_tree(tmp_path / name) for name in names} == names


def test_a_folder_for_each_scene_is_known(tmp_path):
    touch(tmp_path, *(f"a/p{n}/{side}/1.png" for n in range(3) for side in ("mri", "pet")), "a/notes/x.txt")
    assert tree_below(tmp_path / "a") == (tmp_path / "a/*/pet", tmp_path / "a/*/mri")
    touch(tmp_path, *(f"b/p{n}/{name}" for n in range(3) for name in ("ir.png", "vis.jpg", "notes.txt")))
    assert tree_below(tmp_path / "b") == (tmp_path / "b/*/ir.png", tmp_path / "b/*/vis.jpg")
    touch(tmp_path, *(f"d/set0{n}/V00{n}/{side}/1.png" for n in range(3) for side in ("visible", "lwir")))
    assert tree_below(tmp_path / "d") == (tmp_path / "d/*/*/lwir", tmp_path / "d/*/*/visible")
    touch(tmp_path, "c/ir/1.png", "c/ir/2.png", "c/vis/1.png", "c/vis/2.png")
    assert tree_below(tmp_path / "c") == () == tree_below(tmp_path / "a/p1")
