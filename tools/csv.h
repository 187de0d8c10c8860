#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace oncelog::tool {

/// Finds where the records of RFC 4180 text end, as its bytes come in: at a newline that is not between quotes. A quote
/// opens a field only as its first byte; elsewhere it is a byte like any. One thread; about a nanosecond a byte.
class CsvRecords {
 public:
  explicit CsvRecords(char delimiter) : delimiter_(delimiter) {}

  /// The position after the newline that ends the record in progress, or npos when it does not end in these bytes,
  /// which follow those of the last call.
  std::size_t end(std::string_view bytes);

 private:
  enum class At : std::uint8_t { field, bare, quoted, quote };

  char delimiter_;
  At at_ = At::field;
};

/// The value of a record's N-th field, from 1, without its quotes; `scratch` holds it where doubled quotes had to be
/// undone. What follows a closing quote belongs to the value, as it does in Python's csv. Nothing when there is no such
/// field, or a quote before its end is not closed.
std::optional<std::string_view> csv_field(std::string_view record, char delimiter, unsigned number,
                                          std::string& scratch);

}  // namespace oncelog::tool
