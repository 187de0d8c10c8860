#include <oncelog/testing.h>

#include <chrono>
#include <memory>

#include "bindings/c/handles.h"
#include "bindings/c/options.h"

using namespace oncelog::internal::c;
using oncelog::testing::FakeClock;

oncelog_code oncelog_clock_new(int64_t now_us, oncelog_clock** clock, oncelog_error** error) {
  return call(error, [&] {
    need(clock, "clock");
    auto made = now_us == 0 ? std::make_shared<FakeClock>() : std::make_shared<FakeClock>(time_of(now_us));
    *clock = new oncelog_clock{std::move(made)};
  });
}

int64_t oncelog_clock_now(const oncelog_clock* clock) {
  return us_of(clock->clock->now());
}

void oncelog_clock_advance(oncelog_clock* clock, int64_t by_us) {
  clock->clock->advance(std::chrono::microseconds{by_us});
}

void oncelog_clock_free(oncelog_clock* clock) {
  delete clock;
}

oncelog_code oncelog_open_in_memory(const oncelog_options* options, const oncelog_clock* clock, oncelog_store** store,
                                    oncelog_error** error) {
  return call(error, [&] {
    need(store, "store");
    *store = open_in_memory(options, clock);
  });
}
