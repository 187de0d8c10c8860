#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <vector>

#include <oncelog/error.h>
#include <oncelog/topic.h>

#include "fuzz.h"

using oncelog::fuzzing::Input;
using oncelog::fuzzing::require;
namespace topic = oncelog::topic;

namespace {

using Words = std::vector<std::string_view>;

Words words_of(std::string_view text) {
  Words words;
  if (text.empty()) return words;
  for (;;) {
    const std::size_t dot = text.find('.');
    words.push_back(text.substr(0, dot));
    if (dot == std::string_view::npos) return words;
    text.remove_prefix(dot + 1);
  }
}

/// The definition, word for word: row[j] says whether the pattern's words up to here match the key's first j words.
bool naive_match(const Words& pattern, const Words& key) {
  std::vector<bool> row(key.size() + 1, false);
  row[0] = true;
  for (const std::string_view word : pattern) {
    std::vector<bool> next(key.size() + 1, false);
    for (std::size_t j = 0; j <= key.size(); ++j) {
      if (word == "#") {
        next[j] = row[j] || (j != 0 && next[j - 1]);
      } else {
        next[j] = j != 0 && row[j - 1] && (word == "*" || word == key[j - 1]);
      }
    }
    row = std::move(next);
  }
  return row[key.size()];
}

std::string joined(const Words& words) {
  std::string text;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i != 0) text += '.';
    text += words[i];
  }
  return text;
}

/// The fewest words of a key that both patterns match, found by trying all keys of up to `most` words.
std::optional<std::size_t> naive_overlap(const Words& a, const Words& b, std::size_t most) {
  Words choice{"any"};
  for (const Words& pattern : {a, b}) choice.insert(choice.end(), pattern.begin(), pattern.end());
  std::ranges::sort(choice);
  choice.erase(std::unique(choice.begin(), choice.end()), choice.end());
  for (std::size_t count = 0; count <= most; ++count) {
    std::vector<std::size_t> digits(count, 0);
    for (bool more = true; more;) {
      Words key;
      for (const std::size_t digit : digits) key.push_back(choice[digit]);
      // One empty word is no key: as text it is the key without words.
      if (!(count == 1 && key[0].empty()) && naive_match(a, key) && naive_match(b, key)) return count;
      more = false;
      for (std::size_t& digit : digits) {
        if (++digit != choice.size()) {
          more = true;
          break;
        }
        digit = 0;
      }
    }
  }
  return std::nullopt;
}

void check_match(std::string_view pattern, std::string_view key) {
  require(topic::matches(pattern, key) == naive_match(words_of(pattern), words_of(key)),
          "matches() is the definition of a match");
}

void check_overlap(std::string_view a, std::string_view b) {
  // Two patterns of 128 words each take milliseconds, and say nothing that two of 20 do not.
  if (words_of(a).size() * words_of(b).size() > 400) return;
  std::optional<std::string> key;
  try {
    key = topic::overlaps(a, b);
  } catch (const oncelog::Error& error) {
    require(error.code() == oncelog::ErrorCode::invalid_argument &&
                (a.size() > topic::kMaxKeyBytes || b.size() > topic::kMaxKeyBytes),
            "only a pattern that is too long is refused");
    return;
  }
  require(a.size() <= topic::kMaxKeyBytes && b.size() <= topic::kMaxKeyBytes, "a pattern that is too long is refused");
  if (key) {
    require(key->size() <= topic::kMaxKeyBytes, "a broker would take the key");
    require(naive_match(words_of(a), words_of(*key)) && naive_match(words_of(b), words_of(*key)),
            "both patterns match the key");
  }
  require(key.has_value() == topic::overlaps(b, a).has_value(), "it does not matter which pattern is the first");
  const Words a_words = words_of(a);
  const Words b_words = words_of(b);
  const std::size_t words = a_words.size() + b_words.size();
  if (words > 3 || a.size() + b.size() > 100) return;
  const auto fewest = naive_overlap(a_words, b_words, words);
  require(key.has_value() == fewest.has_value(), "overlaps() finds a key when there is one");
  require(!key || words_of(*key).size() == *fewest, "the key has the fewest words");
  require(!key || *key == joined(words_of(*key)), "a key is its words");
}

/// Mutations rarely hit the few bytes that matter: here every byte is one of them.
std::string dense(std::string_view text) {
  constexpr std::string_view kAlphabet = "..**##ab";
  std::string out;
  for (const char byte : text) out += kAlphabet[static_cast<unsigned char>(byte) % kAlphabet.size()];
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const bool raw = input.number<std::uint8_t>() % 2 == 0;
  std::array<std::string, 3> texts;
  for (std::string& text : texts) text = raw ? std::string(input.line()) : dense(input.text(1 + input.up_to(79)));
  if (texts[0].size() + texts[1].size() + texts[2].size() > 1000) return 0;
  for (const std::string& pattern : texts) {
    for (const std::string& key : texts) check_match(pattern, key);
  }
  check_overlap(texts[0], texts[1]);
  check_overlap(texts[1], texts[2]);
  return 0;
}
