#pragma once

#include <memory_resource>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "json_finder.h"

namespace oncelog::tool {

/// The line itself is the id.
struct WholeLine {};

/// The fields with these numbers, from 1. Without a delimiter, fields are separated by runs of blanks, and those around
/// the line do not count, as in awk; with one, each delimiter ends a field, so that fields may be empty. `csv`: they
/// are RFC 4180's, which may stand in quotes; the delimiter is a comma unless given, and a byte order mark before the
/// line is skipped.
struct Fields {
  std::vector<unsigned> numbers;
  std::optional<char> delimiter = std::nullopt;
  bool csv = false;
};

/// The values at these RFC 6901 pointers into the JSON text that the line is.
struct JsonPointers {
  std::vector<std::string> pointers;
};

using IdSource = std::variant<WholeLine, Fields, JsonPointers>;

/// Finds the id in a line. One thread. A field costs a scan of the line; JSON about a nanosecond for each byte and
/// pointer, as the whole text is checked.
///
/// A whole line is always an id. Where it is none that a store takes (empty, or longer than kMaxIdBytes), or begins
/// with a newline (possible where lines end otherwise), a stand-in is its id: a newline, then the line's length, a
/// colon, and its 128-bit XXH3 hash (seed 0) in 32 hexadecimal digits. So no line can pass itself off as another.
///
/// A field is its bytes; of JSON, a string is its unescaped characters, a number its exact value in plain decimals (7,
/// 7.0 and 70e-1 are "7", like the string), a boolean its name. Null, objects and arrays are no ids, nor is anything in
/// a line that is not exactly one JSON text in UTF-8 (a byte order mark before it is skipped). Of a key that an object
/// has twice the last one counts.
///
/// One value is the id by itself. Several are joined as netstrings: each one's length in bytes, in decimals, a colon,
/// its bytes, a comma: "8:order-17,1:2,". To ask for such an id, build the same. Values have 1 to kMaxIdBytes bytes,
/// and so has what they are joined to; where one is missing there is no id.
class IdExtractor {
 public:
  /// Error: invalid_argument, for a field number 0 or a pointer that is none.
  explicit IdExtractor(IdSource source, char line_end = '\n');

  /// The id of a line, which may end in the line's end and must have LineReader::kPadding readable bytes after it. The
  /// id is valid as long as the line and until forget().
  std::optional<std::string_view> extract(std::string_view line);

  /// The id that a whole line is.
  std::string_view of_line(std::string_view line);

  /// Gives up the ids that are not views into their lines.
  void forget() { kept_.release(); }

 private:
  std::optional<std::string_view> field(std::string_view line, std::size_t position);
  std::optional<std::string_view> json_value(std::string_view text, std::size_t position);
  template <typename Part>
  std::optional<std::string_view> joined(std::size_t count, const Part& part);
  std::string_view keep(std::string_view bytes);

  IdSource source_;
  char line_end_;
  std::vector<JsonFinder> finders_;
  std::string part_;    // The value in hand, where it is no view into its line.
  std::string joined_;  // The values before it.
  std::pmr::monotonic_buffer_resource kept_{std::size_t{64} << 10};
};

}  // namespace oncelog::tool
