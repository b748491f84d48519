# Sourced by demo.sh and test.sh: one virtual environment, .venv at the top of the repository, made and filled when needed.
# PYTHON chooses the interpreter (default python3, 3.11 or newer).  Usage: source scripts/environment.sh EXTRAS
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
extras="$1"
if [ ! -x .venv/bin/python ]; then
    "${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "AdaSFFuse needs Python 3.11 or newer; set PYTHON")'
    "${PYTHON:-python3}" -m venv .venv
fi
stamp=".venv/installed-$extras-$(cksum pyproject.toml | cut -d' ' -f1)"
if [ ! -e "$stamp" ]; then
    echo "installing AdaSFFuse and what it needs into .venv (a few minutes the first time)"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[$extras]"
    touch "$stamp"
fi
source .venv/bin/activate
