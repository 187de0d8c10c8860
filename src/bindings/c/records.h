#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <oncelog/c.h>
#include <oncelog/once.h>
#include <oncelog/record.h>

/// Records and texts as the C interface hands them out: as views, or as one block of memory that oncelog_free() frees.
namespace oncelog::internal::c {

inline std::int64_t us_of(Time time) {
  return time.time_since_epoch().count();
}

inline Time time_of(std::int64_t us) {
  return Time(std::chrono::microseconds{us});
}

inline oncelog_text view(const std::string& text) {
  return {text.c_str(), text.size()};
}
inline oncelog_text view(std::string_view text) {
  return {text.data(), text.size()};
}

/// Its texts are those of `record`.
oncelog_record view(const Record& record);

/// A record of the caller's. Errors: invalid_argument for a field outside its range.
Record record_of(const oncelog_record* given);

/// A copy of the bytes with a NUL behind them. Throws std::bad_alloc, as all below.
const char* block_of(std::string_view text);
const oncelog_record* block_of(const Record& record);
const oncelog_once_result* block_of(const OnceResult& result);
/// For each of `found` its record, or null.
const oncelog_record* const* block_of(std::span<const std::optional<Record>> found);
const oncelog_text* block_of(const std::vector<std::string>& texts);

}  // namespace oncelog::internal::c
