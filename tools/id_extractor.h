#pragma once

#include <memory>
#include <memory_resource>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

namespace oncelog::tool {

/// The line itself is the id.
struct WholeLine {};

/// The N-th field, from 1. Without a delimiter, fields are separated by runs of blanks, and those around the line do
/// not count, as in awk; with one, each delimiter ends a field, so that fields may be empty.
struct Field {
  unsigned number = 1;
  std::optional<char> delimiter = std::nullopt;
};

/// The value at an RFC 6901 pointer into the JSON text that the line is.
struct JsonPointer {
  std::string pointer;
};

using IdSource = std::variant<WholeLine, Field, JsonPointer>;

/// Finds the id in a line. One thread. A field costs a scan of the line; JSON about a nanosecond for each byte: it is
/// parsed as far as the id needs, and keys are compared as written (an escaped key never matches).
///
/// A whole line is always an id. Where it is none that a store takes (empty, or longer than kMaxIdBytes), a stand-in is
/// its id: a newline, which no line can contain, then the line's length and its 128-bit XXH3 hash. A field or JSON
/// value is an id when it is there, has 1 to kMaxIdBytes bytes and, in JSON, is a string (its unescaped bytes), a
/// number or a boolean (their text).
class IdExtractor {
 public:
  /// Error: invalid_argument, for a field number 0 or a pointer that is none.
  explicit IdExtractor(IdSource source);
  ~IdExtractor();

  /// The id of a line, which may end in a newline and must have LineReader::kPadding readable bytes after it. The id is
  /// valid as long as the line and until forget().
  std::optional<std::string_view> extract(std::string_view line);

  /// Gives up the ids that are not views into their lines.
  void forget() { kept_.release(); }

 private:
  struct Json;

  std::string_view of_line(std::string_view line);
  std::optional<std::string_view> of_json(std::string_view line);
  std::string_view keep(std::string_view bytes);

  IdSource source_;
  std::unique_ptr<Json> json_;
  std::pmr::monotonic_buffer_resource kept_{std::size_t{64} << 10};
};

}  // namespace oncelog::tool
