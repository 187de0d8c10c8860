#include "ndjson.h"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <limits>
#include <optional>

#include <fmt/format.h>
#include <simdjson.h>
#include <nlohmann/json.hpp>

#include <oncelog/error.h>

#include "timestamp.h"

namespace oncelog::tool {
namespace {

bool stands_for_itself(char c) {
  return c >= ' ' && c <= '~' && c != '"' && c != '\\';
}

void append_hex(std::string& out, std::string_view bytes) {
  for (const char c : bytes) fmt::format_to(std::back_inserter(out), "{:02x}", static_cast<unsigned char>(c));
}

using simdjson::dom::element;
using simdjson::dom::object;

[[noreturn]] void refuse(std::string_view why) {
  throw Error(ErrorCode::invalid_argument, fmt::format("it is no record of an export: {}", why));
}

std::string from_hex(std::string_view text) {
  const auto value = [](char c) -> unsigned {
    if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
    if (c >= 'a' && c <= 'f') return static_cast<unsigned>(c - 'a' + 10);
    refuse("what should be hexadecimal is not");
  };
  if (text.size() % 2 != 0) refuse("what should be hexadecimal is not");
  std::string bytes;
  for (std::size_t i = 0; i < text.size(); i += 2) bytes += static_cast<char>(value(text[i]) << 4 | value(text[i + 1]));
  return bytes;
}

/// The text under that name, or, where it is not UTF-8, under name_hex; nothing where there is neither.
std::optional<std::string> text_in(const object& members, const char* name) {
  std::string_view text;
  if (members[name].get(text) == simdjson::SUCCESS) return std::string(text);
  if (members[std::string(name) + "_hex"].get(text) == simdjson::SUCCESS) return from_hex(text);
  return std::nullopt;
}

std::uint64_t number_in(const object& members, const char* name) {
  std::uint64_t value = 0;
  if (members[name].get(value) != simdjson::SUCCESS) refuse(fmt::format("there is no number \"{}\"", name));
  return value;
}

Source source_in(const object& members) {
  Source source;
  source.name = text_in(members, "name").value_or("");
  const std::uint64_t partition = number_in(members, "partition");
  if (partition > std::numeric_limits<std::uint32_t>::max()) refuse("the source's partition is too large");
  source.partition = static_cast<std::uint32_t>(partition);
  source.offset = number_in(members, "offset");
  return source;
}

}  // namespace

Record parse_record(std::string_view line) {
  thread_local simdjson::dom::parser parser;
  object members;
  if (parser.parse(line.data(), line.size()).get(members) != simdjson::SUCCESS) refuse("it is no JSON object in UTF-8");
  Record record;
  const auto scope = text_in(members, "scope");
  const auto id = text_in(members, "id");
  std::string_view text;
  if (!scope || !id) refuse("it has no scope, or no id");
  record.scope = *scope;
  record.id = *id;
  if (members["processed_at"].get(text) != simdjson::SUCCESS) refuse("it has no processed_at");
  record.processed_at = parse_time(text, Time{}, "processed_at");
  if (std::uint64_t lsn = 0; members["lsn"].get(lsn) == simdjson::SUCCESS) record.lsn = Lsn{lsn};
  record.correlation = text_in(members, "correlation").value_or("");
  record.result = text_in(members, "result").value_or("");
  if (members["fingerprint"].get(text) == simdjson::SUCCESS) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), record.fingerprint, 16);
    if (error != std::errc{} || end != text.data() + text.size()) refuse("its fingerprint is not hexadecimal");
  }
  if (object source; members["source"].get(source) == simdjson::SUCCESS) record.source = source_in(source);
  bool forgotten = false;
  record.forgotten = members["forgotten"].get(forgotten) == simdjson::SUCCESS && forgotten;
  return record;
}

void append_member(std::string& out, std::string_view name, std::string_view value) {
  out += '"';
  out += name;
  // Nearly every id is plain text, for which a JSON writer would cost more than all the rest.
  if (std::all_of(value.begin(), value.end(), stands_for_itself)) {
    out += "\":\"";
    out += value;
    out += '"';
  } else if (simdjson::validate_utf8(value)) {
    out += "\":";
    out += nlohmann::json(value).dump();
  } else {
    out += "_hex\":\"";
    append_hex(out, value);
    out += '"';
  }
}

void append_record(std::string& out, const Record& record) {
  out += '{';
  if (record.lsn.value != 0) fmt::format_to(std::back_inserter(out), "\"lsn\":{},", record.lsn.value);
  append_member(out, "scope", record.scope);
  out += ',';
  append_member(out, "id", record.id);
  out += ",\"processed_at\":\"";
  out += format_time(record.processed_at);
  out += '"';
  const auto append_optional = [&](std::string_view name, std::string_view value) {
    if (value.empty()) return;
    out += ',';
    append_member(out, name, value);
  };
  append_optional("correlation", record.correlation);
  // As text: a number that large is not safe with every JSON reader.
  if (record.fingerprint != 0)
    fmt::format_to(std::back_inserter(out), ",\"fingerprint\":\"{:016x}\"", record.fingerprint);
  append_optional("result", record.result);
  if (!record.source.name.empty()) {
    out += ",\"source\":{";
    append_member(out, "name", record.source.name);
    fmt::format_to(std::back_inserter(out), ",\"partition\":{},\"offset\":{}}}", record.source.partition,
                   record.source.offset);
  }
  if (record.forgotten) out += ",\"forgotten\":true";
  out += "}\n";
}

}  // namespace oncelog::tool
