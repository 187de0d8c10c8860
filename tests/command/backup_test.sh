#!/usr/bin/env bash
# `oncelog backup` makes a store of one file, and never overwrites anything.
#   backup_test.sh ONCELOG
set -euo pipefail

oncelog=$(realpath "$1")
source "$(dirname "$0")/lib.sh"

make_store store

exits "backup" 0 "$oncelog" backup --store store backup
says "backup" '^every mark below LSN [0-9]+ is in it; [0-9]+ bytes$' out
same "a backup is one file" data.mdb "$(ls backup)"
refuses "a second backup to the same place" "never overwritten" "$oncelog" backup --store store backup
refuses "backup of nothing" "there is no oncelog store" "$oncelog" backup --store none nowhere
same "a backup of nothing makes nothing" "" "$(ls -d nowhere 2>/dev/null || true)"
exits "backup as JSON" 0 "$oncelog" backup --json --store store backup-2
says "backup as JSON" '^\{"below":[0-9]+,"bytes":[0-9]+\}$' out
"$oncelog" mark --store store --quiet after

# A copy of a store that no process has open is a backup, too.
cp -r store copy
exits "a copy made by cp" 0 "$oncelog" check --quiet --store copy id-000001 after
exits "verify of a copy" 0 "$oncelog" verify --deep --store copy
