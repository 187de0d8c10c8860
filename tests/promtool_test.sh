#!/usr/bin/env bash
# What `oncelog stat --prometheus` says of a busy store, by the rules of Prometheus' own checker.
#   promtool_test.sh ONCELOG
set -euo pipefail
export LC_ALL=C

skip() {
  echo "skipped: $*"
  exit 77 # What meson takes for a skip.
}

oncelog=$(realpath "$1")
promtool=$(command -v promtool) || skip "promtool is not installed"

folder=$(mktemp -d)
trap 'exec 2>/dev/null; jobs -p | xargs -r kill -9 || true; wait || true; rm -rf "$folder"' EXIT
trap 'echo "FAILED: the command in line $LINENO" >&2' ERR
cd "$folder"

# refused COMMAND...: it fails
refused() {
  if "$@" >refused.log 2>&1; then
    echo "FAILED: '$*' has not failed" >&2
    exit 1
  fi
}

# The checker tells good from bad.
printf '# HELP a_total A.\n# TYPE a_total counter\na_total 1\n' | "$promtool" check metrics
printf '# TYPE a counter\na 1' >bad
refused "$promtool" check metrics <bad

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
[[ $first == first ]]

"$oncelog" stat --store store --prometheus >text
"$promtool" check metrics <text
grep -q '^oncelog_decisions_total{scope="orders",verdict="fresh"} 200$' text
grep -q '^oncelog_decisions_total{scope_hex="fffe",verdict="fresh"} 200$' text
grep -q '^oncelog_decisions_total{scope="0xfffe",verdict="fresh"} 200$' text
grep -q '^oncelog_checks_total{scope="two\\nlines",answer="known"} 2$' text
grep -q '^oncelog_decisions_total{scope="with \\"quotes\\", a \\\\ and {braces}",verdict="fresh"} 200$' text
refused grep oncelog_process_ text

# What the busy process has counted is seen while it runs.
until "$oncelog" stat --store store --prometheus | grep -q '{scope="busy",verdict="fresh"} 1$'; do :; done
exec 7>&-
wait

code=0
"$oncelog" stat --store store --prometheus --json >both 2>&1 || code=$?
[[ $code == 2 ]]
echo "all is well"
