#!/usr/bin/env bash
# The Python package: made into a source distribution, installed from that with pip against the library of this build,
# its types checked by mypy, and tested by pytest, also on Redis and PostgreSQL where they and oncelog-remote are there.
# Skipped where Debian's packages for that are missing.
#   python_test.sh BUILD-FOLDER SOURCE-FOLDER
set -euo pipefail

build=$(realpath "$1")
source=$(realpath "$2")
python=${ONCELOG_TEST_PYTHON:-/usr/bin/python3}
tests=$source/tests/bindings/python
source "$source/tests/command/lib.sh"
source "$source/tests/command/servers.sh"

command -v "$python" >/dev/null || skip "there is no $python"
"$python" -c 'import sysconfig, os, sys; sys.exit(not os.path.exists(sysconfig.get_paths()["include"] + "/Python.h"))' ||
  skip "there are no headers of Python (python3-dev)"
for module in pip setuptools wheel pytest mypy; do
  "$python" -c "import $module" 2>/dev/null || skip "there is no python3-$module (tools/setup --tests)"
done
command -v pkg-config >/dev/null || skip "there is no pkg-config"

export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PYTHONDONTWRITEBYTECODE=1
# pip would look in the net for what is missing; nothing may be.
install=("$python" -m pip install -q --no-build-isolation --no-index --no-deps)

# Only what is in the source distribution is there when it is installed.
cp -r "$source/src/bindings/python" made
exits "making the source distribution" 0 env -C made "$python" setup.py -q sdist --dist-dir ../dist
distribution=(dist/oncelog-*.tar.gz)

exits "installing without the library" 1 env PKG_CONFIG_LIBDIR="$folder" PKG_CONFIG_PATH= \
  "${install[@]}" --target none "${distribution[0]}"
says "installing without the library" "pkg-config finds no oncelog" err
says "the way out" "PKG_CONFIG_PATH to the folder of oncelog\.pc" err
exits "installing without pkg-config" 1 env PKG_CONFIG="$folder/absent" "${install[@]}" --target none "${distribution[0]}"
says "installing without pkg-config" "absent is not installed" err

export PKG_CONFIG_PATH=$build/meson-uninstalled CFLAGS="-Wall -Wextra -Wshadow -Werror"
exits "installing" 0 "${install[@]}" --target site "${distribution[0]}"
cat err >&2
export LD_LIBRARY_PATH=$build/src

export PYTHONPATH=$folder/site

# What a caller's checker sees: the installed package, its stubs against the extension itself, and a caller's code.
exits "the package's types" 0 "$python" -m mypy --config-file made/pyproject.toml -p oncelog
cat out >&2
exits "the extension's stubs" 0 "$python" -m mypy.stubtest oncelog._oncelog
cat out >&2
exits "types in a caller's code" 0 "$python" -m mypy --strict --python-version 3.9 "$tests/typed_caller.py"
cat out >&2
exits "wrong types in a caller's code" 1 "$python" -m mypy --strict --python-version 3.9 "$tests/wrongly_typed_caller.py"
same "each wrong line is found" "$(grep -n '# wrong' "$tests/wrongly_typed_caller.py" | cut -d: -f1 | tr '\n' ' ')" \
  "$(grep -o 'wrongly_typed_caller.py:[0-9]*: error' out | cut -d: -f2 | sort -nu | tr '\n' ' ')"

serve_stores "$build"
exits "the tests" 0 env ONCELOG_PYTHON_README="$source/src/bindings/python/README.md" \
  "$python" -m pytest -q -p no:cacheprovider -rs "$tests"
cat out
