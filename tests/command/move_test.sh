#!/usr/bin/env bash
# `oncelog export` and `import`: between stores of every kind, and from what services kept before.
#   move_test.sh ONCELOG
set -euo pipefail

oncelog=$(realpath "$1")
tests=$(realpath "$(dirname "$0")")
source "$tests/lib.sh"
source "$tests/servers.sh"

# contents STORE: what it says of each record but its LSN
contents() {
  "$oncelog" export --store "$1" | sed 's/"lsn":[0-9]*,//' | sort
}

lines=100000
[[ ${ONCELOG_TEST_SCALE:-} != small ]] || lines=10000  # Sanitizers take their time.
all=$((lines + 4))

# --- One store on disk to another
"$oncelog" mark --store old --scope orders --quiet --correlation c-1 --result $'caf\xc3\xa9 "x"' o-1 o-2
"$oncelog" mark --store old --scope mails --quiet --result $'\xfe\x00' $'\xff' m-2 m-3
"$oncelog" filter --store old --scope lines --quiet < <(seq "$lines") >/dev/null
"$oncelog" forget --store old --scope mails m-2 >/dev/null
exits "export" 0 "$oncelog" export --store old --output all.ndjson
same "a forgotten id is left out, all others are there" "$all" "$(wc -l <all.ndjson)"
exits "import" 0 "$oncelog" import --store new --input all.ndjson
same "import says what it did" "imported $all, known 0, claimed 0, expired 0, redated 0" "$(<out)"
same "all of it has come over" "$(contents old | md5sum)" "$(contents new | md5sum)"
exits "the ids are known" 0 "$oncelog" check --store new --scope orders o-1
exits "a forgotten one is not" 1 "$oncelog" check --store new --scope mails m-2
exits "import again" 0 "$oncelog" import --store new --input all.ndjson
same "again does no harm" "imported 0, known $all, claimed 0, expired 0, redated 0" "$(<out)"
exits "correlated" 0 "$oncelog" dump --store new --correlation c-1
same "the correlation has come over" "o-1 o-2 " "$(cut_ids)"
exits "verify --deep" 0 "$oncelog" verify --store new --deep
exits "backup" 0 "$oncelog" backup --store new copy
exits "restore" 0 "$oncelog" restore copy restored
same "backup and restore keep it" "$(contents old | md5sum)" "$(contents restored | md5sum)"
exits "repair --hints" 0 "$oncelog" repair --store new --hints
same "hints that are made of the log lead to it" "$(contents old | md5sum)" "$(contents new | md5sum)"
exits "repair --into" 0 "$oncelog" repair --store new --into mended
same "repair saves it" "$(contents old | md5sum)" "$(contents mended | md5sum)"

# --- Interrupted, and gone on with
head -c $(($(stat -c %s all.ndjson) / 2)) all.ndjson >part.ndjson
exits "export goes on" 0 "$oncelog" export --store old --output part.ndjson
same "what was cut short is whole" "$(md5sum <all.ndjson)" "$(md5sum <part.ndjson)"
head -n $((lines * 7 / 10)) all.ndjson >some.ndjson
exits "import of a part" 0 "$oncelog" import --store parts --input some.ndjson --checkpoint point
cp all.ndjson some.ndjson
exits "import goes on" 0 "$oncelog" import --store parts --input some.ndjson --checkpoint point
same "it begins where it has ended" "imported $((lines * 3 / 10 + 4)), known 0, claimed 0, expired 0, redated 0" "$(<out)"
echo "3 17" >wrong
refuses "a checkpoint of another file" "another file" "$oncelog" import --store parts --input some.ndjson --checkpoint wrong
refuses "a checkpoint of standard input" "input" "$oncelog" import --store parts --checkpoint point
"$oncelog" import --store killed --input all.ndjson --checkpoint killed.point --progress >/dev/null 2>&1 &
import=$!
until [[ -e killed.point ]] || ! kill -0 $import 2>/dev/null; do :; done
kill -9 $import 2>/dev/null || true
wait $import 2>/dev/null || true
exits "import goes on after a kill" 0 "$oncelog" import --store killed --input all.ndjson --checkpoint killed.point
same "nothing of it is missing" "$(contents old | md5sum)" "$(contents killed | md5sum)"

