#!/usr/bin/env bash
# Debian's packages, as tools/package builds them: lintian finds no error, what is executed is hardened, and in a fresh
# Debian 12 they can be installed, used by an ordinary user (command, C, Python, Go), upgraded and purged without a trace.
# They are built twice, in other surroundings, and compared byte by byte. That takes a quarter of an hour: skipped but with
# ONCELOG_TEST_SCALE=long or given packages; and where a program for it is missing, this is not root, or may not mount.
#   package_test.sh SOURCE-FOLDER [PACKAGES]     PACKAGES is a folder of packages that are built already
set -euo pipefail

source=$(realpath "$1")
built=${2:+$(realpath "$2")}
source "$(dirname "$0")/command/lib.sh"

[[ $built || ${ONCELOG_TEST_SCALE:-} == long ]] || skip "ONCELOG_TEST_SCALE=long builds and installs Debian's packages"
for program in dpkg-buildpackage dh dh_python3 lintian debootstrap; do
  command -v "$program" >/dev/null || skip "there is no $program (tools/setup --tests)"
done
[[ $EUID -eq 0 ]] || skip "only root can set up a Debian system"
unshare --mount true 2>/dev/null || skip "nothing can be mounted here"
# The system's own mirror of Debian.
mirror=$(apt-get indextargets --format '$(SITE)' 'Identifier: Packages' 'Codename: bookworm' | head -1)
[[ $mirror ]] || skip "apt knows no mirror of Debian 12"

if [[ $built ]]; then
  ln -s "$built" packages
else
  exits "building the packages" 0 "$source/tools/package" packages
  cat err >&2
fi
same "the packages" "golang-oncelog-dev liboncelog-dev liboncelog-remote-dev liboncelog-remote0 liboncelog0 oncelog python3-oncelog" \
  "$(cd packages && printf '%s\n' ./*.deb | sed 's|^\./||; s/_.*//' | grep -v -- '-dbgsym$' | xargs)"
exits "lintian" 0 lintian --allow-root --fail-on error packages/*.changes
cat out >&2

if [[ ${ONCELOG_TEST_SCALE:-} == long ]]; then
  mkdir another-place
  exits "building them again" 0 env TMPDIR="$folder/another-place" LC_ALL=C.UTF-8 TZ=Asia/Tokyo CCACHE_DISABLE=1 \
    bash -c 'umask 077; "$0" again' "$source/tools/package"
  cat err >&2
  for package in packages/*.deb; do
    same_file "${package##*/}, built again" "$package" "again/${package##*/}"
  done
fi

# ---- Hardening
for package in packages/*.deb; do
  dpkg-deb --extract "$package" extracted
done
# hardened FILE
hardened() {
  readelf --wide --file-header --program-headers --dynamic --dyn-syms "$1" >elf
  says "${1##*/}: its place in memory is random" "Type: +DYN" elf
  says "${1##*/}: relocations are read-only" "GNU_RELRO" elf
  says "${1##*/}: symbols are bound at its start" "BIND_NOW|FLAGS.*NOW" elf
  says "${1##*/}: the stack is protected" "__stack_chk_fail" elf
}
hardened extracted/usr/bin/oncelog
for library in extracted/usr/lib/*/liboncelog.so.0 extracted/usr/lib/*/liboncelog-remote.so.0 \
  extracted/usr/lib/python3/dist-packages/oncelog/_oncelog.*.so; do
  hardened "$library"
done

