#!/usr/bin/env bash
# Where `oncelog filter` writes, and what it does when that is closed, full, or its own input.
#   filter_output_test.sh ONCELOG
set -euo pipefail

oncelog=$(realpath "$1")
source "$(dirname "$0")/lib.sh"

echo "seed $seed"

codes=()
seq 1000000 | "$oncelog" filter --store pipe 2>err | head -n 1 >out || codes=("${PIPESTATUS[@]}")
same "a closed pipe ends a filter as it ends others" "141 1" "${codes[1]:-0} $(cat out)"
marked=$(sed -nE 's/^oncelog: [0-9]+ lines, ([0-9]+) fresh, .*; [0-9]+ more are not marked, though some.*/\1/p' err)
holds "the summary of a closed pipe says how many lines are marked" "${marked:-100000} < 100000"
seq 1000000 | "$oncelog" filter --store pipe --quiet >out
same_file "after a closed pipe the lines that were not written are fresh" <(seq $((marked + 1)) 1000000) out

# Whatever is written to a file ends at the end of a line.
printf 'old entry' >appended.txt
exits "a file that lacks its last newline" 0 "$oncelog" filter --store append --duplicates appended.txt \
  < <(printf 'x\nx\n')
same_file "what is appended is a line of its own" <(printf 'old entry\nx\n') appended.txt
printf 'old' >appended.txt2
printf 'y\ny\n' | "$oncelog" filter --store append --quiet >>appended.txt2
printf 'z' >>appended.txt2
"$oncelog" check --store append y >>appended.txt2
same_file "standard output that is appended to" <(printf '%s\n' old y z 'known y') appended.txt2
awk 'BEGIN { for (i = 0; i < 5000; ++i) printf "%d %0600d\n", i % 4000, i % 4000 }' >limited.txt
# The limit also applies to the store's files, which stay far below it.
exits "a file that may not grow" 2 \
  bash -c 'ulimit -f 1024; exec "$0" filter --store append --scope limit --field 1 <limited.txt >>limit.out' "$oncelog"
same "a file that may not grow is reported" 1 \
  "$(grep -c '^oncelog: cannot write to standard output: File too large' err)"
kept=$(wc -l <limit.out)
exits "once it may" 0 \
  bash -c '"$0" filter --store append --scope limit --field 1 --quiet <limited.txt >>limit.out' "$oncelog"
same_file "no line is torn, lost or repeated ($kept before)" <(head -n 4000 limited.txt) limit.out
plain_lines 99000 >plain.txt
for copy in 1 2 3; do
  "$oncelog" filter --store append --scope $copy --quiet <plain.txt >>appended-together.txt &
done
wait
same "filters that append to one file" "$(awk '{ print 3, $0 }' <<<"$(sort -u plain.txt)" | cksum)" \
  "$(sort appended-together.txt | uniq -c | awk '{ print $1, $2 }' | cksum)"
refuses "duplicates to standard output" "--duplicates: '-' would mix" "$oncelog" filter --store new --duplicates -
for file in same.txt /dev/stdout; do
  exits "duplicates to standard output by a name" 2 \
    bash -c '"$0" filter --store new --duplicates "$1" >same.txt' "$oncelog" $file
  same "duplicates to standard output by a name" 1 "$(grep -c "^oncelog: --duplicates: '$file' is standard output" err)"
done
exits "duplicates to /dev/null, like the output" 0 \
  bash -c '"$0" filter --store append --duplicates /dev/null >/dev/null' "$oncelog" </dev/null
exits "duplicates to a pipe" 0 bash -c '"$0" filter --store append --scope pipe --duplicates >(cat >piped.txt); wait $!' \
  "$oncelog" <<<$'x\nx'
same "a pipe gets the duplicates" x "$(cat piped.txt)"
# What comes back as input never ends, so these would fill the disk.
printf 'a\na\n' >own.txt
refuses "duplicates to the file that is read" "--duplicates: 'own.txt' is the file that is read" \
  timeout 20 "$oncelog" filter --store new --duplicates own.txt <own.txt
exits "standard output to the file that is read" 2 \
  bash -c 'timeout 20 "$0" filter --store new --field 2 <own.txt >>own.txt' "$oncelog"
same "standard output to the file that is read" 1 "$(grep -c "^oncelog: standard output is the file that is read" err)"
same_file "a file that is refused stays as it is" <(printf 'a\na\n') own.txt
exits "a file named -" 0 "$oncelog" filter --store append --duplicates ./- <<<x
same_file "a file named -" <(echo x) ./-

printf 'a\0b\na\0c\na\0b\n' >short.txt
exits "a full disk" 2 sh -c '"$0" filter --store full <short.txt >/dev/full' "$oncelog"
same "a full disk is reported in a sentence" 1 \
  "$(grep -c '^oncelog: cannot write to standard output: No space left on device' err)"
summary "a full disk" "0 lines, 0 fresh, 0 duplicates; 2 more are not marked, though some may have been written"
exits "no standard output" 2 sh -c 'exec "$0" filter --store closed <short.txt >&-' "$oncelog"
exits "no standard input" 2 sh -c 'exec "$0" filter --store closed <&-' "$oncelog"
exits "a store opened without standard descriptors is whole" 0 "$oncelog" mark --store closed id

"$oncelog" mark --store marks --quiet a
for file in marks/data.mdb marks/new marks/../marks/./live; do
  refuses "a file for duplicates in the store" "--duplicates: '$file' is inside of the store" \
    "$oncelog" filter --store marks/ --duplicates "$file"
done

refuses "a file for duplicates that cannot be" "nowhere/file" "$oncelog" filter --store new --duplicates nowhere/file
absent "a refused command creates no store" new
