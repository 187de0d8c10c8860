#include <oncelog/topic.h>

#include <algorithm>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;

namespace {

using Words = std::vector<std::string>;

/// The rules as they are spoken, with which the library's answers are compared.
Words words_of(const std::string& text) {
  Words words;
  if (text.empty()) return words;
  words.emplace_back();
  for (const char c : text) {
    if (c == '.') {
      words.emplace_back();
    } else {
      words.back() += c;
    }
  }
  return words;
}

bool plainly_matches(const Words& pattern, std::size_t i, const Words& key, std::size_t j) {
  if (i == pattern.size()) return j == key.size();
  if (pattern[i] == "#") {
    return plainly_matches(pattern, i + 1, key, j) || (j != key.size() && plainly_matches(pattern, i, key, j + 1));
  }
  if (j == key.size()) return false;
  return (pattern[i] == "*" || pattern[i] == key[j]) && plainly_matches(pattern, i + 1, key, j + 1);
}

std::string joined(const Words& words) {
  std::string text;
  for (const std::string& word : words) {
    if (&word != &words.front()) text += '.';
    text += word;
  }
  return text;
}

/// All texts of at most `most` words of this alphabet, those of fewer words first.
std::vector<std::string> all_texts(const Words& alphabet, std::size_t most) {
  std::vector<std::string> texts;
  std::vector<Words> longest{{}};
  for (std::size_t count = 0; count <= most; ++count) {
    std::vector<Words> longer;
    for (const Words& words : longest) {
      if (words != Words{""}) texts.push_back(joined(words));  // As text it is the key without words.
      for (const std::string& word : alphabet) {
        longer.push_back(words);
        longer.back().push_back(word);
      }
    }
    longest = std::move(longer);
  }
  return texts;
}

/// What each pattern matches among the keys, found in the plain way; matches() must agree with each answer.
class BruteForce {
 public:
  /// `keys` ordered by their number of words.
  BruteForce(std::vector<std::string> patterns, std::vector<std::string> keys)
      : patterns_(std::move(patterns)), keys_(std::move(keys)) {
    std::vector<Words> split;
    split.reserve(keys_.size());
    for (const std::string& key : keys_) split.push_back(words_of(key));
    for (const std::string& pattern : patterns_) {
      const Words words = words_of(pattern);
      auto& row = matched_.emplace_back(keys_.size());
      for (std::size_t k = 0; k != keys_.size(); ++k) {
        row[k] = plainly_matches(words, 0, split[k], 0);
        if (topic::matches(pattern, keys_[k]) != row[k]) {
          CAPTURE(pattern);
          CAPTURE(keys_[k]);
          FAIL("matches() differs");
        }
      }
    }
  }

  /// Fails the test unless overlaps() says of these two what the keys say.
  void check_pair(std::size_t a, std::size_t b) const {
    CAPTURE(patterns_[a]);
    CAPTURE(patterns_[b]);
    const auto witness = topic::overlaps(patterns_[a], patterns_[b]);
    std::size_t k = 0;
    while (k != keys_.size() && !(matched_[a][k] && matched_[b][k])) ++k;
    REQUIRE(witness.has_value() == (k != keys_.size()));
    if (!witness) return;
    CAPTURE(*witness);
    const Words words = words_of(*witness);
    REQUIRE(plainly_matches(words_of(patterns_[a]), 0, words, 0));
    REQUIRE(plainly_matches(words_of(patterns_[b]), 0, words, 0));
    REQUIRE(words.size() == words_of(keys_[k]).size());
    REQUIRE(topic::overlaps(patterns_[b], patterns_[a])->size() == witness->size());
  }

  void check_all_pairs() const {
    for (std::size_t a = 0; a != patterns_.size(); ++a) {
      for (std::size_t b = a; b != patterns_.size(); ++b) check_pair(a, b);
    }
  }

 private:
  std::vector<std::string> patterns_;
  std::vector<std::string> keys_;
  std::vector<std::vector<bool>> matched_;
};

std::string repeated(const std::string& words, std::size_t times) {
  return joined(Words(times, words));
}

}  // namespace