# ---- A fresh Debian
root=$folder/root
exits "debootstrap" 0 debootstrap --variant=minbase bookworm "$root" "$mirror"
[[ $failures -eq 0 ]] || { tail out err >&2; exit 1; }
mkdir "$root/packages" "$root/srv/user"
cp packages/*.deb "$root/packages"
rm "$root"/packages/*-dbgsym_*.deb
chown 65534:65534 "$root/srv/user"
# From where the system itself gets Debian's packages.
cp /etc/resolv.conf /etc/hosts "$root/etc/"
rm "$root/etc/apt/sources.list"
for sources in sources.list sources.list.d/debian.sources; do
  [[ ! -s /etc/apt/$sources ]] || cp "/etc/apt/$sources" "$root/etc/apt/$sources"
done
apt-config dump | grep '^Acquire::' >"$root/etc/apt/apt.conf.d/acquire"

# within USER COMMAND...: in that system. What is mounted for it is gone at its end, as are its processes.
within() {
  # shellcheck disable=SC2016 # That shell expands it.
  unshare --mount --pid --fork --kill-child bash -euc '
    user=$1 root=$2
    shift 2
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
    exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME=/srv/user DEBIAN_FRONTEND=noninteractive \
      GO111MODULE=off GOPATH=/usr/share/gocode GOCACHE=/srv/user/go chroot --userspec="$user" "$root" "$@"' \
    within "$1" "$root" "${@:2}"
}
as_root() { within 0:0 bash -euc "$1"; }
as_user() { within 65534:65534 bash -euc "cd; $1"; }
# All files of the system but those that apt and dpkg keep about packages, and what ran there.
files() {
  find "$root" -xdev \( -path "$root/var/lib/apt" -o -path "$root/var/lib/dpkg" -o -path "$root/var/cache" -o \
    -path "$root/var/log" -o -path "$root/srv/user" -o -path "$root/packages" -o -path "$root/dev" -o -path "$root/proc" \) \
    -prune -o -print | sort
}

# What they depend on comes first, so that all that is new afterwards is theirs. Compilers are no dependency.
exits "the packages' dependencies" 0 as_root '
  apt-get update -qq
  apt-get install -qq --no-install-recommends gcc golang-go libc6-dev
  apt-get install --simulate --no-install-recommends /packages/*.deb | sed -n "s/^Inst \([^ ]*\).*/\1/p" |
    grep -v oncelog | xargs apt-get install -qq --no-install-recommends'
[[ $failures -eq 0 ]] || { tail out err >&2; exit 1; }
files >before
exits "installing" 0 as_root 'apt-get install -qq --no-install-recommends /packages/*.deb'
cat err >&2

# used WHEN: each package does its work, for a user who may write only to one folder
used() {
  exits "the command, $1" 0 as_user 'oncelog mark --store of-command m-1; oncelog check --store of-command m-1'
  same "the command's answers, $1" "$2 m-1 known m-1" "$(xargs <out)"
  exits "C, $1" 0 as_user 'gcc -std=c11 -Wall -Werror /usr/share/doc/liboncelog-dev/examples/c_consumer.c \
    $(pkg-config --cflags --libs oncelog) -o c_consumer; ./c_consumer of-c'
  says "C's answers, $1" "^order-1 is duplicate: shipped$" out
  exits "Python, $1" 0 as_user \
    'python3 -c "import oncelog; print(oncelog.Store(\"of-python\").scope(\"s\").mark(\"m-1\").verdict.name.lower())"'
  same "Python's answer, $1" "$2" "$(cat out)"
  exits "Go, $1" 0 as_user 'go build -o service oncelog.dev/oncelog/examples/order-service; ./service of-go'
  says "Go's answers, $1" "^order 17: payments 17: paid 1250 cents$" out
}
used installed fresh
# The library that the command loads for a store on a server: what is missing is the server.
exits "a store on a server" 2 as_user 'oncelog check --store redis+unix:///no/such/socket m-1'
says "a store on a server" "no/such/socket" err

# ---- A higher version, of the same contents
mkdir newer
version=$(dpkg-deb --field packages/oncelog_*.deb Version)
for package in "$root"/packages/*.deb; do
  rm -rf raw
  dpkg-deb --raw-extract "$package" raw
  sed -i -E "/^(Version|Depends):/s/\b${version//./\\.}\b/$version+1/g" raw/DEBIAN/control
  dpkg-deb --root-owner-group --build raw newer >log
done
rm "$root"/packages/*.deb
cp newer/*.deb "$root/packages"
exits "upgrading" 0 as_root 'apt-get install -qq --no-install-recommends /packages/*.deb'
cat err >&2
same "the versions afterwards" "$version+1" \
  "$(as_root "dpkg-query --show --showformat='\${Version}\n' '*oncelog*'" | sort -u)"
used upgraded duplicate

exits "purging" 0 as_root "dpkg-query --show --showformat='\${Package}\n' '*oncelog*' | xargs apt-get purge -qq"
files >after
same_file "the files of the system, before and after" before after
