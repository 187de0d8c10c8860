#!/usr/bin/env bash
# Other commands on a store that a filter works on.
#   shared_store_test.sh ONCELOG
set -euo pipefail

oncelog=$(realpath "$1")
source "$(dirname "$0")/lib.sh"

start shared --scope s
echo first >&7
next_line "the other process" first
exits "check beside a filter" 0 "$oncelog" check --store shared --scope s first
exits "mark beside a filter" 0 "$oncelog" mark --store shared --scope s second
printf 'second\nthird\n' >&7
next_line "a mark of another process is seen" third
exits "stat beside a filter" 0 "$oncelog" stat --store shared
exits "dump beside a filter" 0 "$oncelog" dump --store shared
same "dump beside a filter has every record" "first second third " "$(cut_ids)"
exec 7>&-
ended "the end of the input" 0
