"""The web page of `adasffuse demo`: drop two images or a stack, look at the result, take it home."""
