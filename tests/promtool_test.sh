#!/usr/bin/env bash
# What `oncelog stat --prometheus` says of a busy store, by the rules of Prometheus' own checker.
#   promtool_test.sh ONCELOG
set -euo pipefail

oncelog=$(realpath "$1")
source "$(dirname "$0")/command/lib.sh"
promtool=$(command -v promtool) || skip "promtool is not installed"

# The checker tells good from bad.
printf '# HELP a_total A.\n# TYPE a_total counter\na_total 1\n' >good
exits "the checker of what is good" 0 "$promtool" check metrics <good
printf '# TYPE a counter\na 1' >bad
exits "the checker of what is bad" 1 "$promtool" check metrics <bad

for scope in orders 'with "quotes", a \ and {braces}' $'two\nlines' $'caf\xc3\xa9' $'\xff\xfe' 0xfffe; do
  seq 200 | "$oncelog" mark --store store --scope "$scope" --quiet
  "$oncelog" check --store store --scope "$scope" --quiet 1 2
done

# A process that is at work all the while.
mkfifo lines passed
"$oncelog" filter --store store --scope busy --quiet <lines >passed &
exec 7>lines 8<passed
echo first >&7
read -r first <&8
same "a process at work" first "$first"

"$oncelog" stat --store store --prometheus >text
exits "the checker of stat" 0 "$promtool" check metrics <text
says "a scope" '^oncelog_decisions_total\{scope="orders",verdict="fresh"\} 200$' text
says "a scope that is no text" '^oncelog_decisions_total\{scope_hex="fffe",verdict="fresh"\} 200$' text
says "a scope named like hexadecimal digits" '^oncelog_decisions_total\{scope="0xfffe",verdict="fresh"\} 200$' text
says "a scope of two lines" '^oncelog_checks_total\{scope="two\\nlines",answer="known"\} 2$' text
says "a scope with quotes" \
  '^oncelog_decisions_total\{scope="with \\"quotes\\", a \\\\ and \{braces\}",verdict="fresh"\} 200$' text
same "figures of the process that asks" 0 "$(grep -c oncelog_process_ text)"

# What the busy process has counted is seen while it runs.
until "$oncelog" stat --store store --prometheus | grep -q '{scope="busy",verdict="fresh"} 1$'; do :; done
exec 7>&-
wait

exits "two formats" 2 "$oncelog" stat --store store --prometheus --json