# --- What a line says
line='{"scope":"s","id":"a","processed_at":"2001-01-01T00:00:00Z"}'
exits "a record past the retention" 0 "$oncelog" import --store lines < <(echo "$line")
same "is left out" "imported 0, known 0, claimed 0, expired 1, redated 0" "$(<out)"
exits "a record of the future" 0 "$oncelog" import --store lines < <(echo "${line/2001/2101}")
same "has the present's time" "imported 1, known 0, claimed 0, expired 0, redated 1" "$(<out)"
exits "into another scope" 0 "$oncelog" import --store lines --scope other < <(echo "${line/2001/2101}")
exits "into another scope" 0 "$oncelog" check --store lines --scope other a
for wrong in 'x' '{}' '{"scope":"s","id":"a"}' '{"scope":"","id":"a","processed_at":"2026-01-01T00:00:00Z"}' \
  '{"scope":"s","id_hex":"6","processed_at":"2026-01-01T00:00:00Z"}' \
  '{"scope":"s","id":"a","processed_at":"2026-01-01T00:00:00Z","forgotten":true}'; do
  refuses "$wrong" "line 2|note|scope" "$oncelog" import --store lines < <(printf '%s\n' "${line/2001/2101}" "$wrong")
done

# --- Beside who uses the store
mkfifo ids
"$oncelog" filter --store used --scope s <ids >passed &
filter=$!
exec 3>ids
echo first >&3
until [[ -s passed ]]; do :; done
exits "an import beside a filter" 0 "$oncelog" import --store used < <(echo "${line/2001/2101}")
echo a >&3
exec 3>&-
wait $filter
same "the filter knows at once what is imported" "first" "$(<passed)"

# --- To and from stores that hosts share
# moves ADDRESS: there and back
moves() {
  exits "import into $1" 0 "$oncelog" import --store "$1" --input all.ndjson
  same "import into $1" "imported $all, known 0, claimed 0, expired 0, redated 0" "$(<out)"
  exits "import into $1 again" 0 "$oncelog" import --store "$1" --input all.ndjson
  same "again does no harm" "imported 0, known $all, claimed 0, expired 0, redated 0" "$(<out)"
  same "all of it is there" "$(contents old | md5sum)" "$(contents "$1" | md5sum)"
  "$oncelog" export --store "$1" | "$oncelog" import --store "back$2" >/dev/null
  same "and comes back" "$(contents old | md5sum)" "$(contents "back$2" | md5sum)"
}
tried=()
if can_redis; then
  tried+=(redis)
  start_redis
  moves "$redis?prefix=new" 1
  for i in 1 2 3; do redis-cli -s redis/socket set "seen:[$i" x px 3000000 >/dev/null; done
  redis-cli -s redis/socket set "seen:forever" x >/dev/null
  redis-cli -s redis/socket set "seenother" x px 3000000 >/dev/null
  exits "export of keys" 0 "$oncelog" export --store "$redis" --keys seen: --scope orders --retention 1h
  same "keys with a time are exported" 3 "$(wc -l <out)"
  says "those without are counted" "1 keys left out" err
  mv out keys.ndjson
  exits "keys are imported" 0 "$oncelog" import --store keys --retention 1h --input keys.ndjson
  exits "keys are known" 0 "$oncelog" check --store keys --scope orders '[1' '[2' '[3'
  exits "a key's time is its expiry less the retention" 0 "$oncelog" dump --store keys --since 11m --until 9m
  same "their times" 3 "$(wc -l <out)"
  refuses "keys without a retention" "retention" "$oncelog" export --store "$redis" --keys seen: --scope orders
fi
if can_postgresql; then
  tried+=(PostgreSQL)
  start_postgresql
  moves "$postgresql_address&schema=new" 2
  ask_postgresql "create table processed_messages (message_id text, processed_at timestamptz, service_name text)"
  ask_postgresql "insert into processed_messages values ('p-1', now() - interval '1 hour', 'orders'),
    ('p-2', now() - interval '2 hours', 'orders'), (null, now(), 'orders'), ('p-3', now() - interval '9 days', 'mails')"
  exits "export of a table" 0 "$oncelog" export --store "$postgresql_address" --table processed_messages
  same "rows come in the order of their time" "p-3 p-2 p-1 " "$(cut_ids)"
  says "a row with a null is counted" "1 rows left out" err
  mv out table.ndjson
  exits "import of a table" 0 "$oncelog" import --store table --input table.ndjson
  same "rows past the retention are left out" "imported 2, known 0, claimed 0, expired 1, redated 0" "$(<out)"
  exits "rows are known" 0 "$oncelog" check --store table --scope orders p-1 p-2
  ask_postgresql "alter table processed_messages rename column message_id to Id; alter table processed_messages rename column service_name to \"Service\""
  exits "columns of other names" 0 "$oncelog" export --store "$postgresql_address" --table public.processed_messages \
    --id-column id --scope-column Service --scope orders
  same "columns of other names" "p-2 p-1 " "$(cut_ids)"
  refuses "a table that is not there" "no_such" "$oncelog" export --store "$postgresql_address" --table no_such
  # A schema that was made before there was an import.
  ask_postgresql "drop function new.import"
  exits "a schema without it gets it" 0 "$oncelog" import --store "$postgresql_address&schema=new" < <(echo "${line/2001/2101}")
fi
[[ ${#tried[@]} -gt 0 ]] || skip "local stores moved; neither redis-server nor PostgreSQL is installed"
