#!/usr/bin/env bash
# tools/check passes a small tree that keeps its rules, and refuses it for each way to break one.
#   check_test.sh SOURCE-ROOT
set -euo pipefail
export LC_ALL=C PYTHONDONTWRITEBYTECODE=1

for needed in python3 clang++ clang-format clang-tidy doxygen; do
  if ! command -v "$needed" >/dev/null; then
    echo "skipped: $needed is not installed"
    exit 77 # What meson takes for a skip.
  fi
done
source=$(realpath "$1")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'echo "FAILED: the command in line $LINENO" >&2' ERR
good=$folder/good
tree=$folder/tree

fail() {
  echo "FAILED: $*" >&2
  cat "$folder/log" >&2
  exit 1
}

# restore: the tree keeps its rules again
restore() {
  rm -rf "$tree"
  cp -r "$good" "$tree"
  cd "$tree"
}

# passes COMMAND...
passes() { "$@" >"$folder/log" 2>&1 || fail "'$*' refuses a tree that keeps its rules"; }

# stage_refuses STAGE TEXT: tools/check fails, and says so in a line that has TEXT; restores the tree
stage_refuses() {
  local status=0
  tools/check "$1" >"$folder/log" 2>&1 || status=$?
  if [[ $status != 1 ]] || ! grep -qF -- "$2" "$folder/log"; then fail "'tools/check $1' has not said '$2'"; fi
  restore
}

# refuses TEXT: tools/check_sources.py fails with one line, which begins with TEXT; restores the tree
refuses() {
  local status=0 found
  tools/check_sources.py >"$folder/log" 2>&1 || status=$?
  found=$(<"$folder/log")
  [[ $status == 1 && $found == "$1"* && $found != *$'\n'* ]] || fail "tools/check_sources.py has not said '$1' alone"
  restore
}

mkdir -p "$good"/{include/oncelog,src/{base,log,engine},tests,tools,bench,build/src}
cd "$good"
cp "$source"/tools/{check,check_sources.py,reference,Doxyfile} tools
cp "$source"/{.clang-format,.clang-tidy,meson.build} .
printf '#pragma once\n\n#include <cstdint>\n' >include/oncelog/record.h
printf '#pragma once\n\n#include <oncelog/record.h>\n\n#include <string>\n' >include/oncelog/store.h
printf '#pragma once\n' | tee src/base/clock.h src/engine/engine.h >src/log/ring.h
cat >src/engine/engine.cc <<'END'
#include "engine/engine.h"

#include <oncelog/record.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "log/ring.h"
END
cat >README.md <<'END'
# The log

