#include "csv.h"

#include <algorithm>

namespace oncelog::tool {

std::size_t CsvRecords::end(std::string_view bytes) {
  for (std::size_t i = 0; i != bytes.size(); ++i) {
    if (at_ == At::quoted) {
      i = bytes.find('"', i);
      if (i == std::string_view::npos) return i;
      at_ = At::quote;
      continue;
    }
    const char c = bytes[i];
    if (at_ == At::record) {
      if (c == kByteOrderMark[mark_bytes_]) {
        if (++mark_bytes_ != kByteOrderMark.size()) continue;
        at_ = At::field;
        mark_bytes_ = 0;
        continue;
      }
      at_ = mark_bytes_ == 0 || kByteOrderMark[mark_bytes_ - 1] == delimiter_ ? At::field : At::bare;
      mark_bytes_ = 0;
    }
    if (c == '\n') {
      at_ = At::record;
      return i + 1;
    }
    if (c == delimiter_) {
      at_ = At::field;
    } else if (c == '"' && at_ != At::bare) {
      at_ = At::quoted;  // Of a field's beginning, or the second of a pair.
    } else {
      at_ = At::bare;
    }
  }
  return std::string_view::npos;
}

std::optional<std::string_view> csv_field(std::string_view record, char delimiter, unsigned number,
                                          std::string& scratch) {
  for (;; --number) {
    const bool wanted = number == 1;
    if (!record.starts_with('"')) {
      const std::size_t size = std::min(record.find(delimiter), record.size());
      if (wanted) return record.substr(0, size);
      if (size == record.size()) return std::nullopt;
      record.remove_prefix(size + 1);
      continue;
    }
    scratch.clear();
    record.remove_prefix(1);
    for (;;) {
      const std::size_t quote = record.find('"');
      if (quote == std::string_view::npos) return std::nullopt;
      if (wanted) scratch += record.substr(0, quote);
      record.remove_prefix(quote + 1);
      if (!record.starts_with('"')) break;
      if (wanted) scratch += '"';
      record.remove_prefix(1);
    }
    const std::size_t size = std::min(record.find(delimiter), record.size());
    if (wanted) {
      scratch += record.substr(0, size);
      return scratch;
    }
    if (size == record.size()) return std::nullopt;
    record.remove_prefix(size + 1);
  }
}

}  // namespace oncelog::tool
