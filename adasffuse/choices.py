"""What options may be, of functions and on the command line: known without PyTorch, which takes seconds to load."""

PRECISIONS = ("auto", "float32", "bfloat16")  # of the network's arithmetic
RELEASED_SIZES = ("tiny", "small", "base")  # of networks
DEFAULT_SIZE = "small"
DEFAULT_TILE = 2048  # pixels
DEFAULT_OVERLAP = 192  # pixels
RESAMPLED = ("none", "a", "b", "ignore")  # which volume's voxels the other gets; ignore: files may say other places
AXES = ("third", "axial", "coronal", "sagittal")  # which slices of volumes are fused
PALETTES = ("none", "hot", "inferno")  # false colours of the first of two volumes
AUDIO = ("auto", "a", "b", "none")  # whose sound a fused video has
EXPORT_FORMATS = ("onnx", "pt2")
GHOSTS = ("keep", "remove")  # of what moves between the exposures of a stack
DEFAULT_MEGAPIXELS = 12.0  # of the largest image that the web page takes
