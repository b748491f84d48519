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
    install=(.venv/bin/python -m pip install --quiet --disable-pip-version-check)
    # PyPI's PyTorch for Linux holds CUDA, 5 GB on disk, which a machine without an NVIDIA GPU does not need.  No other
    # index may take part: torch and torchvision must come from the same one.
    if [ "$(uname -sm)" = "Linux x86_64" ] && ! command -v nvidia-smi >/dev/null && ! .venv/bin/python -c "import torch" 2>/dev/null; then
        PIP_CONFIG_FILE=/dev/null PIP_FIND_LINKS="" PIP_EXTRA_INDEX_URL="" "${install[@]}" --retries 1 \
            torch torchvision --index-url https://download.pytorch.org/whl/cpu 2>/dev/null ||
            echo "no PyTorch for a CPU alone from download.pytorch.org; installing the one with CUDA (8 GB on disk in all)"
    fi
    "${install[@]}" --editable ".[$extras]"
    touch "$stamp"
fi
source .venv/bin/activate
