"""The published data sets as data: task, size, official page, terms, layout and split of each.

Layouts are those of the owners' archives and repositories, as their pages and papers describe them.  Case is ignored in
names, and the set may lie up to three folders below the given one.

Compared with the files in the owners' repositories: MSRS (Linfeng-Tang/MSRS, whose visualize.py names its folders of
labels), VIFB (xingchenzhang/VIFB), MEFB (xingchenzhang/MEFB), MFFW (xingchenzhang/MFIF), the slices of Harvard's atlas
(xianming-gu/Havard-Medical-Image-Fusion-Datasets).  TNO: with the list of its archive's files in the public code
"cslib" (class TNO of cslib.datasets.fusion).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches


@dataclass(frozen=True)
class Layout:
    """Folders of one part, below the folder of the whole set."""

    part: str  # 'train' or 'test'; '': the split decides
    folders: Mapping[str, str]  # folder to be written, e.g. 'infrared', to folder of the set
    subset: str = ""  # folder between the data set's and the sources', as in MIF/CT-MRI
    optional: tuple[str, ...] = ()  # folders that may be missing: labels, boxes


@dataclass(frozen=True)
class DataSet:
    """A published data set."""

    name: str
    task: str  # id
    pairs: str  # number of pairs, in words
    counts: Mapping[str, int]  # official number of pairs of each written part
    size: str  # width x height, pixels
    page: str  # official page
    terms: str  # as stated on the page
    get: str  # name of the download
    layout_source: str  # source of the layout's description
    reader: str = "folders"  # reader of the layout, a name in `adasffuse.data.datasets.readers`
    layouts: tuple[Layout, ...] = ()
    url: str = ""  # plain address of the archive, '' if there is none
    rule: str = ""  # which images form a pair, if a scene has more than two
    split: str = ""  # our split if the owners have none: 'file', 'every N' (each N-th is test) or 'cases'
    folder: str = ""  # name of the written folder; '' for TASK_NAME
    note: str = ""
    renames: tuple[tuple[str, str], ...] = ()  # regular expressions that make stems equal
    ignored: str = ""  # regular expression of stems that are not part of the set


_NONE = "none stated; cite the paper, research use"


def _archive(repository: str) -> str:
    """Address of the current archive of a GitHub repository; HEAD is its default branch."""
    return f"https://github.com/{repository}/archive/HEAD.zip"


def _by_part(folders: Mapping[str, str], optional: str) -> tuple[Layout, ...]:
    """Layouts of a set that its owners split; `*` in a folder's name is 'train' or 'test'."""
    return tuple(
        Layout(part, {name: place.replace("*", part) for name, place in folders.items()}, optional=(optional,))
        for part in ("train", "test")
    )


