#!/usr/bin/env bash
# `oncelog filter` passes what awk '!seen[$0]++' passes, across runs and processes.
#   filter_test.sh ONCELOG
set -euo pipefail

oncelog=$(realpath "$1")
source "$(dirname "$0")/lib.sh"

echo "seed $seed, $lines lines"
python3 - "$lines" "$seed" >input.txt <<'PYTHON'
import random, sys
lines, seed = int(sys.argv[1]), int(sys.argv[2])
random.seed(seed)
odd = [b"", b" ", b"\r", b"a\r", b"\xff\xfe", b"x" * 1024, b"x" * 1025, b"x" * 1026, b"y" * 5000, b"z" * 300000]
rare = [b"q" * 1000000, b"q" * 999999]
out = sys.stdout.buffer
for number in range(lines):
    if number % 97 == 0:
        line = random.choice(odd[:-1])
    elif number % (lines // 10) == 5:
        line = random.choice(odd + rare)
    else:
        line = b"%036x" % random.randrange(lines * 6 // 10)
    out.write(line + b"\n")
out.write(b"no newline at the end")
PYTHON
awk '!seen[$0]++' input.txt >wanted.txt
awk 'seen[$0]++' input.txt >wanted-duplicates.txt
fresh=$(wc -l <wanted.txt)
total=$(wc -l <wanted-duplicates.txt)
total=$((total + fresh))

exits "first run" 0 "$oncelog" filter --store like-awk --duplicates duplicates.txt <input.txt
same_file "filter passes what awk passes" wanted.txt out
same_file "--duplicates keeps what awk drops" wanted-duplicates.txt duplicates.txt
summary "first run" "$total lines, $fresh fresh, $((total - fresh)) duplicates"

exits "second run" 0 "$oncelog" filter --store like-awk <input.txt
same "a second run passes nothing" 0 "$(wc -c <out)"
summary "second run" "$total lines, 0 fresh, $total duplicates"

exits "through a pipe" 0 "$oncelog" filter --store like-awk --scope other --ack disk < <(cat input.txt)
same_file "another scope has seen nothing, and --ack disk passes the same" wanted.txt out

exits "--quiet" 0 "$oncelog" filter --store like-awk --quiet <input.txt
same "--quiet: standard error" "" "$(cat err)"

printf '\n\nlast' >short.txt
exits "an empty line is a line" 0 "$oncelog" filter --store empty <short.txt
same_file "an empty line is passed once, and the last line gets its newline" <(printf '\nlast\n') out
printf 'a\0b\na\0c\na\0b\n' >short.txt
exits "NUL" 0 "$oncelog" filter --store empty <short.txt
same_file "NUL is a byte like any" <(printf 'a\0b\na\0c\n') out
exits "no input" 0 "$oncelog" filter --store empty </dev/null
summary "no input" "0 lines, 0 fresh, 0 duplicates"

awk 'length($0) == 36 && NR <= 100000' input.txt >plain.txt
for copy in 1 2 3; do
  "$oncelog" filter --store together --quiet <plain.txt >together-$copy.txt &
done
wait
same_file "of three filters at once, one passes each line" <(sort -u plain.txt) <(sort together-?.txt)
