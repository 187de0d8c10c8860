#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace oncelog::tool {

enum class JsonType : std::uint8_t { string, number, boolean, other };  // other: null, objects, arrays.

/// A value, as it is written in its text.
struct JsonValue {
  JsonType type;
  std::string_view raw;  ///< Of a string: what is between the quotes. Of an object or array: empty.
  bool escaped;          ///< A string with a backslash in it.
};

/// Checks that a text is exactly one JSON text by RFC 8259's grammar, and finds the value at an RFC 6901 pointer in it,
/// in one pass without recursion. Keys are compared unescaped. Where an object on the pointer's path has a key twice,
/// the last one counts, as it does to most parsers. Numbers may be of any size and precision, nesting of any depth. Not
/// checked here: that the text is UTF-8. One thread; less than a nanosecond a byte, strings 8 bytes at a time.
class JsonFinder {
 public:
  /// Bytes after a text that must be readable. They do not change the result.
  static constexpr std::size_t kPadding = 8;

  /// Error: invalid_argument when it is not an RFC 6901 pointer.
  explicit JsonFinder(std::string_view pointer);

  /// Nothing when the text is not valid, or has no value there.
  std::optional<JsonValue> find(std::string_view text);

 private:
  class Cursor;
  struct Token {
    std::string key;
    std::optional<std::size_t> index;  // When it can be an array's.
  };

  bool key(Cursor& cursor, bool& wanted);
  bool next_element();
  void open(char bracket, bool on_path);
  void close();
  bool on_path() const { return path_ == open_.size(); }

  std::vector<Token> tokens_;

  std::string open_;                  // The brackets that are open ...
  std::size_t path_ = 0;              // ... of which the first so many lie on the pointer's path ...
  std::vector<std::size_t> indices_;  // ... and, where they are arrays, have come to these elements.
  std::string unescaped_;
};

/// Appends a JSON string's characters, given what is between its quotes, as UTF-8. False for half a surrogate pair,
/// which stands for no character.
bool append_unescaped(std::string& out, std::string_view raw);

/// A JSON number's exact value in plain decimals, by which equal values have equal texts: "1" for 1, 1.0 and 10e-1, "0"
/// for -0. Nothing when that takes more than `most` bytes.
std::optional<std::string> plain_decimals(std::string_view number, std::size_t most);

}  // namespace oncelog::tool
