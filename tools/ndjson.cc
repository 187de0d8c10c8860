#include "ndjson.h"

#include <algorithm>
#include <iterator>

#include <fmt/format.h>
#include <simdjson.h>
#include <nlohmann/json.hpp>

#include "timestamp.h"

namespace oncelog::tool {
namespace {

bool stands_for_itself(char c) {
  return c >= ' ' && c <= '~' && c != '"' && c != '\\';
}

void append_hex(std::string& out, std::string_view bytes) {
  for (const char c : bytes) fmt::format_to(std::back_inserter(out), "{:02x}", static_cast<unsigned char>(c));
}

}  // namespace

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
  fmt::format_to(std::back_inserter(out), "{{\"lsn\":{},", record.lsn.value);
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
