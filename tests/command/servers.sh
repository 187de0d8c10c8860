# shellcheck shell=bash
# Servers of the tests' own, on Unix sockets in the script's folder, which end with the script. Sourced after lib.sh.

# can_redis, can_postgresql: whether the system has what it takes
can_redis() { command -v redis-server >/dev/null && command -v redis-cli >/dev/null; }
can_postgresql() {
  local found
  found=$(printf '%s\n' /usr/lib/postgresql/*/bin/initdb | sort -V | tail -1)
  postgresql=${found%/*}
  [[ -x $postgresql/postgres ]] && { [[ $EUID -ne 0 ]] || id postgres >/dev/null 2>&1; }
}

# as_postgres COMMAND...: as the user that PostgreSQL's programs accept, which is not root
as_postgres() {
  if [[ $EUID -ne 0 ]]; then "$@"; else setpriv --reuid postgres --regid postgres --clear-groups -- "$@"; fi
}

# start_redis [OPTION...]: sets redis to its store's address
start_redis() {
  mkdir -p redis
  redis-server --port 0 --unixsocket "$folder/redis/socket" --dir "$folder/redis" --appendonly yes --appendfsync always \
    "$@" >redis/log 2>&1 &
  local server=$!
  until redis-cli -s redis/socket ping >/dev/null 2>&1; do
    kill -0 "$server" || { cat redis/log >&2; return 1; }
  done
  # shellcheck disable=SC2034 # For the script.
  redis="redis+unix://$folder/redis/socket"
}

# start_postgresql: sets postgresql_address to its store's address
start_postgresql() {
  mkdir -p postgresql
  chmod 755 "$folder"
  [[ $EUID -ne 0 ]] || chown postgres postgresql
  as_postgres "$postgresql/initdb" -D postgresql/data -U postgres --auth=trust --no-locale --encoding=UTF8 --no-sync \
    >postgresql.log
  # Its children end with it when it is killed, and what it has written stays: it need not wait for the disk.
  as_postgres "$postgresql/postgres" -D postgresql/data -c listen_addresses= -c fsync=off \
    -c dynamic_shared_memory_type=mmap -c unix_socket_directories="$folder/postgresql" >>postgresql.log 2>&1 &
  local server=$!
  until ask_postgresql "select 1" >/dev/null 2>&1; do
    kill -0 "$server" || { cat postgresql.log >&2; return 1; }
  done
  # shellcheck disable=SC2034 # For the script.
  postgresql_address="postgresql://postgres@/postgres?host=$folder/postgresql"
}

# ask_postgresql STATEMENT...: what psql prints
ask_postgresql() { "$postgresql/psql" -h "$folder/postgresql" -U postgres -d postgres -qAtX -v ON_ERROR_STOP=1 -c "$@"; }

# serve_stores BUILD-FOLDER: starts the servers that the system and this build have, and passes their stores' addresses
# to the tests of other languages in ONCELOG_TEST_REDIS and ONCELOG_TEST_POSTGRESQL; of those that are missing it says so.
# Has oncelog-remote found where it was built.
serve_stores() {
  local remote=$1/src/remote
  if [[ ! -e $remote/liboncelog-remote.so ]]; then
    echo "not tested: stores at an address; oncelog-remote is not built"
    return
  fi
  export LD_LIBRARY_PATH=$remote${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  if can_redis; then
    start_redis
    export ONCELOG_TEST_REDIS=$redis
  else
    echo "not tested: stores on Redis; there is no redis-server (redis-server, redis-tools)"
  fi
  if can_postgresql; then
    start_postgresql
    export ONCELOG_TEST_POSTGRESQL=$postgresql_address
  else
    echo "not tested: stores on PostgreSQL; there is no postgres (postgresql)"
  fi
}
