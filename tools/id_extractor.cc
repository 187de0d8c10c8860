#include "id_extractor.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <utility>

#include <fmt/format.h>
#include <simdjson.h>
#include <xxhash.h>

#include <oncelog/error.h>
#include <oncelog/record.h>

#include "csv.h"
#include "line_reader.h"

namespace oncelog::tool {

static_assert(LineReader::kPadding >= JsonFinder::kPadding);

namespace {

constexpr std::string_view kBlanks = " \t\n";  // A newline is one where lines end otherwise.

std::string stand_in(std::string_view line) {
  const XXH128_hash_t hash = XXH3_128bits(line.data(), line.size());
  return fmt::format("\n{}:{:016x}{:016x}", line.size(), hash.high64, hash.low64);
}

std::optional<std::string_view> field_between_blanks(std::string_view line, unsigned number) {
  std::size_t begin = line.find_first_not_of(kBlanks);
  for (; number > 1 && begin != std::string_view::npos; --number) {
    begin = line.find_first_not_of(kBlanks, line.find_first_of(kBlanks, begin));
  }
  if (begin == std::string_view::npos) return std::nullopt;
  return line.substr(begin, line.find_first_of(kBlanks, begin) - begin);
}

std::optional<std::string_view> field_between(char delimiter, std::string_view line, unsigned number) {
  for (; number > 1; --number) {
    const std::size_t end = line.find(delimiter);
    if (end == std::string_view::npos) return std::nullopt;
    line.remove_prefix(end + 1);
  }
  return line.substr(0, line.find(delimiter));
}

/// A number that is its own value in plain decimals, as ids are.
bool is_plain_whole(std::string_view number) {
  return number.find_first_of(".eE-") == std::string_view::npos;
}

}  // namespace

IdExtractor::IdExtractor(IdSource source, char line_end) : source_(std::move(source)), line_end_(line_end) {
  if (auto* const fields = std::get_if<Fields>(&source_)) {
    if (std::ranges::find(fields->numbers, 0U) != fields->numbers.end()) {
      throw Error(ErrorCode::invalid_argument, "--field: fields are counted from 1");
    }
    if (fields->csv && !fields->delimiter) fields->delimiter = ',';
  } else if (const auto* const json = std::get_if<JsonPointers>(&source_)) {
    for (const std::string& pointer : json->pointers) finders_.emplace_back(pointer);
  }
}

std::optional<std::string_view> IdExtractor::extract(std::string_view line) {
  if (line.ends_with(line_end_)) line.remove_suffix(1);
  if (std::holds_alternative<WholeLine>(source_)) return of_line(line);
  if (const auto* const fields = std::get_if<Fields>(&source_)) {
    if (fields->csv && line.ends_with('\r')) line.remove_suffix(1);
    if (fields->csv && line.starts_with(kByteOrderMark)) line.remove_prefix(kByteOrderMark.size());
    return joined(fields->numbers.size(), [&](std::size_t position) { return field(line, position); });
  }
  if (line.starts_with(kByteOrderMark)) line.remove_prefix(kByteOrderMark.size());
  if (!simdjson::validate_utf8(line)) return std::nullopt;
  return joined(finders_.size(), [&](std::size_t position) { return json_value(line, position); });
}

std::string_view IdExtractor::of_line(std::string_view line) {
  const bool is_id = !line.empty() && line.size() <= kMaxIdBytes && line.front() != '\n';
  return is_id ? line : keep(stand_in(line));
}

std::optional<std::string_view> IdExtractor::field(std::string_view line, std::size_t position) {
  const Fields& fields = std::get<Fields>(source_);
  const unsigned number = fields.numbers[position];
  if (fields.csv) return csv_field(line, *fields.delimiter, number, part_);
  return fields.delimiter ? field_between(*fields.delimiter, line, number) : field_between_blanks(line, number);
}

std::optional<std::string_view> IdExtractor::json_value(std::string_view text, std::size_t position) {
  const std::optional<JsonValue> value = finders_[position].find(text);
  if (!value || value->type == JsonType::other) return std::nullopt;
  if (value->type == JsonType::string && value->escaped) {
    part_.clear();
    if (!append_unescaped(part_, value->raw)) return std::nullopt;
    return part_;
  }
  if (value->type == JsonType::number && !is_plain_whole(value->raw)) {
    std::optional<std::string> decimals = plain_decimals(value->raw, kMaxIdBytes);
    if (!decimals) return std::nullopt;
    part_ = std::move(*decimals);
    return part_;
  }
  return value->raw;
}

/// The id that some values make, part(i) being the i-th.
template <typename Part>
std::optional<std::string_view> IdExtractor::joined(std::size_t count, const Part& part) {
  joined_.clear();
  for (std::size_t i = 0; i != count; ++i) {
    const std::optional<std::string_view> value = part(i);
    if (!value || value->empty() || value->size() > kMaxIdBytes) return std::nullopt;
    if (count == 1) return value->data() == part_.data() ? keep(*value) : *value;
    fmt::format_to(std::back_inserter(joined_), "{}:{},", value->size(), *value);
  }
  if (joined_.size() > kMaxIdBytes) return std::nullopt;
  return keep(joined_);
}

std::string_view IdExtractor::keep(std::string_view bytes) {
  auto* const copy = static_cast<char*>(kept_.allocate(bytes.size(), 1));
  std::memcpy(copy, bytes.data(), bytes.size());
  return {copy, bytes.size()};
}

}  // namespace oncelog::tool