TEST_CASE("a pattern matches the keys that a topic exchange would send it, and no others") {
  struct Case {
    std::string_view pattern;
    std::string_view key;
    bool matched;
  };
  const Case cases[] = {
      {"order.created", "order.created", true},
      {"order.created", "order.create", false},
      {"order.created", "Order.created", false},
      {"order.created", "order.created.eu", false},
      {"order.*.created", "order.eu.created", true},
      {"order.*.created", "order.created", false},
      {"order.*.created", "order.eu.de.created", false},
      {"order.#", "order", true},
      {"order.#", "order.eu.created", true},
      {"order.#", "orders.eu", false},
      {"#.created", "created", true},
      {"#.created", "order.created.created", true},
      {"#.created", "order.created.eu", false},
      {"a.#.b", "a.b", true},
      {"a.#.b", "a.x.b.y.b", true},
      {"a.#.b", "a.x.b.y", false},
      {"#.a.#.b.#", "x.a.x.b.x", true},
      {"#.a.#.b.#", "b.a", false},
      {"#.#", "", true},
      {"#.*", "", false},
      {"#.*", "a", true},
      {"*.#.*", "a", false},
      {"*.#.*", "a.b", true},
      // Wildcards are whole words of patterns, and nothing else.
      {"order*", "order-1", false},
      {"order*", "order*", true},
      {"a.b#", "a.b.c", false},
      {"a", "*", false},
      {"a", "#", false},
      {"*", "#", true},
      {"#", "*.#", true},
      // The empty key has no words, and any other as many as dots and one.
      {"", "", true},
      {"#", "", true},
      {"*", "", false},
      {"a", "", false},
      {"", "a", false},
      {"", ".", false},
      {".", ".", true},
      {"*.*", ".", true},
      {"*", ".", false},
      {"a..b", "a..b", true},
      {"a.*.b", "a..b", true},
      {"a.b", "a..b", false},
      {"a.#.b", "a..b", true},
      {"a.*", "a.", true},
      {"a", "a.", false},
      {".#", "", false},
      {".#", ".a", true},
      {".#", "a", false},
      {"#.", "a.", true},
      {"#.", "", false},
  };
  for (const Case& it : cases) {
    CAPTURE(it.pattern);
    CAPTURE(it.key);
    CHECK(topic::matches(it.pattern, it.key) == it.matched);
  }
}

TEST_CASE("the key that two patterns have in common is the shortest, and readable") {
  struct Case {
    std::string_view a;
    std::string_view b;
    std::optional<std::string> key;
  };
  const Case cases[] = {
      {"order.created", "order.created", "order.created"},
      {"order.created", "order.deleted", std::nullopt},
      {"order.*", "*.created", "order.created"},
      {"order.*", "order.*.created", std::nullopt},
      {"order.*", "order.*", "order.any"},
      {"order.#", "order.*.created", "order.any.created"},
      {"order.#", "#.created", "order.created"},
      {"order.#", "invoice.#", std::nullopt},
      {"#", "#", ""},
      {"#", "", ""},
      {"#", "*", "any"},
      {"*", "", std::nullopt},
      {"a.#", "#.a", "a"},
      {"a.b.#", "#.b.c", "a.b.c"},
      {"a.#.b.#.a", "b.#.a.#.b", std::nullopt},
      {"#.a.#.b.#", "#.b.#.a.#", "a.b.a"},
      {"#.*.#", "a.#.b", "a.b"},
      {"*.*.#", "#.*", "any.any"},
      {"any.*", "*.other", "any.other"},
      // One empty word alone cannot be written as a key.
      {".#", "#.", "."},
      {".#", ".#", ".any"},
      {".#", "*", std::nullopt},
      {".#", "#", ".any"},
      {"a..b", "a.*.b", "a..b"},
      {"a.b", "a..b", std::nullopt},
  };
  for (const Case& it : cases) {
    CAPTURE(it.a);
    CAPTURE(it.b);
    const auto one_way = topic::overlaps(it.a, it.b);
    const auto other_way = topic::overlaps(it.b, it.a);
    CHECK(one_way.has_value() == it.key.has_value());
    CHECK(other_way.has_value() == it.key.has_value());
    if (!one_way || !other_way || !it.key) continue;
    CHECK(one_way->size() == it.key->size());
    CHECK(topic::matches(it.a, *one_way));
    CHECK(topic::matches(it.b, *one_way));
    CHECK((*one_way == *it.key || *other_way == *it.key));  // Either may come first where two are as short.
  }
}

TEST_CASE("all pairs of patterns of up to three words are judged as by trying all keys") {
  const BruteForce all(all_texts({"", "a", "b", "*", "#"}, 3), all_texts({"", "a", "b", "c"}, 6));
  all.check_all_pairs();
}

