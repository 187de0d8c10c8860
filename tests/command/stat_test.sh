#!/usr/bin/env bash
# What `oncelog stat` counts.
#   stat_test.sh ONCELOG
set -euo pipefail

oncelog=$(realpath "$1")
source "$(dirname "$0")/lib.sh"

"$oncelog" mark --store marks --quiet a b a b c late later last
"$oncelog" mark --store marks --quiet --scope s2 a
exits "five known ids, and three unknown" 1 "$oncelog" check --store marks --quiet a b c a c d d new

exits "stat --json" 0 "$oncelog" stat --store marks --json
same "stat counts the records" "7 86400000" "$(python3 -c '
import json, sys
stat = json.load(sys.stdin)
assert stat["durable"] <= stat["head"] and sum(b["ids"] for b in stat["live_buckets"]) == stat["ids"], stat
assert sum(s["fresh"] for s in stat["scopes"]) == stat["host_records"] == stat["ids"], stat
assert {s["scope"]: s["duplicate"] for s in stat["scopes"]} == {"default": 2, "s2": 0}, stat
assert {s["scope"]: s["known"] for s in stat["scopes"]} == {"default": 5, "s2": 0}, stat
print(stat["ids"], stat["retention_ms"])' <out)"
exits "stat" 0 "$oncelog" stat --store marks
same "stat says the retention" "1d" "$(awk '$1 == "retention" { print $2 }' out)"
same "stat says what has happened in a scope" '"s2": 1 fresh' "$(sed -n 's/^scope *\("s2".*\)/\1/p' out)"

"$oncelog" mark --store own --live-dir own --quiet a
same "stat says where the shared memory is" "$(realpath own), given by an option" \
  "$("$oncelog" stat --store own | sed -n 's/^live_dir *//p')"
same "and so it does as JSON" "$(realpath own) False" \
  "$("$oncelog" stat --store own --json | python3 -c '
import json, sys
stat = json.load(sys.stdin)
print(stat["live_dir"], stat["live_dir_chosen"])')"
same "and that the store has chosen it" 1 "$("$oncelog" stat --store marks | grep -c '^live_dir .*/.*, chosen by the store$')"
