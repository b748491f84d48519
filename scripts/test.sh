#!/usr/bin/env bash
# Run the tests.  Does all its set-up; arguments go to pytest.
source "$(dirname "$0")/environment.sh" dev
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"   # test workers share the cores
python -m pytest -q -n auto "$@"
