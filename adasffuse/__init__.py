"""AdaSFFuse: task-generalised fusion of two registered pictures (arXiv 2508.15505)."""
