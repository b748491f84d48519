"""What is fused, and where the results go: the scenes of folders, or one given by its files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adasffuse.arguments import checked
from adasffuse.files import name_of, real_path, refuse_file_name
from adasffuse.images.folders import PANELS
from adasffuse.images.formats import file_of
from adasffuse.images.image import ImageError
from adasffuse.images.pairs import Scene, SceneFolder, SceneProblem, find_scenes, scene_of_files
from adasffuse.images.trees import Groups, scenes_of_groups
from adasffuse.images.volumes import is_volume, stem_of
from adasffuse.images.write import DEPTHS, suffix_of

RESULT_SUFFIXES = (".png", ".tif", ".tiff")
_VOLUME = ".nii.gz"


@dataclass(frozen=True)
class Work:
    """Scenes to fuse, and where their results go."""

    folder: SceneFolder  # where they lie
    scenes: tuple[Scene, ...]
    problems: tuple[SceneProblem, ...]  # what belongs to no scene
    save_dir: Path
    file: Path | None = None  # of the result, where one scene was given by its files
    camera: bool = False  # each file is a pair by itself, named for both sources: FLIR's radiometric JPEG
    volumes: bool = False  # the scenes are volumes

    @property
    def sources(self) -> tuple[Path, ...]:
        """What notices call the sources: the folders, or the files of the one scene that was given by them."""
        return self.folder.folders if self.file is None else self.scenes[0].paths

    def result(self, scene: Scene, depth: str) -> Path:
        """The file of a result of depth '8', '16' or 'float'."""
        return self.file or self.save_dir / f"{scene.stem}{_VOLUME if self.volumes else suffix_of(depth)}"

    def panel(self, scene: Scene) -> Path:
        """The file that shows the sources and the result of a scene side by side."""
        return panel_beside(self.file) if self.file else self.save_dir / PANELS / f"{scene.stem}.png"

    def written(self, scene: Scene, depth: str, panels: bool) -> list[Path]:
        """The files of a result, the fused image or volume first."""
        return [self.result(scene, depth), *([self.panel(scene)] if panels else [])]

    def places(self, scene: Scene) -> list[Path]:
        """All files that may be written of a scene."""
        return [*(self.result(scene, depth) for depth in DEPTHS), self.panel(scene)]


def panel_beside(result: str | Path) -> Path:
    """The panel of a result that was given by its file: NAME_panel.png beside NAME.png or NAME.nii.gz."""
    return Path(result).with_name(f"{stem_of(result)}_panel.png")


@checked
def find_work(
    folder: SceneFolder,
    save_dir: str | Path,
    patterns: Sequence[str | None] | None = None,
    volumes: bool = False,
    within: float | None = None,
) -> Work:
    """The scenes of a folder, with results in `save_dir`; arguments and errors as of `fuse_folder`.

    Args:
        volumes, within: as in `adasffuse.images.pairs.find_scenes`.
    """
    refuse_file_name(Path(save_dir))
    scenes, problems = find_scenes(folder.folders, patterns, volumes, within)
    work = Work(folder, tuple(scenes), tuple(problems), Path(save_dir), volumes=volumes)
    refuse_to_overwrite(work)
    return work


@checked
def work_of_groups(
    folder: SceneFolder,
    groups: Groups,
    problems: Sequence[SceneProblem],
    save_dir: str | Path,
    volumes: bool = False,
    within: float | None = None,
) -> Work:
    """Scenes that lie in many folders, with results in `save_dir`.

    Args:
        folder: the patterns of the sources in place of their folders.
        groups, problems: as of `adasffuse.images.trees.find_groups`.
        volumes: whether they are volumes.
        within: as in `find_work`.
    Raises:
        ImageError: as `find_work`.
    """
    refuse_file_name(Path(save_dir))
    scenes, others = scenes_of_groups(groups, volumes, within)
    work = Work(folder, tuple(scenes), (*problems, *others), Path(save_dir), volumes=volumes)
    refuse_to_overwrite(work)
    return work


@checked
def work_of_volumes(paths: Sequence[str | Path], out: str | Path) -> Work:
    """One pair of volumes.

    Args:
        paths: NIfTI files, DICOM files of several frames, or folders of a DICOM series, in the task's order.
        out: the NIfTI file of the result, or an existing folder for it.
    Raises:
        ImageError: the result would overwrite a source.
        ValueError: it has another suffix.
    """
    paths, out = [Path(path) for path in paths], Path(out)
    if out.is_dir():
        out = out / f"{stem_of(paths[0])}{_VOLUME}"
    if not is_volume(out):
        raise ValueError(
            f"{out}: the result of volumes is a volume; give a name ending in .nii.gz, or a folder that is there"
        )
    folder = SceneFolder(stem_of(out), tuple(path.parent for path in paths))
    work = Work(folder, (Scene(stem_of(out), tuple(paths)),), (), out.parent, out, volumes=True)
    refuse_to_overwrite(work)
    return work


@checked
def work_of_files(paths: Sequence[str | Path], file: str | Path) -> Work:
    """One scene, given by its files.

    Args:
        paths: one per source, in the task's order.
        file: of the result, .png or .tif.
    Raises:
        ImageError: two sources are one file, or the result would overwrite a source.
        ValueError: another suffix.
    """
    file = Path(file)
    if len(paths) < 2:
        raise ImageError(f"fusing needs a file for each of two or more sources, got {len(paths)}")
    return _work_of_scene(scene_of_files(file.stem, [Path(path) for path in paths]), file)


@checked
def work_of_camera(source: str | Path, out: str | Path, pattern: str | None = None) -> Work:
    """Files that are a pair by themselves: radiometric JPEGs with a photograph inside.

    Args:
        source: one file, or a folder of them.
        out: file of the result, or folder of the results.
        pattern: how the files of a folder are called, see `adasffuse.images.pairs.find_scenes`.
    Raises:
        ImageError: as `find_work` and `work_of_files`.
    """
    source, out = Path(source), Path(out)
    if source.is_file():
        return _work_of_scene(Scene(out.stem, (source, source)), out, camera=True)
    refuse_file_name(out)
    scenes, problems = find_scenes((source,), (pattern,))
    pairs = tuple(Scene(scene.paths[0].stem, scene.paths * 2) for scene in scenes)  # a pattern shares no names here
    work = Work(SceneFolder(name_of(source), (source, source)), pairs, tuple(problems), out, camera=True)
    refuse_to_overwrite(work)
    return work


def _work_of_scene(scene: Scene, file: Path, camera: bool = False) -> Work:
    if file.suffix.lower() not in RESULT_SUFFIXES:
        suffixes = ", ".join(RESULT_SUFFIXES)
        raise ValueError(f"{file}: results are written to files ending in {suffixes}, or to a folder that exists")
    folder = SceneFolder(scene.stem, tuple(path.parent for path in scene.paths))
    work = Work(folder, (scene,), (), file.parent, file, camera)
    refuse_to_overwrite(work)
    return work


def refuse_to_overwrite(work: Work) -> None:
    """Raise ImageError where results would lie in a source folder or take the place of a source."""
    sources = {real_path(file_of(path)) for scene in work.scenes for path in scene.paths}
    if work.file is None:
        places = {real_path(work.save_dir), real_path(work.save_dir / PANELS)}
        folders = {path.parent for scene in work.scenes for path in scene.paths}  # of a tree there are many
        for source in (*work.folder.folders, *folders, *(sources if work.volumes else ())):
            if real_path(source) in places:
                raise ImageError(f"results would lie among the sources in {source}; choose another folder for them")
    for scene in work.scenes:
        for path in work.places(scene):
            if real_path(path) in sources:
                where = "file for the result" if work.file else "folder for the results"
                raise ImageError(f"the result {path} would overwrite a source; choose another {where}")
