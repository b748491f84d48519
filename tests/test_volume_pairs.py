"""`adasffuse fuse` of two folders of volumes: NIfTI files, or a folder for each DICOM series."""

import json
import os

import numpy as np
import pytest
from special_files import dicom_file
from tiny import texture, write_weights

from adasffuse.cli import fuse
from adasffuse.images.pairs import SceneError, find_scenes
from adasffuse.images.ranges import steady_extremes
from adasffuse.images.volumes import stem_of

nibabel = pytest.importorskip("nibabel")
pytest.importorskip("pydicom")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_weights(tmp_path_factory.mktemp("w") / "w.safetensors", "mif")


@pytest.fixture
def call(weights, capsys):
    def call(*words):
        status = fuse.run([*map(str, words), "--weights", str(weights), "--precision", "float32"])
        return status, *capsys.readouterr()

    return call


def volume(path, seed, factor=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.stack([texture(9, 12, seed + k) for k in range(3)], 2).astype(np.int16) * factor
    nibabel.save(nibabel.Nifti1Image(values, np.diag([2, 2, 3, 1])), str(path))
    return values


@pytest.fixture
def folders(tmp_path):
    """PET and MRI of three heads, the PET of one of them damaged."""
    for number in range(3):
        volume(tmp_path / f"pet/p{number}.nii.gz", number, number + 1)
        volume(tmp_path / f"mri/p{number}.nii", 9 + number)
    (tmp_path / "pet/p1.nii.gz").write_bytes(b"no volume")
    return tmp_path / "pet", tmp_path / "mri"


def voxels(path):
    return np.asarray(nibabel.load(path).dataobj)


def test_a_pair_that_fails_is_named_and_the_rest_is_fused(call, folders, tmp_path):
    status, out, _ = call(*folders, "-o", tmp_path / "out", "--panel")
    assert status == 1 and "pet + mri: 2 pairs fused" in out and "1 failed -> " in out
    assert f"  failed: p1: {folders[0]}/p1.nii.gz: damaged or no NIfTI file" in out
    assert "become black to white; --range_a LOW HIGH chooses others (and 1 more file, with other numbers)" in out
    found = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("p*"))
    assert found == ["p0.nii.gz", "p2.nii.gz", "panels", "panels/p0.png", "panels/p2.png"]
    for number in (0, 2):
        alone = tmp_path / f"{number}.nii.gz"
        call(folders[0] / f"p{number}.nii.gz", folders[1] / f"p{number}.nii", "-o", alone)
        assert np.array_equal(voxels(alone), voxels(tmp_path / f"out/p{number}.nii.gz"))


def test_finished_pairs_are_skipped(call, folders, tmp_path):
    words = (*folders, "-o", tmp_path / "out")
    call(*words)
    volume(folders[0] / "p1.nii.gz", 5)
    before = (tmp_path / "out/p0.nii.gz").stat().st_mtime_ns
    assert "1 pair fused" in call(*words, "--resume")[1]
    assert (tmp_path / "out/p0.nii.gz").stat().st_mtime_ns == before
    assert "3 finished before" in call(*words, "--resume", "--dry_run")[1]
    said = call(*words, "--resume", "--palette", "hot")[1]
    assert "3 pairs fused" in said and "3 results of an earlier run had other settings" in said


def test_a_plan_and_a_report_for_programs(call, folders, tmp_path):
    words = (*folders, "-o", tmp_path / "out", "--json")
    status, out, _ = call(*words, "--dry_run")
    plan = json.loads(out)
    assert status == 1 and not (tmp_path / "out").exists()
    assert [one["name"] for one in plan["planned"]] == ["p0", "p2"] and plan["planned"][0]["shape"] == [9, 12, 3]
    status, out, _ = call(*words, "--panel")
    report = json.loads(out)
    assert status == 1 and [one["name"] for one in report["failed"]] == ["p1"]
    assert report["fused"][1]["result"] == f"{tmp_path}/out/p2.nii.gz" and report["skipped"] == []
    assert report["fused"][1]["panel"] == f"{tmp_path}/out/panels/p2.png"