See [the ring](src/log/ring.h), [the rest](src), [below](#its-a-log-1), [tests](tests/README.md#how-to-run), the
[net](https://example.org/nothing) and ![a picture](src/base/clock.h "its title").

`[code](nowhere.md)`

```sh
# No heading
[code](nowhere.md)
```

## It's a log

## It's a log
END
printf '# Tests\n\n## How to run\n\n[Up](../README.md#the-log)\n' >tests/README.md
echo "at /home""/x" >build/of_no_interest
restore

passes tools/check sources format docs

# --- includes

echo '#include "engine/engine.h"' >>src/log/ring.h
stage_refuses sources 'src/log/ring.h:2: #include "engine/engine.h": log is below engine'
echo '  #  include <log/ring.h>' >src/base/host.cc
refuses 'src/base/host.cc:1: #  include <log/ring.h>: base is below log'
for path in ring.h log/rings.h ../src/log/ring.h; do
  echo "#include \"$path\"" >src/log/log.cc
  refuses "src/log/log.cc:1: #include \"$path\": is no file of src"
done
mkdir src/misc
touch src/misc/more.cc
refuses 'src/misc/more.cc: is in no layer'
touch src/more.h
refuses 'src/more.h: is in no layer'
for included in '<lmdb.h>' '<xxhash.h>' '<fmt/format.h>' '"base/clock.h"' '"oncelog/record.h"' '<oncelog/secret.h>'; do
  echo "#include $included" >>include/oncelog/store.h
  refuses "include/oncelog/store.h:6: #include $included: a public header includes"
done

# --- lengths

# longest FILE NAME OWN FIRST: standard input is a program whose line BODY stands for the rest of a function's lines, of
# which OWN are there. It passes when the function has 70 lines, and is refused with one more; FIRST is in its first one.
longest() {
  local file=$1 name=$2 own=$3 first=$4 text body
  text=$(cat)
  body=$(seq --format='  work(%g);' $((70 - own)))
  printf '%s\n' "${text/BODY/"$body"}" >"$file"
  passes tools/check_sources.py
  printf '%s\n' "${text/BODY/"$body"$'\n  work(more);'}" >"$file"
  first=$(grep -nF -- "$first" "$file" | head -n 1)
  refuses "$file:${first%%:*}: $name has 71 lines"
}

longest src/log/log.cc Log::append 2 'void Log' <<'END'
/// A comment with a { brace.
void Log::append(std::string_view text) const noexcept {
BODY
}
END
longest src/log/log.cc find 4 'template' <<'END'
template <typename T, int N = (1 > 2)>
  requires Some<T>
auto find(T from = {}, std::span<const T> in = {}) -> T {
BODY
}
END
longest src/log/log.cc Log::Log 3 'Log::Log' <<'END'
int before = 0;
Log::Log(int a, F f = g())
    : a_{a}, b_(f), Base<int>{1} {
BODY
}
END
longest src/log/log.cc 'operator==' 2 'bool operator' <<'END'
namespace a::b {
template <typename T>
  requires Some<T>
class CAPABILITY("mutex") Log final : public Base<T> {
 public:
  Log() {}
  [[nodiscard]] std::array<int, 3> values_{1, 2, 3};
  std::function<void()> call_ = {};

  bool operator==(const Log& other) const {
BODY
  }
};
}
END
longest src/log/log.cc lambda 2 'const auto' <<'END'
const auto ignore = [](const auto& fault) {
BODY
};
END
longest src/log/log.cc outer 8 'void outer' <<'END'
void outer() {
  struct Local {
    ~Local() { work('}', 1'000'000, "}", R"(
})"); }
  };
  std::ranges::sort(all, [](int a, int b) {
BODY
  });
}
END
longest src/log/log.cc open 7 'void open(int' <<'END'
#define BRACE {
#ifdef LINUX
void open(int a) {
#else
void open() {  /* } */
#endif
  if (true) {  // }
BODY
  }
}
END
longest tests/run.sh start 2 'start' <<'END'
start() { # it
BODY
}
END
longest tools/run outer 8 'outer' <<'END'
#!/usr/bin/env bash
outer() {
  inner() { echo; }
  nested() {
    cat <<TEXT
}
TEXT
  }
BODY
}
END
longest tools/run.py work 2 'def' <<'END'
def work():
  pass
BODY
END

numbers() { seq --format="$1" 100; }
printf '%s\n' 'constexpr int kTable[] = {' "$(numbers '  %g,')" '};' >src/log/table.cc
printf '%s\n' 'enum class Kind : int {' "$(numbers '  a%g,')" '};' >>src/log/table.cc
printf '%s\n' 'struct Many {' "$(numbers '  int a%g = 0;')" '};' >>src/log/table.cc
passes tools/check_sources.py
echo 'void f() {' >src/log/log.cc
refuses 'src/log/log.cc: cannot be read'
printf 'f() {\n  work\n  }\n' >tests/run.sh
refuses 'tests/run.sh: cannot be read'
echo 'def f(:' >tools/run.py
refuses 'tools/run.py: cannot be read'

# --- paths

for path in "/work""/main/x" "/farm""/x" "/home""/x" "/root""/x"; do
  printf 'first\n"%s"\n' "$path" >tests/data
  refuses 'tests/data:2: '
done
printf '\0\xff "%s"' "/root""/x" >tests/data
refuses 'tests/data:1: '
echo '/homes /home/ ~/work/x src/work/x work/x https://example.org/work/x' >tests/data
passes tools/check_sources.py

# --- links

# dead LINK TEXT: as a line of a document in a folder
dead() {
  printf '%s\n' "$1" >>tests/README.md
  refuses "tests/README.md:6: $2"
}
dead '[a](nowhere.md)' 'nowhere.md: no such file'
dead 'and [a](<../src/log/rings.h>).' '../src/log/rings.h: no such file'
dead '![a](picture.svg "its title")' 'picture.svg: no such file'
dead '[a]: nowhere.md' 'nowhere.md: no such file'
dead '<img src="nowhere.svg">' 'nowhere.svg: no such file'
dead '[a](/README.md)' '/README.md: no such file'
dead '[a](../../README.md)' '../../README.md: no such file'
dead '[a](../build/of_no_interest)' '../build/of_no_interest: no such file'
dead '[a](#nothing)' '#nothing: no such heading in tests/README.md'
dead '[a](../README.md#how-to-run)' '../README.md#how-to-run: no such heading in README.md'
dead '[a](../README.md#no-heading)' '../README.md#no-heading: no such heading in README.md'
dead '[a](../src/log/ring.h#L1)' '../src/log/ring.h#L1: no such heading'

# --- the files are git's, where there is git

if command -v git >/dev/null; then
  git init -q .
  printf '/build\n/ignored\n' >.gitignore
  echo "/root""/x" >ignored
  passes tools/check_sources.py
  echo "/root""/x" >added_next
  refuses 'added_next:1: '
fi

# --- locks

# Clang knows the store's locks by their annotations, with the option that the library is built with.
cat >right.cc <<'END'
#include "base/mutex.h"
#include "shared/store_lock.h"
#include "shared/writer_gate.h"

namespace oncelog::internal {
void change() REQUIRES(kStoreMutex);
void commit() REQUIRES(kWriterGate);
struct Shared {
  Mutex mutex;
  int value GUARDED_BY(mutex) = 0;
};
void right(const SharedState& state, Shared& shared) {
  const WriterGate gate(state.header(), state.path());
  commit();
  const StoreLock lock(state);
  change();
  if (!shared.mutex.try_lock()) return;
  ++shared.value;
  shared.mutex.unlock();
}
}  // namespace oncelog::internal
END
sed '/^void right/,$d' right.cc >wrong.cc
cat >>wrong.cc <<'END'
void no_mutex() { change(); }
void no_gate(const SharedState& state) {
  const StoreLock lock(state);
  commit();
}
void twice(const SharedState& state) {
  const StoreLock lock(state);
  const StoreLock again(state);
}
void wrong_order(const SharedState& state) {
  const StoreLock lock(state);
  const WriterGate gate(state.header(), state.path());
}
void kept(Shared& shared) {
  if (shared.mutex.try_lock()) ++shared.value;
}
void unlocked(Shared& shared) { ++shared.value; }
void kept(SharedHeader& header) { header.mutex.lock(); }
}  // namespace oncelog::internal
END
compile=(clang++ -std=c++20 -D_GNU_SOURCE "-I$source/include" "-I$source/src" -fsyntax-only -Wthread-safety -Werror)
passes "${compile[@]}" right.cc
if "${compile[@]}" wrong.cc >"$folder/log" 2>&1; then fail "clang++ has not refused wrong.cc"; fi
while read -r expected; do
  grep -qF -- "$expected" "$folder/log" || fail "clang++ has not said '$expected'"
done <<'END'
calling function 'change' requires holding lock 'kStoreMutex' exclusively
calling function 'commit' requires holding lock 'kWriterGate' exclusively
acquiring lock 'kStoreMutex' that is already held
cannot call function 'WriterGate' while lock 'kStoreMutex' is held
mutex 'shared.mutex' is not held on every path through here
writing variable 'value' requires holding mutex 'shared.mutex' exclusively
mutex 'header.mutex' is still held at the end of function
END
[[ $(grep -c 'error:' "$folder/log") == 7 ]] || fail "clang++ has refused more than the 7 mistakes"
restore

# --- what other tools find

printf 'int  f();\n' >src/log/log.cc
stage_refuses format 'src/log/log.cc:1:4: error: code should be clang-formatted'
printf 'int  f();\n' >tests/log_test.h
stage_refuses format 'tests/log_test.h:1:4: error'

printf '\nnamespace oncelog {\n/// A store.\nstruct Store {\n  int undocumented;\n};\n}\n' >>include/oncelog/store.h
stage_refuses docs 'Member undocumented (variable) of struct oncelog::Store is not documented'

# moved_twice: a text that is used after it was moved away, in line 8
moved_twice() {
  cat <<'END'
#include <string>
#include <utility>

void take(std::string);
void twice() {
  std::string text;
  take(std::move(text));
  take(text);
}
END
}
moved_twice >src/log/log.cc
stage_refuses tidy-quick "log.cc:8:8: error: 'text' used after it was moved"
moved_twice >tools/log.cc
stage_refuses tidy "log.cc:8:8: error: 'text' used after it was moved"
printf 'int divide(int by) { return by == 0 ? 1 / by : 0; }\n' >src/log/log.cc
passes tools/check tidy-quick
stage_refuses tidy 'Division by zero'
echo "all is well"
