// What keeps healing from going on: records of any size and shape, damage, no room, deaths. It comes to rest all the
// same, and no id is missed.

#include <cstring>

#include "file_limit.h"
#include "healed.h"
#include "shared/layout_update.h"

using namespace oncelog;
using namespace oncelog::internal;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

constexpr auto kQuiet = std::chrono::microseconds{Pace::kQuietUs};

void append_chain(Healed& store, int begin, int end) {
  const Attributes attributes{.correlation = "all of them"};
  Lsn previous;
  for (int i = begin; i < end; ++i) previous = store.append(std::to_string(i), 0, &attributes, previous);
}

}  // namespace

TEST_CASE("a filter of records that have a correlation gets its size and keeps it") {
  Healed store;
  append_chain(store, 0, 1'000);
  store.flush();
  store.heal();
  for (int quiet = 0; quiet < 3; ++quiet) {
    store.host.advance(kQuiet);
    store.heal();
  }
  CHECK(store.layout().generation_count == 1);
  CHECK(store.layout().building_lines == 0);
  CHECK_FALSE(store.upkeep.due());
}
