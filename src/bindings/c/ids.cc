#include "bindings/c/ids.h"

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>

#include "base/error.h"
#include "bindings/c/call.h"
#include "bindings/c/structs.h"

namespace oncelog::internal::c {
namespace {

std::vector<std::string_view> by_pointers(const oncelog_ids& given) {
  need(given.lengths, "ids.lengths");
  std::vector<std::string_view> ids;
  ids.reserve(given.count);
  for (std::size_t i = 0; i < given.count; ++i) ids.push_back(text(given.pointers[i], given.lengths[i], "an id"));
  return ids;
}

std::vector<std::string_view> by_ends(const oncelog_ids& given) {
  const auto* const data = static_cast<const char*>(given.data);
  std::vector<std::string_view> ids;
  ids.reserve(given.count);
  std::uint64_t begin = 0;
  for (std::size_t i = 0; i < given.count; ++i) {
    const std::uint64_t end = given.ends[i];
    if (end < begin) refuse(fmt::format("ids.ends[{}] is {}, below the one before, {}", i, end, begin));
    ids.emplace_back(data + begin, end - begin);
    begin = end;
  }
  return ids;
}

std::vector<std::string_view> by_width(const oncelog_ids& given) {
  const auto* const data = static_cast<const char*>(given.data);
  std::vector<std::string_view> ids;
  ids.reserve(given.count);
  for (std::size_t i = 0; i < given.count; ++i) {
    std::string_view id(data + i * given.width, given.width);
    // All of it where it is NULs alone: then it is the empty id, which the store refuses.
    if (given.padded != 0) id = id.substr(0, id.find_last_not_of('\0') + 1);
    ids.push_back(id);
  }
  return ids;
}

}  // namespace

std::vector<std::string_view> ids_of(const oncelog_ids* given) {
  need(given, "ids");
  const oncelog_ids known = known_part(given, "oncelog_ids");
  check_reserved(known.reserved, sizeof known.reserved, "oncelog_ids");
  if (known.count == 0) return {};
  if (known.pointers != nullptr) return by_pointers(known);
  need(known.data, "ids.data");
  return known.ends != nullptr ? by_ends(known) : by_width(known);
}

}  // namespace oncelog::internal::c
