#!/usr/bin/env bash
# What `oncelog mark` prints, and its exit codes.
#   mark_test.sh ONCELOG
set -euo pipefail

oncelog=$(realpath "$1")
source "$(dirname "$0")/lib.sh"

exits "mark" 0 "$oncelog" mark --store marks a b a
same_file "mark says what was fresh" <(printf '%s\n' 'fresh a' 'fresh b' 'duplicate a') out
exits "mark from standard input" 0 "$oncelog" mark --store marks --ack disk - < <(printf 'b\nc')
same_file "mark reads lines" <(printf '%s\n' 'duplicate b' 'fresh c') out

exits "mark --exit-code, all fresh" 0 "$oncelog" mark --store codes --exit-code a b
exits "mark --exit-code, one known" 1 "$oncelog" mark --store codes --exit-code c a
same "mark --exit-code says what was fresh" "fresh c duplicate a" "$(paste -sd' ' out)"
exits "mark without --exit-code" 0 "$oncelog" mark --store codes c a

exits "mark --quiet" 0 "$oncelog" mark --store marks --quiet --scope s2 a
same "mark --quiet prints nothing" "" "$(cat out err)"

exits "a short retention" 0 "$oncelog" mark --store brief --retention 200ms --ack disk x
until [[ $("$oncelog" mark --store brief x) == "fresh x" ]]; do :; done
