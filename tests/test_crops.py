"""Training samples: the same whoever draws them, aligned, and never from images that are held out."""

from dataclasses import replace
from fnmatch import fnmatch
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tiny import texture, write_ivf

from adasffuse.data.crops import StepSampler, TrainingCrops, load_pairs, load_sharp, random_crop
from adasffuse.data.heldout import centre
from adasffuse.data.luma import LumaCache
from adasffuse.data.mixture import MixedCrops, place_of_sample
from adasffuse.data.options import DataOptions
from adasffuse.images.dataset_folders import scene_folders
from adasffuse.images.pairs import find_scenes
from adasffuse.images.read import ImageError, read_image
from adasffuse.images.write import write_image
from adasffuse.training.options import PartOptions, load_options


def data_options(root, **changes) -> DataOptions:
    return DataOptions(**{"root_path": str(root), "datasets": ("IVF",), "crop": 24, **changes})


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = write_ivf(tmp_path_factory.mktemp("data"), ("day_1", "day_2", "night_1", "night_2", "night_3"))
    for number, name in enumerate(("park", "pier", "urban_1", "urban_2")):
        write_image(root / "sharp" / f"{name}.png", texture(64, 70, seed=50 + number))
    return root


def same(one: dict, two: dict) -> bool:
    return one["name"] == two["name"] and all(torch.equal(one[k].nan_to_num(-1), two[k].nan_to_num(-1)) for k in "ab")


def test_a_sample_depends_on_its_number_alone(root):
    options = data_options(root, sharp_folder="sharp")
    ordered = TrainingCrops(options, seed=3)
    shuffled = TrainingCrops(options, seed=3)
    numbers = [17, 0, 4, 203, 5, 3, 17]
    expected = {n: ordered[n] for n in sorted(set(numbers))}
    assert all(same(shuffled[n], expected[n]) for n in numbers)
    other = TrainingCrops(options, seed=4)
    assert not all(same(other[n], expected[n]) for n in numbers)


def test_a_sample_has_the_stated_form(root):
    sample = TrainingCrops(data_options(root))[0]
    assert set(sample) == {"a", "b", "truth", "shown_b", "name"} and sample["name"].startswith("IVF/")
    for name in ("a", "b", "truth"):
        assert sample[name].shape == (1, 24, 24) and sample[name].dtype == torch.float32
    assert sample["truth"].isnan().all()
    assert all(sample[n].min() >= 0 and sample[n].max() <= 1 for n in "ab")


def test_an_epoch_visits_every_pair_once_in_an_order_of_its_own(root):
    data = TrainingCrops(data_options(root))
    epochs = [[data[n]["name"] for n in range(5 * e, 5 * e + 5)] for e in range(4)]
    assert all(len(set(names)) == 5 for names in epochs)
    assert len({tuple(names) for names in epochs}) > 1
    assert not same(data[0], data[5 + epochs[1].index(epochs[0][0])])  # another crop in the next epoch


@pytest.mark.parametrize("world", [1, 2, 3, 6])
def test_shares_of_all_ranks_make_up_the_batch(world):
    whole = list(StepSampler(6, start=2, steps=5))
    shares = [list(StepSampler(6, 2, 5, rank, world)) for rank in range(world)]
    assert [[n for share in step for n in share] for step in zip(*shares)] == whole
    assert whole == [[6 * s + i for i in range(6)] for s in (2, 3, 4)]
    assert len(StepSampler(6, 2, 5)) == 3


def test_two_ranks_draw_what_one_process_draws(root):
    options = data_options(root, sharp_folder="sharp")
    one = TrainingCrops(options)
    ranks = [TrainingCrops(options) for _ in range(2)]
    shares = [list(StepSampler(4, 0, 3, rank, 2)) for rank in (0, 1)]
    for numbers, *split in zip(StepSampler(4, 0, 3), *shares):
        drawn = [ranks[rank][n] for rank in (0, 1) for n in split[rank]]
        assert all(same(a, one[n]) for a, n in zip(drawn, numbers))


