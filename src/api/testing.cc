#include <oncelog/testing.h>

#include "api/store_access.h"
#include "engine/memory_engine.h"

namespace oncelog::testing {

Store open_in_memory(const Options& options, std::shared_ptr<const FakeClock> clock) {
  return StoreAccess::on(std::make_shared<internal::MemoryEngine>(options, std::move(clock)), options.ack);
}

}  // namespace oncelog::testing
