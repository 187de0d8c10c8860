#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <type_traits>

#include <oncelog/c.h>

/// Structs that begin with their size: those of callers whose header is older or newer than this library. Any thread.
namespace oncelog::internal::c {

// No struct will ever be as large: what is set to more has no size yet.
inline constexpr std::size_t kLargestStruct = 4096;

/// Throws Error::invalid_argument for a size that no version of a struct can have.
void check_struct_size(std::size_t size, const char* name);
/// Throws Error::unsupported when a byte of what this version does not know is set.
void check_unknown_fields(const void* fields, std::size_t size, const char* name);
/// Throws Error::invalid_argument when a byte is set that no version uses.
void check_reserved(const void* fields, std::size_t size, const char* name);

/// What the caller has given, with zeroes for what its version did not have.
template <typename T>
T known_part(const T* given, const char* name) {
  static_assert(std::is_trivially_copyable_v<T> && offsetof(T, size) == 0);
  const std::size_t size = given->size;
  check_struct_size(size, name);
  T known = {};
  std::memcpy(&known, given, std::min(size, sizeof known));
  if (size > sizeof known) {
    check_unknown_fields(reinterpret_cast<const char*>(given) + sizeof known, size - sizeof known, name);
  }
  return known;
}

/// A struct of the caller's that is filled in: checked first, before anything happens.
template <typename T>
class Output {
 public:
  Output(T* out, const char* name) : out_(out) { check_struct_size(out->size, name); }

  /// Leaves `size` as it is. What the caller knows and this version does not is zeroed.
  void fill(T known) const noexcept {
    static_assert(std::is_trivially_copyable_v<T> && offsetof(T, size) == 0);
    const std::size_t size = out_->size;
    known.size = size;
    std::memcpy(static_cast<void*>(out_), &known, std::min(size, sizeof known));
    if (size > sizeof known) std::memset(reinterpret_cast<char*>(out_) + sizeof known, 0, size - sizeof known);
  }

 private:
  T* out_;
};

}  // namespace oncelog::internal::c
