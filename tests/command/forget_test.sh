#!/usr/bin/env bash
# What `oncelog forget` prints, and what becomes of the ids.
#   forget_test.sh ONCELOG
set -euo pipefail

oncelog=$(realpath "$1")
source "$(dirname "$0")/lib.sh"

"$oncelog" mark --store chains --scope mails --quiet m-1 m-2

exits "forget" 1 "$oncelog" forget --store chains --scope mails m-2 never
same_file "forget says what it forgot" <(printf '%s\n' 'forgotten m-2' 'unknown never') out
exits "forget a known one" 0 "$oncelog" forget --store chains --scope mails - <<<m-1
exits "a forgotten id is fresh" 0 "$oncelog" mark --store chains --scope mails m-2
same "a forgotten id is fresh" "fresh m-2" "$(cat out)"
exits "dump shows what was forgotten" 0 "$oncelog" dump --store chains
same "dump shows what was forgotten" 2 "$(grep -c '"forgotten":true}$' out)"
