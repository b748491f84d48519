"""Image files and what is done with pixels alone: reading, writing, colour, value ranges, pairs of files.

- One image: `image` (what it is in memory), `read`, `write`, `arrays` (images that a caller holds), `metadata`.
- Formats: `formats` opens a file and finds the decoder: `pillow_formats`, `tiff`, `dicom`, `flir` or `camera_raw`; each
  gives what `stored` describes.  `profiles` converts to sRGB, `pages` finds stacks in TIFF files, `extras` imports
  optional packages.
- Values: `ranges`, `missing` and `no_data`, `content`, `drift`, `noise`, `levels` (large images), `color`,
  `false_colors`.
- Volumes: `volume_grid` (what they are in memory), `volumes` (NIfTI), `series` (DICOM).
- Places: `plane` compares and resamples slices and maps; `georeference` reads GeoTIFF's tags.
- Sequences: `frames` (video files), `frame_folders`, `video_writing`, `live` (cameras and a window).
- Files that belong together: `folders`, `pairs`, `patterns` (of names), `trees`, `dataset_folders`, `boxes`.
- For people: `notices`, `panel` and `comparison` (figures).
"""
