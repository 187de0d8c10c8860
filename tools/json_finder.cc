#include "json_finder.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>

#include <fmt/format.h>

#include <oncelog/error.h>

namespace oncelog::tool {
namespace {

static_assert(std::endian::native == std::endian::little, "the lowest byte of a word is the first of its text");

constexpr std::uint64_t in_each_byte(unsigned char byte) {
  return 0x0101'0101'0101'0101u * byte;
}

/// The high bits of bytes below `limit`, at most 128. Above the first such byte there may be more than those.
constexpr std::uint64_t below(std::uint64_t word, unsigned char limit) {
  return (word - in_each_byte(limit)) & ~word & in_each_byte(0x80);
}

/// How many of the next 8 bytes of a string come before one that does not stand for itself.
std::size_t plain_bytes(const char* at) {
  std::uint64_t word;
  std::memcpy(&word, at, sizeof word);
  const std::uint64_t others =
      below(word, 0x20) | below(word ^ in_each_byte('"'), 1) | below(word ^ in_each_byte('\\'), 1);
  return static_cast<std::size_t>(std::countr_zero(others)) / 8;  // 64 for none.
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

int hex_digit(char c) {
  if (is_digit(c)) return c - '0';
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/// The four digits of \uXXXX, which are known to be some.
std::uint32_t code_unit(const char* digits) {
  std::uint32_t unit = 0;
  for (int i = 0; i != 4; ++i) unit = unit << 4 | static_cast<std::uint32_t>(hex_digit(digits[i]));
  return unit;
}

void append_utf8(std::string& out, std::uint32_t code) {
  const auto add = [&](std::uint32_t byte) { out += static_cast<char>(byte); };
  if (code < 0x80) {
    add(code);
    return;
  }
  if (code < 0x800) {
    add(0xC0 | code >> 6);
  } else {
    if (code < 0x10000) {
      add(0xE0 | code >> 12);
    } else {
      add(0xF0 | code >> 18);
      add(0x80 | (code >> 12 & 0x3F));
    }
    add(0x80 | (code >> 6 & 0x3F));
  }
  add(0x80 | (code & 0x3F));
}

/// An array's index by RFC 6901: digits, without leading zeros.
std::optional<std::size_t> read_index(std::string_view token) {
  if (token.empty() || (token.size() > 1 && token.front() == '0')) return std::nullopt;
  std::size_t index = 0;
  const auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), index);
  if (error != std::errc{} || end != token.data() + token.size()) return std::nullopt;
  return index;
}

[[noreturn]] void refuse(std::string_view pointer) {
  throw Error(ErrorCode::invalid_argument,
              fmt::format("--json-pointer: '{}' is not a JSON pointer; write for example /envelope/messageId, with ~1 "
                          "for a slash and ~0 for a tilde in a key",
                          pointer));
}

}  // namespace

/// What is left of a text. Each function takes a part of it, and returns false when there is no such part. A cursor
/// that nothing else refers to stays in registers, hence the inlining: it makes the whole a third faster.
class JsonFinder::Cursor {
 public:
  explicit Cursor(std::string_view text) : at_(text.data()), end_(at_ + text.size()) {}

  bool at_end() const { return at_ == end_; }
  char front() const { return *at_; }

  [[gnu::always_inline]] void skip_blanks() {
    while (at_ != end_ && *at_ <= ' ' && (*at_ == ' ' || *at_ == '\n' || *at_ == '\r' || *at_ == '\t')) ++at_;
  }

  [[gnu::always_inline]] bool take(char c) {
    if (at_ == end_ || *at_ != c) return false;
    ++at_;
    return true;
  }

  [[gnu::always_inline]] bool take_string(JsonValue& value) {
    if (!take('"')) return false;
    const char* const begin = at_;
    bool escaped = false;
    for (;;) {
      const std::size_t plain = plain_bytes(at_);
      if (static_cast<std::size_t>(end_ - at_) <= plain) return false;
      at_ += plain;
      if (plain == sizeof(std::uint64_t)) continue;
      if (*at_ == '"') break;
      if (*at_ != '\\' || !take_escape()) return false;
      escaped = true;
    }
    value = {JsonType::string, {begin, at_}, escaped};
    ++at_;
    return true;
  }

