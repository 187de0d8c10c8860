#!/usr/bin/env bash
# --help, the manual's pages and the completion scripts: they fit the terminal, name every subcommand, pass the linters,
# and their examples run as they stand.
#   manual_test.sh ONCELOG FOLDER-OF-THE-MANUAL SOURCE-FOLDER
set -euo pipefail

oncelog=$(realpath "$1")
manual=$(realpath "$2")
source_folder=$(realpath "$3")
source "$(dirname "$0")/lib.sh"

# subcommands_of COMMAND...: by its help
subcommands_of() {
  COLUMNS=100 "$@" --help | awk '/^[A-Z].*:$/ { inside = !/^(Options|Positionals|Exit codes|Example):/; next }
    /^$/ { inside = 0 } inside && /^  [a-z]/ { print $1 }'
}

# What a subcommand is called: "topics lint", not "topics".
commands=()
for name in $(subcommands_of "$oncelog"); do
  nested=$(subcommands_of "$oncelog" "$name")
  for below in ${nested:-.}; do commands+=("$name${nested:+ $below}"); done
done
holds "there are subcommands" "${#commands[@]} > 10"

# A store with a mark, a backup of it, and what else the examples name.
prepare() {
  rm -rf "$1"
  mkdir "$1"
  (
    cd "$1"
    "$oncelog" mark --store seen --quiet order-4711
    "$oncelog" backup --store seen copy >/dev/null
    printf '%s\n' a b a >ids.txt
    printf '{"messageId":"%s"}\n' c d c >messages.ndjson
    printf '%s\n' 'orders order.#' 'billing payment.*' >subscriptions.txt
  )
}

for command in "${commands[@]}"; do
  read -ra words <<<"$command"
  for columns in 40 72; do
    COLUMNS=$columns "$oncelog" "${words[@]}" --help >help.txt
    # Examples are to be copied, and a word may be longer than its column.
    awk -v most=$columns '/^Example:$/ { exit } length > most && gsub(/[^ ] +[^ ]/, "&") { print }' help.txt >long.txt
    same "$command --help in $columns columns" "" "$(cat long.txt)"
  done
  awk '/^Example:$/ { inside = 1; next } inside { sub(/^  /, ""); print }' help.txt >example.sh
  holds "$command has an example" "$(grep -c "oncelog $command" example.sh) > 0"
  prepare example
  exits "$command: $(cat example.sh)" 0 env PATH="$(dirname "$oncelog"):$PATH" \
    bash -euc 'cd example && source ../example.sh'
  page=$manual/man1/oncelog-${command// /-}.1
  COLUMNS=100 "$oncelog" "${words[@]}" --help | grep -oE '^  (-.,)?--[a-z-]+' | grep -oE -- '--[a-z-]+' >options.txt
  while read -r option; do
    holds "$(basename "$page") has $option" "$(grep -c -- "^\.It.* ${option//-/\\\\-}\( \|$\)" \
      <(sed 's/Fl \\-/Fl \\-\\-/' "$page")) == 1"
  done <options.txt
done
COLUMNS=1000 "$oncelog" --help >help.txt
same "no more than 100 columns" 0 "$(awk 'length > 100' help.txt | wc -l)"
COLUMNS=none "$oncelog" --help >help.txt
same "80 columns where the width is not known" 80 "$(awk '{ if (length > most) most = length } END { print most }' help.txt)"

# Every page that another one refers to is there. mandoc looks for them among those that are installed.
grep -ohE '^\.(It )?Xr [a-z-]+ [13]' "$manual"/man1/*.1 "$source_folder/tools/manual/oncelog.3" |
  sed -E 's/.*Xr ([a-z-]+) ([13])/\1.\2/' | sort -u >pages.txt
while read -r page; do
  holds "$page exists" "$(find "$manual/man1" "$source_folder/tools/manual" -name "$page" | wc -l) == 1"
done <pages.txt

if command -v mandoc >/dev/null; then
  mandoc -T lint "$manual"/man1/*.1 "$source_folder/tools/manual/oncelog.3" >lint.txt || true
  same "mandoc -T lint" "" "$(grep -v 'referenced manual not found: Xr oncelog' lint.txt || true)"
else
  echo "not tried: mandoc, which is not installed"
fi
if command -v shellcheck >/dev/null; then
  exits "shellcheck" 0 shellcheck "$manual/oncelog"
else
  echo "not tried: shellcheck, which is not installed"
fi
