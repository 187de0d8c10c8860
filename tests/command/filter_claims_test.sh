#!/usr/bin/env bash
# `oncelog filter` on lines that other filters hold claims on.
#   filter_claims_test.sh ONCELOG
set -euo pipefail

oncelog=$(realpath "$1")
source "$(dirname "$0")/lib.sh"

blocked 0 output-0
exec 8<output-0
claimed 1024
same "a claim's owner" "$job alive" "$("$oncelog" claims --store blocked | awk 'NR == 1 { print $2, $3 }')"
{ echo mine; seq -f "0-%054.0f" 1200 1200; echo after; } >two.txt
"$oncelog" filter --store blocked --quiet <two.txt >waited &
waiting=$!
until [[ -s waited ]]; do :; done
same "a line that another filter holds is waited for, after those before it were passed" mine "$(cat waited)"
kill -TERM "$waiting"
code=0
wait "$waiting" || code=$?
same "SIGTERM on a filter that waits for another" 143 "$code"
exits "what SIGTERM left is not marked" 1 "$oncelog" check --store blocked --quiet after
"$oncelog" filter --store blocked --quiet <two.txt >waited &
waiting=$!
kill -9 "$job"
wait "$waiting"
same_file "a death frees what was claimed" <(tail -n 2 two.txt) waited
exec 8<&-

for ((i = 1; i <= 32; ++i)); do
  blocked $i output-$i
  exec {reader}<"output-$i"
  [[ $i != 1 ]] || first=$reader
done
claimed 32768
echo one more >one.txt
"$oncelog" filter --store blocked <one.txt >waited &
waiting=$!
cat <&"$first" >freed
wait "$waiting"
same "a filter works when all claims that a store can hold were held" "one more" "$(cat waited)"
same "a filter that was kept waiting continues" 3000 "$(wc -l <freed)"
jobs -p | xargs -r kill -9 2>/dev/null || true # One has ended by itself.
wait
