#!/usr/bin/env bash
# `oncelog release` frees what another process claims.
#   release_test.sh ONCELOG
set -euo pipefail

oncelog=$(realpath "$1")
source "$(dirname "$0")/lib.sh"

blocked r output-r
exec 8<output-r
claimed 1024
first=$("$oncelog" claims --store blocked | awk 'NR == 1 { print $7 }')

exits "release" 1 "$oncelog" release --store blocked "$first" nothing
same_file "release says what it freed" <(printf '%s\n' "released $first" "unclaimed nothing") out
exits "a released id is fresh" 0 "$oncelog" mark --store blocked "$first"
same "a released id is fresh" "fresh $first" "$(cat out)"