def test_nothing_is_left_to_do_at_the_end():
    assert list(StepSampler(4, start=5, steps=5)) == [] and len(StepSampler(4, start=9, steps=5)) == 0


def test_processes_must_divide_the_batch():
    with pytest.raises(ValueError, match=r"train\.batch_size 6 must be a multiple of the 4 processes"):
        StepSampler(6, 0, 1, rank=0, world=4)
    with pytest.raises(ValueError, match=r"8 must be a multiple of the 2 processes times train\.accumulate 3"):
        StepSampler(8, 0, 1, rank=0, world=2, accumulate=3)


def test_validation_stems_are_held_out(root):
    training, validation = load_pairs(
        data_options(root, validation=("night_[12]", "day_2", "nothing*")), LumaCache(1), []
    )
    assert [pair.name for pair in training] == ["IVF/day_1", "IVF/night_3"]
    assert [pair.name for pair in validation] == ["IVF/day_2", "IVF/night_1", "IVF/night_2"]
    data = TrainingCrops(data_options(root, validation=("night*", "day_2")))
    assert {data[n]["name"] for n in range(20)} == {"IVF/day_1"}


def test_excluded_photographs_stay_out(root):
    options = data_options(root, sharp_folder="sharp", sharp_exclude=("urban_*",), sharp_share=1.0)
    assert [photo.name for photo in load_sharp(options, LumaCache(1), [])[0]] == ["sharp/park", "sharp/pier"]
    data = TrainingCrops(options)
    assert {data[n]["name"] for n in range(30)} == {"sharp/park", "sharp/pier"}
    held = data_options(root, sharp_folder="sharp", sharp_exclude=("urban_*",), validation=("pier",))
    training, validation = load_sharp(held, LumaCache(1), [])
    assert [photo.name for photo in training] == ["sharp/park"] and [pair.name for pair in validation] == ["sharp/pier"]


def test_photographs_give_focus_pairs_with_a_known_truth(root):
    sample = TrainingCrops(data_options(root, sharp_folder="sharp", sharp_share=1.0))[0]
    truth = sample["truth"]
    assert truth.shape == (1, 24, 24) and truth.isfinite().all()
    assert not torch.equal(sample["a"], sample["b"])
    nearest = torch.minimum((sample["a"] - truth).abs(), (sample["b"] - truth).abs())
    assert nearest.mean() < (sample["a"] - sample["b"]).abs().mean()  # somewhere each is the sharp one


def test_photographs_give_exposure_pairs(root):
    options = data_options(root, sharp_folder="sharp", sharp_share=0.0, exposures=1.0)
    sample = TrainingCrops(options)[0]
    assert sample["name"].startswith("sharp/")
    assert sample["a"].mean() < sample["truth"].mean() < sample["b"].mean()
    blind = TrainingCrops(replace(options, exposures_truth=False))[0]
    assert same(blind, sample) and blind["truth"].isnan().all() and not sample["truth"].isnan().any()


def test_photographs_alone_make_a_part(root):
    data = TrainingCrops(data_options(root, datasets=(), sharp_folder="sharp", sharp_share=1.0))
    assert len(data) == 4 and data[9]["truth"].isfinite().all()


def test_jitter_changes_brightness_alone_and_all_images_alike(root):
    options = data_options(root, sharp_folder="sharp", sharp_share=0.5)
    plain, changed = TrainingCrops(options), TrainingCrops(replace(options, jitter=0.2), allowed=("offset",))
    for n in range(10):
        before, after = plain[n], changed[n]
        assert before["name"] == after["name"] and before["truth"].isnan().equal(after["truth"].isnan())
        inside = [(t > 0.01) & (t < 0.99) for t in (after["a"], after["b"])]
        offsets = torch.cat([(after[k] - before[k])[mask] for k, mask in zip("ab", inside)])
        assert offsets.max() - offsets.min() < 1e-6 and 0 < offsets.abs().max() <= 0.1


