#include <oncelog/topic.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include <fmt/format.h>

#include "base/error.h"

namespace oncelog::topic {
namespace {

constexpr std::string_view kOneWord = "*";
constexpr std::string_view kAnyWords = "#";

bool is_wildcard(std::string_view word) {
  return word == kOneWord || word == kAnyWords;
}

/// The words of a text that are left, from the first. A copy is a place to come back to.
class Words {
 public:
  explicit Words(std::string_view text) : rest_(text), ended_(text.empty()) {}

  bool ended() const { return ended_; }
  std::string_view first() const { return rest_.substr(0, rest_.find('.')); }

  void drop_first() {
    const std::size_t dot = rest_.find('.');
    ended_ = dot == std::string_view::npos;
    if (!ended_) rest_.remove_prefix(dot + 1);
  }

 private:
  std::string_view rest_;
  bool ended_;  // An empty rest may still be a last, empty word.
};

std::vector<std::string_view> split(std::string_view text) {
  std::vector<std::string_view> words;
  for (Words left(text); !left.ended(); left.drop_first()) words.push_back(left.first());
  return words;
}

/// Finds the cheapest key that two patterns match. It writes the key word by word, and is at each moment at one place
/// in each pattern; what may follow depends on these places, and not on how they were reached. So the cost of the best
/// ending is computed once for each pair of places, from the ends back, and then followed from the beginning.
class Search {
 public:
  /// A key costs its bytes and, for each word, `word_cost`. A word that both patterns leave open becomes `filler`.
  Search(std::string_view a, std::string_view b, std::string_view filler, std::uint32_t word_cost);

  std::optional<std::string> key() const;

 private:
  static constexpr std::uint32_t kNever = std::numeric_limits<std::uint32_t>::max();

  /// What of the key is written, as far as it matters: whether the next word needs a dot before it, and whether the key
  /// may end here. One empty word alone may not be a key, because as text it is the key without words.
  enum Written : std::uint8_t { kNothing, kOneEmptyWord, kMore };
  static constexpr std::size_t kWrittenStates = 3;

  struct Place {
    std::size_t a;
    std::size_t b;
    Written written;

    friend bool operator==(const Place&, const Place&) = default;
  };

  struct Step {
    Place to;
    std::optional<std::string_view> word;  // Written on the way.
    std::uint32_t cost;                    // Of the word, its dot included.
  };

  /// Calls visit(Step) for all that can come next. No step leads back: none makes a member of Place less.
  template <typename Visit>
  void for_each_step(const Place& from, Visit visit) const;

  std::optional<std::string_view> common_word(std::string_view a, std::string_view b) const;

  std::size_t number(const Place& at) const { return (at.a * (b_.size() + 1) + at.b) * kWrittenStates + at.written; }

