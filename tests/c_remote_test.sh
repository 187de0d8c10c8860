#!/usr/bin/env bash
# The C interface opens a store at an address when oncelog-remote is linked, or can be loaded, and says what is missing
# where it cannot.
#   c_remote_test.sh SHARED STATIC WHOLE REMOTE     tests/c/remote.c, linked to liboncelog.so, to liboncelog.a, and to
#                                                   all of liboncelog-remote.a; and liboncelog-remote.so
set -euo pipefail

shared=$(realpath "$1")
static=$(realpath "$2")
whole=$(realpath "$3")
remote=$(realpath "$4")
tests=$(realpath "$(dirname "$0")")/command
source "$tests/lib.sh"
source "$tests/servers.sh"

unset LD_LIBRARY_PATH LD_PRELOAD
absent=redis+unix://$folder/no/socket

exits "without oncelog-remote" 1 "$shared" "$absent"
says "without oncelog-remote" "open: unsupported: .*oncelog-remote, which cannot be loaded: liboncelog-remote\.so\." out
exits "linked to liboncelog.a" 1 "$static" "$absent"
says "linked to liboncelog.a" "open: unsupported: .*all of which has to be linked" out
echo "no library" >"liboncelog-remote.so.0"
exits "with a damaged one" 1 env LD_LIBRARY_PATH="$folder" "$shared" "$absent"
says "with a damaged one" "open: unsupported: .*cannot be loaded.*liboncelog-remote\.so\.0" out

# loaded HOW COMMAND...: oncelog-remote answers
loaded() {
  local how=$1
  shift
  exits "$how, no server" 1 "$@" "$absent"
  says "$how, no server" "open: io: " out
}
loaded "loaded when an address is opened" env LD_LIBRARY_PATH="${remote%/*}" "$shared"
loaded "loaded before" env LD_PRELOAD="$remote" "$shared"
loaded "linked to all of liboncelog-remote.a" "$whole"

# used ADDRESS CODE TRANSACTION: what the program answers for a new store, and then once more
used() {
  exits "$1" "$2" env LD_LIBRARY_PATH="${remote%/*}" "$shared" "$1"
  same "$1" "aa: fresh bb: fresh aa: duplicate c-1: fresh completed: yes" "$(head -5 out | paste -sd' ')"
  says "$1" "$3" out
  exits "$1, again" "$2" "$whole" "$1"
  same "$1, again" "aa: duplicate bb: duplicate aa: duplicate c-1: duplicate completed: no" "$(head -5 out | paste -sd' ')"
}
tried=()
if can_redis; then
  tried+=(redis)
  start_redis
  used "$redis?prefix=c" 1 "^transact: unsupported: "
fi
if can_postgresql; then
  tried+=(PostgreSQL)
  start_postgresql
  used "$postgresql_address&schema=c" 0 "^in a transaction: (fresh|duplicate), with a connection"
fi
[[ $failures -eq 0 ]] || exit 1
[[ ${#tried[@]} -gt 0 ]] || skip "no server: neither redis-server nor PostgreSQL is installed"