@pytest.mark.parametrize("megabytes", [0, 0.004, 1])
def test_the_cache_changes_no_sample(root, megabytes):
    """Images of 40x48 pixels: room for none, for one of five pairs, for all."""
    options = data_options(root, sharp_folder="sharp", cache_mb=megabytes)
    data, expected = TrainingCrops(options), TrainingCrops(replace(options, cache_mb=100))
    kept = sum(scene.kept is not None for scene in data.pairs)
    assert kept == {0: 0, 0.004: 1, 1: 5}[megabytes]
    assert all(same(data[n], expected[n]) for n in range(12))


def test_held_out_photographs_give_the_same_pairs_in_every_run(root):
    options = data_options(root, sharp_folder="sharp", validation=("night*", "pier", "urban_1"))
    one, two = (TrainingCrops(options, seed).validation for seed in (0, 1))
    assert [p.name for p in one] == ["IVF/night_1", "IVF/night_2", "IVF/night_3", "sharp/pier", "sharp/urban_1"]
    for first, second in zip(one, two):
        assert np.array_equal(first.a, second.a) and np.array_equal(first.b, second.b)
    assert all(pair.truth is None for pair in one[:3]) and one[3].truth.shape == one[3].a.shape == (44, 44)
    assert not np.array_equal(one[3].a, one[3].b)


def test_held_out_images_are_centres_of_a_usable_size():
    image = np.arange(300 * 20).reshape(300, 20)
    middle = centre(image)
    assert middle.shape == (256, 44) and np.array_equal(middle[:, :20], image[22:278])


@pytest.mark.parametrize("share, expected", [(0.0, 0), (0.5, 100), (1.0, 200)])
def test_share_of_photographs(root, share, expected):
    data = TrainingCrops(data_options(root, sharp_folder="sharp", sharp_share=share, crop=16))
    made = sum(data[n]["name"].startswith("sharp/") for n in range(200))
    assert abs(made - expected) <= (30 if share == 0.5 else 0)  # four standard deviations


def test_crops_of_both_sources_are_aligned_and_take_every_turn():
    index = np.arange(20 * 12, dtype=np.uint8).reshape(20, 12)
    seen = set()
    for seed in range(200):
        a, b = random_crop([index, index], 8, np.random.default_rng(seed))
        assert np.array_equal(a, b) and a.dtype == np.float32
        corners = np.rint(255 * a[[0, 0, -1], [0, -1, 0]]).astype(int)
        seen.add((corners[1] - corners[0], corners[2] - corners[0]))
    assert len(seen) == 8  # four turns, flipped or not


def test_crops_reach_every_border_and_stay_inside():
    rows = np.repeat(np.arange(20, dtype=np.uint8)[:, None], 9, axis=1)
    values = {v for s in range(100) for v in np.unique(random_crop([rows], 8, np.random.default_rng(s))[0])}
    assert np.allclose(sorted(values), np.arange(20) / 255)


def test_an_image_of_the_crops_size_is_whole():
    image = texture(16, 16, seed=1)
    (crop,) = random_crop([image], 16, np.random.default_rng(0))
    assert sorted(crop.ravel()) == sorted(image.ravel().astype(np.float32) / 255)


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (40, 5)])
def test_small_images_are_extended(size):
    (crop,) = random_crop([np.full(size, 51, np.uint8)], 16, np.random.default_rng(0))
    assert crop.shape == (16, 16) and np.allclose(crop, 0.2)


def test_all_problems_are_listed_at_once(tmp_path):
    root = write_ivf(tmp_path, ("1", "2", "3", "4"))
    (root / "IVF/visible/1.png").unlink()
    write_image(root / "IVF/visible/2.png", texture(10, 10, seed=0))
    broken = root / "IVF/infrared/3.png"
    broken.write_bytes(broken.read_bytes()[:100])
    (root / "IVF/infrared/notes.txt").write_text("no image")  # harmless
    with pytest.raises(ImageError) as caught:
        TrainingCrops(data_options(root))
    message = str(caught.value)
    assert message.startswith("3 problems in the training data:")
    reasons = "1.png has no partner in", "sizes differ: ", "3.png: damaged or truncated"
    for part in reasons:
        assert part in message