def test_a_measured_range_is_one_for_all(call, folders, tmp_path):
    """The PET of p2 is three times as high as that of p0."""
    words = (*folders, "-o", tmp_path / "out", "--json", "--range_b", "0", "255")
    report = json.loads(call(*words, "--range_a", "folder")[1])
    (low, high), fixed = report["ranges"]
    one, other = (steady_extremes(voxels(folders[0] / f"p{number}.nii.gz"), None) for number in (0, 2))
    assert fixed == [0, 255] and (low, high) == (min(one[0], other[0]), other[1]) and high > 1.5 * one[1]
    assert f"{folders[0]}: the values {low:g} to {high:g} become black to white" in report["notices"]
    measured = voxels(tmp_path / "out/p0.nii.gz")
    call(*words, "--range_a", low, high)
    assert np.array_equal(measured, voxels(tmp_path / "out/p0.nii.gz"))
    report = json.loads(call(*words, "--range_a", "0%", "50%", "inverted")[1])
    assert report["ranges"][0][0] < high and report["ranges"][0][1] == low


def test_pairs_by_patterns_in_one_folder(call, tmp_path):
    for number in (1, 2):
        volume(tmp_path / f"bids/sub-0{number}_pet.nii.gz", number)
        volume(tmp_path / f"bids/sub-0{number}_T1w.nii.gz", number + 5)
    (tmp_path / "bids/sub-01_T1w.json").write_text("{}")
    place = tmp_path / "bids"
    status, out, _ = call(place, "--pattern_a", "*_pet", "--pattern_b", "*_T1w", "-o", tmp_path / "out")
    assert status == 0 and "2 pairs fused" in out and (tmp_path / "out/sub-02.nii.gz").is_file()
    status, out, _ = call(place / "*_pet.nii.gz", place / "*_T1w.nii.gz", "-o", tmp_path / "out", "--resume")
    assert status == 0 and "2 finished before" in out
    assert f"{place} also holds sub-01_T1w.json, no volume by name" in out
    status, _, err = call(place, "-o", tmp_path / "x")
    assert status == 1 and "'*_pet' and '*_T1w' would tell 2 pairs" in err and "stack" not in err


