#!/usr/bin/env bash
# Stores on file systems that are mounted read-only, and backups to mount points.
#   mounts_test.sh ONCELOG
set -euo pipefail

oncelog=$(realpath "$1")
source "$(dirname "$0")/lib.sh"

unshare -m true 2>/dev/null || skip "mounts are not permitted here"

make_store store

"$oncelog" backup --store store copied >/dev/null
mkdir mounted new-mount
exits "a file system that is mounted read-only" 0 unshare -m bash -ec '
  mount --bind . mounted
  mount -o remount,bind,ro mounted
  for store in store copied; do
    "$0" verify --store mounted/$store
    "$0" restore mounted/$store restored-$store
    "$0" repair --store mounted/$store --into repaired-$store
  done' "$oncelog"
for store in restored-store restored-copied repaired-store repaired-copied; do
  exits "$store" 0 "$oncelog" check --quiet --store $store id-000001 other
done
same "a copy that is verified, restored and repaired stays as it is" data.mdb "$(ls copied)"
# shellcheck disable=SC2016
refuses "a store that is written to by another mount" "open by a mount where it can be written" unshare -m bash -ec '
  mount --bind . mounted
  mount -o remount,bind,ro mounted
  mkfifo held
  "$0" mark --store store <held >/dev/null &
  exec 9>held
  echo a >&9
  until "$0" check --quiet --store store a; do :; done
  "$0" verify --store mounted/store' "$oncelog"
refuses "a backup to a mount point" "is a mount point.*name a new directory in it" \
  unshare -m bash -ec 'mount -t tmpfs none new-mount; "$0" backup --store store new-mount' "$oncelog"
refuses "a backup to a directory that is mounted by another name" "is a mount point" \
  unshare -m bash -ec 'mount --bind new-mount new-mount; "$0" backup --store store new-mount' "$oncelog"
