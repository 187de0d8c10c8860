#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include <oncelog/record.h>

namespace oncelog::tool {

/// A table of processed messages in PostgreSQL.
struct LegacyTable {
  std::string address;  // What libpq takes.
  std::string table;    // As SQL writes it: with its schema, or without.
  std::string id = "message_id";
  std::string time = "processed_at";
  std::string scope = "service_name";
};

/// Keys of Redis that stand for a message each, and are there until its retention is over.
struct LegacyKeys {
  std::string address;  // redis://user:password@host:port/database, or redis+unix:///path.
  std::string prefix;   // The id is what follows.
  std::string scope;
  std::chrono::milliseconds retention{0};  // With which they were set: processed_at is so long before they expire.
};

/// How many were left out, because they say too little.
struct LegacyCounts {
  std::uint64_t without_time = 0;  // Keys that never expire; rows with a null.
};

/// Visits each as a record without an LSN, as it comes: rows in the order of their time, keys as SCAN finds them, some
/// of them twice. One pass in constant memory, beside which others may write. Errors: those of a connection, io;
/// not_found; unsupported where the command was built without the server's library; what the visitor throws.
LegacyCounts visit_table(const LegacyTable& table, const std::function<void(const Record&)>& visitor);
LegacyCounts visit_keys(const LegacyKeys& keys, const std::function<void(const Record&)>& visitor);

}  // namespace oncelog::tool