def test_series_of_dicom(call, tmp_path):
    """One folder for each series, with a dot in its name; a slice that changes makes its result anew."""
    for modality, side in (("PT", "pet"), ("MR", "mri")):
        for number in (1, 2):
            folder = tmp_path / side / f"head.{number}"
            folder.mkdir(parents=True)
            for k in range(3):
                tags = {"SeriesInstanceUID": "1.2", "Modality": modality, "PixelSpacing": [2, 2]}
                tags |= {"ImagePositionPatient": [0, 0, 3 * k], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
                (folder / f"IM{k}").write_bytes(dicom_file(texture(9, 12, k + number).astype(np.int16), **tags))
    words = (tmp_path / "pet", tmp_path / "mri", "-o", tmp_path / "out", "--resume")
    assert "pet + mri: 2 pairs fused" in call(*words)[1]
    assert sorted(path.name for path in (tmp_path / "out").glob("h*")) == ["head.1.nii.gz", "head.2.nii.gz"]
    os.utime(tmp_path / "pet/head.2/IM1", ns=(0, 2**62))
    assert "1 pair fused" in (said := call(*words)[1]) and "1 finished before" in said
    status, _, err = call(*words[:3], tmp_path / "mri/head.1")
    assert status == 1 and f"results would lie among the sources in {tmp_path}/mri/head.1" in err


def test_a_folder_for_each_patient_with_studies_and_series_in_it(call, tmp_path):
    """As archives write them.  Of a patient with two series it is not known which one is meant."""

    def write(folder, seed):
        folder.mkdir(parents=True)
        for k in range(3):
            tags = {"SeriesInstanceUID": "1.2", "PixelSpacing": [2, 2], "ImagePositionPatient": [0, 0, 3 * k]}
            tags["ImageOrientationPatient"] = [1, 0, 0, 0, 1, 0]
            (folder / f"{k}.dcm").write_bytes(dicom_file(texture(9, 12, k + seed).astype(np.int16), **tags))

    for number in (1, 2, 3):
        write(tmp_path / f"pet/p{number}/2020/ac", number)
        write(tmp_path / f"mri/p{number}/2019/t1", 9 + number)
    write(tmp_path / "mri/p3/2019/t2", 7)
    words = (tmp_path / "pet", tmp_path / "mri", "-o", tmp_path / "out")
    status, out, _ = call(*words)
    assert status == 1 and "pet + mri: 2 pairs fused" in out
    assert f"failed: p3: {tmp_path}/mri/p3: holds 2 folders of DICOM files, 2019/t1, 2019/t2; give one alone" in out
    assert sorted(path.name for path in (tmp_path / "out").glob("p*")) == ["p1.nii.gz", "p2.nii.gz"]
    os.utime(tmp_path / "pet/p2/2020/ac/1.dcm", ns=(0, 2**62))
    assert "1 pair fused" in (said := call(*words, "--resume")[1]) and "1 finished before" in said
    turned = tmp_path / "turned"  # a folder for each patient, with both series in it
    for side in ("pet", "mri"):
        (turned / "p1").mkdir(parents=True, exist_ok=True)
        (turned / "p1" / side).symlink_to(tmp_path / side / "p1")
    assert call(turned / "*/pet", turned / "*/mri", "-o", tmp_path / "other")[0] == 0
    assert np.array_equal(voxels(tmp_path / "other/p1.nii.gz"), voxels(tmp_path / "out/p1.nii.gz"))
    alone = (tmp_path / "pet/p1", tmp_path / "mri/p1", "-o", tmp_path / "alone.nii.gz")
    assert call(*alone)[0] == 0 and np.array_equal(voxels(alone[3]), voxels(tmp_path / "out/p1.nii.gz"))


@pytest.mark.parametrize(
    ("name", "stem"), [("p1.nii.gz", "p1"), ("p.1.NII", "p.1"), ("p1.dcm", "p1"), ("p.1", "p.1"), (".nii.gz", "")]
)
def test_names_of_volumes_without_their_suffix(tmp_path, name, stem):
    if name == "p.1":
        (tmp_path / name).mkdir()
    assert stem_of(tmp_path / name) == stem


def test_folders_without_volumes(folders, call, tmp_path):
    (tmp_path / "empty").mkdir()
    assert f"no volumes in {tmp_path}/empty; put NIfTI files" in call(folders[0], tmp_path / "empty", "-o", "o")[2]
    volume(tmp_path / "other/q.nii", 1)
    with pytest.raises(SceneError, match="no volume has a partner of the same name"):
        find_scenes((folders[0], tmp_path / "other"), volumes=True)
    told = call(folders[0], "-o", "o")[2]
    assert "holds p0.nii.gz, p1.nii.gz, p2.nii.gz; name a volume, or a folder of volumes, for each source" in told
    assert "--scores is not for volumes" in call(*folders, "-o", tmp_path / "o", "--scores")[2]
    alone = (folders[0] / "p0.nii.gz", folders[1] / "p0.nii", "-o")
    assert "--resume is for folders of volumes" in call(*alone, tmp_path / "o.nii", "--resume")[2]
    assert "volumes are fused two at a time, got 3" in call(*folders, folders[1], "-o", tmp_path / "o")[2]
    assert "volumes are fused two at a time, got 1" in call(alone[0], "-o", tmp_path / "o.nii")[2]
    (tmp_path / "there").mkdir()
    assert call(*alone, tmp_path / "there")[0] == 0 and (tmp_path / "there/p0.nii.gz").is_file()
