#!/usr/bin/env bash
# The README's C++ example compiles as it stands there and does what the text around it says.
#
#   readme_test.sh SOURCE-FOLDER STATIC-LIBRARY COMPILER [FLAG...]
set -euo pipefail

source=$1 library=$2 compiler=$3
shift 3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

awk '/^```cpp$/ { inside = 1; next } /^```$/ { if (inside) exit } inside' "$source/README.md" >"$work/consumer.cc"
[[ -s $work/consumer.cc ]] || { echo "the README has no C++ example" >&2; exit 1; }
"$compiler" "$@" -std=c++20 -Wall -Wextra -Werror -I"$source/include" "$work/consumer.cc" "$library" \
  $(pkg-config --libs lmdb libxxhash fmt) -pthread -o "$work/consumer"

cd "$work"
[[ $(./consumer m-1 m-2 m-1) == $'processing m-1\nprocessing m-2' ]] || { echo "the first run is wrong" >&2; exit 1; }
[[ $(./consumer m-2 m-3) == "processing m-3" ]] || { echo "the second run is wrong" >&2; exit 1; }
echo "the example compiles and processes each message once"
