#!/usr/bin/env bash
# `oncelog once` runs a command once for an id, and repeats its output and its exit code.
#   once_test.sh ONCELOG
set -euo pipefail

oncelog=$(realpath "$1")
source "$(dirname "$0")/lib.sh"

once() { "$oncelog" once --store runs "$@"; }
exits "the first call" 0 once --id nightly -- sh -c 'echo "ran $*" | tee -a runs.txt' x -a '[b]' --
same "its output" "ran -a [b] --" "$(cat out)"
exits "the second call" 0 once --id nightly -- sh -c 'echo again | tee -a runs.txt'
same "it prints the first one's output" "ran -a [b] --" "$(cat out)"
same "and runs nothing" 1 "$(wc -l <runs.txt)"
exits "the id of another scope" 0 once --scope weekly --id nightly -- echo other
same "is another one" other "$(cat out)"
printf 'no line end' >wanted
once --id bytes -- sh -c "printf 'no line end'" >out
same_file "an output without a line end" wanted out
once --id bytes -- true >out
same_file "and its repetition" wanted out
head -c 100000 /dev/urandom >wanted
once --id binary -- cat wanted >out
same_file "bytes of any kind" wanted out
once --id binary -- true >out
same_file "and their repetition" wanted out

exits "a command that fails" 3 once --id failing -- sh -c 'echo tried; exit 3'
exits "is run again" 4 once --id failing -- sh -c 'echo tried; exit 4'
exits "unless its failure is to be kept" 5 once --id failing --keep-failure -- sh -c 'echo kept; exit 5'
exits "which is then repeated" 5 once --id failing -- echo again
same "with its output" kept "$(cat out)"
exits "no such command" 127 once --id missing -- no-such-command
exits "which is run once it is there" 0 once --id missing -- true
exits "a command that a signal ends" 143 once --id ended -- sh -c 'kill -TERM $$'

head -c 2000000 /dev/zero >large
once --id large -- cat large >out 2>err
same "all of a large output passes" 2000000 "$(stat -c %s out)"
says "what is not kept is told" "the last 951428 bytes are not kept" err
once --id large -- true >out
same "the first MiB is kept" 1048572 "$(stat -c %s out)"

# Of two at once one runs, and the other one waits for it.
mkfifo go
once --id both -- sh -c 'echo one >>both.txt; read -r word <go; echo "$word"' >first.txt &
first=$!
until [[ -s both.txt ]]; do :; done
exits "one that does not wait" 75 once --id both --no-wait -- echo never
says "and says why" "another process runs 'both'" err
once --id both -- echo two >second.txt &
second=$!
echo word >go
wait "$first" "$second"
same "the first one's output" word "$(cat first.txt)"
same "the waiting one's" word "$(cat second.txt)"
same "one has run" one "$(cat both.txt)"

# It outlasts its lease, and not its longest run.
exits "a run longer than its lease" 0 once --id slow --lease 100ms -- sh -c 'sleep 0.5; echo slow'
set -m
once --id over --lease 200ms --max-runtime 300ms -- sh -c 'echo begun; read -r word <go; echo "$word"' >over.txt 2>over.err &
over=$!
set +m
until [[ -s over.txt ]]; do :; done
exits "the next one, after the longest run" 0 once --id over -- echo next
echo late >go
code=0
wait "$over" || code=$?
same "one that ran for too long" 75 "$code"
says "is told so" "took longer than it may" over.err
exits "the other one's result stands" 0 once --id over -- echo third
same "the other one's output" next "$(cat out)"

# A death frees the id.
"$oncelog" once --store runs --id killed -- sh -c 'echo begun >>killed.txt; read -r word <go' &
killed=$!
until [[ -s killed.txt ]]; do :; done
kill -9 "$killed"
exits "after a death it is run again" 0 once --id killed -- echo again
same "by the next one" again "$(cat out)"

"$oncelog" mark --store runs --result answer marked >/dev/null
refuses "a result of another kind" "not of its form" "$oncelog" once --store runs --id marked -- true
refuses "no command" "no command" "$oncelog" once --store runs --id x
refuses "no id" "id" "$oncelog" once --store runs -- true
