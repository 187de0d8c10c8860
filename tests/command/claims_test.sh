#!/usr/bin/env bash
# What `oncelog claims` lists, and what `mark` says of a claimed id.
#   claims_test.sh ONCELOG
set -euo pipefail

oncelog=$(realpath "$1")
source "$(dirname "$0")/lib.sh"

blocked c output-c
exec 8<output-c
claimed 1024
first=$("$oncelog" claims --store blocked | awk 'NR == 1 { print $7 }')
exits "mark of a claimed id" 0 "$oncelog" mark --store blocked "$first"
same "mark of a claimed id" "in_progress $first" "$(cat out)"
exits "claims --json" 0 "$oncelog" claims --store blocked --json
same "claims --json" "$job True free_at_once default $first" "$(head -n 1 out | python3 -c '
import json, sys
print("{process} {alive} {orphans} {scope} {id}".format(**json.load(sys.stdin)))')"