def test_a_pattern_that_holds_nothing_out_is_a_notice(root):
    (notice,) = TrainingCrops(data_options(root, validation=("night*", "day_2.png", "day_2"))).notices
    assert notice == "data.validation: day_2.png holds no image out; names are stems, without folder and suffix"


def test_files_that_are_no_images_are_a_notice(tmp_path):
    root = write_ivf(tmp_path, ("1", "2"))
    for stem in "12":
        (root / "IVF/visible" / f"{stem}.txt").write_text("0 0.5 0.5 0.1 0.1")  # a label
    data = TrainingCrops(data_options(root))
    assert [pair.name for pair in data.pairs] == ["IVF/1", "IVF/2"]
    (notice,) = data.notices
    assert "1.txt, 2.txt" in notice


def test_sources_that_seem_swapped_are_a_notice(tmp_path):
    root = write_ivf(tmp_path, ("1", "2"))
    for stem in "12":
        gray, color = texture(40, 48, seed=int(stem)), np.zeros((40, 48, 3), np.uint8)
        color[..., 0] = gray
        write_image(root / "IVF/infrared" / f"{stem}.png", color)
        write_image(root / "IVF/visible" / f"{stem}.png", gray)
    (notice,) = TrainingCrops(data_options(root, validation=("2",))).notices
    assert "infrared have colour: the folders may be swapped" in notice


def test_a_hardly_used_range_is_a_notice_and_so_is_the_one_that_the_files_decide_on(tmp_path):
    root = write_ivf(tmp_path, ("1",))
    height, width = read_image(root / "IVF/visible/1.png").pixels.shape[:2]
    write_image(root / "IVF/infrared/1.png", texture(height, width, seed=1).astype(np.uint16) * 4 + 7200, "16")
    write_image(root / "sharp/1.png", texture(64, 70, seed=2).astype(np.uint16) * 4, "16")
    said = TrainingCrops(data_options(root, sharp_folder="sharp")).notices
    assert len(said) == 2 and all("of 0..65535; give " in notice for notice in said)
    assert "infrared/1.png: uses only 7200..8220 of 0..65535; give data.range_a, e.g. 7200 8220" in "".join(said)
    assert "--range" not in "".join(said)  # an option of commands, not of training
    said = TrainingCrops(data_options(root, range_a=("folder",))).notices
    assert len(said) == 1 and "become black to white" in said[0] and str(root / "IVF/infrared") in said[0]


def test_flat_frames_are_a_notice(tmp_path):
    root = write_ivf(tmp_path, ("1", "2", "3"))
    for stem in "12":
        image = read_image(root / "IVF/infrared" / f"{stem}.png").pixels
        write_image(root / "IVF/infrared" / f"{stem}.png", np.full(image.shape[:2], 7, np.uint8))
    (notice,) = TrainingCrops(data_options(root)).notices
    assert notice.startswith(f"{root}/IVF/infrared/1.png: a flat frame") and notice.endswith("(and 1 more file)")


@pytest.mark.parametrize("names, reason", [(("ir", "vi"), "holds ir/, vi/"), (("infrared", "visible"), "no image has")])
def test_all_data_sets_that_are_laid_out_otherwise_are_named_with_what_to_do(tmp_path, names, reason):
    for data_set in ("IVF_1", "IVF_2"):
        for name, ending in zip(names, ("ir", "vis")):
            write_image(tmp_path / data_set / name / f"1_{ending}.png", texture(40, 48, seed=1))
    with pytest.raises(ImageError, match="2 problems in the training data:") as caught:
        TrainingCrops(data_options(tmp_path, datasets=("IVF_1", "IVF_2")))
    lines = str(caught.value).splitlines()[1:]
    assert len(lines) == 2 and all(reason in line and "rename or link" in line for line in lines)


def test_a_missing_root_is_named_with_its_option(tmp_path):
    with pytest.raises(ImageError, match=r"none does not exist; the folder that holds .* is data\.root_path") as caught:
        TrainingCrops(data_options(tmp_path / "none"))
    assert "pattern" not in str(caught.value)


