#!/usr/bin/env bash
# What `oncelog topics lint` reports.
#   topics_test.sh ONCELOG
set -euo pipefail

oncelog=$(realpath "$1")
source "$(dirname "$0")/lib.sh"

cat >topics <<'END'
// What the services subscribe to.
orders   order.created
orders   order.deleted

orders	order.*
billing  order.#
{"service":"billing","pattern":"order.*.created","queue":7}
  {"pattern":"","service":"empty"}
empty    #
billing  order.#
audit    #
END
cat >wanted <<'END'
topics:5: 'orders': 'order.*' overlaps 'order.created' in line 2: both get 'order.created'
topics:5: 'orders': 'order.*' overlaps 'order.deleted' in line 3: both get 'order.deleted'
topics:7: 'billing': 'order.*.created' overlaps 'order.#' in line 6: both get 'order.any.created'
topics:9: 'empty': '#' overlaps '' in line 8: both get ''
topics:10: 'billing': 'order.#' repeats line 6: both get 'order'
END
exits "topics lint" 1 "$oncelog" topics lint topics
same_file "topics lint names each pair of a service" wanted out
same "topics lint says nothing else" "" "$(cat err)"
exits "topics lint of standard input" 1 "$oncelog" topics lint - <topics
sed 's/^topics:/standard input:/' wanted >wanted-input
same_file "topics lint of standard input" wanted-input out
exits "topics lint --json" 1 "$oncelog" topics lint --json topics
same "topics lint --json" "overlap 5 2 order.created, overlap 5 3 order.deleted, overlap 7 6 order.any.created,\
 overlap 9 8 , repeat 10 6 order" "$(python3 -c '
import json, sys
print(", ".join("{kind} {line} {earlier_line} {key}".format(**json.loads(line)) for line in sys.stdin))' <out)"
same "topics lint --json shows the patterns" \
  '"service":"billing","line":7,"pattern":"order.*.created","earlier_line":6,"earlier_pattern":"order.#"' \
  "$(sed -n 3p out | grep -o '"service".*"earlier_pattern":"[^"]*"')"

printf 's a.*\r\n\r\ns b.#\r\nt a.b' >topics
exits "topics without an overlap" 0 "$oncelog" topics lint topics
same "topics without an overlap" "" "$(cat out err)"
exits "no topics" 0 "$oncelog" topics lint - </dev/null
printf '{"service":"a\\nb","pattern":"\\u001b"}\n{"service":"a\\nb","pattern":"*"}\n' >topics
exits "topics with strange bytes" 1 "$oncelog" topics lint topics
same "topics with strange bytes" "topics:2: 'a\\x0ab': '*' overlaps '\\x1b' in line 1: both get '\\x1b'" "$(cat out)"

# refuses_topic WHAT PATTERN LINE: LINE is the second of a file whose first line is good
refuses_topic() {
  printf 's #\n%s\n' "$3" >topics
  refuses "topics: $1" "$2" "$oncelog" topics lint topics
}
refuses_topic "no pattern" "topics:2: a service without a pattern" "s"
refuses_topic "a word too many" "topics:2: more than SERVICE PATTERN" "s a b"
refuses_topic "broken JSON" "topics:2: begins like JSON, and is not" '{"service":"s","pattern":"a"'
refuses_topic "JSON without a pattern" 'topics:2: JSON without a text "pattern"' '{"service":"s"}'
refuses_topic "JSON with a number" 'topics:2: JSON without a text "pattern"' '{"service":"s","pattern":1}'
refuses_topic "JSON without a service" 'topics:2: JSON without a text "service"' '{"pattern":"a"}'
refuses_topic "an empty service" "topics:2: the service is empty" '{"service":"","pattern":"a"}'
refuses_topic "a long pattern" "topics:2: the pattern has 256 bytes; 255 are possible" "s $(printf '%0256d' 0)"
refuses "no file of topics" "cannot open 'nowhere'" "$oncelog" topics lint nowhere
refuses "a folder of topics" "cannot read \." "$oncelog" topics lint .
refuses "topics of nothing" "see oncelog topics lint --help" "$oncelog" topics lint
refuses "topics without a verb" "see oncelog topics --help" "$oncelog" topics
