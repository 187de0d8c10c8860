#!/usr/bin/env bash
# Every command on a store that hosts share, by its address.
#   remote_test.sh ONCELOG
set -euo pipefail

oncelog=$(realpath "$1")
tests=$(realpath "$(dirname "$0")")
source "$tests/lib.sh"
source "$tests/servers.sh"

# on_each ADDRESS: what holds for every engine
on_each() {
  local at=$1 lock_token
  refuses "a store that is not there, for reading" "oncelog remote init|no store" "$oncelog" check --store "$at" x
  exits "remote init" 0 "$oncelog" remote init "$at" --retention 1h
  exits "remote init again" 0 "$oncelog" remote init "$at"
  refuses "another retention" "1h" "$oncelog" remote init "$at" --retention 2h

  exits "mark" 0 "$oncelog" mark --store "$at" --scope orders --correlation c-1 --result answer o-1 o-2
  exits "mark again" 1 "$oncelog" mark --store "$at" --scope orders --exit-code o-1
  exits "mark, on disk" 0 "$oncelog" mark --store "$at" --scope orders --ack disk o-3
  exits "check of one that is processed" 0 "$oncelog" check --store "$at" --scope orders o-1
  exits "check of one that is not" 1 "$oncelog" check --store "$at" --scope orders o-9
  printf 'o-2\no-4\no-4\n' | "$oncelog" filter --store "$at" --scope orders --quiet >out
  same "filter" "o-4" "$(cat out)"
  exits "dump" 0 "$oncelog" dump --store "$at"
  same "dump has every record, oldest first" "o-1 o-2 o-3 o-4 " "$(cut_ids)"
  exits "dump of a correlation" 0 "$oncelog" dump --store "$at" --correlation c-1
  same "dump of a correlation" "o-1 o-2 " "$(cut_ids)"
  exits "forget" 0 "$oncelog" forget --store "$at" --scope orders o-1
  exits "check of one that is forgotten" 1 "$oncelog" check --store "$at" --scope orders o-1

  exits "stat" 0 "$oncelog" stat --store "$at"
  says "stat" "^retention +1h" out
  ! grep -q "live_dir\|shared memory\|data.mdb" out || fail "stat of a shared store tells of files: $(cat out)"
  exits "stat --json" 0 "$oncelog" stat --store "$at" --json
  same "ids" 3 "$(python3 -c 'import json,sys; print(json.load(sys.stdin)["ids"])' <out)"
  exits "stat --prometheus" 0 "$oncelog" stat --store "$at" --prometheus
  says "stat --prometheus" "^oncelog_" out

  # shellcheck disable=SC2016 # The inner shell expands it.
  exits "lock" 7 "$oncelog" lock --store "$at" nightly -- bash -c '
    "$0" claims --store "$1" >claims
    "$0" lock --store "$1" nightly -- true || [[ $? == 75 ]] || exit 1
    echo "$ONCELOG_TOKEN" >token; exit 7' "$oncelog" "$at"
  says "claims" "nightly" claims
  lock_token=$(<token)
  # shellcheck disable=SC2016
  exits "the lock again" 0 "$oncelog" lock --store "$at" nightly -- bash -c 'echo "$ONCELOG_TOKEN" >token'
  holds "tokens grow" "$(<token) > $lock_token"

  refuses "an option of stores on disk" "buckets.*on disk" "$oncelog" mark --store "$at" --buckets 4 x
  for command in "verify" "repair --into there" "repair --hints" "backup there"; do
    # shellcheck disable=SC2086 # Several words.
    refuses "$command" "$(cut -d' ' -f1 <<<"$command").*stores? on disk" "$oncelog" ${command%% *} --store "$at" \
      $(cut -s -d' ' -f2- <<<"$command")
  done
  absent "what a refused command makes" there
  refuses "restore into an address" "on disk" "$oncelog" restore backup "$at"
}

tried=()
if can_redis; then
  tried+=(redis)
  start_redis
  on_each "$redis?prefix=orders"
  refuses "statements of SQL for Redis" "PostgreSQL" "$oncelog" remote init --print "$redis"
fi
if can_postgresql; then
  tried+=(PostgreSQL)
  start_postgresql
  on_each "$postgresql_address&schema=seen"
  "$oncelog" remote init --print --retention 1h "$postgresql_address&schema=printed" >printed.sql
  ask_postgresql "$(<printed.sql)" >/dev/null 2>&1
  exits "a schema that psql has made" 0 "$oncelog" mark --store "$postgresql_address&schema=printed" x
  refuses "its retention is the printed one" "1h" "$oncelog" remote init "$postgresql_address&schema=printed" \
    --retention 2h
  # A mark and an effect in one commit, from plain SQL.
  ask_postgresql "create table orders (id text)"
  ask_postgresql "begin; insert into orders select 'o-1' where printed.mark('orders', 'o-1'); commit"
  ask_postgresql "begin; insert into orders select 'o-1' where printed.mark('orders', 'o-1'); commit"
  same "the effect is there once" 1 "$(ask_postgresql "select count(*) from orders")"
  exits "and the command sees the mark" 0 "$oncelog" check --store "$postgresql_address&schema=printed" --scope orders o-1
fi
refuses "no address" "address" "$oncelog" remote init /var/lib/seen
refuses "a server that is not there" "timeout|connect|answer" "$oncelog" mark --store "redis+unix://$folder/no/socket" x
[[ ${#tried[@]} -gt 0 ]] || skip "neither redis-server nor PostgreSQL is installed"