def test_pairs_whose_files_have_different_names(tmp_path):
    """What stands for '*' is a pair's name, for those held out, too."""
    root = write_ivf(tmp_path, ("1", "2", "3"))
    for folder, prefix in (("infrared", "IR_"), ("visible", "VIS_")):
        for path in sorted((root / "IVF" / folder).iterdir()):
            path.rename(path.with_name(prefix + path.name))
    options = data_options(root, pattern_a="IR_*", pattern_b="VIS_*", validation=("2",))
    training, validation = load_pairs(options, LumaCache(1e6), [])
    assert [one.name for one in training] == ["IVF/1", "IVF/3"] and [one.name for one in validation] == ["IVF/2"]
    unknown = data_options(root, pattern_a="IR_*", pattern_b="VIS_*", validation=("IR_2",))
    assert (
        "IR_2 holds no image out; names are what stands for '*' in data.pattern_a" in TrainingCrops(unknown).notices[0]
    )
    with pytest.raises(ImageError, match=r"the patterns 'IR_\*' and 'VIS_\*' would match 3 .* in data\.pattern_a"):
        load_pairs(data_options(root), LumaCache(1e6), [])
    with pytest.raises(ValueError, match=r"data\.pattern_b has one '\*'"):
        data_options(root, pattern_b="VIS")


def test_a_stem_that_looks_like_a_suffix_still_needs_its_partner(tmp_path):
    root = write_ivf(tmp_path, ("scene.txt", "2"))
    (root / "IVF/visible/scene.txt.png").unlink()
    with pytest.raises(ImageError, match=r"scene\.txt\.png has no partner in"):
        TrainingCrops(data_options(root))


def test_the_stated_ranges_are_those_of_each_source(tmp_path):
    """16-bit files of values 1000 and 2000: black and white of source A, middle and beyond of source B."""
    pixels = np.full((40, 40), 1000, np.uint16)
    pixels[:, 20:] = 2000
    for folder in ("infrared", "visible"):
        (tmp_path / "IVF" / folder).mkdir(parents=True)
        assert cv2.imwrite(str(tmp_path / "IVF" / folder / "1.png"), pixels)
    options = data_options(tmp_path, range_a=(1000, 2000), range_b=(0, 2000), cache_mb=0)
    a, b = TrainingCrops(options).pairs[0].images()
    assert np.unique(a).tolist() == [0, 255] and np.unique(b).tolist() == [128, 255]


@pytest.mark.parametrize("words", [("folder",), ("0%", "100%")])
def test_ranges_over_the_whole_folder(tmp_path, words):
    """Files of 100..200 and 300..500: black is 100, white 500, in all of them."""
    for stem, low, high in (("1", 100, 200), ("2", 300, 500)):
        pixels = np.full((40, 40), low, np.uint16)
        pixels[:, 20:] = high
        for folder in ("infrared", "visible"):
            (tmp_path / "IVF" / folder).mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(tmp_path / "IVF" / folder / f"{stem}.png"), pixels)
    data = TrainingCrops(data_options(tmp_path, range_a=words, range_b=(0, 1000)))
    levels = [[np.unique(image).tolist() for image in pair.images()] for pair in data.pairs]
    expected = [[[0, 64], [26, 51]], [[128, 255], [76, 128]]]
    np.testing.assert_allclose(levels, expected, atol=1)


def test_what_holds_no_data_shows_the_other_source(tmp_path):
    root = write_ivf(tmp_path, ("1",))
    infrared = cv2.imread(str(root / "IVF/infrared/1.png"), cv2.IMREAD_GRAYSCALE)
    infrared[:, :10] = 7
    infrared[infrared == 7] = 6
    infrared[:, :10] = 7
    cv2.imwrite(str(root / "IVF/infrared/1.png"), infrared)
    visible = cv2.imread(str(root / "IVF/visible/1.png"), cv2.IMREAD_GRAYSCALE)
    a, b = TrainingCrops(data_options(root, no_data_a=7)).pairs[0].images()
    assert np.array_equal(a[:, :10], visible[:, :10]) and np.array_equal(a[:, 30:], infrared[:, 30:])
    assert np.array_equal(a[:, 10:12], visible[:, 10:12])  # the fade lies inside of the view, as in fusing
    assert np.array_equal(b, visible)


