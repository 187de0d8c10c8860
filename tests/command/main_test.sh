#!/usr/bin/env bash
# `oncelog` without a subcommand or with an unknown one, its help and its version.
#   main_test.sh ONCELOG
set -euo pipefail

oncelog=$(realpath "$1")
source "$(dirname "$0")/lib.sh"

refuses "an unknown command" "there is no command 'bogus'; see oncelog --help" "$oncelog" bogus --store new

refuses "an unknown option" "see oncelog mark --help" "$oncelog" mark --store new --no-such-option
refuses "no subcommand" "see oncelog --help" "$oncelog"

absent "a refused command creates no store" new
exits "--help" 0 "$oncelog" filter --help
exits "--version" 0 "$oncelog" --version
same "--version" "oncelog 0.1.0" "$(cat out)"
refuses "--version to a full disk" "cannot write to standard output" bash -c '"$0" --version >/dev/full' "$oncelog"
