"""Fusion without learning: baselines, exposure fusion, pyramids."""
