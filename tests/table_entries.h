#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "support.h"

namespace oncelog::testing {

/// The entries of a user table from that key on, each as key=value.
inline std::vector<std::string> table_of(const Store& store, std::string_view table, std::string_view from = "") {
  std::vector<std::string> entries;
  store.scan_table(table, from, [&](std::string_view key, std::string_view value) {
    entries.push_back(std::string(key) + "=" + std::string(value));
    return true;
  });
  return entries;
}

}  // namespace oncelog::testing
