#include "topics.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <map>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <oncelog/error.h>
#include <oncelog/topic.h>

#include "line_reader.h"
#include "ndjson.h"
#include "output.h"
#include "printable.h"
#include "stop_signal.h"

namespace oncelog::tool {
namespace {

constexpr std::string_view kBlanks = " \t\r";  // A file from Windows has a carriage return before each newline.
constexpr std::size_t kBytesPerWrite = std::size_t{64} << 10;

struct Subscription {
  std::uint64_t line;
  std::string service;
  std::string pattern;
};

std::string name_of(const std::string& file) {
  return file == "-" ? "standard input" : file;
}

struct Input {
  explicit Input(const std::string& file)
      : descriptor(file == "-" ? STDIN_FILENO : ::open(file.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (descriptor < 0) throw Error(ErrorCode::io, "cannot open '" + file + "': " + std::strerror(errno), file);
  }
  ~Input() {
    if (descriptor != STDIN_FILENO) ::close(descriptor);
  }
  Input(const Input&) = delete;
  Input& operator=(const Input&) = delete;

  int descriptor;
};

[[noreturn]] void refuse(const std::string& sentence) {
  throw Error(ErrorCode::invalid_argument, sentence);
}

std::string_view take_word(std::string_view& line) {
  const std::string_view word = line.substr(0, line.find_first_of(kBlanks));
  line.remove_prefix(std::min(line.size(), line.find_first_not_of(kBlanks, word.size())));
  return word;
}

Subscription parse_words(std::string_view line) {
  const std::string_view service = take_word(line);
  const std::string_view pattern = take_word(line);
  if (pattern.empty()) refuse("a service without a pattern; write SERVICE PATTERN");
  if (!line.empty()) refuse("more than SERVICE PATTERN");
  return {0, std::string(service), std::string(pattern)};
}

std::string text_member(const nlohmann::json& object, const char* name) {
  const auto member = object.find(name);
  if (member == object.end() || !member->is_string()) refuse(fmt::format("JSON without a text \"{}\"", name));
  return member->get<std::string>();
}

Subscription parse_json(std::string_view line) {
  const auto object = nlohmann::json::parse(line, nullptr, false);
  if (object.is_discarded()) refuse("begins like JSON, and is not");
  Subscription subscription = {0, text_member(object, "service"), text_member(object, "pattern")};
  if (subscription.service.empty()) refuse("the service is empty");
  return subscription;
}

/// Nothing for a line that is empty or a comment.
std::optional<Subscription> parse(std::string_view line) {
  line.remove_suffix(1);  // The newline.
  line.remove_prefix(std::min(line.size(), line.find_first_not_of(kBlanks)));
  if (line.empty() || line.starts_with("//")) return std::nullopt;
  Subscription subscription = line.starts_with('{') ? parse_json(line) : parse_words(line);
  if (subscription.pattern.size() > topic::kMaxKeyBytes) {
    refuse(fmt::format("the pattern has {} bytes; {} are possible", subscription.pattern.size(), topic::kMaxKeyBytes));
  }
  return subscription;
}

/// The subscriptions, in file order.
std::vector<Subscription> read_all(const Input& input, const std::string& name, const StopSignal& stop) {
  LineReader reader(input.descriptor, name, stop);
  std::vector<Subscription> subscriptions;
  std::vector<std::string_view> lines;
  std::uint64_t number = 0;
  while (reader.next(lines)) {
    for (const std::string_view line : lines) {
      ++number;
      try {
        auto subscription = parse(line);
        if (!subscription) continue;
        subscription->line = number;
        subscriptions.push_back(std::move(*subscription));
      } catch (const Error& error) {
        refuse(fmt::format("{}:{}: {}", name, number, error.what()));
      }
    }
  }
  return subscriptions;
}

std::string in_quotes(std::string_view text) {
  std::string quoted = printable(text);
  quoted.insert(quoted.begin(), '\'');
  quoted += '\'';
  return quoted;
}

/// One finding: two subscriptions of a service, and a key that goes to both.
struct Pair {
  const Subscription& earlier;
  const Subscription& later;
  std::string key;

  bool repeat() const { return earlier.pattern == later.pattern; }
};

void append_text(std::string& out, const Pair& pair, std::string_view file) {
  fmt::format_to(std::back_inserter(out), "{}:{}: {}: ", file, pair.later.line, in_quotes(pair.later.service));
  if (pair.repeat()) {
    fmt::format_to(std::back_inserter(out), "{} repeats line {}", in_quotes(pair.later.pattern), pair.earlier.line);
  } else {
    fmt::format_to(std::back_inserter(out), "{} overlaps {} in line {}", in_quotes(pair.later.pattern),
                   in_quotes(pair.earlier.pattern), pair.earlier.line);
  }
  fmt::format_to(std::back_inserter(out), ": both get {}\n", in_quotes(pair.key));
}

void append_json(std::string& out, const Pair& pair) {
  fmt::format_to(std::back_inserter(out), "{{\"kind\":\"{}\",", pair.repeat() ? "repeat" : "overlap");
  append_member(out, "service", pair.later.service);
  fmt::format_to(std::back_inserter(out), ",\"line\":{},", pair.later.line);
  append_member(out, "pattern", pair.later.pattern);
  fmt::format_to(std::back_inserter(out), ",\"earlier_line\":{},", pair.earlier.line);
  append_member(out, "earlier_pattern", pair.earlier.pattern);
  out += ',';
  append_member(out, "key", pair.key);
  out += "}\n";
}

/// Hands out the pairs ordered by the later line, then the earlier. A repeat is paired with the first of its kind only:
/// what it overlaps besides was said there.
class Linter {
 public:
  template <typename Found>
  void add(const Subscription& subscription, Found found) {
    auto& earlier = by_service_[subscription.service];
    const auto same = std::ranges::find(
        earlier, subscription.pattern, [](const Subscription* other) -> auto& { return other->pattern; });
    if (same != earlier.end()) {
      compare(**same, subscription, found);
      return;
    }
    for (const Subscription* other : earlier) compare(*other, subscription, found);
    earlier.push_back(&subscription);
  }

 private:
  template <typename Found>
  void compare(const Subscription& earlier, const Subscription& later, Found found) {
    if (auto key = topic::overlaps(earlier.pattern, later.pattern)) found(Pair{earlier, later, std::move(*key)});
  }

  std::map<std::string_view, std::vector<const Subscription*>> by_service_;
};

}  // namespace

int run_topics_lint(const TopicsLintOptions& options) {
  Output output = standard_output();
  const Input input(options.file);
  const StopSignal stop;
  const std::vector<Subscription> subscriptions = read_all(input, name_of(options.file), stop);
  std::string lines;
  bool any = false;
  Linter linter;
  for (const Subscription& subscription : subscriptions) {
    if (stop.received() != 0) break;
    linter.add(subscription, [&](const Pair& pair) {
      any = true;
      if (options.json) {
        append_json(lines, pair);
      } else {
        append_text(lines, pair, name_of(options.file));
      }
      if (lines.size() < kBytesPerWrite) return;
      output.write(lines);
      lines.clear();
    });
  }
  output.write(lines);
  if (stop.received() != 0) return 128 + stop.received();
  return any ? 1 : 0;
}

}  // namespace oncelog::tool
