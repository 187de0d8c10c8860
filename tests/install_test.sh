#!/usr/bin/env bash
# What `meson install` puts into a system is all that a consumer needs: a program outside of this tree is built with
# pkg-config alone, against the static and the shared library, and run.
#   install_test.sh BUILD-FOLDER SANITIZE MESON COMPILER...
set -euo pipefail

build=$(realpath "$1")
sanitize=$2
meson=$3
shift 3
compiler=("$@")
[[ $sanitize == none ]] || compiler+=("-fsanitize=$sanitize")
source "$(dirname "$0")/command/lib.sh"

root=$folder/root
install_built "$build" "$meson" "$root"
# The system's packages stay where they are; ours is below the destination folder.
sed -i "s|^prefix=|prefix=$root|" "$pc"
export PKG_CONFIG_PATH=${pc%/*}${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}

mkdir "$folder/consumer"
cd "$folder/consumer"
cat >consumer.cc <<'END'
#include <oncelog/oncelog.h>

#include <cstdio>

int main(int, char** arguments) {
  const auto store = oncelog::Store::open(arguments[1]);
  const auto orders = store.scope("orders");
  const bool right = orders.mark("m-1") == oncelog::Verdict::fresh && orders.mark("m-1") == oncelog::Verdict::duplicate &&
                     !orders.contains("m-2");
  store.sync();
  try {
    oncelog::Store::open(arguments[1], {.buckets = 3});
    return 1;
  } catch (const oncelog::Error& error) {
    if (error.code() != oncelog::ErrorCode::options_mismatch) return 1;
  }
  std::puts(right ? "right" : "wrong");
  return right ? 0 : 1;
}
END

# Everything a public header includes must have been installed too, and each must stand alone.
read -ra flags <<<"$(pkg-config --cflags oncelog)"
for header in "$root"/*/include/oncelog/*.h "$root"/*/*/include/oncelog/*.h; do
  [[ -f $header ]] || continue
  exits "the installed ${header##*/}" 0 "${compiler[@]}" -std=c++20 -fsyntax-only -x c++ "${flags[@]}" - \
    <<<"#include <oncelog/${header##*/}>"
  cat err >&2
done
holds "public headers are installed" "$checks > 0"

read -ra shared <<<"$(pkg-config --libs oncelog)"
"${compiler[@]}" -std=c++20 consumer.cc "${flags[@]}" "${shared[@]}" -o shared
lib=$(dirname "$(find "$root" -name 'liboncelog.so' | head -1)")
same "the program that is linked shared" right "$(LD_LIBRARY_PATH=$lib ./shared shared-store)"
LD_LIBRARY_PATH=$lib ldd ./shared >libraries
says "what it is linked to" "liboncelog\.so.* => $lib/" libraries

read -ra static <<<"$(pkg-config --static --libs oncelog)"
static=("${static[@]/#-loncelog/-l:liboncelog.a}")
"${compiler[@]}" -std=c++20 consumer.cc "${flags[@]}" "${static[@]}" -o static
same "the program that is linked statically" right "$(./static static-store)"
same "the oncelog libraries that it is linked to" 0 "$(ldd ./static | grep -c liboncelog)"

# From C: the shared library alone, with its versions; the static one is linked by the C++ compiler.
cat >consumer.c <<'END'
#include <oncelog/c.h>
#include <stdio.h>

int main(int argc, char** arguments) {
  const oncelog_options options = {.size = sizeof options};
  oncelog_store* store = NULL;
  oncelog_scope* orders = NULL;
  oncelog_marked marked = {.size = sizeof marked};
  if (argc != 2 || oncelog_open(arguments[1], &options, &store, NULL) != ONCELOG_OK) return 1;
  if (oncelog_store_scope(store, "orders", 6, NULL, &orders, NULL) != ONCELOG_OK) return 1;
  if (oncelog_mark(orders, "m-1", 3, NULL, ONCELOG_ACK_DISK, &marked, NULL) != ONCELOG_OK) return 1;
  puts(oncelog_verdict_name(marked.verdict));
  oncelog_scope_free(orders);
  oncelog_store_free(store);
  return 0;
}
END
c_flags=(-std=c11 -pedantic -Wall -Wextra -Werror)
"${CC:-cc}" "${c_flags[@]}" consumer.c "${flags[@]}" "${shared[@]}" -o c-shared
same "the program in C that is linked shared" fresh "$(LD_LIBRARY_PATH=$lib ./c-shared c-store)"
nm -D --with-symbol-versions c-shared >symbols
says "what it asks of the library" " oncelog_mark@ONCELOG_0\.1$" symbols
"${CC:-cc}" "${c_flags[@]}" -c consumer.c "${flags[@]}"
"${compiler[@]}" consumer.o "${static[@]}" -o c-static
same "the program in C that is linked statically" duplicate "$(./c-static c-store)"

# The library for stores that hosts share, where it was built.
[[ -f ${pc%/*}/oncelog-remote.pc ]] || exit 0
sed -i "s|^prefix=|prefix=$root|" "${pc%/*}/oncelog-remote.pc"
cat >remote.cc <<'END'
#include <oncelog/remote.h>

#include <cstdio>

int main() {
  try {
    oncelog::remote::open("redis+unix:///no/such/socket", {.timeout = std::chrono::milliseconds{1}});
  } catch (const oncelog::Error& error) {
    const bool right = error.code() == oncelog::ErrorCode::io || error.code() == oncelog::ErrorCode::unsupported;
    std::puts(right ? "right" : error.what());
    return 0;
  }
  return 1;
}
END
read -ra shared <<<"$(pkg-config --cflags --libs oncelog-remote)"
"${compiler[@]}" -std=c++20 remote.cc "${shared[@]}" -o remote-shared
lib=$lib:$(dirname "$(find "$root" -name 'liboncelog-remote.so' | head -1)")
same "the remote program that is linked shared" right "$(LD_LIBRARY_PATH=$lib ./remote-shared)"
read -ra static <<<"$(pkg-config --cflags --static --libs oncelog-remote)"
static=("${static[@]/#-loncelog-remote/-l:liboncelog-remote.a}")
static=("${static[@]/%-loncelog/-l:liboncelog.a}")
"${compiler[@]}" -std=c++20 remote.cc "${static[@]}" -o remote-static
same "the remote program that is linked statically" right "$(./remote-static)"
same "the oncelog libraries that it is linked to" 0 "$(ldd ./remote-static | grep -c liboncelog)"
