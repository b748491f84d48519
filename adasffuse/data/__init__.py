"""Pairs of images: finding and reading them in folders, built-in samples, and synthesis from single photographs."""

from adasffuse.images.pairs import Pair, PairFolder, PairProblem, find_pairs, pair_folders, read_pair

__all__ = ["Pair", "PairFolder", "PairProblem", "find_pairs", "pair_folders", "read_pair"]
