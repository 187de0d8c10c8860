#include <oncelog/topic.h>

#include <optional>
#include <string>

#include "bindings/c/call.h"
#include "bindings/c/records.h"

using namespace oncelog::internal::c;

int oncelog_topic_matches(const void* pattern, size_t pattern_bytes, const void* key, size_t key_bytes) {
  return oncelog::topic::matches({static_cast<const char*>(pattern), pattern_bytes},
                                 {static_cast<const char*>(key), key_bytes})
             ? 1
             : 0;
}

oncelog_code oncelog_topic_overlaps(const void* a, size_t a_bytes, const void* b, size_t b_bytes, const char** key,
                                    size_t* key_bytes, oncelog_error** error) {
  return call(error, [&] {
    need(key, "key");
    const std::optional<std::string> found = oncelog::topic::overlaps(text(a, a_bytes, "a"), text(b, b_bytes, "b"));
    *key = found ? block_of(*found) : nullptr;
    give(key_bytes, found ? found->size() : 0);
  });
}