_ALL = (
    DataSet(
        "LLVIP",
        task="ivf",
        pairs="15,488 pairs with boxes of people",
        counts={"train": 12025, "test": 3463},
        size="1280x1024",
        page="https://github.com/bupt-ai-cz/LLVIP",
        terms="non-commercial research only, no identification of persons",
        get="LLVIP.zip, the registered pairs, from the page's links",
        layout_source="README of the page",
        layouts=_by_part(
            {"infrared": "infrared/*", "visible": "visible/*", "Annotations": "Annotations"}, "Annotations"
        ),
    ),
    DataSet(
        "MSRS",
        task="ivf",
        pairs="1,444 pairs with masks of 9 classes",
        counts={"train": 1083, "test": 361},
        size="640x480",
        page="https://github.com/Linfeng-Tang/MSRS",
        terms="none stated on the page; MIT in the authors' PIAFusion",
        get="the repository",
        layout_source="folders of the repository",
        layouts=_by_part({"infrared": "*/ir", "visible": "*/vi", "labels": "*/Segmentation_labels"}, "labels"),
        url=_archive("Linfeng-Tang/MSRS"),
        note="the repository's 80 pairs for detection lie in detection/ and are left out",
    ),
    DataSet(
        "M3FD",
        task="ivf",
        pairs="4,200 pairs with boxes of 6 classes, and 300 for fusion alone",
        counts={"train": 3360, "test": 840},
        size="1024x768",
        page="https://github.com/JinyuanLiu-CV/TarDAL",
        terms=_NONE,
        get="M3FD_Detection.zip from the page's links",
        layout_source="README of the page",
        layouts=(
            Layout(
                "",
                {
                    "infrared": "M3FD_Detection/Ir",
                    "visible": "M3FD_Detection/Vis",
                    "Annotations": "M3FD_Detection/Annotation",
                },
                optional=("Annotations",),
            ),
            Layout("", {"infrared": "Ir", "visible": "Vis", "Annotations": "Annotation"}),  # the 300 have no boxes
        ),
        split="every 5",
        note="the owners publish no split of the 4,200; ours takes each fifth of the sorted names for test",
    ),
    DataSet(
        "M3FD_Fusion",
        task="ivf",
        pairs="300 pairs",
        counts={"test": 300},
        size="1024x768",
        page="https://github.com/JinyuanLiu-CV/TarDAL",
        terms=_NONE,
        get="M3FD_Fusion.zip from the page's links",
        layout_source="README of the page",
        layouts=(
            Layout("test", {"infrared": "M3FD_Fusion/Ir", "visible": "M3FD_Fusion/Vis"}),
            Layout("test", {"infrared": "Ir", "visible": "Vis"}),
        ),
    ),
    DataSet(
        "RoadScene",
        task="ivf",
        pairs="221 pairs",
        counts={"train": 201, "test": 20},
        size="351 to 622 x 161 to 459",
        page="https://github.com/hanna-xu/RoadScene",
        terms="none stated; asks for citation",
        get="the repository",
        layout_source="README of the page",
        layouts=(Layout("", {"infrared": "cropinfrared", "visible": "crop_LR_visible"}),),
        url=_archive("hanna-xu/RoadScene"),
        rule="crop_LR_visible, of the infrared images' size, not crop_HR_visible",
        split="file",
        folder="IVF",
    ),
    DataSet(
        "TNO",
        task="ivf",
        pairs="about 60 scenes",
        counts={},
        size="various",
        page="https://figshare.com/articles/dataset/TNO_Image_Fusion_Dataset/1008029",
        terms="see the page",
        get="TNO_Image_Fusion_Dataset.zip from the page",
        layout_source="folders of the archive",
        reader="scene_folders",
        rule="of each folder with images, the one that is called IR or LWIR and the one called VIS; near infrared "
        "(NIR), image intensifiers (II), false colours (RGB) and the sequences of frames are left out",
        note="55 of its 60 scenes have a thermal image; papers use 20 to 42 of them and rarely say which: name yours",
    ),
    DataSet(
        "VIFB",
        task="ivf",
        pairs="21 pairs",
        counts={"test": 21},
        size="various",
        page="https://github.com/xingchenzhang/VIFB",
        terms=_NONE,
        get="the repository",
        layout_source="folders of the repository",
        layouts=(Layout("test", {"infrared": "input/IR", "visible": "input/VI"}),),
        url=_archive("xingchenzhang/VIFB"),
        ignored=r" - (副本|copy)$",  # a copy of a file by mistake, "manCall - 副本.jpg"
    ),
    DataSet(
        "FMB",
        task="ivf",
        pairs="1,500 pairs with masks of 14 classes",
        counts={"train": 1220, "test": 280},
        size="800x600",
        page="https://github.com/JinyuanLiu-CV/SegMiF",
        terms=_NONE,
        get="FMB.zip from the page's links",
        layout_source="README of the page",
        layouts=_by_part({"infrared": "*/Infrared", "visible": "*/Visible", "labels": "*/Label"}, "labels"),
    ),
    DataSet(
        "MFNet",
        task="ivf",
        pairs="1,569 pairs with masks of 9 classes",
        counts={"train": 1176, "test": 393},
        size="640x480",
        page="https://www.mi.t.u-tokyo.ac.jp/static/projects/mil_multispectral/",
        terms=_NONE,
        get="ir_seg_dataset.zip from the page",
        layout_source="folders of the archive: images of four channels, labels and lists",
        reader="mfnet",
        rule="red, green and blue are the visible image, the fourth channel the infrared one; train.txt and val.txt "
        "become train, test.txt test; images called *_flip are left out",
        note="pairs in no list are left out",
    ),
    DataSet(
        "PST900",
        task="ivf",
        pairs="894 pairs with masks of 5 classes",
        counts={"train": 597, "test": 288},
        size="1280x720",
        page="https://github.com/ShreyasSkandanS/pst900_thermal_rgb",
        terms="GPL-3.0 in the repository",
        get="PST900_RGBT_Dataset.zip from the page's links",
        layout_source="README of the page",
        layouts=_by_part({"infrared": "*/thermal", "visible": "*/rgb", "labels": "*/labels"}, "labels"),
    ),
    DataSet(
        "SICE",
        task="mef",
        pairs="589 scenes of 3 to 18 exposures",
        counts={"train": 360, "test": 229},
        size="3000x2000 to 6000x4000",
        page="https://github.com/csjcai/SICE",
        terms=_NONE,
        get="Dataset_Part1.rar and Dataset_Part2.rar from the page's links",
        layout_source="README of the page",
        reader="sice",
        rule="the darkest and the brightest image of each scene, by mean luminance; part 1 is written as train, part 2 "
        "as test; Label/ is left out",
    ),
    DataSet(
        "MEFB",
        task="mef",
        pairs="100 pairs",
        counts={"test": 100},
        size="various",
        page="https://github.com/xingchenzhang/MEFB",
        terms="none stated; asks for citation; images come from several earlier sets",
        get="the repository",
        layout_source="folders of the repository",
        reader="brightness",
        rule="the two images of each folder below input/, the darker one, by mean luminance, as low",
        url=_archive("xingchenzhang/MEFB"),
    ),
    DataSet(
        "RealMFF",
        task="mff",
        pairs="710 pairs with the true image",
        counts={"train": 639, "test": 71},
        size="625x433",
        page="https://github.com/Zancelot/Real-MFF",
        terms=_NONE,
        get="the archive from the page's links",
        layout_source="folders of the archive",
        layouts=(Layout("", {"imageA": "imageA", "imageB": "imageB", "truth": "Fusion"}, optional=("truth",)),),
        split="every 10",
        renames=((r"_[ABF]$", ""),),
        note="the owners publish no list of the split; ours takes each tenth of the sorted names for test",
    ),
    DataSet(
        "MFI-WHU",
        task="mff",
        pairs="120 simulated pairs with the true image",
        counts={"train": 96, "test": 24},
        size="various",
        page="https://github.com/HaoZhang1018/MFI-WHU",
        terms="none stated; asks for citation",
        get="MFI-WHU.zip of the repository",
        layout_source="folders of the archive",
        layouts=(
            Layout(
                "",
                {"imageA": "source_1", "imageB": "source_2", "truth": "full_clear"},
                optional=("truth",),
            ),
        ),
        url="https://github.com/HaoZhang1018/MFI-WHU/raw/HEAD/MFI-WHU.zip",
        split="every 5",
        note="the owners publish no split; ours takes each fifth of the sorted names for test",
    ),
    DataSet(
        "Lytro",
        task="mff",
        pairs="20 pairs and 4 series of three",
        counts={"test": 20},
        size="520x520",
        page="https://mansournejati.ece.iut.ac.ir/content/lytro-multi-focus-dataset",
        terms=_NONE,
        get="LytroDataset.zip from the page",
        layout_source="names of the files: lytro-01-A, lytro-01-B",
        reader="letters",
        rule="files that differ in the letter A or B at the end; the four series of three (A, B and C) are left out",
    ),
    DataSet(
        "MFFW",
        task="mff",
        pairs="13 pairs and 6 series of three or more",
        counts={"test": 13},
        size="various",
        page="https://arxiv.org/abs/2002.04780",
        terms=_NONE,
        get="the repository xingchenzhang/MFIF, which holds the 13 pairs; or the archive that the paper names",
        layout_source="names of the files: mffw_01_A, mffw_01_B; or a number, then 1 or 2, or A or B",
        reader="letters",
        rule="two files whose names differ in A or B, or 1 or 2, at the end; longer series, and the pairs of MFI-WHU "
        "in that repository, are left out",
        url=_archive("xingchenzhang/MFIF"),
        ignored="^MFI-WHU",
    ),
    *(
        DataSet(
            f"Harvard-{subset}",
            task="mif",
            pairs=f"{count} slices of {patients} cases",
            counts={},
            size="256x256",
            page="https://www.med.harvard.edu/aanlib/",
            terms="images of the Whole Brain Atlas of Harvard Medical School: see its page; not for diagnosis",
            get="registered slices, e.g. of github.com/xianming-gu/Havard-Medical-Image-Fusion-Datasets",
            layout_source="folders of that repository",
            layouts=(Layout("", {first: f"{subset}/{first}", "MRI": f"{subset}/MRI"}, subset=subset),),
            url=_archive("xianming-gu/Havard-Medical-Image-Fusion-Datasets"),
            split="cases",
            folder="MIF",
            note=note,
        )
        for subset, first, count, patients, note in (
            ("CT-MRI", "CT", "about 180", "some ten", "split by case: case 34 is test"),
            (
                "PET-MRI",
                "PET",
                "about 270",
                "three",
                "slices 58 to 98 of case 41 are test, those within 3 of them are left out; not subject-independent",
            ),
            ("SPECT-MRI", "SPECT", "about 360", "some twenty", "split by case: cases 4 and 11 are test"),
        )
    ),
)
CATALOG: dict[str, DataSet] = {data_set.name.lower(): data_set for data_set in _ALL}


def find_data_set(name: str) -> DataSet:
    """The data set of a name, without regard to capitals, '-' and '_'.

    Raises:
        ValueError: none has that name.
    """
    plain = {_plain(key): data_set for key, data_set in CATALOG.items()}
    found = plain.get(_plain(name))
    if found is None:
        near = get_close_matches(_plain(name), plain, n=1)
        hint = f"did you mean {plain[near[0]].name}?" if near else f"known: {', '.join(d.name for d in _ALL)}"
        raise ValueError(f"unknown data set {name!r}; {hint}")
    return found


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")