TEST_CASE("random pairs of longer patterns are judged as by trying all keys") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  const Words alphabet{"", "a", "b", "*", "*", "#", "#", "#"};
  std::vector<std::string> patterns;
  for (std::uint64_t i = 0; i != scaled(120, 30); ++i) {
    Words words(1 + random() % 4);
    for (std::string& word : words) word = alphabet[random() % alphabet.size()];
    patterns.push_back(joined(words));
  }
  const BruteForce all(std::move(patterns), all_texts({"", "a", "b", "c"}, 8));
  all.check_all_pairs();
}

TEST_CASE("a random key made to match a long pattern matches it, and is found when its patterns are compared") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  const Words alphabet{"", "a", "b", "cc"};
  // Hides words of the key behind wildcards, so that it matches.
  const auto pattern_for = [&](const Words& key) {
    Words pattern;
    for (const std::string& word : key) {
      const auto choice = random() % 8;
      if (choice < 2) pattern.emplace_back("#");  // Of no words, or of this one and those before.
      if (choice != 0) pattern.push_back(choice == 2 ? "*" : word);
    }
    return joined(pattern);
  };
  for (std::uint64_t round = 0; round != scaled(2000, 200); ++round) {
    Words words(2 + random() % 30);
    for (std::string& word : words) word = alphabet[random() % alphabet.size()];
    const std::string key = joined(words);
    const std::string a = pattern_for(words);
    const std::string b = pattern_for(words);
    CAPTURE(key);
    CAPTURE(a);
    CAPTURE(b);
    if (words_of(a).empty() || words_of(b).empty()) continue;  // One empty word was all that was left.
    REQUIRE(topic::matches(a, key));
    REQUIRE(topic::matches(b, key));
    const auto witness = topic::overlaps(a, b);
    REQUIRE(witness);
    REQUIRE(topic::matches(a, *witness));
    REQUIRE(topic::matches(b, *witness));
    REQUIRE(words_of(*witness).size() <= words.size());
  }
}

TEST_CASE("a key that no broker could carry is no overlap") {
  const std::string x(126, 'x');
  const std::string longest = joined({x, std::string(128, 'y')});
  REQUIRE(longest.size() == topic::kMaxKeyBytes);
  CHECK(topic::overlaps(joined({x, "#"}), joined({"#", std::string(128, 'y')})) == longest);
  CHECK_FALSE(topic::overlaps(joined({x, "#"}), joined({"#", std::string(129, 'y')})));
}

TEST_CASE("where the key of fewest words is too long, a longer one of fewer bytes is found") {
  const std::string stars = repeated("*", 128);
  REQUIRE(stars.size() == topic::kMaxKeyBytes);
  CHECK(topic::overlaps(stars, stars) == std::string(127, '.'));
  CHECK(topic::overlaps(stars, "a.#") == std::string("a").append(127, '.'));

  const std::string big(150, 'x');
  const std::string a = joined({"#", big, "#.s.#.t.#"});
  const std::string b = joined({"#.s.#.t.#", big, "#"});
  CHECK(topic::overlaps(a, b) == joined({"s.t", big, "s.t"}));
}

TEST_CASE("patterns of the greatest length are compared, and longer ones refused") {
  const std::string dots(topic::kMaxKeyBytes, '.');
  CHECK(topic::overlaps(dots, dots) == dots);
  const std::string hashes = repeated("#", 128);
  CHECK(topic::overlaps(hashes, hashes) == "");
  CHECK(topic::overlaps(hashes, repeated("a", 128)) == repeated("a", 128));
  const std::string mixed = repeated("#.a", 64);
  CHECK(topic::overlaps(mixed, repeated("#.b", 64)) == std::nullopt);
  CHECK(topic::overlaps(mixed, mixed) == repeated("a", 64));

  CHECK(error_code_of([&] { topic::overlaps(dots + '.', "#"); }) == ErrorCode::invalid_argument);
  CHECK(error_code_of([&] { topic::overlaps("#", dots + '.'); }) == ErrorCode::invalid_argument);
  CHECK(error_text_of([&] { topic::overlaps("#", dots + '.'); }).find("256") != std::string::npos);
}

TEST_CASE("keys of any length are matched, without trying all ways to share them among the wildcards") {
  const std::string many = repeated("#.a", 100) + ".b";
  const std::string key = repeated("a", 10'000);
  CHECK_FALSE(topic::matches(many, key));
  CHECK(topic::matches(many, key + ".b"));
}
