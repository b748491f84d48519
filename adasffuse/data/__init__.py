"""Pairs of images: finding and reading them in folders, built-in samples, and synthesis from single photographs."""

from adasffuse.images.pairs import Scene, SceneFolder, SceneProblem, find_scenes, read_scene, scene_folders

__all__ = ["Scene", "SceneFolder", "SceneProblem", "find_scenes", "read_scene", "scene_folders"]
