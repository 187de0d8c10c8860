#!/usr/bin/env bash
# tools/instructions refuses what has grown, passes what has not, and says what to do. What valgrind counts is made up here;
# tools/test has it count.
#   instructions_test.sh SOURCE-ROOT
set -euo pipefail
export LC_ALL=C PYTHONDONTWRITEBYTECODE=1

if ! command -v python3 >/dev/null; then
  echo "skipped: python3 is not installed"
  exit 77 # What meson takes for a skip.
fi
source=$(realpath "$1")
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
trap 'echo "FAILED: the command in line $LINENO" >&2' ERR
kept=$tree/bench/instructions.tsv

fail() {
  echo "FAILED: $*" >&2
  cat "$tree/log" >&2
  exit 1
}

# says STATUS TEXT [ARGUMENT...]: with these arguments, tools/instructions exits so, and a line has TEXT
says() {
  local expected=$1 text=$2 status=0
  shift 2
  "$tree/tools/instructions" "$@" >"$tree/log" 2>&1 || status=$?
  [[ $status == "$expected" ]] || fail "the exit code is $status, not $expected"
  grep -qF -- "$text" "$tree/log" || fail "'$text' is not said"
}

silent_on() {
  if grep -qF -- "$1" "$tree/log"; then fail "'$1' is said"; fi
}

# counted MARK CLAIM: what callgrind_annotate prints when valgrind has counted these numbers. The names of what a
# template or a lambda makes have the measured function in them.
counted() {
  local namespace=oncelog::bench::measured arguments='(oncelog::Scope const&, oncelog::bench::Ids const&)'
  local object="[$tree/build/bench/bench_instructions]"
  cat >"$tree/annotated" <<END
Ir          file:function
--------------------------------------------------------------------------------
9,999,999  PROGRAM TOTALS
1,234,567  ???:void oncelog::run<$namespace::mark$arguments::{lambda(int)#1}>(int) $object
1,000,007  ???:$namespace::mark$arguments::{lambda(int)#1}::operator()(int) const $object
$1  ???:$namespace::mark$arguments $object
  $2  ???:$namespace::claim$arguments $object
    7  ???:oncelog::Scope::mark(int) $object
END
}

# keeps MARK CLAIM: these figures are kept
keeps() { printf '# valgrind-3.19.0, g++ 12\n# Instructions\nmark\t%s\nclaim\t%s\n' "$1" "$2" >"$kept"; }

# program PATH: makes standard input one that knows $tree, as it is given no variables of ours
program() {
  { printf '#!/bin/bash\ntree=%q\n' "$tree" && cat; } >"$1"
  chmod +x "$1"
}

mkdir -p "$tree"/{bin,bare,tools,bench,build/bench}
cp "$source/tools/instructions" "$tree/tools"
touch "$tree/build/build.ninja"
echo 'g++ 12' >"$tree/environment"
program "$tree/bin/ninja" <<'END'
[[ $* == "-C build bench/bench_instructions" ]]
END
program "$tree/build/bench/bench_instructions" <<'END'
case ${1-} in
  --list) printf 'mark\t1000\nclaim\t500\n' ;;
  --environment) cat "$tree/environment" ;;
esac
END
program "$tree/bin/valgrind" <<'END'
if [[ $1 == --version ]]; then
  echo valgrind-3.19.0
  exit
fi
while [[ $1 == --* ]]; do
  case $1 in
    --callgrind-out-file=*) touch "${1#*=}" ;;
    --toggle-collect=*) echo "$1" >>"$tree/toggles" ;;
  esac
  shift
done
"$@"
END
program "$tree/bin/callgrind_annotate" <<'END'
[[ -e ${!#} ]] && cat "$tree/annotated"
END
# In a folder of its own: where it lies there are other programs too.
ln -s "$(python3 -c 'import sys; print(sys.executable)')" "$tree/bare/python3"
export PATH="$tree/bin:$tree/bare:$PATH" ONCELOG_BUILD=build

counted 1,000,000 2,000,000
says 1 "mark: no figure is kept"
says 0 "2 figures are kept" --keep
printf '# valgrind-3.19.0, g++ 12\n# Instructions for one id; kept by tools/instructions --keep\nmark\t1000.0\nclaim\t4000.0\n' |
  diff - "$kept"
says 0 "mark                      1000.0    1000.0    +0.0%"
silent_on "--keep"
for name in mark claim; do
  echo "--toggle-collect=oncelog::bench::measured::$name(oncelog::Scope const&, oncelog::bench::Ids const&)"
done | diff - <(tail -n 2 "$tree/toggles")

# --- what has grown, by too much or not

keeps 900 4000
says 1 "mark: 1000.0 instructions an id, 11.1% more than the 900.0 that are kept"
silent_on "claim:"
says 1 "tools/instructions --keep"
keeps 1000 3500
says 1 "claim: 4000.0 instructions an id, 14.3% more"
silent_on "mark:"
keeps 953 4000
says 0 "+4.9%"
silent_on "--keep"
keeps 952 4000
says 1 "mark: 1000.0 instructions an id, 5.0% more"

# --- what has fallen

keeps 1100 4000
says 0 "mark: 1000.0 instructions an id, 9.1% less than the 1100.0 that are kept"
says 0 "Keep what was gained: tools/instructions --keep"
keeps 1100 3500
says 1 "claim: 4000.0 instructions an id, 14.3% more"
silent_on "Keep what was gained"

# --- what cannot be compared

keeps 1000 4000
sed -i '/^claim/d' "$kept"
says 1 "claim: no figure is kept"
keeps 1000 4000
printf 'forget\t1\n' >>"$kept"
says 1 "forget: there is a kept figure, but no such operation"
keeps 1000 4000
sed -i 's/measured::claim/measured::claims/' "$tree/annotated"
says 1 "valgrind has counted claim 0 times"
counted 1,000,000 2,000,000
echo 'g++ 13' >"$tree/environment"
says 77 "were counted with valgrind-3.19.0, g++ 12; here is valgrind-3.19.0, g++ 13"
says 0 "2 figures are kept" --keep
says 0 "+0.0%"

# --- what it needs

says 0 "PROGRAM TOTALS" --profile claim
[[ $(tail -n 1 "$tree/toggles") == *measured::claim\(* ]] || fail "another operation was counted"
says 2 "no such operation; there are mark, claim" --profile forget
program "$tree/bin/ninja" <<<'echo "it does not compile"; exit 1'
says 1 "it does not compile"
status=0
PATH=$tree/bare "$tree/tools/instructions" >"$tree/log" 2>&1 || status=$?
[[ $status == 77 && $(<"$tree/log") == "valgrind is not installed"* ]] || fail "a missing valgrind is no reason to skip"
echo "all is well"
