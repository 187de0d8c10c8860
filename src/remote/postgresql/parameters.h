#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <oncelog/record.h>

#include "remote/backend.h"

namespace oncelog::internal::remote {

/// The parameters of one statement, in PostgreSQL's binary format, in order. It owns what is sent, but for texts that
/// are added as views.
class Parameters {
 public:
  Parameters& text(std::string_view value);
  Parameters& text(std::string&& value);
  Parameters& bytes(std::string_view value);
  Parameters& integer(std::int32_t value);
  Parameters& small(std::int16_t value);
  Parameters& big(std::int64_t value);
  Parameters& flag(bool value);
  Parameters& uuid(const Uuid& value);
  Parameters& interval(std::chrono::microseconds value);
  Parameters& time(Time value);
  Parameters& null(std::uint32_t type);

  /// Arrays; an element without a value is null.
  Parameters& bytes(std::span<const std::optional<std::string_view>> values);
  Parameters& bigs(std::span<const std::optional<std::int64_t>> values);
  Parameters& times(std::span<const std::optional<Time>> values);
  Parameters& uuids(std::span<const Uuid> values);

  int count() const { return static_cast<int>(types_.size()); }
  const std::uint32_t* types() const { return types_.data(); }
  const char* const* values() const { return values_.data(); }
  const int* lengths() const { return lengths_.data(); }
  const int* formats() const { return formats_.data(); }

  static constexpr std::uint32_t kBytea = 17;
  static constexpr std::uint32_t kInterval = 1186;
  static constexpr std::uint32_t kUuid = 2950;
  static constexpr std::uint32_t kBigArray = 1016;
  static constexpr std::uint32_t kBytesArray = 1001;
  static constexpr std::uint32_t kTimeArray = 1185;

 private:
  Parameters& add(std::uint32_t type, std::string value);
  Parameters& view(std::uint32_t type, std::string_view value);

  std::deque<std::string> owned_;  // They stay where they are.
  std::vector<std::uint32_t> types_;
  std::vector<const char*> values_;
  std::vector<int> lengths_;
  std::vector<int> formats_;
};

}  // namespace oncelog::internal::remote
