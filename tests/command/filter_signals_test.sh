#!/usr/bin/env bash
# SIGTERM and SIGINT end `oncelog filter` while it waits and while it works; what it has not read is not marked.
#   filter_signals_test.sh ONCELOG
set -euo pipefail

oncelog=$(realpath "$1")
source "$(dirname "$0")/lib.sh"

for signal in TERM INT; do
  code=143
  [[ $signal == TERM ]] || code=130
  start signals --scope "$signal"
  printf 'one\ntwo\none\nhalf' >&7
  next_line "SIG$signal: first line" one
  next_line "SIG$signal: second line" two
  printf ' of a line\nhalf' >&7
  next_line "SIG$signal: a line in two parts" "half of a line"
  kill -"$signal" "$job"
  ended "SIG$signal on a waiting filter" "$code"
  summary "SIG$signal" "4 lines, 3 fresh, 1 duplicates"
  exits "after SIG$signal" 1 "$oncelog" check --store signals --scope "$signal" one two half
  same_file "what SIG$signal left unread is not marked" <(printf '%s\n' 'known one' 'known two' 'unknown half') out
done

same "a parent sees the signal, not an exit code" -15 "$(python3 -c '
import subprocess, sys
pipe = subprocess.PIPE
job = subprocess.Popen([sys.argv[1], "filter", "--store", "signals", "--quiet"], stdin=pipe, stdout=pipe)
job.stdin.write(b"line\n")
job.stdin.flush()
job.stdout.readline()
job.terminate()
print(job.wait())' "$oncelog")"

rm -f output
mkfifo output
"$oncelog" filter --store signals --scope busy < <(yes) >output 2>err &
job=$!
exec 7>/dev/null 8<output
next_line "a busy filter" y
kill -TERM "$job"
ended "SIGTERM on a filter whose input never pauses" 143
