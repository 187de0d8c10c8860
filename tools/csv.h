#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace oncelog::tool {

/// What spreadsheets write before a text in UTF-8. It is no part of the text.
inline constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

/// Finds where the records of RFC 4180 text end, as its bytes come in: at a newline that is not between quotes. A quote
/// opens a field only as its first byte; elsewhere it is a byte like any. A byte order mark before a record is skipped:
/// files that were joined have one in their midst, too. One thread; about a nanosecond a byte.
class CsvRecords {
 public:
  explicit CsvRecords(char delimiter) : delimiter_(delimiter) {}

  /// The position after the newline that ends the record in progress, or npos when it does not end in these bytes,
  /// which follow those of the last call.
  std::size_t end(std::string_view bytes);

 private:
  enum class At : std::uint8_t { record, field, bare, quoted, quote };

  char delimiter_;
  At at_ = At::record;
  std::size_t mark_bytes_ = 0;  // Of a byte order mark, at the record's beginning.
};

/// The value of a record's N-th field, from 1, without its quotes; `scratch` holds it where doubled quotes had to be
/// undone. What follows a closing quote belongs to the value, as it does in Python's csv. Nothing when there is no such
/// field, or a quote before its end is not closed.
std::optional<std::string_view> csv_field(std::string_view record, char delimiter, unsigned number,
                                          std::string& scratch);

}  // namespace oncelog::tool