  std::vector<std::string_view> a_;
  std::vector<std::string_view> b_;
  std::string_view filler_;
  std::uint32_t word_cost_;
  std::vector<std::uint32_t> costs_;  // To the end of the key, by number().
};

Search::Search(std::string_view a, std::string_view b, std::string_view filler, std::uint32_t word_cost)
    : a_(split(a)),
      b_(split(b)),
      filler_(filler),
      word_cost_(word_cost),
      costs_((a_.size() + 1) * (b_.size() + 1) * kWrittenStates, kNever) {
  for (const Written written : {kNothing, kMore}) costs_[number({a_.size(), b_.size(), written})] = 0;
  for (std::size_t i = a_.size() + 1; i-- != 0;) {
    for (std::size_t j = b_.size() + 1; j-- != 0;) {
      for (const Written written : {kMore, kOneEmptyWord, kNothing}) {
        const Place from = {i, j, written};
        std::uint32_t& best = costs_[number(from)];
        for_each_step(from, [&](const Step& step) {
          const std::uint32_t rest = costs_[number(step.to)];
          if (rest != kNever) best = std::min(best, step.cost + rest);
        });
      }
    }
  }
}

std::optional<std::string> Search::key() const {
  Place at = {0, 0, kNothing};
  if (costs_[number(at)] == kNever) return std::nullopt;
  std::string key;
  const Place end_after_more = {a_.size(), b_.size(), kMore};
  const Place end_after_nothing = {a_.size(), b_.size(), kNothing};
  while (at != end_after_more && at != end_after_nothing) {
    std::optional<Step> best;
    for_each_step(at, [&](const Step& step) {
      const std::uint32_t rest = costs_[number(step.to)];
      if (!best && rest != kNever && step.cost + rest == costs_[number(at)]) best = step;
    });
    if (best->word) {
      if (at.written != kNothing) key += '.';
      key += *best->word;
    }
    at = best->to;
  }
  return key;
}

template <typename Visit>
void Search::for_each_step(const Place& from, Visit visit) const {
  const bool a_left = from.a != a_.size();
  const bool b_left = from.b != b_.size();
  const bool a_any = a_left && a_[from.a] == kAnyWords;
  const bool b_any = b_left && b_[from.b] == kAnyWords;
  // A '#' ends: it has all its words, or gets none.
  if (a_any) visit(Step{{from.a + 1, from.b, from.written}, std::nullopt, 0});
  if (b_any) visit(Step{{from.a, from.b + 1, from.written}, std::nullopt, 0});

  if (!a_left || !b_left) return;
  const auto word = common_word(a_[from.a], b_[from.b]);
  if (!word) return;
  const Written written = from.written == kNothing && word->empty() ? kOneEmptyWord : kMore;
  const Place to = {from.a + !a_any, from.b + !b_any, written};
  if (to == from) return;  // Both '#' take a word, and nothing has changed but the cost.
  const std::size_t bytes = word->size() + (from.written != kNothing);
  visit(Step{to, word, word_cost_ + static_cast<std::uint32_t>(bytes)});
}

std::optional<std::string_view> Search::common_word(std::string_view a, std::string_view b) const {
  if (is_wildcard(a)) return is_wildcard(b) ? filler_ : b;
  if (is_wildcard(b) || a == b) return a;
  return std::nullopt;
}

void check_pattern(std::string_view pattern) {
  if (pattern.size() > kMaxKeyBytes) {
    internal::refuse(fmt::format("a topic pattern has {} bytes; {} are possible", pattern.size(), kMaxKeyBytes));
  }
}

}  // namespace

bool matches(std::string_view pattern, std::string_view key) noexcept {
  Words wanted(pattern);
  Words given(key);
  // Only the last '#' need ever take more words: what the earlier ones took, it could have taken.
  std::optional<Words> after_last_any;
  Words not_taken(key);
  while (!given.ended()) {
    if (!wanted.ended() && wanted.first() == kAnyWords) {
      wanted.drop_first();
      after_last_any = wanted;
      not_taken = given;
    } else if (!wanted.ended() && (wanted.first() == kOneWord || wanted.first() == given.first())) {
      wanted.drop_first();
      given.drop_first();
    } else if (after_last_any) {
      not_taken.drop_first();
      given = not_taken;
      wanted = *after_last_any;
    } else {
      return false;
    }
  }
  while (!wanted.ended() && wanted.first() == kAnyWords) wanted.drop_first();
  return wanted.ended();
}

std::optional<std::string> overlaps(std::string_view a, std::string_view b) {
  check_pattern(a);
  check_pattern(b);
  // No key costs as much in bytes as one word more: it has at most the bytes of both patterns, and of a filler for each
  // of their words.
  constexpr std::string_view kFiller = "any";
  constexpr std::uint32_t kFewestWords = 1U << 16;
  static_assert(2 * (kMaxKeyBytes + 1) * (kFiller.size() + 1) < kFewestWords);
  auto key = Search(a, b, kFiller, kFewestWords).key();
  if (!key || key->size() <= kMaxKeyBytes) return key;

  key = Search(a, b, "", 0).key();
  if (key && key->size() > kMaxKeyBytes) return std::nullopt;
  return key;
}

}  // namespace oncelog::topic
