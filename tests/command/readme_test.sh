#!/usr/bin/env bash
# The README's second shell block runs as it stands there.
#   readme_test.sh ONCELOG SOURCE-FOLDER
set -euo pipefail

oncelog=$(realpath "$1")
source_folder=$(realpath "$2")
source "$(dirname "$0")/lib.sh"

awk '/^```sh$/ { ++blocks; next } /^```$/ { inside = 0 } blocks == 2' "$source_folder/README.md" |
  sed '/^```$/,$d' >readme.sh
mkdir readme
printf '%s\n' a b a >readme/ids.txt
printf '{"messageId":"%s"}\n' c d c >readme/messages.ndjson
printf '%s\n' 'orders order.#' 'billing payment.*' >readme/subscriptions.txt
exits "README: the shell block" 0 env PATH="$(dirname "$oncelog"):$PATH" bash -euc "cd readme && source ../readme.sh"
same "README: what filter passes" 'a b {"messageId":"c"} {"messageId":"d"} fresh order-4711 known order-4711' \
  "$(head -n 6 out | tr '\n' ' ' | sed 's/ $//')"
same "README: dump shows all of it" 5 "$(grep -c '^{"lsn"' out)"
