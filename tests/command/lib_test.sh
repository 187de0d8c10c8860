#!/usr/bin/env bash
# The library that the shell tests check with: a script fails when a check fails, when it stops early, and when it
# checks nothing; its jobs and its folder do not outlive it.
#   lib_test.sh
set -euo pipefail

library=$(realpath "$(dirname "$0")/lib.sh")
source "$library"

# script TEXT: runs a script that sources the library
script() {
  printf 'source "%s"\n%s\n' "$library" "$1" >script.sh
  bash script.sh
}

exits "a check that holds" 0 script 'same what 1 1'
same "a check that holds is counted" "1 checks passed, 0 failed" "$(cat out)"
while read -r text; do
  exits "$text" 1 script "$text"
  same "$text: it says why" 1 "$(grep -c 'FAILED.* line' err)"
done <<'END'
same what 1 2
holds what "1 > 2"
absent what .
says what text /dev/null
same_file what /dev/null <(echo)
exits what 0 false
refuses what text bash -c "echo oncelog: other >&2; exit 2"
same what 1 1; false
:
END
exits "a check that fails, and one that holds" 1 script 'same what 1 2; same what 1 1'
same "both are counted" "1 checks passed, 1 failed" "$(cat out)"
exits "a skip" 77 script 'same what 1 2; skip "no reason"'

exits "a script with a job" 0 script 'same what 1 1; echo "$folder"; sleep 1000 & echo $!'
{ read -r folder_of_script; read -r job; } <out
absent "the script's folder" "$folder_of_script"
exits "the script's job" 1 kill -0 "$job"
