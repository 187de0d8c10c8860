#include "bindings/c/structs.h"

#include <fmt/format.h>

#include <algorithm>

#include <oncelog/error.h>

#include "base/error.h"

namespace oncelog::internal::c {
namespace {

bool all_zero(const void* fields, std::size_t size) {
  const auto* const bytes = static_cast<const unsigned char*>(fields);
  return std::all_of(bytes, bytes + size, [](unsigned char byte) { return byte == 0; });
}

}  // namespace

void check_struct_size(std::size_t size, const char* name) {
  // Structs only grow, by fields of 8 bytes or that many together.
  if (size < 2 * sizeof(std::size_t) || size > kLargestStruct || size % 8 != 0) {
    refuse(fmt::format("the size of {} is {}; it has to be set to what sizeof says", name, size));
  }
}

void check_unknown_fields(const void* fields, std::size_t size, const char* name) {
  if (all_zero(fields, size)) return;
  throw Error(
      ErrorCode::unsupported,
      fmt::format("{} has fields set that oncelog {} does not know: a later version is needed", name, ONCELOG_VERSION));
}

void check_reserved(const void* fields, std::size_t size, const char* name) {
  if (!all_zero(fields, size)) refuse(fmt::format("a reserved field of {} is not zero", name));
}

}  // namespace oncelog::internal::c