def test_missing_data_set(tmp_path):
    with pytest.raises(ImageError, match=r"no source folders for IVF: looked for .*infrared"):
        TrainingCrops(data_options(tmp_path))


def test_nothing_left_to_train_on(root):
    with pytest.raises(ImageError, match=r"no training pair is left in .* after data\.validation took its share"):
        TrainingCrops(data_options(root, validation=("*",)))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"sharp_folder": "nowhere"}, r"data\.sharp_folder .*nowhere is not a folder"),
        (
            {"sharp_folder": "sharp", "sharp_exclude": ("*",)},
            "has no photograph left after sharp_exclude and validation",
        ),
    ],
)
def test_missing_photographs(root, changes, message):
    with pytest.raises(ImageError, match=message):
        TrainingCrops(data_options(root, **changes))


def test_every_shipped_options_file_finds_its_data(train_root):
    """The validation patterns hold something out and leave most of it (names only, nothing is decoded)."""
    for path in (Path(__file__).parents[1] / "options").glob("*.json"):
        for part in load_options(path, root_path=str(train_root)).parts:
            stems = []
            if not part.data.datasets:  # photographs alone
                photographs = Path(part.data.root_path, part.data.sharp_folder)
                stems = [f.stem for f in photographs.iterdir()]
            for dataset in part.data.datasets:
                for folder in scene_folders(part.data.root_path, dataset):
                    stems += [pair.stem for pair in find_scenes(folder.folders)[0]]
            held = [s for s in stems if any(fnmatch(s, p) for p in part.data.validation)]
            assert 0 < len(held) < len(stems) / 2, path.name


def test_no_two_draws_share_a_stream_of_random_numbers(root, monkeypatch):
    """The orders and the samples of two epochs of two parts."""
    data = MixedCrops([PartOptions("ivf", data_options(root))] * 2, seed=3)
    seeds, draw = [], np.random.default_rng

    def drawn(key: list[int]) -> np.random.Generator:
        seeds.append(tuple(np.random.SeedSequence(key).generate_state(4)))
        return draw(key)

    monkeypatch.setattr(np.random, "default_rng", drawn)
    for n in range(4 * len(data.parts[0])):
        data[n]
    assert len(set(seeds)) == len(seeds) == 4 * len(data.parts[0]) + 4


def test_turns_of_equal_parts_alternate():
    turns = [place_of_sample(n, [Fraction(1, 3)] * 3) for n in range(7)]
    assert turns == [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (0, 2)]


@pytest.mark.parametrize("weights", [(1,), (1, 1), (3, 1), (0.5, 0.25, 0.2, 0.05), (1, 2, 3, 7.5)])
def test_turns_keep_the_shares(weights):
    """Every part counts its own samples without a gap, and a batch of 16 is within 2 samples of the shares."""
    shares = [Fraction(weight) / sum(map(Fraction, weights)) for weight in weights]
    counts = [0] * len(shares)
    for batch in range(20):
        before = list(counts)
        for n in range(16 * batch, 16 * batch + 16):
            part, own = place_of_sample(n, shares)
            assert own == counts[part]
            counts[part] += 1
        assert all(abs(now - then - 16 * share) < 2 for now, then, share in zip(counts, before, shares))
    assert all(abs(count - 320 * share) < 1 for count, share in zip(counts, shares))


def test_samples_of_parts_are_those_of_each_part_alone(root):
    parts = [PartOptions("ivf", data_options(root)), PartOptions("ivf", data_options(root), weight=2)]
    mixed, alone = MixedCrops(parts, seed=5), TrainingCrops(data_options(root), seed=5)
    samples = [mixed[n] for n in range(9)]
    assert [sample["part"] for sample in samples] == [1, 0, 1, 1, 0, 1, 1, 0, 1]
    assert all(same(sample, alone[n]) for n, sample in enumerate(s for s in samples if s["part"] == 0))
    assert not any(same(sample, alone[n]) for n, sample in enumerate(s for s in samples if s["part"] == 1))
    assert same(MixedCrops(parts, seed=5)[7], samples[7])  # whoever draws it


