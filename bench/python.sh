#!/usr/bin/env bash
# Builds the Python package against the library of this build, and measures it: see python.py.
#   python.sh BUILD-FOLDER SOURCE-FOLDER BENCH_PYTHON
set -euo pipefail

build=$(realpath "$1")
source=$(realpath "$2")
program=$(realpath "$3")
python=/usr/bin/python3
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"$python" -c 'import setuptools, pip' 2>/dev/null || {
  echo "skipped: no python3-pip and python3-setuptools"
  exit 77
}
cp -r "$source/src/bindings/python" "$folder/made"
PKG_CONFIG_PATH=$build/meson-uninstalled "$python" -m pip install -q --no-build-isolation --no-index --no-deps \
  --root-user-action=ignore --target "$folder/site" "$folder/made"
LD_LIBRARY_PATH=$build/src PYTHONPATH=$folder/site "$python" "$source/bench/python.py" "$program" "$folder"
