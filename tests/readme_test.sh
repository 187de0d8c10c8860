#!/usr/bin/env bash
# The README's C++ example compiles as it stands there and does what the text around it says.
#
#   readme_test.sh SOURCE-FOLDER STATIC-LIBRARY COMPILER [FLAG...]
set -euo pipefail

source_folder=$(realpath "$1") library=$(realpath "$2") compiler=$3
shift 3
source "$(dirname "$0")/command/lib.sh"

awk '/^```cpp$/ { inside = 1; next } /^```$/ { if (inside) exit } inside' "$source_folder/README.md" >consumer.cc
[[ -s consumer.cc ]] || { echo "the README has no C++ example" >&2; exit 1; }
"$compiler" "$@" -std=c++20 -Wall -Wextra -Werror -I"$source_folder/include" consumer.cc "$library" \
  $(pkg-config --libs lmdb libxxhash fmt) -pthread -o consumer

cat >holder.cc <<'CPP'
#include <oncelog/oncelog.h>

#include <cstdio>

int main(int, char** argv) {
  const auto orders = oncelog::Store::open("seen").scope("order-service");
  const auto claim = orders.begin(argv[1], std::chrono::hours{1});
  std::puts(claim ? "claimed" : "not claimed");
  std::fflush(stdout);
  std::getchar();
}
CPP
"$compiler" "$@" -std=c++20 -I"$source_folder/include" holder.cc "$library" $(pkg-config --libs lmdb libxxhash fmt) \
  -pthread -o holder

# consumes WHAT WANTED ID...
consumes() {
  local what=$1 wanted=$2
  shift 2
  same "$what" "$wanted" "$(./consumer "$@" | paste -sd,)"
}
consumes "the first run" "process m-1,acknowledge m-1,process m-2,acknowledge m-2,acknowledge m-1" m-1 m-2 m-1
consumes "the second run" "acknowledge m-2,process m-3,acknowledge m-3" m-2 m-3
coproc ./holder m-4
holder=$COPROC_PID # The shell forgets it once it has seen the end.
read -r line <&"${COPROC[0]}"
same "the holder of a claim" claimed "$line"
consumes "a message that another process holds" "return m-4,acknowledge m-3" m-4 m-3
kill -9 "$holder"
wait "$holder" 2>/dev/null || true
consumes "a message whose owner was killed" "process m-4,acknowledge m-4" m-4
