#!/usr/bin/env bash
# Which records `oncelog dump` shows, and how.
#   dump_test.sh ONCELOG
set -euo pipefail

oncelog=$(realpath "$1")
source "$(dirname "$0")/lib.sh"

"$oncelog" mark --store marks --quiet a b a b c
"$oncelog" mark --store marks --quiet --scope s2 a

exits "a correlation and a result" 0 "$oncelog" mark --store chains --scope orders --correlation c-1 --result ok o-1
exits "a correlation elsewhere" 0 "$oncelog" mark --store chains --scope mails --correlation c-1 m-1
exits "a mark without" 0 "$oncelog" mark --store chains --scope mails m-2
exits "dump --correlation" 0 "$oncelog" dump --store chains --correlation c-1
same "dump --correlation joins scopes" "orders o-1 c-1 ok, mails m-1 c-1 None" "$(python3 -c '
import json, sys
print(", ".join("{scope} {id} {correlation} {result}".format(**{"result": None, **json.loads(line)})
                for line in sys.stdin))' <out)"
exits "dump --correlation --scope" 0 "$oncelog" dump --store chains --correlation c-1 --scope mails
same "dump --correlation --scope" 1 "$(wc -l <out)"
exits "dump" 0 "$oncelog" dump --store chains --since 1h
same "a record has only the members that it was given" '"id":"m-2","processed_at"' \
  "$(tail -n 1 out | grep -o '"id":"m-2","processed_at":"[^"]*"}$' | cut -d: -f1,2)"

before=$(date -u +%FT%T.%6NZ)
exits "mark later" 0 "$oncelog" mark --store marks late $'caf\xc3\xa9"' $'\xff'
exits "dump" 0 "$oncelog" dump --store marks
same "dump has every record" "a b c a late café\" ff" "$(python3 -c '
import json, sys
records = [json.loads(line) for line in sys.stdin.buffer]
assert sorted(records, key=lambda r: r["lsn"]) == records
sys.stdout.buffer.write(" ".join(r.get("id", r.get("id_hex")) for r in records).encode())' <out)"
exits "dump --scope" 0 "$oncelog" dump --store marks --scope s2
same "dump --scope" "a " "$(cut_ids)"
exits "dump --since" 0 "$oncelog" dump --store marks --since "$before"
same "dump --since" 3 "$(wc -l <out)"
exits "dump --until" 0 "$oncelog" dump --store marks --until "$before"
same "dump --until" "a b c a " "$(cut_ids)"
exits "dump --since 1h ago" 0 "$oncelog" dump --store marks --since '1h ago' --until now
same "dump --since 1h ago" 7 "$(wc -l <out)"
exits "dump --since 1h" 0 "$oncelog" dump --store marks --since 1h
same "dump --since 1h" 7 "$(wc -l <out)"
for time in "$(date -u +%FT%T.%NZ -d '1 hour ago')" "$(date --rfc-3339=ns -d '1 hour ago')" \
  "$(date -Ins -d '1 hour ago')" \
  "$(TZ=XST+5:30 date -Is -d '1 hour ago')" "$(TZ=XST-9 date +%FT%T%z -d '1 hour ago')" "$(date -R -d '1 hour ago')" \
  "@$(date +%s.%N -d '1 hour ago')" "$(date -u +%FT%T -d '1 hour ago')"; do
  exits "dump --since $time" 0 "$oncelog" dump --store marks --scope s2 --since "$time"
  same "dump --since $time" 1 "$(wc -l <out)"
  exits "dump --until $time" 0 "$oncelog" dump --store marks --scope s2 --until "$time"
  same "dump --until $time" 0 "$(wc -l <out)"
done
exits "dump --until 1h ago" 0 "$oncelog" dump --store marks --until '1h ago'
same "dump --until 1h ago" 0 "$(wc -l <out)"
seq 100000 | "$oncelog" mark --store long --quiet
codes=()
"$oncelog" dump --store long 2>err | head -n 1 >out || codes=("${PIPESTATUS[@]}")
same "a closed pipe ends dump without a message" "141 1 0" "${codes[0]:-0} $(wc -l <out) $(wc -l <err)"

refuses "a scope that nobody has used" "no scope 'slip' was ever used in this store; it has 'orders', 'mails'" \
  "$oncelog" dump --store chains --scope slip

refuses "a bad time" "--since: 'yesterday' is not a time" "$oncelog" dump --store marks --since yesterday
refuses "a day that is none" "is not a time" "$oncelog" dump --store marks --since 2026-02-30
