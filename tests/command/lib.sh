# shellcheck shell=bash
# What the tests that are shell scripts share. A script sources this after it has resolved the paths in its arguments,
# and is then in an empty folder of its own, which is removed at its end. A check that fails is reported, and the script
# continues; it ends with exit code 1 if a check failed, or if there was none.

set -euo pipefail
export LC_ALL=C

# The size and the seed of what is random.
lines=1000000
[[ ${ONCELOG_TEST_SCALE:-} != small ]] || lines=100000
seed=${ONCELOG_TEST_SEED:-$RANDOM}

folder=$(mktemp -d)
cd "$folder"
trap finish EXIT
trap 'echo "FAILED: the command in line $LINENO" >&2' ERR

# The end of every script, however it comes about.
finish() {
  local code=$?
  { jobs -p | xargs -r kill -9; wait; } 2>/dev/null || true # Bash reports each killed job on standard error.
  rm -rf "$folder"
  [[ $code -eq 0 ]] || exit "$code"
  if [[ $checks -eq 0 ]]; then
    checks=1
    fail "nothing was checked"
  fi
  echo "$((checks - failures)) checks passed, $failures failed"
  exit $((failures > 0))
}

# skip WHY: ends the script; meson takes this exit code for a skip
skip() {
  echo "skipped: $*"
  exit 77
}

# install_built BUILD-FOLDER MESON ROOT: below that folder, what `meson install` puts into a system; sets pc to its
# oncelog.pc. Nothing is built: the test runs after the build.
install_built() {
  "$2" install -C "$1" --no-rebuild --destdir "$3" >"$folder/log" 2>&1 || { cat "$folder/log" >&2; exit 1; }
  pc=$(find "$3" -name oncelog.pc)
  [[ -f $pc ]] || { echo "no oncelog.pc was installed" >&2; exit 1; }
}

checks=0
failures=0
# fail WHAT: of a check that has been counted
fail() {
  failures=$((failures + 1))
  echo "FAILED in line ${BASH_LINENO[-2]}: $*" >&2
}

# same WHAT WANTED GOT
same() {
  checks=$((checks + 1))
  [[ $2 == "$3" ]] || fail "$1: wanted '$2', got '$3'"
}

# holds WHAT CONDITION: of shell arithmetic
holds() {
  checks=$((checks + 1))
  (($2)) || fail "$1: $2 is false"
}

# absent WHAT FILE
absent() {
  checks=$((checks + 1))
  [[ ! -e $2 ]] || fail "$1: there is '$2'"
}

# says WHAT PATTERN FILE
says() {
  checks=$((checks + 1))
  grep -qE -- "$2" "$3" || fail "$1: '$(cat "$3")' does not match '$2'"
}

# same_file WHAT WANTED-FILE GOT-FILE
same_file() {
  checks=$((checks + 1))
  cmp "$2" "$3" >&2 || fail "$1"
}

# exits WHAT CODE COMMAND...: leaves its outputs in the files out and err
exits() {
  local what=$1 wanted=$2 code=0
  shift 2
  "$@" >out 2>err || code=$?
  same "$what: exit code" "$wanted" "$code"
}

# refuses WHAT PATTERN COMMAND...: exit code 2, no output, and one sentence that matches
refuses() {
  local what=$1 pattern=$2
  shift 2
  exits "$what" 2 "$@"
  same "$what: output" "" "$(cat out)"
  same "$what: lines on standard error" 1 "$(wc -l <err)"
  says "$what" "^oncelog: .*$pattern" err
}

# ---- Filters, in the tests of the command, whose path is $oncelog

# summary WHAT WANTED: the summary's counts, from err
summary() {
  same "$1: summary" "$2" "$(grep -E '^oncelog: [0-9]+ lines' err | sed -E 's/^oncelog: //; s/, [0-9]+ lines\/s//')"
}

# start STORE [OPTION...]: a filter in the background; what is written to descriptor 7 is its input, 8 its output
start() {
  rm -f input output
  mkfifo input output
  set -m # Otherwise bash would have the job ignore SIGINT.
  "$oncelog" filter --store "$@" <input >output 2>err &
  job=$!
  set +m
  exec 7>input 8<output
}

# next_line WHAT WANTED: the next line of the started filter
next_line() {
  local got=
  read -r -t 120 got <&8 || got+="(no line came)"
  same "$1" "$2" "$got"
}

# ended WHAT CODE: the started filter's end
ended() {
  local code=0
  wait "$job" || code=$?
  same "$1: exit code" "$2" "$code"
  exec 7>&- 8<&-
}

# blocked N OUTPUT: a filter in the background that stops in a write, with 1024 claims; job is its process
blocked() {
  rm -f "$2"
  mkfifo "$2"
  seq -f "$1-%054.0f" 3000 >"long-$1.txt"
  "$oncelog" filter --store blocked --quiet <"long-$1.txt" >"$2" &
  job=$!
}
# claimed COUNT: waits until so many claims are held
claimed() {
  until [[ $("$oncelog" claims --store blocked 2>/dev/null | wc -l) == "$1" ]]; do :; done
}

# ---- Input and stores

# cut_ids: the ids of the records in out, in one line
cut_ids() { sed -E 's/.*"id(_hex)?":"?([^,]*[^",]).*/\2/' out | cut -d'"' -f1 | tr '\n' ' '; }

# plain_lines COUNT: that many ids, some of them more than once
plain_lines() {
  python3 -c '
import random, sys
count, lines, seed = map(int, sys.argv[1:])
random.seed(seed)
for _ in range(count): print("%036x" % random.randrange(lines * 6 // 10))' "$1" "$lines" "$seed"
}

# make_store STORE: makes one of 20001 ids
make_store() {
  # So many that most of them lie in log blocks that fill pages of their own.
  seq -f 'id-%06g' 20000 | "$oncelog" mark --store "$1" --quiet
  "$oncelog" mark --store "$1" --result answer other >/dev/null
}

# damage_record STORE COPY: a copy of a store of make_store, without hints and with id-010000 overwritten
damage_record() {
  local offset
  cp -r "$1" "$2"
  rm -f "$2"/live "$2"/filter-* "$2"/index-*
  offset=$(grep -abo -m1 'id-010000' "$2/data.mdb" | head -1 | cut -d: -f1)
  printf 'XXXXXXXX' | dd of="$2/data.mdb" bs=1 seek="$offset" conv=notrunc status=none
}

# damage_hints STORE COPY: a copy of a store of make_store, with empty filters
damage_hints() {
  local file
  cp -r "$1" "$2" # On purpose beside the original: the shared memory of a copy is rebuilt.
  "$oncelog" check --quiet --store "$2" --live-dir "$2" other
  for file in "$2"/filter-*; do
    dd if=/dev/zero of="$file" bs=4096 seek=1 count=$(($(stat -c %s "$file") / 4096 - 1)) conv=notrunc status=none
  done
}
