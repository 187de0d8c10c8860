#!/usr/bin/env bash
# The Go package against what `meson install` puts into a system: its form, its tests under the race detector, also
# on Redis and PostgreSQL where they and oncelog-remote are there, and the example, twice with the same store.
#   go_test.sh BUILD-FOLDER SOURCE-FOLDER SANITIZE MESON
set -euo pipefail

build=$(realpath "$1")
package=$(realpath "$2")/src/bindings/go
sanitize=$3
meson=$4
command -v go >/dev/null || { echo "skipped: there is no go (golang-go)"; exit 77; }
[[ $sanitize == none ]] || { echo "skipped: a library with the sanitizer $sanitize cannot be loaded by a program of Go"; exit 77; }
tests=$(realpath "$(dirname "$0")")/command
source "$tests/lib.sh"
source "$tests/servers.sh"

# Always the same folder: Go keeps in its cache where it has found a library.
root=$build/go-root
rm -rf "$root"
install_built "$build" "$meson" "$root"
sed -i "s|^prefix=|prefix=$root|" "$pc"
export PKG_CONFIG_PATH=${pc%/*}${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}
LD_LIBRARY_PATH=$(dirname "$(find "$root" -name liboncelog.so | head -1)")
# Nothing is fetched: the package needs nothing.
export LD_LIBRARY_PATH GOFLAGS=-mod=mod GOPROXY=off GOCACHE=$build/go-cache
# The stricter check of what pointers C is given, which later versions have elsewhere.
[[ $(go env GOVERSION) != go1.19* && $(go env GOVERSION) != go1.20* ]] || export GODEBUG=cgocheck=2

in_package() (cd "$package" && "$@")
same "files that gofmt would change" "" "$(gofmt -l "$package")"
exits "go vet" 0 in_package go vet ./...
cat err >&2
serve_stores "$build"
exits "go test -race" 0 in_package go test -race -count=1 ./...
cat out err >&2

in_package go build -o "$folder/order-service" ./examples/order-service
exits "the example" 0 ./order-service store
says "a payment" "^message m-1: order 17, paid 1250 cents$" out
says "the same payment by another message" "^message m-2: order 17, paid 1250 cents before$" out
says "another amount" "^message m-4: order 17, refused" out
same "messages that were processed" 4 "$(grep -c ^message out)"
says "the correlation" "^order 17: payments 17: paid 1250 cents$" out
says "the figures" '^oncelog_process_decisions_total{scope="payments",verdict="conflict"} 1$' out
says "the debug log" '^debug: payments "17" is duplicate$' err
exits "the example with what it has seen" 0 ./order-service store
same "messages that were processed again" 0 "$(grep -c ^message out)"
