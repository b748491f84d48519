"""Image files and what is done with pixels alone: reading, writing, colour, value ranges, pairs of files."""