  /// Any value but an object or array.
  [[gnu::always_inline]] bool take_scalar(JsonValue& value) {
    switch (*at_) {
      case '"':
        return take_string(value);
      case 't':
        value = {JsonType::boolean, {at_, 4}, false};
        return take_word("true");
      case 'f':
        value = {JsonType::boolean, {at_, 5}, false};
        return take_word("false");
      case 'n':
        value = {JsonType::other, {}, false};
        return take_word("null");
      default:
        return take_number(value);
    }
  }

 private:
  bool take_word(std::string_view word) {
    if (!std::string_view(at_, end_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }

  [[gnu::always_inline]] std::ptrdiff_t take_digits() {
    const char* const first = at_;
    while (at_ != end_ && is_digit(*at_)) ++at_;
    return at_ - first;
  }

  [[gnu::always_inline]] bool take_number(JsonValue& value) {
    const char* const begin = at_;
    take('-');
    const char* const whole = at_;
    const std::ptrdiff_t count = take_digits();
    if (count == 0 || (count > 1 && *whole == '0')) return false;
    if (take('.') && take_digits() == 0) return false;
    if (take('e') || take('E')) {
      if (!take('+')) take('-');
      if (take_digits() == 0) return false;
    }
    value = {JsonType::number, {begin, at_}, false};
    return true;
  }

  bool take_escape() {
    const std::string_view rest(at_ + 1, end_);
    if (rest.empty()) return false;
    if (rest.front() != 'u') {
      if (std::string_view("\"\\/bfnrt").find(rest.front()) == std::string_view::npos) return false;
      at_ += 2;
      return true;
    }
    if (rest.size() < 5) return false;
    for (const char c : rest.substr(1, 4)) {
      if (hex_digit(c) < 0) return false;
    }
    at_ += 6;
    return true;
  }

  const char* at_;
  const char* end_;
};

JsonFinder::JsonFinder(std::string_view pointer) {
  if (!pointer.empty() && pointer.front() != '/') refuse(pointer);
  for (std::size_t at = 0; at != pointer.size();) {
    std::string key;
    for (++at; at != pointer.size() && pointer[at] != '/'; ++at) {
      if (pointer[at] != '~') {
        key += pointer[at];
        continue;
      }
      ++at;
      if (at == pointer.size() || (pointer[at] != '0' && pointer[at] != '1')) refuse(pointer);
      key += pointer[at] == '0' ? '~' : '/';
    }
    const std::optional<std::size_t> index = read_index(key);
    tokens_.push_back({std::move(key), index});
  }
  indices_.resize(tokens_.size());
}

/// A key and its colon; whether the pointer leads to the key's value.
[[gnu::always_inline]] inline bool JsonFinder::key(Cursor& cursor, bool& wanted) {
  JsonValue key = {};
  cursor.skip_blanks();
  if (!cursor.take_string(key)) return false;
  cursor.skip_blanks();
  if (!cursor.take(':')) return false;
  wanted = on_path();
  if (!wanted) return true;
  const std::string& token = tokens_[path_ - 1].key;
  if (!key.escaped) {
    wanted = key.raw == token;
  } else {
    unescaped_.clear();
    wanted = append_unescaped(unescaped_, key.raw) && unescaped_ == token;
  }
  return true;
}

/// Whether the pointer leads to the array's next element; call it once for each.
inline bool JsonFinder::next_element() {
  return on_path() && tokens_[path_ - 1].index == indices_[path_ - 1]++;
}

inline void JsonFinder::open(char bracket, bool on_path) {
  open_ += bracket;
  if (!on_path) return;
  indices_[path_] = 0;
  ++path_;
}

inline void JsonFinder::close() {
  if (on_path()) --path_;
  open_.pop_back();
}

std::optional<JsonValue> JsonFinder::find(std::string_view text) {
  Cursor cursor(text);
  open_.clear();
  path_ = 0;
  std::optional<JsonValue> found;
  bool wanted = true;  // The pointer's first tokens lead to the value that comes next.
  for (;;) {
    cursor.skip_blanks();
    if (cursor.at_end()) return std::nullopt;
    if (wanted) found.reset();  // What an earlier one with the same key has led to does not count.
    const bool target = wanted && open_.size() == tokens_.size();
    const char bracket = cursor.front();
    if (bracket == '{' || bracket == '[') {
      cursor.take(bracket);
      open(bracket, wanted && !target);
      if (target) found = JsonValue{JsonType::other, {}, false};
      cursor.skip_blanks();
      if (!cursor.take(bracket == '{' ? '}' : ']')) {
        if (bracket == '[') {
          wanted = next_element();
        } else if (!key(cursor, wanted)) {
          return std::nullopt;
        }
        continue;
      }
      close();
    } else {
      JsonValue scalar = {};
      if (!cursor.take_scalar(scalar)) return std::nullopt;
      if (target) found = scalar;
    }

    // What follows a value: the end of some objects and arrays, and then the next value or the end of all.
    for (;;) {
      cursor.skip_blanks();
      if (open_.empty()) return cursor.at_end() ? found : std::nullopt;
      const bool in_object = open_.back() == '{';
      if (cursor.take(',')) {
        if (!in_object) {
          wanted = next_element();
        } else if (!key(cursor, wanted)) {
          return std::nullopt;
        }
        break;
      }
      if (!cursor.take(in_object ? '}' : ']')) return std::nullopt;
      close();
    }
  }
}

bool append_unescaped(std::string& out, std::string_view raw) {
  constexpr std::string_view kNames = "bfnrt";
  constexpr std::string_view kCharacters = "\b\f\n\r\t";
  for (;;) {
    const std::size_t plain = std::min(raw.find('\\'), raw.size());
    out += raw.substr(0, plain);
    if (plain == raw.size()) return true;
    const char name = raw[plain + 1];
    raw.remove_prefix(plain + 2);
    if (name != 'u') {
      const std::size_t position = kNames.find(name);
      out += position == std::string_view::npos ? name : kCharacters[position];
      continue;
    }
    std::uint32_t code = code_unit(raw.data());
    raw.remove_prefix(4);
    if (code >= 0xD800 && code < 0xE000) {
      if (code >= 0xDC00 || !raw.starts_with("\\u")) return false;
      const std::uint32_t second = code_unit(raw.data() + 2);
      if (second < 0xDC00 || second >= 0xE000) return false;
      code = 0x10000 + ((code - 0xD800) << 10 | (second - 0xDC00));
      raw.remove_prefix(6);
    }
    append_utf8(out, code);
  }
}

std::optional<std::string> plain_decimals(std::string_view number, std::size_t most) {
  // Far beyond every text's size, and far from overflow.
  constexpr std::int64_t kFar = std::int64_t{1} << 60;
  const bool negative = number.starts_with('-');
  if (negative) number.remove_prefix(1);

  std::int64_t exponent = 0;
  if (const std::size_t at = number.find_first_of("eE"); at != std::string_view::npos) {
    std::string_view text = number.substr(at + 1);
    if (text.starts_with('+')) text.remove_prefix(1);
    if (std::from_chars(text.data(), text.data() + text.size(), exponent).ec != std::errc{} || exponent > kFar ||
        exponent < -kFar) {
      exponent = text.starts_with('-') ? -kFar : kFar;
    }
    number = number.substr(0, at);
  }

  const std::size_t whole = std::min(number.find('.'), number.size());
  std::string digits(number.substr(0, whole));
  if (whole != number.size()) digits += number.substr(whole + 1);
  const std::size_t first = digits.find_first_not_of('0');
  if (first == std::string::npos) return "0";
  std::int64_t point = static_cast<std::int64_t>(whole) - static_cast<std::int64_t>(first) + exponent;
  digits.erase(digits.find_last_not_of('0') + 1);
  digits.erase(0, first);

  const auto limit = static_cast<std::int64_t>(most);
  if (digits.size() > most || point > limit || point < -limit) return std::nullopt;
  std::string text = negative ? "-" : "";
  if (point <= 0) {
    text += "0.";
    text.append(static_cast<std::size_t>(-point), '0');
    text += digits;
  } else {
    const auto places = static_cast<std::size_t>(point);
    if (places >= digits.size()) {
      text += digits;
      text.append(places - digits.size(), '0');
    } else {
      text.append(digits, 0, places).append(1, '.').append(digits, places, std::string::npos);
    }
  }
  if (text.size() > most) return std::nullopt;
  return text;
}

}  // namespace oncelog::tool