def test_problems_of_all_parts_are_listed(root, tmp_path):
    parts = [PartOptions("ivf", data_options(tmp_path / name)) for name in ("here", "there")]
    with pytest.raises(ImageError, match=r"(?s)no source folders for IVF: looked for .*here.*no source .*there"):
        MixedCrops([parts[0], PartOptions("ivf", data_options(root)), parts[1]])


def test_glare_is_shown_to_the_network_and_hidden_from_the_loss(root):
    plain, glaring = (TrainingCrops(data_options(root, glare=share)) for share in (0.0, 1.0))
    nights = 0
    for n in range(12):
        sample, crop = glaring[n], plain[n]
        assert torch.equal(sample["a"], crop["a"]) and torch.equal(crop["shown_b"], crop["b"])
        factors = sample["b"][crop["b"] > 0.1] / crop["b"][crop["b"] > 0.1]
        assert factors.max() - factors.min() < 1e-5 and (factors.max() == 1 or 0.1 <= factors.max() <= 0.5)
        nights += bool(factors.max() < 1)
        assert (sample["shown_b"] >= sample["b"] - 1 / 255).all() and sample["shown_b"].max() == 1
        assert (sample["shown_b"] > sample["b"] + 0.05).any()
        assert torch.equal(glaring[n]["shown_b"], sample["shown_b"])
    assert 2 <= nights <= 10  # half of them, before the light is added


def test_something_hot_passes_and_leaves_the_rest_as_it_was(root):
    plain, passed = (TrainingCrops(data_options(root, passing=share, crop=60)) for share in (0.0, 1.0))
    for n in range(12):
        sample, crop = passed[n], plain[n]
        assert torch.equal(sample["before_a"], crop["a"]) and torch.equal(sample["before_b"], crop["shown_b"])
        rest = sample["elsewhere"] == 1
        changed = (sample["a"] - crop["a"]).abs() > 1e-6
        assert changed.any() and not (changed & rest).any() and 0.2 < rest.float().mean() < 1
        assert torch.equal(sample["b"][rest], crop["b"][rest]) and torch.equal(sample["b"], sample["shown_b"])
        assert sample["a"][changed].max() > 0.6 and sample["a"].max() <= 1


def test_samples_of_all_parts_have_the_same_arrays(root):
    parts = [PartOptions("ivf", data_options(root, passing=share)) for share in (0.0, 1.0)]
    samples = [MixedCrops(parts)[n] for n in range(4)]
    assert {sample["part"] for sample in samples} == {0, 1} and len({frozenset(sample) for sample in samples}) == 1
    assert all(sample["elsewhere"].any() == (sample["part"] == 1) for sample in samples)
    assert "elsewhere" not in MixedCrops(parts[:1])[0]


def test_nothing_passes_where_the_truth_is_known(root):
    made = TrainingCrops(data_options(root, sharp_folder="sharp", sharp_share=1.0, passing=1.0))
    assert not any(made[n]["elsewhere"].any() for n in range(5))


def test_zoom_enlarges_both_images_alike(root):
    plain, zoomed = (TrainingCrops(data_options(root, zoom=zoom)) for zoom in (1.0, 3.0))
    flatter = 0
    for n in range(8):
        sample = zoomed[n]
        assert all(sample[k].shape == plain[n][k].shape and 0 <= sample[k].min() <= sample[k].max() <= 1 for k in "ab")
        assert same(sample, zoomed[n])
        flatter += bool(sample["a"].diff().abs().mean() < plain[n]["a"].diff().abs().mean())
    assert flatter >= 6  # differences between neighbours shrink


def test_dimming_scales_the_infrared_image_alone(root):
    plain, dimmed = (TrainingCrops(data_options(root, dim=share))[4] for share in (0.0, 1.0))
    bright = plain["a"] > 0.1
    factors = dimmed["a"][bright] / plain["a"][bright]
    assert factors.min() >= 0.2 and factors.max() <= 0.7 and factors.max() - factors.min() < 1e-5
    assert torch.equal(dimmed["b"], plain["b"])
