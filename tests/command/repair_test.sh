#!/usr/bin/env bash
# What `oncelog repair` saves from a damaged store, and how it mends hints.
#   repair_test.sh ONCELOG SANITIZE
set -euo pipefail

oncelog=$(realpath "$1")
sanitize=$2
source "$(dirname "$0")/lib.sh"

make_store store
"$oncelog" mark --store store --quiet after

exits "repair of a sound store" 0 "$oncelog" repair --store store --into saved
says "repair of a sound store" '^complete: [0-9]+ records ' out
exits "verify of what was saved" 0 "$oncelog" verify --deep --store saved
exits "the ids in what was saved" 0 "$oncelog" check --quiet --store saved id-000001 other after

damage_record store damaged
cp -r damaged damaged-before
exits "repair of a damaged store" 1 "$oncelog" repair --store damaged --into mended
says "repair of a damaged store" '^1 problem: ' out
same "the damaged data.mdb is only read" 0 "$(cmp -s damaged/data.mdb damaged-before/data.mdb && echo 0 || echo 1)"
exits "ids that could be saved" 0 \
  "$oncelog" check --quiet --store mended id-000001 id-009999 id-010001 id-020000 other after
exits "the id that could not be saved" 1 "$oncelog" check --quiet --store mended id-010000
exits "verify of a mended store" 0 "$oncelog" verify --deep --store mended
refuses "repair into a store" "never overwritten" "$oncelog" repair --store damaged --into mended
refuses "repair without a place" "give either --into NEWDIR or --hints" "$oncelog" repair --store damaged

damage_hints store hints
refuses "JSON of nothing" "excludes" "$oncelog" repair --hints --json --store hints
exits "repair of hints" 0 "$oncelog" repair --hints --store hints
exits "deep verify of mended hints" 0 "$oncelog" verify --deep --store hints

# Where address space is scarce; a sanitizer takes terabytes of it.
if [[ $sanitize == none ]]; then
  exits "repair of hints in little address space" 0 \
    bash -c 'ulimit -v 3000000; "$0" repair --hints --store hints --map-bytes 64M' "$oncelog"
fi

mkdir pipe
mkfifo pipe/data.mdb
for command in "repair --store pipe --into new" "repair --store pipe --hints"; do
  # shellcheck disable=SC2086 # Words.
  refuses "$command of a pipe" "is not a regular file" timeout 60 "$oncelog" $command
done
