"""Whether fusion helps: detectors and segmenters trained on each modality, and the report that compares them."""
