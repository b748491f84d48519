"""Labels of the downstream comparison: classes, boxes, masks, layouts, lists, conversions."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as PillowImage

from adasffuse.downstream.classes import CLASSES, ClassList, find_classes
from adasffuse.downstream.frames import drawn_splits, find_frames, trained_on, write_lists
from adasffuse.downstream.labels import (
    BoxRules,
    Judgement,
    coco_content,
    coco_objects,
    read_mask,
    voc_objects,
    write_voc,
    write_yolo,
    yolo_objects,
)
from adasffuse.images.boxes import Annotation, Box
from adasffuse.images.image import ImageError
from adasffuse.images.write import write_image

TWO = ClassList(("person", "car"))
SIZE = (48, 64)


def frame(root, stem, *folders, size=SIZE):
    for folder in folders:
        write_image(root / folder / f"{stem}.png", np.full(size, 0.5, np.float32))


def voc(path, *objects, size=SIZE):
    """A file of objects: class and the four texts of a box."""
    items = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox>"
        "</object>"
        for name, a, b, c, d in objects
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<annotation><size><width>{size[1]}</width><height>{size[0]}</height></size>{items}</annotation>")


class TestClasses:
    def test_lists_of_public_sets(self):
        assert find_classes("m3fd", "detect").names == ("People", "Car", "Bus", "Lamp", "Motorcycle", "Truck")
        assert len(find_classes("FMB", "segment").names) == 15 and len(find_classes("pst900", "segment").names) == 5
        for lists in CLASSES.values():
            assert all(one.colors is None or len(set(one.colors)) == len(one.names) for one in lists.values())

    def test_capitals_and_words_for_people(self):
        assert TWO.number("Car") == 1 and TWO.number("People") == TWO.number("pedestrian") == 0
        assert TWO.number("dog") is None

    def test_first_colours_of_pascal_vocs_palette(self):
        """As its development kit lists them."""
        wanted = ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128))
        assert ClassList(tuple("abcde")).drawn == wanted

    def test_files(self, tmp_path):
        path = tmp_path / "classes.txt"
        path.write_text("0 background (unlabelled)\n1 traffic light 10 20 30\n")
        assert find_classes(str(path), "segment") == ClassList(("background", "traffic light"))
        path.write_text("person\nbicycle\n")
        assert find_classes(str(path), "detect").names == ("person", "bicycle")

    @pytest.mark.parametrize("text", ["0 a\n2 b\n", "a\nA\n", "", "0 background\n"])
    def test_impossible_files(self, tmp_path, text):
        (tmp_path / "classes.txt").write_text(text)
        with pytest.raises(ImageError, match=r"classes\.txt"):
            find_classes(str(tmp_path / "classes.txt"), "segment")

    def test_unknown_name(self):
        with pytest.raises(ImageError, match="did you mean 'mfnet'"):
            find_classes("mfnets", "segment")


class TestBoxes:
    BOXES = (Box("car", 3.5, 4, 20, 30.25), Box("person", 0, 0, 64, 48))

    def objects(self):
        return [(box.name, (box.left, box.top, box.right, box.bottom)) for box in self.BOXES]

    def test_voc_and_back(self, tmp_path):
        write_voc(tmp_path / "a.xml", "a", SIZE, self.BOXES)
        assert voc_objects(tmp_path / "a.xml", SIZE) == self.objects()

    def test_yolo_and_back(self, tmp_path):
        write_yolo(tmp_path / "a.txt", SIZE, self.BOXES, TWO)
        found = yolo_objects(tmp_path / "a.txt", SIZE, TWO)
        assert [name for name, _ in found] == ["car", "person"]
        np.testing.assert_allclose([edges for _, edges in found], [edges for _, edges in self.objects()], atol=1e-6)

    def test_yolo_by_hand(self, tmp_path):
        """Centre (32, 24) and half of each side, of 64x48 pixels."""
        (tmp_path / "a.txt").write_text("1 0.5 0.5 0.5 0.5\n", encoding="utf-8-sig")  # as Windows' editor writes it
        assert yolo_objects(tmp_path / "a.txt", SIZE, TWO) == [("car", (16, 12, 48, 36))]
        for number in ("2", "0.5", "nan", "inf"):
            (tmp_path / "a.txt").write_text(f"{number} 0.5 0.5 0.5 0.5\n")
            with pytest.raises(ImageError, match=f"a.txt: class number {number}; 2 classes are listed"):
                yolo_objects(tmp_path / "a.txt", SIZE, TWO)

    def test_coco_and_back(self, tmp_path):
        content = coco_content({"a": Annotation(tmp_path, SIZE, self.BOXES), "b": Annotation(tmp_path, SIZE, ())}, TWO)
        (tmp_path / "c.json").write_text(json.dumps(content), encoding="utf-8-sig")
        assert coco_objects(tmp_path / "c.json") == {"a": (SIZE, self.objects()), "b": (SIZE, [])}
        for damaged in ("[" * 9999, json.dumps(content).replace('"height": 48', '"height": 1e999')):
            (tmp_path / "c.json").write_text(damaged)
            with pytest.raises(ImageError, match=r"c\.json: not a COCO file of boxes"):
                coco_objects(tmp_path / "c.json")

    @pytest.mark.parametrize(
        ("name", "edges", "wrong", "mended"),
        [
            ("car", (20.0, 4.0, 3.0, 30.0), "swapped corners", (3, 4, 20, 30)),
            ("car", (-9.0, 4.0, 20.0, 60.0), "reaches 12 pixels beyond", (0, 4, 20, 48)),
            ("car", (5.0, 5.0, 5.0, 9.0), "has no area", None),
            ("car", (70.0, 5.0, 90.0, 9.0), "has no area", None),
        ],
    )
    def test_faults_and_what_is_made_of_them(self, tmp_path, name, edges, wrong, mended):
        judgement = Judgement()
        BoxRules().judged(tmp_path, SIZE, [(name, edges)], TWO, judgement)
        assert len(judgement.faults) == 1 and wrong in judgement.faults[0]
        judgement = Judgement()
        found = BoxRules(mend=True).judged(tmp_path, SIZE, [(name, edges)], TWO, judgement)
        assert not judgement.faults and wrong in judgement.mended[0]
        assert [(b.left, b.top, b.right, b.bottom) for b in found.boxes] == ([mended] if mended else [])

    def test_rounding_at_the_border_is_no_fault(self, tmp_path):
        judgement = Judgement()
        found = BoxRules().judged(tmp_path, SIZE, [("Person", (-0.5, 0, 64.9, 48))], TWO, judgement)
        assert judgement == Judgement() and found.boxes == (Box("person", 0, 0, 64, 48),)

    def test_unlisted_classes(self, tmp_path):
        judgement = Judgement()
        assert BoxRules(skip_unlisted=True).judged(tmp_path, SIZE, [("dog", (1, 1, 5, 5))], TWO, judgement).boxes == ()
        assert not judgement.faults
        BoxRules(mend=True).judged(tmp_path, SIZE, [("dog", (1, 1, 5, 5)), ("car", None)], TWO, judgement)
        assert "'dog' is not listed" in judgement.faults[0] and "four finite numbers" in judgement.faults[1]


class TestMasks:
    COLORED = ClassList(("background", "car"), ((0, 0, 0), (64, 0, 128)))

    def mask(self, tmp_path, pixels, mode=None, palette=None):
        image = PillowImage.fromarray(pixels, mode)
        if palette:
            image.putpalette(palette)
        image.save(tmp_path / "m.png")
        return tmp_path / "m.png"

    def test_ids_palettes_and_colours(self, tmp_path):
        ids = np.array([[0, 1], [1, 255]], np.uint8)
        assert (read_mask(self.mask(tmp_path, ids), self.COLORED) == ids).all()
        assert (read_mask(self.mask(tmp_path, ids, "P", [9] * 768), self.COLORED) == ids).all()
        colors = np.array([[[0, 0, 0], [64, 0, 128]]], np.uint8)
        assert (read_mask(self.mask(tmp_path, colors), self.COLORED) == [[0, 1]]).all()

    def test_what_is_not_listed(self, tmp_path):
        with pytest.raises(ImageError, match="ids 2, 7 are not listed"):
            read_mask(self.mask(tmp_path, np.array([[0, 2, 7]], np.uint8)), self.COLORED)
        blurred = np.array([[[0, 0, 0], [63, 0, 128]]], np.uint8)
        with pytest.raises(ImageError, match=r"50.0% of its pixels .* \(63, 0, 128\)"):
            read_mask(self.mask(tmp_path, blurred), self.COLORED)
        with pytest.raises(ImageError, match="class list has none"):
            read_mask(self.mask(tmp_path, blurred), replace(self.COLORED, colors=None))


class TestFrames:
    def test_plain_layout(self, tmp_path):
        for stem in "ab":
            frame(tmp_path, stem, "infrared", "visible", "fused")
        voc(tmp_path / "Annotations/a.xml", ("car", 1, 1, 9, 9))
        (tmp_path / "train.txt").write_text("a\n")
        (tmp_path / "test.txt").write_text("b\n")
        found = find_frames([tmp_path], "detect", TWO)
        found.refuse_faults()
        assert [f.stem for f in found.of("train")] == ["a"] and [f.stem for f in found.of("test")] == ["b"]
        assert sorted(found.frames["a"].images) == ["fused", "infrared", "visible"]
        assert found.frames["b"].boxes.boxes == () and "1 image without a file of boxes" in found.notices[0]

    def test_the_authors_layout(self, tmp_path):
        root = tmp_path / "VOCdevkit/VOC2007"
        frame(root, "a", "JPEGImages", "JPEGImages_ir", "JPEGImages_vis")
        PillowImage.fromarray(np.ones(SIZE, np.uint8)).save(
            (root / "SegmentationClass").mkdir() or root / "SegmentationClass/a.png"
        )
        (root / "ImageSets/Segmentation").mkdir(parents=True)
        (root / "ImageSets/Segmentation/val.txt").write_text("a\n")
        found = find_frames([tmp_path], "segment", TWO)
        found.refuse_faults()
        assert sorted(found.frames["a"].images) == ["fused", "infrared", "visible"]
        assert found.of("val")[0].mask.name == "a.png"

    def test_all_faults_at_once(self, tmp_path):
        for stem in "abcd":
            frame(tmp_path, stem, "infrared", "visible")
        frame(tmp_path, "c", "visible", size=(40, 64))
        voc(tmp_path / "Annotations/a.xml", ("dog", 1, 1, 9, 9), ("car", 30, 1, 9, 9))
        voc(tmp_path / "Annotations/b.xml", ("car", 1, 1, 9, 9), size=(10, 10))
        voc(tmp_path / "Annotations/x.xml", ("car", 1, 1, 9, 9))
        (tmp_path / "train.txt").write_text("a\nd\nd\n")
        (tmp_path / "test.txt").write_text("nothing\n")
        with pytest.raises(ImageError) as error:
            find_frames([tmp_path], "detect", TWO).refuse_faults()
        text = str(error.value)
        wanted = ("'dog' is not listed", "swapped corners", "10x10 pixels", "x.xml: boxes without an image")
        wanted += ("c: its images differ in size", "nothing is no image", "d is listed 2 times, in train.txt; ")
        assert text.startswith("7 faults") and all(part in text for part in wanted)

    def test_frames_that_are_trained_on_under_another_name(self, tmp_path):
        for stem in "abc":
            frame(tmp_path, stem, "infrared", "visible")
            voc(tmp_path / f"Annotations/{stem}.xml", ("car", 1, 1, 9, 9))
            write_image(tmp_path / f"infrared/{stem}.png", np.full((48, 64), ord(stem), np.uint8))
        (tmp_path / "infrared/b.png").write_bytes((tmp_path / "infrared/a.png").read_bytes())
        one, copy, other = find_frames([tmp_path], "detect", TWO).frames.values()
        assert trained_on([one], [copy, other]) == ["b"]

    def test_faults_of_masks(self, tmp_path):
        for stem in "ab":
            frame(tmp_path, stem, "infrared", "visible")
        (tmp_path / "labels").mkdir()
        PillowImage.fromarray(np.zeros((10, 10), np.uint8)).save(tmp_path / "labels/a.png")
        with pytest.raises(ImageError, match=r"(?s)2 faults.*10x10 pixels, its image has 64x48.*b: no mask|b: no mask"):
            find_frames([tmp_path], "segment", TWO).refuse_faults()

    @pytest.mark.parametrize(("task", "what"), [("detect", "holds no boxes"), ("segment", "holds no masks")])
    def test_empty_label_folder(self, tmp_path, task, what):
        frame(tmp_path, "a", "infrared", "visible")
        for name in ("Annotations", "labels"):
            (tmp_path / name).mkdir()
        with pytest.raises(ImageError, match=what):
            find_frames([tmp_path], task, TWO)

    def test_no_such_folder(self, tmp_path):
        with pytest.raises(ImageError, match="no such folder"):
            find_frames([tmp_path / "none"], "detect", TWO)


def test_drawn_splits_cover_all_and_repeat():
    stems = [f"{n:03d}" for n in range(100)]
    splits = drawn_splits(stems, 0.8, 0.75, seed=1)
    assert [len(splits[name]) for name in ("train", "val", "test")] == [60, 20, 20]
    assert sorted(stem for some in splits.values() for stem in some) == stems
    assert splits == drawn_splits(stems[::-1], 0.8, 0.75, seed=1) != drawn_splits(stems, 0.8, 0.75, seed=2)
    with pytest.raises(ValueError, match="from 0 to 1"):
        drawn_splits(stems, 90, 0.9, 0)


def test_lists_of_the_voc_layout(tmp_path):
    root = tmp_path / "VOCdevkit/VOC2007"
    frame(root, "a", "JPEGImages")
    files = write_lists(tmp_path, {"train": ["b"], "val": ["a"], "test": []}, "detect")
    assert {path.name for path in files} == {"train.txt", "val.txt", "test.txt", "trainval.txt"}
    assert (root / "ImageSets/Main/trainval.txt").read_text() == "a\nb\n"


def test_lists_of_another_split_are_kept(tmp_path):
    """A published split is not lost to one that is drawn; the same frames in another order are the same split."""
    (tmp_path / "test.txt").write_text("c d\nb\n")
    splits = {"train": ["a"], "val": [], "test": ["b", "c d"]}
    write_lists(tmp_path, splits, "segment")
    with pytest.raises(ImageError, match=r"test\.txt: holds another split; .* --replace"):
        write_lists(tmp_path, {"train": ["a"], "val": ["b"], "test": ["c d"]}, "segment")
    with pytest.raises(ImageError, match=r"train\.txt: holds another split"):
        write_lists(tmp_path, {"train": ["b"], "val": [], "test": ["b", "c d"]}, "segment")
    assert (tmp_path / "train.txt").read_text() == "a\n" and (tmp_path / "test.txt").read_text() == "b\nc d\n"
    write_lists(tmp_path, {"train": ["b"], "val": [], "test": ["c d"]}, "segment", replace=True)
    assert (tmp_path / "train.txt").read_text() == "b\n"
