#!/usr/bin/env bash
# verify, repair, backup and restore as their users run them.
#   inspect_test.sh ONCELOG SANITIZE
set -euo pipefail

oncelog=$(realpath "$1")
sanitize=$2
source "$(dirname "$0")/command/lib.sh"

# An id that lies in a log block of pages of its own, many times over.
seq -f 'id-%06g' 20000 | "$oncelog" mark --store store --quiet
"$oncelog" mark --store store --result answer other >/dev/null

# --- verify
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
same "which is left alone" file "$(ls other)"

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

# --- backup and restore
exits "backup" 0 "$oncelog" backup --store store backup
says "backup" '^every mark below LSN [0-9]+ is in it; [0-9]+ bytes$' out
same "a backup is one file" data.mdb "$(ls backup)"
refuses "a second backup to the same place" "never overwritten" "$oncelog" backup --store store backup
refuses "backup of nothing" "there is no oncelog store" "$oncelog" backup --store none nowhere
same "which makes nothing" "" "$(ls -d nowhere 2>/dev/null || true)"
exits "backup as JSON" 0 "$oncelog" backup --json --store store backup-2
says "backup as JSON" '^\{"below":[0-9]+,"bytes":[0-9]+\}$' out
"$oncelog" mark --store store --quiet after

token() { "$oncelog" lock --store "$1" l -- sh -c 'echo "$ONCELOG_TOKEN"'; }
before=$(token store)
exits "restore" 0 "$oncelog" restore backup restored
says "restore" '^every mark below LSN [0-9]+ is in it; what was processed after the backup and before ' out
exits "what the backup had" 0 "$oncelog" check --quiet --store restored id-000001 other more-3-005000
exits "what it had not" 1 "$oncelog" check --quiet --store restored after
after=$(token restored)
checks=$((checks + 1))
((after > before)) || fail "the token $after of a restored store is not above $before"
exits "verify of a restored store" 0 "$oncelog" verify --deep --store restored
refuses "restore over a store" "never overwritten" "$oncelog" restore backup store
refuses "restore of nothing" "there is no oncelog store" "$oncelog" restore none new
exits "restore as JSON" 0 "$oncelog" restore --json backup restored-2
says "restore as JSON" '^\{"below":[0-9]+,"bytes":[0-9]+,"known_since":".*","token_epoch":[0-9]+\}$' out

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
fi

# A copy of a store that nobody has open is a backup as well.
cp -r store copy
exits "a copy made by cp" 0 "$oncelog" check --quiet --store copy id-000001 after
exits "verify of a copy" 0 "$oncelog" verify --deep --store copy

# --- repair
exits "repair of a sound store" 0 "$oncelog" repair --store store --into saved
says "repair of a sound store" '^complete: [0-9]+ records ' out
exits "verify of what was saved" 0 "$oncelog" verify --deep --store saved
exits "the ids in it" 0 "$oncelog" check --quiet --store saved id-000001 other after
cp -r store damaged
rm -f damaged/live damaged/filter-* damaged/index-*
offset=$(grep -abo -m1 'id-010000' damaged/data.mdb | head -1 | cut -d: -f1)
printf 'XXXXXXXX' | dd of=damaged/data.mdb bs=1 seek="$offset" conv=notrunc status=none
cp -r damaged damaged-before
exits "verify of a damaged store" 1 "$oncelog" verify --store damaged
says "verify of a damaged store" '^LSN [0-9]+: the [0-9]+ bytes from there on are no intact record' out
says "it says what to do" 'oncelog repair --store damaged --into NEWDIR' out
exits "verify of a damaged store as JSON" 1 "$oncelog" verify --json --store damaged
says "verify of a damaged store as JSON" '"kind":"record","where":"LSN [0-9]+"' out
exits "repair of a damaged store" 1 "$oncelog" repair --store damaged --into mended
says "repair of a damaged store" '^1 problem: ' out
same "the damaged data.mdb is only read" 0 "$(cmp -s damaged/data.mdb damaged-before/data.mdb && echo 0 || echo 1)"
exits "what could be saved" 0 "$oncelog" check --quiet --store mended id-000001 id-009999 id-010001 id-020000 other after
exits "what could not" 1 "$oncelog" check --quiet --store mended id-010000
exits "verify of a mended store" 0 "$oncelog" verify --deep --store mended
refuses "repair into a store" "never overwritten" "$oncelog" repair --store damaged --into mended
refuses "repair without a place" "give either --into NEWDIR or --hints" "$oncelog" repair --store damaged

