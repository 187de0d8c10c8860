#!/usr/bin/env bash
# The examples on PostgreSQL print what is written here.
#   examples_test.sh ONCELOG ORDER_AND_MARK EXAMPLES-FOLDER
set -euo pipefail

oncelog=$(realpath "$1")
order_and_mark=$(realpath "$2")
examples=$(realpath "$3")
tests=$(realpath "$(dirname "$0")")
source "$tests/../command/lib.sh"
source "$tests/../command/servers.sh"
can_postgresql || skip "PostgreSQL is not installed"
start_postgresql

exits "order_and_mark" 0 "$order_and_mark" "$postgresql_address"
same "order_and_mark" "order-1: fresh
order-1: duplicate
order-2: the order was refused
order-2: fresh" "$(cat out)"
exits "order_and_mark again" 0 "$order_and_mark" "$postgresql_address"
same "order_and_mark again" "order-1: duplicate
order-1: duplicate
order-2: duplicate
order-2: duplicate" "$(cat out)"
same "what it has ordered" "order-1|2
order-2|1" "$(ask_postgresql "select * from orders order by id")"

ask_postgresql "drop table orders"
for _ in 1 2; do
  "$postgresql/psql" -h "$folder/postgresql" -U postgres -d postgres -qAtX -v ON_ERROR_STOP=1 -f "$examples/order_and_mark.sql" >out 2>err
  same "order_and_mark.sql" "order-7|2
order-8|1
order-9|1" "$(cat out)"
done
exits "the command sees its marks" 0 "$oncelog" check --store "$postgresql_address" --scope order-service order-8
