#pragma once

#include <string>
#include <string_view>

#include <oncelog/record.h>

namespace oncelog::tool {

/// Appends a record as one line of JSON: {"lsn":8,"scope":"s","id":"a","processed_at":"2026-01-02T03:04:05.123456Z"}.
/// Ids are any bytes and JSON text is not: an id or scope that is not UTF-8 is given in hexadecimal, as "id_hex" or
/// "scope_hex". Members for what else the record has follow: "correlation", "fingerprint" (16 hexadecimal digits),
/// "result", "source":{"name","partition","offset"}, "forgotten":true. Any thread; a few hundred nanoseconds.
void append_record(std::string& out, const Record& record);

/// The record of such a line; members that it does not know are ignored. Error: invalid_argument, saying what is wrong.
Record parse_record(std::string_view line);

/// Appends `,"name":"value"` without the comma, or `"name_hex":"76616c7565"` when the value is not UTF-8.
void append_member(std::string& out, std::string_view name, std::string_view value);

}  // namespace oncelog::tool
