"""`adasffuse data`: tiny trees rendered in the layouts that the owners publish, and what must be refused."""

import dataclasses
import errno
import functools
import hashlib
import http.server
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import texture

from adasffuse.cli import data
from adasffuse.data.datasets import CATALOG, find_data_set, prepare
from adasffuse.data.datasets.download import download
from adasffuse.data.datasets.prepare import part_of_slice
from adasffuse.images.image import ImageError
from adasffuse.images.read import read_image
from adasffuse.tasks import TASKS

SEEDS = iter(range(10**6))


def draw(path: Path, size=(24, 32), scale=1.0) -> None:
    """An image that no other one equals; a JPEG by its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((texture(*size, next(SEEDS)) * scale).astype(np.uint8)).save(path)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def run(name: str, source: Path, root: Path, *more: str) -> int:
    return data.run([name, "--source", str(source), "--root", str(root), *more])


def test_every_set_says_what_a_user_needs():
    for data_set in CATALOG.values():
        assert data_set.task in TASKS and data_set.page.startswith("https://") and data_set.terms
        assert data_set.get and data_set.pairs and data_set.layout_source and data_set.size
        assert data_set.layouts or data_set.rule, data_set.name
        assert not data_set.url or data_set.url.startswith("https://")
    wanted = "LLVIP MSRS M3FD RoadScene TNO VIFB FMB SICE MEFB RealMFF MFI-WHU Lytro MFFW MFNet PST900"
    assert {name.lower() for name in wanted.split()} <= set(CATALOG)


def test_list_and_names(capsys):
    assert data.run(["--list"]) == 0
    said = capsys.readouterr().out
    assert all(data_set.name in said and data_set.page in said for data_set in CATALOG.values())
    assert find_data_set("real-mff").name == "RealMFF" and find_data_set("MFIWHU").name == "MFI-WHU"
    with pytest.raises(ValueError, match="did you mean MSRS"):
        find_data_set("MRSR")


@pytest.mark.parametrize(
    ("name", "folders", "written"),
    [
        ("LLVIP", ("infrared/train", "visible/train", "infrared/test", "visible/test"), "IVF_LLVIP"),
        ("MSRS", ("train/ir", "train/vi", "test/ir", "test/vi"), "IVF_MSRS"),
        ("FMB", ("train/Infrared", "train/Visible", "test/Infrared", "test/Visible"), "IVF_FMB"),
        ("PST900", ("train/thermal", "train/rgb", "test/thermal", "test/rgb"), "IVF_PST900"),
    ],
)
def test_sets_with_the_owners_split(tmp_path, name, folders, written):
    for folder in folders:
        part = "train" if "train" in folder else "test"
        for stem in ("1", "2") if part == "train" else ("7",):
            draw(tmp_path / "unpacked" / "Set-main" / folder / f"{stem}.png")
    assert run(name, tmp_path / "unpacked", tmp_path / "root") == 0
    assert names(tmp_path / "root/train" / written / "infrared") == ["1.png", "2.png"]
    assert names(tmp_path / "root/test" / written / "visible") == ["7.png"]
    assert (tmp_path / "root/test" / written / "visible/7.png").is_symlink()


def test_files_are_copied_where_links_cannot_be_made(tmp_path, monkeypatch):
    def refuse(path: Path, target: Path) -> None:  # as FAT does, and Windows without the right
        raise PermissionError(errno.EPERM, "Operation not permitted", str(target), None, str(path))

    monkeypatch.setattr(Path, "symlink_to", refuse)
    for folder in ("Ir", "Vis"):
        draw(tmp_path / "M3FD_Fusion" / folder / "1.png")
    result = prepare(find_data_set("M3FD_Fusion"), tmp_path, tmp_path / "root")
    (copy,) = (result.folders[0] / "visible").iterdir()
    assert copy.is_file() and copy.read_bytes() == (tmp_path / "M3FD_Fusion/Vis/1.png").read_bytes()


def test_labels_and_boxes_come_along(tmp_path):
    for part in ("train", "test"):
        draw(tmp_path / f"LLVIP/infrared/{part}/{part}1.jpg")
        draw(tmp_path / f"LLVIP/visible/{part}/{part}1.jpg")
        (tmp_path / "LLVIP/Annotations").mkdir(exist_ok=True)
        (tmp_path / f"LLVIP/Annotations/{part}1.xml").write_text("<annotation/>")
    assert run("LLVIP", tmp_path, tmp_path / "root") == 0
    assert names(tmp_path / "root/train/IVF_LLVIP/Annotations") == ["train1.xml"]
    assert names(tmp_path / "root/test/IVF_LLVIP/Annotations") == ["test1.xml"]


def test_m3fd_is_split_by_us(tmp_path):
    for number in range(10):
        for folder in ("Ir", "Vis"):
            draw(tmp_path / "M3FD_Detection" / folder / f"{number:05d}.png")
    result = prepare(find_data_set("M3FD"), tmp_path, tmp_path / "root")
    assert result.counts == {"train": 8, "test": 2}
    assert names(tmp_path / "root/test/IVF_M3FD/infrared") == ["00004.png", "00009.png"]
    assert any("the whole set 840" in notice for notice in result.notices)


def test_another_set_than_the_one_named_is_a_problem(tmp_path, capsys):
    for folder in ("Ir", "Vis"):
        draw(tmp_path / "M3FD_Fusion" / folder / "1.png")
        draw(tmp_path / "M3FD_Fusion" / folder / "2.png")
    assert run("M3FD", tmp_path / "M3FD_Fusion", tmp_path / "root") == 1  # the 300 pairs have no boxes
    assert "M3FD is not in" in capsys.readouterr().err and not (tmp_path / "root").exists()
    small = dataclasses.replace(find_data_set("M3FD_Fusion"), counts={"test": 1})
    result = prepare(small, tmp_path, tmp_path / "root")
    assert any("holds 2 pairs, the set only 1" in problem for problem in result.problems)


def test_roadscene_takes_the_split_that_ships(tmp_path):
    for stem in ("FLIR_00211", "FLIR_00001"):
        draw(tmp_path / "cropinfrared" / f"{stem}.jpg")
        draw(tmp_path / "crop_LR_visible" / f"{stem}.jpg")
        draw(tmp_path / "crop_HR_visible" / f"{stem}.jpg", (48, 64))
    assert run("RoadScene", tmp_path, tmp_path / "root", "--copy") == 0
    assert names(tmp_path / "root/test/IVF/visible") == ["FLIR_00211.jpg"]
    assert names(tmp_path / "root/train/IVF/visible") == ["FLIR_00001.jpg"]
    assert not (tmp_path / "root/train/IVF/visible/FLIR_00001.jpg").is_symlink()


def test_the_real_roadscene_is_split_as_ours(tmp_path, data_root):
    for folder, official in (("infrared", "cropinfrared"), ("visible", "crop_LR_visible")):
        (tmp_path / "RoadScene" / official).mkdir(parents=True)
        for part in ("train", "test"):
            for path in (data_root / part / "IVF" / folder).iterdir():
                (tmp_path / "RoadScene" / official / path.name).symlink_to(path)
    result = prepare(find_data_set("RoadScene"), tmp_path, tmp_path / "root", decode=False)
    assert result.counts == {"train": 201, "test": 20} and not result.notices and not result.problems
    assert names(tmp_path / "root/test/IVF/infrared") == names(data_root / "test/IVF/infrared")


def test_mfnet_images_of_four_channels(tmp_path):
    place = tmp_path / "ir_seg_dataset"
    (place / "images").mkdir(parents=True)
    channels = np.dstack([texture(24, 32, seed) for seed in range(4)])
    for number, stem in enumerate(("00001D", "00001D_flip", "00002N", "00003D")):
        Image.fromarray(np.roll(channels, number, axis=0)).save(place / "images" / f"{stem}.png")
        draw(place / "labels" / f"{stem}.png")
    for name, stems in (("train", "00001D 00001D_flip"), ("val", "00002N"), ("test", "00003D")):
        (place / f"{name}.txt").write_text("\n".join(stems.split()) + "\n")
    assert run("MFNet", tmp_path, tmp_path / "root") == 0
    train = tmp_path / "root/train/IVF_MFNet"
    assert names(train / "infrared") == names(train / "labels") == ["00001D.png", "00002N.png"]
    assert np.array_equal(np.asarray(Image.open(train / "infrared/00001D.png")), channels[..., 3])
    assert np.array_equal(np.asarray(Image.open(train / "visible/00001D.png")), channels[..., :3])


def test_darkest_and_brightest_of_an_exposure_series(tmp_path):
    for part in (1, 2):
        for name, scale in (("1", 0.5), ("2", 0.1), ("3", 1.0)):
            draw(tmp_path / f"Dataset_Part{part}" / "12" / f"{name}.JPG", scale=scale)
        draw(tmp_path / f"Dataset_Part{part}" / "Label" / "12.JPG")
    assert run("SICE", tmp_path, tmp_path / "root") == 0
    for part, number in (("train", 1), ("test", 2)):
        folder = tmp_path / "root" / part / "MEF_SICE"
        assert (folder / f"low/{number}_12.jpg").resolve().name == "2.JPG"
        assert (folder / f"over/{number}_12.jpg").resolve().name == "3.JPG"


def test_mefb_folders_of_two(tmp_path):
    draw(tmp_path / "input/Arno/Arno_A.png", scale=1.0)
    draw(tmp_path / "input/Arno/arno3.png", scale=0.2)
    draw(tmp_path / "input/Series/1.png")
    assert run("MEFB", tmp_path, tmp_path / "root") == 0
    assert (tmp_path / "root/test/MEF_MEFB/low/Arno.png").resolve().name == "arno3.png"
    assert names(tmp_path / "root/test/MEF_MEFB/over") == ["Arno.png"]


def test_multi_focus_sets(tmp_path):
    for folder, letter in (("imageA", "A"), ("imageB", "B"), ("Fusion", "F")):
        for number in range(1, 11):
            draw(tmp_path / "Real-MFF" / folder / f"{number:03d}_{letter}.png")
    assert run("RealMFF", tmp_path, tmp_path / "root") == 0
    assert names(tmp_path / "root/test/MFF_RealMFF/truth") == ["010.png"]
    for stem in ("lytro-01-A", "lytro-01-B", "lytro-21-A", "lytro-21-B", "lytro-21-C"):
        draw(tmp_path / "Lytro" / f"{stem}.jpg")
    assert run("Lytro", tmp_path / "Lytro", tmp_path / "root") == 0
    assert names(tmp_path / "root/test/MFF_Lytro/imageB") == ["lytro-01.jpg"]
    for folder in ("source_1", "source_2", "full_clear"):
        for number in (1, 2, 3, 4, 5):
            draw(tmp_path / "MFI-WHU" / folder / f"{number}.jpg")
    assert run("MFI-WHU", tmp_path, tmp_path / "root") == 0
    assert len(names(tmp_path / "root/train/MFF_MFI-WHU/imageA")) == 4


def test_vifb_with_its_slips(tmp_path):
    """Its repository has a name in two spellings, and a copy of a file."""
    for path in ("IR/peopleShadow", "VI/peopleshadow", "IR/manCall", "VI/manCall", "VI/manCall - 副本"):
        draw(tmp_path / "VIFB-HEAD/input" / f"{path}.jpg")
    assert run("VIFB", tmp_path, tmp_path / "root") == 0
    assert names(tmp_path / "root/test/IVF_VIFB/visible") == ["manCall.jpg", "peopleShadow.jpg"]
    assert names(tmp_path / "root/test/IVF_VIFB/infrared") == ["manCall.jpg", "peopleShadow.jpg"]


def test_mffw_in_a_folder_for_each_pair(tmp_path):
    for stem in ("mffw_01", "mffw_02", "MFI-WHU_01"):
        for letter in "AB":
            draw(tmp_path / "MFIF-HEAD/input" / stem / f"{stem}_{letter}.jpg")
    draw(tmp_path / "MFIF-HEAD/fused_images/mffw_01_GD.jpg")
    draw(tmp_path / "MFIF-HEAD/fused_images/mffw_01_QB.jpg")
    assert run("MFFW", tmp_path, tmp_path / "root") == 0
    assert names(tmp_path / "root/test/MFF_MFFW/imageA") == ["mffw_01.jpg", "mffw_02.jpg"]


@pytest.mark.parametrize(
    ("files", "thermal"),
    [
        ("IR_meting003_g VIS_meting003_r", "IR_meting003_g"),
        ("IR_hei_vis_g VIS_hei_vis_r", "IR_hei_vis_g"),
        ("IR_bunker_g bunker_r", "IR_bunker_g"),
        ("2_fk_ge_03_005 1_fk_ge_03_005", "2_fk_ge_03_005"),
        ("Farm_II Farm_IR Farm_Vis", "Farm_IR"),
        ("NIR01 IR01 Vis01", "IR01"),
        ("B_LWIR G_NIR R_Vis", "B_LWIR"),
        ("NIR-New_15RGB_603 LWIR-New_15RGB_603 VIS-New_15RGB_603 RGB-New_15RGB_603", "LWIR-New_15RGB_603"),
        ("NIR_37dhvG IR_37rad VIS_37dhvR", "IR_37rad"),
        ("NIR VIS", ""),  # no thermal image
        ("7400i 7401i", ""),  # a sequence, in folders of its own
    ],
)
def test_tno_by_names(tmp_path, files, thermal):
    place = tmp_path / "TNO_Image_Fusion_Dataset" / "Athena_images"
    for stem in files.split():
        draw(place / "scene" / f"{stem}.bmp")
    draw(place / "other/ir.bmp")
    draw(place / "other/vis.bmp")
    assert run("TNO", tmp_path / "TNO_Image_Fusion_Dataset", tmp_path / "root") == 0
    folder = tmp_path / "root/test/IVF_TNO"
    written = ["Athena_images_other.bmp", *(["Athena_images_scene.bmp"] if thermal else [])]
    assert names(folder / "infrared") == names(folder / "visible") == written
    if thermal:
        assert (folder / "infrared/Athena_images_scene.bmp").resolve().stem == thermal
        assert "VIS" in (folder / "visible" / written[1]).resolve().stem.upper() or "bunker" in files or "1_" in files


def test_tno_sizes_that_differ_are_named(tmp_path, capsys):
    for stem, size in (("a/ir", (24, 32)), ("a/vis", (24, 32)), ("b/IR_x", (24, 32)), ("b/VIS_x", (20, 20))):
        draw(tmp_path / "TNO" / f"{stem}.bmp", size)
    assert run("TNO", tmp_path / "TNO", tmp_path / "root") == 1
    assert "b: sizes differ: infrared 32x24, visible 20x20" in capsys.readouterr().err


def test_slices_are_split_by_case(tmp_path):
    for stem in ("34002", "28005"):
        draw(tmp_path / "CT-MRI/CT" / f"{stem}.png")
        draw(tmp_path / "CT-MRI/MRI" / f"{stem}.png")
    assert run("Harvard-CT-MRI", tmp_path, tmp_path / "root") == 0
    assert names(tmp_path / "root/test/MIF/CT-MRI/CT") == ["34002.png"]
    assert names(tmp_path / "root/train/MIF/CT-MRI/MRI") == ["28005.png"]
    parts = [part_of_slice("PET-MRI", stem) for stem in ("41054", "41055", "41058", "41098", "41101", "41102", "25058")]
    assert parts == ["train", "", "test", "test", "", "train", "train"]
    assert part_of_slice("SPECT-MRI", "4009") == "test" and part_of_slice("SPECT-MRI", "40009") == "train"


def msrs(tmp_path: Path) -> Path:
    for part in ("train", "test"):
        for side in ("ir", "vi"):
            draw(tmp_path / "MSRS" / part / side / f"{part}.png")
    return tmp_path / "MSRS"


def test_what_is_wrong_is_named_and_the_rest_is_written(tmp_path, capsys):
    source = msrs(tmp_path)
    draw(source / "train/ir/lonely.png")
    draw(source / "train/ir/unequal.png")
    draw(source / "train/vi/unequal.png", (10, 10))
    draw(source / "train/ir/broken.png")
    (source / "train/vi/broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    for side in ("ir", "vi"):
        (source / "train" / side / "twice.png").write_bytes((source / "test" / side / "test.png").read_bytes())
    assert run("MSRS", source, tmp_path / "root") == 1
    said = capsys.readouterr().err
    for words in (
        "lonely.png has no partner in visible",
        "unequal: sizes differ",
        "broken.png: damaged",
        "test.png is in train",
    ):
        assert words in said
    assert names(tmp_path / "root/train/IVF_MSRS/infrared") == ["train.png", "twice.png"]


@pytest.mark.parametrize(
    ("prepared", "words"),
    [
        (lambda tmp: tmp / "nowhere", "no such folder; unpack"),
        (lambda tmp: tmp, "looked for"),
    ],
)
def test_a_source_that_is_none(tmp_path, capsys, prepared, words):
    (tmp_path / "something").mkdir()
    assert run("MSRS", prepared(tmp_path), tmp_path / "root") == 1
    assert words in capsys.readouterr().err and not (tmp_path / "root").exists()


def test_nothing_is_overwritten(tmp_path, capsys):
    source = msrs(tmp_path)
    assert run("MSRS", source, tmp_path / "root") == 0
    before = names(tmp_path / "root/train/IVF_MSRS")
    assert run("MSRS", source, tmp_path / "root") == 1
    assert "is there already" in capsys.readouterr().err and names(tmp_path / "root/train/IVF_MSRS") == before
    assert not list((tmp_path / "root").rglob(".part-*"))


class Server(http.server.SimpleHTTPRequestHandler):
    """Answers ranges, which Python's own does not."""

    def do_GET(self):
        content = Path(self.translate_path(self.path)).read_bytes()
        start = int(self.headers.get("Range", "bytes=0-")[6:].split("-")[0])
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    (tmp_path / "served").mkdir()
    handler = functools.partial(Server, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield tmp_path / "served", f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_a_download_continues(server, tmp_path):
    folder, url = server
    content = bytes(range(256)) * 50
    (folder / "a.zip").write_bytes(content)
    (tmp_path / "a.zip.part").write_bytes(content[:5000])
    digest = download(f"{url}/a.zip", tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == content and not (tmp_path / "a.zip.part").exists()
    (tmp_path / "b.zip.part").write_bytes(content)  # whole, but not yet moved
    assert download(f"{url}/a.zip", tmp_path / "b.zip") == digest == hashlib.sha256(content).hexdigest()


def test_a_connection_that_ends_early_is_one_error(tmp_path):
    """Archives of GitHub come in chunks, without a length beforehand."""

    class Chunked(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"10\r\nonly half of it")
            self.close_connection = True

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Chunked) as running:
        threading.Thread(target=running.handle_request, daemon=True).start()
        with pytest.raises(ImageError, match=r"/a\.zip: cannot be reached .*the same command continues"):
            download(f"http://127.0.0.1:{running.server_port}/a.zip", tmp_path / "a.zip")


def test_an_address_that_does_not_answer(server, tmp_path):
    with pytest.raises(ImageError, match="cannot be reached"):
        download("http://127.0.0.1:1/a.zip", tmp_path / "a.zip")


def test_download_and_prepare(server, tmp_path, monkeypatch, capsys):
    folder, url = server
    source = msrs(tmp_path)
    with zipfile.ZipFile(folder / "main.zip", "w") as file:
        for path in source.rglob("*.png"):
            file.write(path, Path("MSRS-main") / path.relative_to(source))
    monkeypatch.setattr(data, "find_data_set", lambda _: dataclasses.replace(CATALOG["msrs"], url=f"{url}/main.zip"))
    arguments = ["MSRS", "--download", str(tmp_path / "archives"), "--root", str(tmp_path / "root")]
    assert data.run(arguments) == 0
    assert read_image(tmp_path / "root/test/IVF_MSRS/visible/test.png").pixels.shape == (24, 32)
    assert data.run(["LLVIP", *arguments[1:]]) == 1  # its archive is there, what it would write as well


def test_a_damaged_archive_is_named(server, tmp_path, monkeypatch, capsys):
    folder, url = server
    with zipfile.ZipFile(folder / "main.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("MSRS-main/a.txt", bytes(range(256)) * 50)
    whole = (folder / "main.zip").read_bytes()
    monkeypatch.setattr(data, "find_data_set", lambda _: dataclasses.replace(CATALOG["msrs"], url=f"{url}/main.zip"))
    page, bits = b"<html>sign in</html>", bytearray(whole)
    bits[50:90] = bytes(40)
    for number, content in enumerate((page, whole[:-30], bytes(bits))):
        (folder / "main.zip").write_bytes(content)
        place = tmp_path / str(number)
        assert data.run(["MSRS", "--download", str(place), "--root", str(tmp_path / "root")]) == 1
        assert "MSRS.zip: no whole ZIP archive" in capsys.readouterr().err
        assert [path.name for path in place.iterdir()] == ["MSRS.zip"]


def test_a_set_without_a_plain_address(tmp_path, capsys):
    assert data.run(["LLVIP", "--download", str(tmp_path), "--root", str(tmp_path / "root")]) == 2
    assert "by hand at https://github.com/bupt-ai-cz/LLVIP" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        data.run(["LLVIP", "--root", str(tmp_path)])


def test_images_are_not_in_the_package():
    package = Path(data.__file__).parents[1] / "data/datasets"
    assert not [path for path in package.rglob("*") if path.suffix in (".png", ".jpg", ".zip")]
