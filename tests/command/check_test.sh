#!/usr/bin/env bash
# What `oncelog check` prints, and its exit codes.
#   check_test.sh ONCELOG
set -euo pipefail

oncelog=$(realpath "$1")
source "$(dirname "$0")/lib.sh"

"$oncelog" mark --store marks --quiet a b c

exits "check, all known" 0 "$oncelog" check --store marks a b c
exits "check, one unknown" 1 "$oncelog" check --store marks a d
same_file "check says what is known" <(printf '%s\n' 'known a' 'unknown d') out
exits "check marks nothing" 1 "$oncelog" check --store marks --quiet d
same "check --quiet prints nothing" "" "$(cat out err)"
exits "check from standard input" 1 "$oncelog" check --store marks < <(printf 'c\nnew\n')
same_file "check reads lines" <(printf '%s\n' 'known c' 'unknown new') out
exits "check in a scope that does not exist" 1 "$oncelog" check --store marks --scope nobody a
printf '\nlast' | "$oncelog" filter --store passed --quiet >/dev/null
exits "check of what filter passed" 0 "$oncelog" check --store passed < <(printf 'last\n')
