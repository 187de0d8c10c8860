#!/usr/bin/env bash
# `oncelog restore` makes a store that knows every id that the backup knows.
#   restore_test.sh ONCELOG
set -euo pipefail

oncelog=$(realpath "$1")
source "$(dirname "$0")/lib.sh"

make_store store
"$oncelog" mark --store store --quiet more-3-005000
"$oncelog" backup --store store backup >/dev/null
"$oncelog" mark --store store --quiet after

token() { "$oncelog" lock --store "$1" l -- sh -c 'echo "$ONCELOG_TOKEN"'; }
before=$(token store)
exits "restore" 0 "$oncelog" restore backup restored
says "restore" '^every mark below LSN [0-9]+ is in it; what was processed after the backup and before ' out
exits "the ids in the backup" 0 "$oncelog" check --quiet --store restored id-000001 other more-3-005000
exits "an id that was marked after the backup" 1 "$oncelog" check --quiet --store restored after
holds "the token of a restored store is above those before" "$(token restored) > $before"
exits "verify of a restored store" 0 "$oncelog" verify --deep --store restored
refuses "restore over a store" "never overwritten" "$oncelog" restore backup store
refuses "restore of nothing" "there is no oncelog store" "$oncelog" restore none new
exits "restore as JSON" 0 "$oncelog" restore --json backup restored-2
says "restore as JSON" '^\{"below":[0-9]+,"bytes":[0-9]+,"known_since":".*","token_epoch":[0-9]+\}$' out

mkdir pipe
mkfifo pipe/data.mdb
refuses "restore of a pipe" "is not a regular file" timeout 60 "$oncelog" restore pipe new
