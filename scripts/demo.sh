#!/usr/bin/env bash
# Fuse the built-in samples of all four tasks, print the scores and write one panel image.  Does all its set-up.
source "$(dirname "$0")/environment.sh" plots
python scripts/demo.py "$@"
