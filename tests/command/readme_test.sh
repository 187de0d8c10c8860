#!/usr/bin/env bash
# What the README, or the command's guide, shows of the command in a shell block runs as it stands there.
#   readme_test.sh ONCELOG SOURCE-FOLDER
set -euo pipefail

oncelog=$(realpath "$1")
source_folder=$(realpath "$2")
source "$(dirname "$0")/lib.sh"

# The first block of lines that call oncelog; either document may have it.
for document in "$source_folder/README.md" "$source_folder/tools/README.md"; do
  [[ -e $document ]] || continue
  awk '/^```sh$/ { inside = 1; next }
    /^```$/ { if (block) exit; inside = 0 }
    inside && (block || /^oncelog /) { print; block = 1 }' "$document" >readme.sh
  [[ ! -s readme.sh ]] || break
done
mkdir readme
printf '%s\n' a b a >readme/ids.txt
printf '{"messageId":"%s"}\n' c d c >readme/messages.ndjson
printf '%s\n' 'orders order.#' 'billing payment.*' >readme/subscriptions.txt
exits "README: the shell block" 0 env PATH="$(dirname "$oncelog"):$PATH" bash -euc "cd readme && source ../readme.sh"
same "README: what filter passes" 'a b {"messageId":"c"} {"messageId":"d"} fresh order-4711 known order-4711' \
  "$(head -n 6 out | tr '\n' ' ' | sed 's/ $//')"
same "README: dump shows all of it" 5 "$(grep -c '^{"lsn"' out)"