# --- hints
cp -r store hints # On purpose beside the original: a copy's shared memory is made again.
"$oncelog" check --quiet --store hints other
for file in hints/filter-*; do
  dd if=/dev/zero of="$file" bs=4096 seek=1 count=$(($(stat -c %s "$file") / 4096 - 1)) conv=notrunc status=none
done
exits "verify does not look at hints by itself" 0 "$oncelog" verify --store hints
exits "deep verify finds damaged hints" 1 "$oncelog" verify --deep --store hints
says "deep verify finds damaged hints" 'repair --hints --store hints' out
refuses "JSON of nothing" "excludes" "$oncelog" repair --hints --json --store hints
exits "repair of hints" 0 "$oncelog" repair --hints --store hints
exits "deep verify of mended hints" 0 "$oncelog" verify --deep --store hints

# Where address space is scarce; a sanitizer takes terabytes of it.
if [[ $sanitize == none ]]; then
  exits "verify in little address space" 0 \
    bash -c 'ulimit -v 3000000; "$0" verify --deep --store hints --map-bytes 64M' "$oncelog"
  exits "repair of hints in little address space" 0 \
    bash -c 'ulimit -v 3000000; "$0" repair --hints --store hints --map-bytes 64M' "$oncelog"
fi

# --- data.mdb is no file
mkdir pipe
mkfifo pipe/data.mdb
for command in "repair --store pipe --into new" "repair --store pipe --hints" "restore pipe new"; do
  # shellcheck disable=SC2086 # Words.
  refuses "$command of a pipe" "is not a regular file" timeout 60 "$oncelog" $command
done

# --- where nothing can be written, and on a mount point
if unshare -m true 2>/dev/null; then
  "$oncelog" backup --store store copied >/dev/null
  mkdir mounted new-mount
  exits "a file system that is mounted read-only" 0 unshare -m bash -ec '
    mount --bind . mounted
    mount -o remount,bind,ro mounted
    for store in store copied; do
      "$0" verify --store mounted/$store
      "$0" restore mounted/$store restored-$store
      "$0" repair --store mounted/$store --into repaired-$store
    done' "$oncelog"
  for store in restored-store restored-copied repaired-store repaired-copied; do
    exits "$store" 0 "$oncelog" check --quiet --store $store id-000001 other
  done
  same "a copy that is verified, restored and repaired stays as it is" data.mdb "$(ls copied)"
  # shellcheck disable=SC2016
  refuses "a store that is written to by another mount" "open by a mount where it can be written" unshare -m bash -ec '
    mount --bind . mounted
    mount -o remount,bind,ro mounted
    mkfifo held
    "$0" mark --store store <held >/dev/null &
    exec 9>held
    echo a >&9
    until "$0" check --quiet --store store a; do :; done
    "$0" verify --store mounted/store' "$oncelog"
  refuses "a backup to a mount point" "is a mount point.*name a new directory in it" \
    unshare -m bash -ec 'mount -t tmpfs none new-mount; "$0" backup --store store new-mount' "$oncelog"
  refuses "a backup to a directory that is mounted by another name" "is a mount point" \
    unshare -m bash -ec 'mount --bind new-mount new-mount; "$0" backup --store store new-mount' "$oncelog"
fi
