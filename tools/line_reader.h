#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "csv.h"
#include "stop_signal.h"

namespace oncelog::tool {

/// What ends a line. With `csv_delimiter`, lines are RFC 4180's records, which newlines in quotes do not end; a quote
/// that is never closed makes all that follows one line.
struct LineFormat {
  char end = '\n';
  std::optional<char> csv_delimiter = std::nullopt;
};

/// Splits what a descriptor delivers into lines, a batch of them for each read(2): input that trickles is answered line
/// by line, a file or a busy pipe by some thousand lines at a time. Lines are views into the one buffer, and keep their
/// end; a last line without one is given one, as awk does. All other bytes are ordinary. One thread; memory is the
/// longest line or kReadBytes, whichever is more, and each byte is looked at once (memchr).
class LineReader {
 public:
  static constexpr std::size_t kReadBytes = std::size_t{256} << 10;
  /// Bytes after the last line that may be read (not used) by its parser.
  static constexpr std::size_t kPadding = 64;

  /// `name` is what errors call the input. `stop` must outlive the reader.
  LineReader(int descriptor, std::string name, const StopSignal& stop, const LineFormat& format = {});

  /// The next lines, at least one; they are valid until the next call. False at the end of the input or, at once and
  /// without the half line read so far, when a stop was asked for. Error: io.
  bool next(std::vector<std::string_view>& lines);

  /// Whether the last of those lines is what a quote that is never closed has left: all the rest of the input.
  bool ends_in_open_quotes() const { return open_quotes_; }

 private:
  bool wait();
  std::size_t read_some();
  void make_room();
  void split(std::vector<std::string_view>& lines);
  std::size_t line_end(std::string_view bytes);

  int descriptor_;
  std::string name_;
  const StopSignal& stop_;
  char end_of_line_;
  std::optional<CsvRecords> records_;
  std::unique_ptr<char[]> buffer_;
  std::size_t capacity_ = kReadBytes;
  std::size_t begin_ = 0;    // Of the line that is not complete yet ...
  std::size_t scanned_ = 0;  // ... which does not end before here ...
  std::size_t end_ = 0;      // ... and ends here so far.
  bool ended_ = false;
  bool open_quotes_ = false;
};

}  // namespace oncelog::tool
