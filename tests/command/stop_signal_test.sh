#!/usr/bin/env bash
# The first signal ends a command that is opening a file or closing its store.
#   stop_signal_test.sh ONCELOG STOPPED-WRITER
set -euo pipefail

oncelog=$(realpath "$1")
stopped_writer=$(realpath "$2")
source "$(dirname "$0")/lib.sh"

# While anything is being opened, the first signal ends the command.
mkfifo never-open
ignored=$((16#$(sed -n 's/^SigIgn:[[:space:]]*//p' /proc/self/status))) # As nohup makes SIGHUP, for all that it starts.
for signal in TERM INT HUP; do
  if ((ignored >> ($(kill -l "$signal") - 1) & 1)); then continue; fi
  for command in "filter --store opening --duplicates never-open" "topics lint never-open"; do
    read -ra words <<<"$command"
    code=0
    set -m
    "$oncelog" "${words[@]}" </dev/null 2>err &
    job=$!
    set +m
    until [[ $(<"/proc/$job/stat") == *") S "* ]]; do :; done # It waits for the pipe's other end.
    kill -"$signal" "$job"
    wait "$job" || code=$?
    same "SIG$signal while ${words[0]} opens a file" $((128 + $(kill -l "$signal"))) "$code"
  done
done

# While a store is closed behind a writer that is stopped within a transaction, the first signal ends a command.
"$oncelog" mark --store stopped --quiet known
"$oncelog" lock --store stopped name -- true
"$stopped_writer" stopped &
writer=$!
until [[ $(<"/proc/$writer/stat") == *") T "* ]]; do :; done

# has_own_effect JOB SIGNAL: the process neither catches nor blocks it
has_own_effect() {
  local masks
  masks=$(sed -nE 's/^Sig(Cgt|Blk):[[:space:]]*/16#/p' "/proc/$1/status" 2>/dev/null | paste -sd'|')
  [[ -n $masks ]] && (((($masks) >> ($(kill -l "$2") - 1) & 1) == 0))
}

# ends_at_once READY COMMAND...: SIGTERM ends the command, whose work is done when READY succeeds
ends_at_once() {
  local ready=$1 code=0 deadline=$((SECONDS + 60))
  shift
  : >out
  set -m
  "$oncelog" "$@" <one.txt >out 2>err &
  job=$!
  set +m
  until $ready && has_own_effect "$job" TERM; do
    [[ $SECONDS -lt $deadline ]] || break
  done
  kill -TERM "$job"
  until ! kill -0 "$job" 2>/dev/null; do
    [[ $SECONDS -lt $deadline ]] || { kill -9 "$job" && break; }
  done
  wait "$job" 2>/dev/null || code=$?
  same "SIGTERM while $1 closes a store that another process writes to" 143 "$code"
}
answered() { [[ -s out ]]; }
forgotten() { ! "$oncelog" check --store stopped --quiet known; }
echo one >one.txt
ends_at_once answered mark --store stopped id
ends_at_once answered filter --store stopped
ends_at_once answered lock --store stopped name -- echo locked
ends_at_once forgotten forget --store stopped known
same "a signal before the end leaves forget without output" "" "$(cat out)"
kill -CONT "$writer"
while kill -0 "$writer" 2>/dev/null; do wait "$writer" || true; done # It also returns when the job stops.
exits "what was done before the signal" 0 "$oncelog" check --store stopped id one
