#!/usr/bin/env bash
# `oncelog lock` runs a command under a lock, and ends it when the lock is lost.
#   lock_test.sh ONCELOG
set -euo pipefail

oncelog=$(realpath "$1")
source "$(dirname "$0")/lib.sh"

echo "seed $seed"

lock() { "$oncelog" lock --store locks "$@"; }
exits "a command under a lock" 7 lock nightly -- sh -c 'echo "$ONCELOG_TOKEN $*"; exit 7' x -a '[b]' --
same "a command gets its arguments, and a token" "-a [b] --" "$(cut -d' ' -f2- out)"
first=$(cut -d' ' -f1 out)
exits "the next one" 200 lock nightly -- sh -c 'echo "$ONCELOG_TOKEN"; exit 200'
holds "the token grows" "$(cat out) > $first"
exits "no such command" 127 lock nightly -- no-such-command
same "no such command" "oncelog: there is no command 'no-such-command'" "$(cat err)"
exits "a command that a signal ends" 143 lock nightly -- sh -c 'kill -TERM $$'

# held OPTION...: a background job that holds the lock once it has written a line, and that a signal ends
held() {
  rm -f output
  mkfifo output
  set -m
  "$oncelog" lock --store locks "$@" nightly -- \
    sh -c 'trap "echo ended; exit 9" TERM INT; echo begun; while :; do sleep 0.05; done' >output 2>err &
  job=$!
  set +m
  exec 8<output
  next_line "a job under a lock" begun
}
held --lease 100ms
exits "a lock that another process holds" 75 "$oncelog" lock --store locks --wait 300ms nightly -- touch never
absent "a command without its lock is not run" never
same "the holder is named" "oncelog: process $job holds the lock 'nightly'" "$(cut -d, -f1 err)"
same "claims shows locks" "$job alive - nightly" "$("$oncelog" claims --store locks | awk '{ print $2, $3, $6, $7 }')"
exits "another lock" 0 lock weekly -- true
kill -TERM "$job"
next_line "a signal reaches the command" ended
code=0
wait "$job" || code=$?
same "the command's own answer to a signal" 9 "$code"
exec 8<&-

held
lock --wait 120s nightly -- echo got it >waited 2>/dev/null &
waiting=$!
kill -9 "$job"
next_line "a command whose host was killed gets SIGTERM" ended
wait "$job" 2>/dev/null || true
wait "$waiting"
same "a death frees the lock" "got it" "$(cat waited)"
exec 8<&-

same "a host that is killed at any moment ends its command" "60 ended" "$(python3 - "$oncelog" "$seed" <<'PYTHON'
import random, select, subprocess, sys, time
oncelog, seed = sys.argv[1:]
random.seed(seed)
command = 'trap "echo ended; exit" TERM; echo begun; while :; do sleep 0.01; done'
ended = 0
for round in range(60):
    host = subprocess.Popen([oncelog, "lock", "--store", "locks", "--wait", "120s", "early", "--", "sh", "-c", command],
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    children = f"/proc/{host.pid}/task/{host.pid}/children"
    while not open(children).read(): pass
    if round % 2: # From the first instruction of the child to the first lines of the command.
        end = time.monotonic() + random.random() * 0.005
        while time.monotonic() < end: pass
    host.kill()
    host.wait()
    # The pipe ends once every process that has it open has ended.
    while select.select([host.stdout], [], [], 120)[0]:
        if not host.stdout.read1(): break
    else: sys.exit("the command of a killed host still runs")
    ended += 1
print(ended, "ended")
PYTHON
)"

held --lease 50ms
# A process that is stopped in the middle of a flush stops all other writers, too: not what is tested here.
until kill -STOP "$job"; timeout 5 "$oncelog" mark --store locks --ack disk --quiet x; do kill -CONT "$job"; done
exits "a lock whose owner is stopped" 0 lock --wait 120s nightly -- true
kill -CONT "$job"
next_line "a lock that was lost ends its command" ended
code=0
wait "$job" || code=$?
same "a lock that was lost" 75 "$code"
exec 8<&-

refuses "a lock without a command" "no command; write" "$oncelog" lock --store locks name
refuses "a lock's command without --" "'echo' is neither an option nor the lock's name, and stands before --; write" \
  "$oncelog" lock --store locks name echo -n hello

exits "lock --help" 0 "$oncelog" lock --help
same "lock --help says what becomes of the command's children" 1 "$(paste -sd' ' out |
  grep -c "Only the command itself gets these signals, not what it has started: that goes on without the lock \
unless the command ends it\.")"
