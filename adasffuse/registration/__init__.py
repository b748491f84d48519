"""Registration of images that do not lie on each other: estimate, warp, and a score of how far they are off."""
