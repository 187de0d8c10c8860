#!/usr/bin/env bash
# What `oncelog verify` finds in sound, used, damaged and read-only stores.
#   verify_test.sh ONCELOG SANITIZE
set -euo pipefail

oncelog=$(realpath "$1")
sanitize=$2
source "$(dirname "$0")/lib.sh"

make_store store

exits "verify of a sound store" 0 "$oncelog" verify --store store
says "verify of a sound store" '^sound: 20001 records in [0-9]+ blocks' out
same "no progress but on a terminal" "" "$(cat err)"
exits "deep verify" 0 "$oncelog" verify --deep --store store
says "deep verify" '20001 live records looked up' out
exits "verify as JSON" 0 "$oncelog" verify --json --store store
says "verify as JSON" '^\{"sound":true,"problem_count":0,"problems":\[\],"records":20001,' out
refuses "verify of nothing" "there is no oncelog store" "$oncelog" verify --store none
mkdir other
echo text >other/file
refuses "verify of another directory" "no oncelog store" "$oncelog" verify --store other
same "a directory that is no store is left alone" file "$(ls other)"

# While others mark.
mkfifo ids
"$oncelog" mark --store store --quiet <ids &
marker=$!
exec 7>ids
for round in 1 2 3; do
  seq -f "more-$round-%06g" 5000 >&7
  exits "verify of a store in use" 0 "$oncelog" verify --deep --store store
done
exec 7>&-
wait "$marker"

"$oncelog" backup --store store backup >/dev/null
if [[ $EUID -eq 0 ]]; then
  chmod 755 . backup
  chmod 644 backup/data.mdb
  exits "verify of a backup that may only be read" 0 \
    setpriv --reuid=12345 --regid=12346 --clear-groups "$oncelog" verify --store backup
  same "verify of a backup leaves it as it is" data.mdb "$(ls -A backup)"
  cp -r store readable
  chmod 755 readable
  chmod 644 readable/*
  refuses "verify of a store that may only be read and that others may open" "opening it is not permitted" \
    setpriv --reuid=12345 --regid=12346 --clear-groups "$oncelog" verify --store readable
else
  echo "NOT CHECKED: stores that may only be read, because this is not root"
fi

damage_record store damaged
cp -r damaged damaged-before
exits "verify of a damaged store" 1 "$oncelog" verify --store damaged
says "verify of a damaged store" '^LSN [0-9]+: the [0-9]+ bytes from there on are no intact record' out
says "verify says how to repair" 'oncelog repair --store damaged --into NEWDIR' out
exits "verify of a damaged store as JSON" 1 "$oncelog" verify --json --store damaged
says "verify of a damaged store as JSON" '"kind":"record","where":"LSN [0-9]+"' out
same "the damaged data.mdb is only read" 0 "$(cmp -s damaged/data.mdb damaged-before/data.mdb && echo 0 || echo 1)"

damage_hints store hints
exits "verify does not look at hints by itself" 0 "$oncelog" verify --store hints
exits "deep verify finds damaged hints" 1 "$oncelog" verify --deep --store hints
says "deep verify finds damaged hints" 'repair --hints --store hints' out

# Where address space is scarce; a sanitizer takes terabytes of it.
if [[ $sanitize == none ]]; then
  exits "verify in little address space" 0 \
    bash -c 'ulimit -v 3000000; "$0" verify --deep --store store --map-bytes 64M' "$oncelog"
fi
