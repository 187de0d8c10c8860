#!/usr/bin/env bash
# What liboncelog.so exports, and what include/oncelog/c.h promises, is what tests/abi keeps:
#
#   functions.txt   the C functions, with the version that each came with
#   cpp.txt         the C++ symbols
#   constants.txt   the constants of c.h
#   c.abi           the C functions' signatures and the layout of all structs, as abidw writes them
#
#   abi_test.sh ROOT LIBRARY C-COMPILER...
#   abi_test.sh --keep ROOT LIBRARY C-COMPILER...     rewrites them, when they are meant to change
#
# Without abidw (package abigail-tools) all but the last are compared, and the exit code is 77.
set -euo pipefail

keep=false
if [[ $1 == --keep ]]; then
  keep=true
  shift
fi
root=$(realpath "$1")
library=$(realpath "$2")
shift 2
compiler=("$@")
source "$(dirname "$0")/command/lib.sh"
kept=$root/tests/abi
header=$root/include/oncelog/c.h

# Follows each difference.
may_change="If the change is meant: what is there may only be added to, as programs that were built before must go on
working. A new C function gets a node of its own version in src/symbols.map, a new field goes to the end of its struct.
Then run  tests/abi_test.sh --keep . BUILD/src/liboncelog.so cc  and commit tests/abi. For what was removed or
changed, the library's major version has to grow."

# compared NAME: the file of that name here is the kept one
compared() {
  if $keep; then cp "$1" "$kept/$1"; fi
  checks=$((checks + 1))
  diff -u --label "tests/abi/$1" --label "this build" "$kept/$1" "$1" >differences ||
    fail "$1 has changed:
$(cat differences)
$may_change"
}

# Each symbol with its version; those of the nodes themselves aside.
nm -D --defined-only --with-symbol-versions "$library" | sed -E 's/^[0-9a-f]* . //; s/@@/@/' | grep -v '^ONCELOG_' |
  LC_ALL=C sort >symbols
grep '^oncelog_' symbols >functions.txt
compared functions.txt

# Whoever adds one tries it in C.
while IFS=@ read -r function _; do
  grep -q "\b$function(" "$root"/tests/c/*.c || echo "$function"
done <functions.txt >untried
same "C functions that no test in tests/c calls" "" "$(cat untried)"

# Demangled, since some of the names that compilers have for one differ.
grep -v '^oncelog_' symbols | grep -v '@ONCELOG_PRIVATE$' | c++filt | LC_ALL=C sort -u >cpp.txt
# Another standard library has other names for its types.
if grep -q 'std::__1::' cpp.txt; then echo "C++ symbols are not compared: the standard library is not libstdc++"
else compared cpp.txt; fi
grep '@ONCELOG_PRIVATE$' symbols | c++filt | grep -Ev '^oncelog::(internal|StoreAccess)::' >leaked || true
same "private symbols outside of oncelog::internal" "" "$(cat leaked)"

sed -nE 's/^ *(ONCELOG_[A-Z_]+ = [0-9]+).*/\1/p; s/^#define (ONCELOG_[A-Z_]+ [^ ]+).*/\1/p' "$header" >constants.txt
compared constants.txt

if ! command -v abidw >/dev/null; then
  [[ $failures -eq 0 ]] || exit 1
  skip "signatures and layouts; abidw is missing (package abigail-tools). The rest is as it is kept"
fi
# The header's functions with a body, so that compilers describe them: in C alone, whatever is behind them.
{
  echo '#include <stddef.h>'
  sed -zE 's/ONCELOG_API ([^;]*);/\1 { __builtin_trap(); }/g' "$header"
} >stubs.c
"${compiler[@]}" -std=c11 -g -shared -fPIC -I "$root/include" -o libstubs.so stubs.c
if $keep; then
  # Nothing of this machine's folders.
  abidw --no-comp-dir-path --no-show-locs --no-corpus-path libstubs.so >"$kept/c.abi"
fi
differs=0
abidiff --no-show-locs "$kept/c.abi" libstubs.so >differences 2>&1 || differs=$?
checks=$((checks + 1))
[[ $differs -eq 0 ]] || fail "signatures or layouts in c.h have changed:
$(cat differences)
$may_change"
