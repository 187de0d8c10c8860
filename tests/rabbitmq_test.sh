#!/usr/bin/env bash
# The RabbitMQ example against a real broker, which this starts on free ports of 127.0.0.1 and stops: consumers are
# killed while they hold messages, one by one and two at a time, before and after they commit and at any moment, and
# every message is processed once.
#   rabbitmq_test.sh [RABBITMQ_CONSUMER]     none where it was not built
set -euo pipefail

consumer=${1:+$(realpath "$1")}
source "$(dirname "$0")/command/lib.sh"
[[ -n $consumer ]] || skip "the example is not built, because librabbitmq is missing"
messages=500
distinct=300
more_messages=2000

# What Debian has in the path is a wrapper that insists on its own user and folders; this is the broker itself.
server=/usr/lib/rabbitmq/bin/rabbitmq-server
[[ -x $server ]] || server=$(command -v rabbitmq-server) || skip "rabbitmq-server is not installed"
epmd=$(command -v epmd) || skip "epmd, which Erlang's nodes need, is not in the path"

# ---- The broker

# A process that ends with this script even when the script is killed.
bound() { exec setpriv --pdeathsig KILL "$@"; }

# start_broker: sets port; false if the broker did not come up, e.g. because another process has taken one of its ports
start_broker() {
  local ports
  ports=$(python3 -c '
import socket
sockets = [socket.socket() for _ in range(3)]
for s in sockets: s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in sockets))')
  read -r port distribution_port epmd_port <<<"$ports"

  # Started here, so that no Erlang starts one that would stay.
  export ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT=$epmd_port
  bound "$epmd" -address 127.0.0.1 -port "$epmd_port" >epmd.log 2>&1 &

  mkdir -p broker
  # The 50 MB by default would stop publishers on a small disk.
  echo 'disk_free_limit.absolute = 1MB' >broker/rabbitmq.conf
  : >broker/environment.conf
  : >broker/enabled_plugins
  export HOME=$folder/broker # For Erlang's cookie.
  export RABBITMQ_NODENAME=oncelog-$$@localhost RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT=$port
  export RABBITMQ_DIST_PORT=$distribution_port
  export RABBITMQ_BASE=$HOME RABBITMQ_MNESIA_BASE=$HOME/mnesia RABBITMQ_LOG_BASE=$HOME/log
  export RABBITMQ_CONF_ENV_FILE=$HOME/environment.conf RABBITMQ_CONFIG_FILE=$HOME/rabbitmq.conf
  export RABBITMQ_ADVANCED_CONFIG_FILE=$HOME/advanced.config
  export RABBITMQ_ENABLED_PLUGINS_FILE=$HOME/enabled_plugins
  export RABBITMQ_PID_FILE=$HOME/pid
  export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-noinput -kernel inet_dist_use_interface {127,0,0,1}'
  export RABBITMQ_ALLOW_INPUT=1 # Has the script become the broker, instead of waiting for it.
  bound "$server" >broker.log 2>&1 &
  local broker=$!

  # The port alone could be another process's, if that was quicker to take it.
  until grep -q "completed with" broker.log; do
    kill -0 "$broker" 2>/dev/null || return 1
    sleep 0.1
  done
}

started=$EPOCHREALTIME
for attempt in 1 2 3; do
  if start_broker; then break; fi
  cat epmd.log broker.log >&2
  jobs -p | xargs -r kill -9 2>/dev/null || true
  [[ $attempt -lt 3 ]] || { echo "the broker does not start" >&2; exit 1; }
done
awk -v from="$started" -v to="$EPOCHREALTIME" 'BEGIN { printf "the broker took %.1f s to start\n", to - from }'

# ---- The service

run() { setpriv --pdeathsig KILL "$consumer" --port "$port" --folder "$folder/service" "$@"; }

# start ... &: run, with $! being the consumer itself
start() { exec setpriv --pdeathsig KILL "$consumer" --port "$port" --folder "$folder/service" "$@"; }

# count NAME: from the last report
count() { awk -v name="$1" '$1 == name { print $2 }' counts; }

drained() {
  run report >counts || exit 1
  [[ $(count ready) -eq 0 && $(count consumers) -eq 0 ]]
}

deaths=0
# dies JOB: waits for a consumer that is to be killed; it may find the queues empty before
dies() {
  local code=0
  { wait "$1"; } 2>/dev/null || code=$?
  case $code in
    0) ;;
    137) deaths=$((deaths + 1)) ;;
    *) echo "a consumer ended with exit code $code: $(cat killed.log)" >&2; exit 1 ;;
  esac
}

RANDOM=$seed
echo "seed $seed"

run publish "$messages" --distinct "$distinct"
# Killed after the commit, which the broker does not hear of, or before it.
for when in "" "" "" --uncommitted --uncommitted --uncommitted; do
  start consume --die-after $((1 + RANDOM % 100)) $when 2>>killed.log &
  dies $!
done
# Two at a time: what one of them leaves the other gets at once.
for when in "" --uncommitted --uncommitted; do
  start consume --die-after $((1 + RANDOM % 100)) $when 2>>killed.log &
  first=$!
  start consume --die-after $((1 + RANDOM % 100)) $when 2>>killed.log &
  second=$!
  dies "$first"
  dies "$second"
done
scripted_deaths=$deaths

run publish "$more_messages" # Of which some are new.
size() { stat --format=%s service/deliveries; }
# Killed from outside, wherever they are in their work once that has begun.
for _ in {1..12}; do
  before=$(size)
  start consume 2>>killed.log &
  first=$!
  start consume 2>>killed.log &
  second=$!
  while [[ $(size) -eq $before ]] && kill -0 "$first" "$second" 2>/dev/null; do sleep 0.001; done
  sleep "0.0$((10 + RANDOM % 30))"
  kill -9 "$first" 2>/dev/null || true
  dies "$first"
  sleep "0.0$((10 + RANDOM % 10))"
  kill -9 "$second" 2>/dev/null || true
  dies "$second"
done
# What the dead have held comes back when the broker notices.
until drained; do run consume; done

cat counts
# How often the broker would deliver, if nobody died.
copies=$(($(grep -c ' order\.' service/published) + $(grep -c '\.created\.' service/published) +
  $(grep -c '\.us-west$' service/published)))
echo "copies $copies"
echo "deaths $deaths, $scripted_deaths of them by their own hand"

holds "messages published" "$(count published) == $messages + $more_messages"
holds "distinct messages" "$(count distinct) == $more_messages"
holds "copies that the broker makes" "$copies > $messages + $more_messages"
holds "deaths by their own hand" "$scripted_deaths >= 6"
# Each of these dead has seen a message that was delivered again.
holds "deliveries" "$(count deliveries) >= $copies + $scripted_deaths"
holds "messages delivered again" "$(count redelivered) > 0"
holds "messages processed once" "$(count processed_once) == $more_messages"
holds "messages processed again" "$(count processed_again) == 0"
holds "messages lost" "$(count lost) == 0"
