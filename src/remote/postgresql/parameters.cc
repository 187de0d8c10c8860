#include "remote/postgresql/parameters.h"

#include <utility>

#include "remote/postgresql/wire.h"

namespace oncelog::internal::remote {
namespace {

constexpr std::uint32_t kBool = 16;
constexpr std::uint32_t kBig = 20;
constexpr std::uint32_t kSmall = 21;
constexpr std::uint32_t kInteger = 23;
constexpr std::uint32_t kText = 25;
constexpr std::uint32_t kTime = 1184;
constexpr std::uint32_t kUuidArray = 2951;

/// An array of one dimension: how many dimensions, whether there are nulls, the elements' type, its length and first
/// index; then each element's length and bytes, -1 for null.
template <typename Value, typename Encode>
std::string array_of(std::uint32_t type, std::span<const std::optional<Value>> values, Encode encode) {
  std::string out;
  append_int<std::int32_t>(out, 1);
  append_int<std::int32_t>(out, 1);
  append_int<std::uint32_t>(out, type);
  append_int(out, static_cast<std::int32_t>(values.size()));
  append_int<std::int32_t>(out, 1);
  for (const auto& value : values) {
    if (!value) {
      append_int<std::int32_t>(out, -1);
      continue;
    }
    encode(out, *value);
  }
  return out;
}

}  // namespace

Parameters& Parameters::view(std::uint32_t type, std::string_view value) {
  types_.push_back(type);
  values_.push_back(value.empty() ? "" : value.data());
  lengths_.push_back(static_cast<int>(value.size()));
  formats_.push_back(1);
  return *this;
}

Parameters& Parameters::add(std::uint32_t type, std::string value) {
  return view(type, owned_.emplace_back(std::move(value)));
}

Parameters& Parameters::null(std::uint32_t type) {
  types_.push_back(type);
  values_.push_back(nullptr);
  lengths_.push_back(0);
  formats_.push_back(1);
  return *this;
}

Parameters& Parameters::text(std::string_view value) {
  return view(kText, value);
}

Parameters& Parameters::text(std::string&& value) {
  return add(kText, std::move(value));
}

Parameters& Parameters::bytes(std::string_view value) {
  return view(kBytea, value);
}

Parameters& Parameters::integer(std::int32_t value) {
  return add(kInteger, int_bytes(value));
}

Parameters& Parameters::small(std::int16_t value) {
  return add(kSmall, int_bytes(value));
}

Parameters& Parameters::big(std::int64_t value) {
  return add(kBig, int_bytes(value));
}

Parameters& Parameters::flag(bool value) {
  return add(kBool, std::string(1, value ? '\1' : '\0'));
}

Parameters& Parameters::uuid(const Uuid& value) {
  return add(kUuid, std::string(value.begin(), value.end()));
}

Parameters& Parameters::interval(std::chrono::microseconds value) {
  std::string out = int_bytes<std::int64_t>(value.count());
  append_int<std::int32_t>(out, 0);  // Days.
  append_int<std::int32_t>(out, 0);  // Months.
  return add(kInterval, std::move(out));
}

Parameters& Parameters::time(Time value) {
  return add(kTime, int_bytes(to_wire(value)));
}

Parameters& Parameters::bytes(std::span<const std::optional<std::string_view>> values) {
  return add(kBytesArray, array_of(kBytea, values, [](std::string& out, std::string_view value) {
               append_int(out, static_cast<std::int32_t>(value.size()));
               out += value;
             }));
}

Parameters& Parameters::bigs(std::span<const std::optional<std::int64_t>> values) {
  return add(kBigArray, array_of(kBig, values, [](std::string& out, std::int64_t value) {
               append_int<std::int32_t>(out, sizeof value);
               append_int(out, value);
             }));
}

Parameters& Parameters::times(std::span<const std::optional<Time>> values) {
  return add(kTimeArray, array_of(kTime, values, [](std::string& out, Time value) {
               append_int<std::int32_t>(out, sizeof(std::int64_t));
               append_int(out, to_wire(value));
             }));
}

Parameters& Parameters::uuids(std::span<const Uuid> values) {
  const std::vector<std::optional<Uuid>> all(values.begin(), values.end());
  return add(kUuidArray,
             array_of(kUuid, std::span<const std::optional<Uuid>>(all), [](std::string& out, const Uuid& value) {
               append_int<std::int32_t>(out, sizeof value);
               out.append(value.begin(), value.end());
             }));
}

}  // namespace oncelog::internal::remote
