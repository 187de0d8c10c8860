#!/usr/bin/env bash
# What `mark`, `check`, `forget` and `release` share: ids as arguments and as lines, long ones and empty ones.
#   id_batches_test.sh ONCELOG
set -euo pipefail

oncelog=$(realpath "$1")
source "$(dirname "$0")/lib.sh"

refuses "an id in brackets" "would be taken for a list" "$oncelog" mark --store marks '[a,b]'
refuses "an id in brackets after an option with =" "would be taken for a list" "$oncelog" mark --store=marks '[a,b]'
refuses "an id in brackets after --" "would be taken for a list" "$oncelog" mark --store marks -- --id '[a,b]'
exits "a value in brackets" 0 "$oncelog" mark --store brackets --quiet --scope '[a,b]' a

long=$(printf '%01025d' 0)
exits "a long id as an argument" 0 "$oncelog" mark --store codes --scope long "$long"
for command in check forget release; do
  exits "$command of a long id" $([[ $command == release ]] && echo 1 || echo 0) \
    "$oncelog" $command --store codes --scope long "$long"
  cp out wanted
  "$oncelog" mark --store codes --scope long --quiet "$long"
  exits "$command of a long id in a line" $([[ $command == release ]] && echo 1 || echo 0) \
    "$oncelog" $command --store codes --scope long <<<"$long"
  same_file "$command of a long id answers alike for an argument and a line" wanted out
  "$oncelog" mark --store codes --scope long --quiet "$long"
done
exits "mark of a long id in a line" 0 "$oncelog" mark --store codes --scope long <<<"$long"
same "mark of a long id in a line" "duplicate $long" "$(cat out)"

"$oncelog" mark --store gaps --quiet known
for command in mark check forget release; do
  refuses "$command of an empty id" "id 2 is empty, and so is none; .* Nothing was done" \
    "$oncelog" $command --store gaps known "" never
  exits "$command of three ids, one of which is empty, does nothing" 1 "$oncelog" check --store gaps known never
  same "$command of three ids, one of which is empty, does nothing" "known known unknown never" "$(paste -sd' ' out)"
  for end in '\n' '\0'; do
    null=()
    [[ $end == '\n' ]] || null=(-z)
    exits "$command of an empty line" 2 "$oncelog" $command --store gaps --scope lines "${null[@]}" \
      < <(printf "one$end${end}never$end")
    same "$command of an empty line answers for those before it" 1 "$(tr "$end" '\n' <out | grep -c '^[a-z]* one$')"
    same "$command of an empty line answers for no other" 1 "$(tr "$end" '\n' <out | wc -l)"
    same "$command of an empty line names it" 1 \
      "$(grep -c '^oncelog: line 2 of standard input is empty, and so has no id; remove it' err)"
  done
done
exits "what comes after an empty line" 1 "$oncelog" check --store gaps --scope lines --quiet never
