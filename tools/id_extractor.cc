#include "id_extractor.h"

#include <cstring>
#include <utility>

#include <fmt/format.h>
#include <simdjson.h>
#include <xxhash.h>

#include <oncelog/error.h>
#include <oncelog/record.h>

#include "line_reader.h"

namespace oncelog::tool {

static_assert(LineReader::kPadding >= simdjson::SIMDJSON_PADDING);

namespace {

constexpr std::string_view kBlanks = " \t";

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

bool is_pointer(std::string_view text) {
  if (!text.empty() && text.front() != '/') return false;
  for (std::size_t at = text.find('~'); at != std::string_view::npos; at = text.find('~', at + 1)) {
    if (at + 1 == text.size() || (text[at + 1] != '0' && text[at + 1] != '1')) return false;
  }
  return true;
}

/// A number or boolean as it was written; the parser, being lazy, has only looked at its first character.
std::optional<std::string_view> scalar_text(std::string_view token) {
  token = token.substr(0, token.find_last_not_of(" \t\r\n") + 1);
  const bool number = token.find_first_not_of("+-.0123456789eE") == std::string_view::npos;
  if (!number && token != "true" && token != "false") return std::nullopt;
  return token;
}

/// `value` is simdjson's document or value; `unescaped` tells whether the text is in the parser's memory.
template <typename Value>
std::optional<std::string_view> scalar(Value& value, bool& unescaped) {
  using simdjson::ondemand::json_type;
  json_type type;
  if (value.type().get(type) != simdjson::SUCCESS) return std::nullopt;
  if (type == json_type::string) {
    std::string_view text;
    if (value.get_string().get(text) != simdjson::SUCCESS) return std::nullopt;
    unescaped = true;
    return text;
  }
  if (type != json_type::number && type != json_type::boolean) return std::nullopt;
  std::string_view token;
  if (simdjson::simdjson_result<std::string_view>(value.raw_json_token()).get(token) != simdjson::SUCCESS) {
    return std::nullopt;
  }
  return scalar_text(token);
}

}  // namespace

struct IdExtractor::Json {
  simdjson::ondemand::parser parser;
};

IdExtractor::IdExtractor(IdSource source) : source_(std::move(source)) {
  if (const auto* field = std::get_if<Field>(&source_); field != nullptr && field->number == 0) {
    throw Error(ErrorCode::invalid_argument, "--field: fields are counted from 1");
  }
  const auto* json = std::get_if<JsonPointer>(&source_);
  if (json == nullptr) return;
  if (!is_pointer(json->pointer)) {
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("--json-pointer: '{}' is not a JSON pointer; write for example /envelope/messageId, with ~1 "
                    "for a slash and ~0 for a tilde in a key",
                    json->pointer));
  }
  json_ = std::make_unique<Json>();
}

IdExtractor::~IdExtractor() = default;

std::optional<std::string_view> IdExtractor::extract(std::string_view line) {
  if (line.ends_with('\n')) line.remove_suffix(1);
  if (std::holds_alternative<WholeLine>(source_)) return of_line(line);

  std::optional<std::string_view> id;
  if (const auto* field = std::get_if<Field>(&source_)) {
    id = field->delimiter ? field_between(*field->delimiter, line, field->number)
                          : field_between_blanks(line, field->number);
  } else {
    id = of_json(line);
  }
  if (!id || id->empty() || id->size() > kMaxIdBytes) return std::nullopt;
  return id;
}

std::string_view IdExtractor::of_line(std::string_view line) {
  return !line.empty() && line.size() <= kMaxIdBytes ? line : keep(stand_in(line));
}

std::optional<std::string_view> IdExtractor::of_json(std::string_view line) {
  const std::string& pointer = std::get<JsonPointer>(source_).pointer;
  simdjson::ondemand::document document;
  const auto error = json_->parser.iterate(line.data(), line.size(), line.size() + LineReader::kPadding).get(document);
  if (error == simdjson::MEMALLOC) throw std::bad_alloc();
  if (error != simdjson::SUCCESS) return std::nullopt;

  bool unescaped = false;
  std::optional<std::string_view> id;
  if (pointer.empty()) {
    id = scalar(document, unescaped);
  } else {
    simdjson::ondemand::value value;
    if (document.at_pointer(pointer).get(value) != simdjson::SUCCESS) return std::nullopt;
    id = scalar(value, unescaped);
  }
  // The parser's memory is used again for the next line.
  return id && unescaped && id->size() <= kMaxIdBytes ? keep(*id) : id;
}

std::string_view IdExtractor::keep(std::string_view bytes) {
  if (bytes.empty()) return bytes;
  auto* const copy = static_cast<char*>(kept_.allocate(bytes.size(), 1));
  std::memcpy(copy, bytes.data(), bytes.size());
  return {copy, bytes.size()};
}

}  // namespace oncelog::tool
