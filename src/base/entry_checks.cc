#include "base/entry_checks.h"

#include <fmt/format.h>

#include <oncelog/table.h>

#include "base/error.h"

namespace oncelog::internal {

void check_entry(std::string_view table, std::string_view key) {
  if (key.empty()) refuse(fmt::format("a key has 0 bytes; 1 to {} are possible", kMaxKeyBytes));
  check_first_entry(table, key);
}

void check_first_entry(std::string_view table, std::string_view key) {
  if (table.empty() || table.size() > kMaxTableBytes || table.find('\0') != std::string_view::npos) {
    refuse(fmt::format("a table's name has 1 to {} bytes and no NUL, not these {}", kMaxTableBytes, table.size()));
  }
  if (key.size() > kMaxKeyBytes) {
    refuse(fmt::format("a key has {} bytes; 1 to {} are possible", key.size(), kMaxKeyBytes));
  }
}

}  // namespace oncelog::internal
