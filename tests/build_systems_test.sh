#!/usr/bin/env bash
# A project outside of this tree finds what was installed, below a folder with a space in its name, with CMake and with
# a Makefile, and builds this tree itself as a subproject of Meson's.
#   build_systems_test.sh BUILD-FOLDER SOURCE-FOLDER SANITIZE MESON COMPILER...
set -euo pipefail

build=$(realpath "$1")
source=$(realpath "$2")
sanitize=$3
meson=$4
shift 4
compiler=("$@")
[[ $sanitize == none ]] || compiler+=("-fsanitize=$sanitize")
source "$(dirname "$0")/command/lib.sh"

root="$folder/a place"
install_built "$build" "$meson" "$root"
prefix="$root$(sed -n 's/^prefix=//p' "$pc")"
libraries=$(dirname "$(find "$root" -name 'liboncelog.*' | head -1)")

mkdir consumer
cat >consumer/consumer.cc <<'END'
#include <oncelog/oncelog.h>

#include <cstdio>

int main(int, char** arguments) {
  const auto orders = oncelog::Store::open(arguments[1]).scope("orders");
  std::puts(orders.mark("m-1") == oncelog::Verdict::fresh && orders.contains("m-1") ? "right" : "wrong");
}
END
cat >consumer/shared.cc <<'END'
#include <oncelog/remote.h>

#include <cstdio>

int main() {
  std::puts(oncelog::remote::is_address("postgresql://db/seen") ? "right" : "wrong");
}
END

# ---- CMake
if command -v cmake >/dev/null; then
  cat >consumer/CMakeLists.txt <<'END'
cmake_minimum_required(VERSION 3.20)
project(consumer CXX)
find_package(oncelog 0.1 CONFIG REQUIRED)
foreach(kind "" _static)
  add_executable(consumer${kind} consumer.cc)
  target_link_libraries(consumer${kind} PRIVATE oncelog::oncelog${kind})
  if(TARGET oncelog::remote)
    add_executable(shared${kind} shared.cc)
    target_link_libraries(shared${kind} PRIVATE oncelog::remote${kind})
  endif()
endforeach()
END
  exits "CMake" 0 env CXX="${compiler[*]}" cmake -S consumer -B cmake-build -DCMAKE_PREFIX_PATH="$prefix"
  cat err >&2
  exits "its build" 0 cmake --build cmake-build
  cat err >&2
  for program in cmake-build/consumer cmake-build/consumer_static; do
    same "$program" right "$("$program" "${program##*/}-store")"
  done
  for program in cmake-build/shared*; do
    # A library in a folder that the system does not know finds another one there no other way.
    [[ ! -f $program ]] || same "$program" right "$(LD_LIBRARY_PATH=$libraries "$program")"
  done
  if [[ -f $libraries/liboncelog.so ]]; then
    same "the libraries that the static one needs" 0 "$(ldd cmake-build/consumer_static | grep -c liboncelog)"
    same "the libraries that the shared one needs" 1 "$(ldd cmake-build/consumer | grep -c liboncelog)"
  fi
  exits "a folder in which it is not" 1 env CXX="${compiler[*]}" cmake -S consumer -B cmake-other \
    -DCMAKE_PREFIX_PATH="$root/nowhere"
else
  echo "without CMake: it is not installed"
fi

# ---- A Makefile
# The system's packages stay where they are; ours is below the destination folder, and pkg-config wants spaces escaped.
sed -i "s|^prefix=.*|prefix=${prefix// /\\\\ }|" "$(dirname "$pc")"/oncelog*.pc
cat >consumer/Makefile <<'END'
CXXFLAGS += -std=c++20 $(shell pkg-config --cflags oncelog)
LDLIBS = $(shell pkg-config --libs $(STATIC) oncelog)
consumer: consumer.cc
	$(CXX) $(CXXFLAGS) $< $(LDLIBS) -o $@
END
export PKG_CONFIG_PATH
PKG_CONFIG_PATH=$(dirname "$pc")${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}
for kind in "" --static; do
  rm -f consumer/consumer
  exits "make $kind" 0 make -C consumer CXX="${compiler[*]}" STATIC="$kind"
  cat err >&2
  same "what make $kind has built" right "$(LD_LIBRARY_PATH=$libraries consumer/consumer "make$kind-store")"
done

# ---- Meson, as a subproject: it builds the library alone. One build tries it, as it takes a while.
if [[ $sanitize == none ]]; then
  mkdir -p project/subprojects
  ln -s "$source" project/subprojects/oncelog
  cp consumer/consumer.cc project
  cat >project/meson.build <<'END'
project('consumer', 'cpp', default_options: ['cpp_std=c++20', 'default_library=static'],
  subproject_dir: 'subprojects')
executable('consumer', 'consumer.cc', dependencies: dependency('oncelog', fallback: ['oncelog', 'oncelog_dep']))
END
  # Optimised a little: the library takes longer to compile than all else here.
  exits "a project with a subproject" 0 env CXX="${compiler[*]}" "$meson" setup project project/build \
    --force-fallback-for=oncelog -Doptimization=0 -Ddebug=false
  cat err >&2
  exits "its build" 0 ninja -C project/build consumer
  cat err >&2
  same "what it has built" right "$(project/build/consumer meson-store)"
  absent "the command in it" project/build/subprojects/oncelog/tools/oncelog
fi
