#!/usr/bin/env bash
# Each example prints what is written here, with a new store and when it is run again with the same.
#
#   examples_test.sh ONCELOG EXAMPLE...     ONCELOG, the command, may be empty
set -euo pipefail

oncelog=${1:+$(realpath "$1")}
shift
mapfile -t examples < <(realpath "$@")
source "$(dirname "$0")/command/lib.sh"
shown=()

# prints NAME RUN: the example's whole output, in its store, is that on the standard input
prints() {
  local name=$1 run=$2 program code=0
  for program in "${examples[@]}"; do [[ ${program##*/} != "$name" ]] || break; done
  "$program" "$folder/$name" >output 2>&1 || code=$?
  # The only part that the clock decides.
  sed -E 's/[0-9]+ s ago/N s ago/' output >shown
  checks=$((checks + 1))
  if ! diff -u --label "$name, $run run, is to print" --label "prints (exit code $code)" - shown ||
    [[ $code -ne 0 ]]; then
    fail "$name, $run run, exit code $code"
  fi
}

first() { shown+=("$1"); prints "$1" first; }
again() { prints "$1" second; }
# Both runs alike.
both() { local expected; expected=$(cat); first "$1" <<<"$expected"; again "$1" <<<"$expected"; }

first message_id <<'END'
processing message-1
processing message-2
dropping message-1: duplicate
END
again message_id <<'END'
dropping message-1: duplicate
dropping message-2: duplicate
dropping message-1: duplicate
END

both business_key <<'END'
client-7/a, 2 books: order 1 created
client-7/b, 1 lamp: order 2 created
client-7/a, 2 books: order 1 created
client-7/a, 3 books: refused: another order has this id
END

first effect_and_mark <<'END'
payment-1 of 30: balance 30
payment-1 again: balance 30
payment-2 of 12 failed (no connection to the auditor): balance 30, not marked
payment-2 again: balance 42
END
again effect_and_mark <<'END'
payment-1 of 30: balance 42
payment-1 again: balance 42
payment-2 was known
payment-2 again: balance 42
END

both claim_with_lease <<'END'
while one has it: in_progress, by this process
given up: fresh
completed: in time
from then on: duplicate
after the lease: fresh, with a greater token
the late owner completes: too late
the new owner completes: in time
END

both correlation <<'END'
order-4711: order-service order-created
order-4711: billing-service invoice-sent
order-4711: shipping-service parcel-sent
order-4711 has been shipped: true
order-4712 has been shipped: false
END

first broadcast_and_load_balancing <<'END'
1000 messages
order-service, 5 instances: 1000 processed
billing-service, 1 instance: 1000 processed
END
again broadcast_and_load_balancing <<'END'
1000 messages
order-service, 5 instances: 0 processed
billing-service, 1 instance: 0 processed
END

first metrics_and_debug_log <<'END'
debug: order-service message-1 fresh, part of order-4711
debug: order-service message-1 duplicate, processed N s ago
debug: order-service message-2 fresh
debug: order-service message-2 conflict, processed N s ago
debug: order-service message-3 fresh
debug: order-service message-3 in_progress
decisions: 3 fresh, 3 not
checks: 1, of which known 1
ids: 2
END
again metrics_and_debug_log <<'END'
debug: order-service message-1 duplicate, part of order-4711, processed N s ago
debug: order-service message-1 duplicate, processed N s ago
debug: order-service message-2 duplicate, processed N s ago
debug: order-service message-2 conflict, processed N s ago
debug: order-service message-3 fresh
debug: order-service message-3 in_progress
decisions: 1 fresh, 5 not
checks: 1, of which known 1
ids: 2
END

both single_instance <<'END'
by the first instance: written
a second instance has to wait
by the next instance: written
by the instance that hung: refused, another one has the lock
it has lost the lock
END

both nightly_job <<'END'
the first attempt: the printer is on fire
3 instances, runs: 1
an instance has: 42 orders, 1250 euros
an instance has: 42 orders, 1250 euros
an instance has: 42 orders, 1250 euros
the mails are kept alive: yes
and sent: in time
END

first forget <<'END'
mark: fresh
mark: duplicate
forget: was known
forget: was not known
mark: fresh
the log:
  message-1 processed
  message-1 forgotten
  message-1 processed
END
again forget <<'END'
mark: duplicate
mark: duplicate
forget: was known
forget: was not known
mark: fresh
the log:
  message-1 processed
  message-1 forgotten
  message-1 processed
  message-1 forgotten
  message-1 processed
END

first too_old <<'END'
sent an hour ago: fresh
sent two days ago: too_old
two days ago is remembered: false
END
again too_old <<'END'
sent an hour ago: duplicate
sent two days ago: too_old
two days ago is remembered: false
END

first source <<'END'
orders/3/17: fresh
orders/3/17: duplicate, delivered again
orders/3/18: duplicate, sent again
processed from orders/3/17
END
again source <<'END'
orders/3/17: duplicate, delivered again
orders/3/17: duplicate, delivered again
orders/3/18: duplicate, sent again
processed from orders/3/17
END

first c_consumer <<'END'
processing order-1
acknowledging it
order-1 is duplicate: shipped
batch: fresh, fresh, duplicate
alice has 30
END
again c_consumer <<'END'
order-1 is duplicate: shipped
order-1 is duplicate: shipped
batch: duplicate, duplicate, duplicate
alice has 30
END

# dumps NAME PATTERN: the command shows a record of the example's store with these members
dumps() {
  [[ -n $oncelog ]] || return 0
  "$oncelog" dump --store "$1" >output
  says "the dumped records of $1" "$2" output
}
dumps source '"id":"message-1",.*"source":\{"name":"orders","partition":3,"offset":17\}'
dumps business_key '"id":"client-7/a",.*"fingerprint":"[0-9a-f]{16}","result":"order 1 created"'

for program in "${examples[@]}"; do
  exits "${program##*/} without a store" 2 "$program"
  same "${program##*/} without a store" "usage: ${program##*/} STORE" "$(cat out err)"
done

# Whoever adds an example adds its output.
same "the examples that are shown here" "$(printf '%s\n' "${examples[@]##*/}" | sort | paste -sd' ')" \
  "$(printf '%s\n' "${shown[@]}" | sort | paste -sd' ')"
