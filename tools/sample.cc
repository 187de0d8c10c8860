/// Prints what services behind a topic exchange are sent: each published message once for every matching binding, so
/// that a service with overlapping bindings gets it several times, and now and then once more, redelivered. One JSON
/// envelope a line; the same options give the same bytes everywhere.

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <map>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

namespace {

using Json = nlohmann::ordered_json;

/// A service's subscription; "*" in the pattern is any one word of the routing key, "#" any words to the end.
struct Binding {
  std::string_view service;
  std::string_view pattern;
};

constexpr std::array<Binding, 11> kBindings{{
    {"order-service", "order.*.*"},
    {"order-service", "*.created.*"},
    {"order-service", "*.*.us-west"},
    {"billing-service", "payment.*.*"},
    {"billing-service", "order.created.*"},
    {"billing-service", "*.cancelled.*"},
    {"shipping-service", "shipment.#"},
    {"shipping-service", "order.*.us-west"},
    {"shipping-service", "*.created.us-west"},
    {"audit-service", "*.cancelled.#"},
    {"audit-service", "payment.#"},
}};

constexpr std::array<std::string_view, 3> kEntities{"order", "payment", "shipment"};
constexpr std::array<std::string_view, 3> kActions{"created", "updated", "cancelled"};
constexpr std::array<std::string_view, 3> kRegions{"us-west", "us-east", "eu-central"};

constexpr unsigned kRedeliveredPercent = 5;
constexpr std::uint64_t kLongestRedeliveryDelay = 200;  // Lines.

std::string_view take_word(std::string_view& words) {
  const std::size_t end = words.find('.');
  const std::string_view word = words.substr(0, end);
  words = end == std::string_view::npos ? std::string_view{} : words.substr(end + 1);
  return word;
}

bool matches(std::string_view pattern, std::string_view routing_key) {
  while (!pattern.empty() && !routing_key.empty()) {
    const std::string_view wanted = take_word(pattern);
    if (wanted == "#") return true;
    const std::string_view word = take_word(routing_key);
    if (wanted != "*" && wanted != word) return false;
  }
  return pattern.empty() == routing_key.empty();
}

class Exchange {
 public:
  explicit Exchange(std::uint64_t seed) : random_(seed) {}

  void publish() {
    const std::string_view entity = one_of(kEntities);
    const std::string_view action = one_of(kActions);
    const std::string routing_key = fmt::format("{}.{}.{}", entity, action, one_of(kRegions));
    time_ += std::chrono::milliseconds{20 + below(400)};
    const Json envelope = {
        {"messageId", uuid()},
        {"routingKey", routing_key},
        {"correlationId", uuid()},
        {"timestamp", fmt::format("{:%FT%T}Z", fmt::gmtime(time_.time_since_epoch().count() / 1000))}};
    const Json payload = {{fmt::format("{}Id", entity), 10'000 + below(90'000)},
                          {"amount", static_cast<double>(100 + below(99'900)) / 100},
                          {"currency", "EUR"}};
    for (const Binding& binding : kBindings) {
      if (matches(binding.pattern, routing_key)) deliver(binding, envelope, payload);
    }
  }

  void finish() {
    for (const auto& [due, line] : later_) print(line);
    later_.clear();
  }

 private:
  void deliver(const Binding& binding, const Json& envelope, const Json& payload) {
    Json delivery = {{"service", binding.service},
                     {"subscription", binding.pattern},
                     {"redelivered", false},
                     {"envelope", envelope},
                     {"payload", payload}};
    print(delivery.dump());
    if (below(100) < kRedeliveredPercent) {
      delivery["redelivered"] = true;
      later_.emplace(printed_ + 1 + below(kLongestRedeliveryDelay), delivery.dump());
    }
    while (!later_.empty() && later_.begin()->first <= printed_) {
      print(later_.begin()->second);
      later_.erase(later_.begin());
    }
  }

  void print(const std::string& line) {
    fmt::print("{}\n", line);
    ++printed_;
  }

  /// Not a distribution of the standard library: those give other numbers with other libraries.
  std::uint64_t below(std::uint64_t limit) { return random_() % limit; }

  std::string_view one_of(std::span<const std::string_view> words) { return words[below(words.size())]; }

  std::string uuid() {
    const std::uint64_t high = (random_() & ~std::uint64_t{0xf000}) | 0x4000;
    const std::uint64_t low = (random_() >> 2) | (std::uint64_t{1} << 63);
    return fmt::format("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", high >> 32, (high >> 16) & 0xffff, high & 0xffff,
                       low >> 48, low & 0xffff'ffff'ffff);
  }

  std::mt19937_64 random_;
  std::chrono::sys_time<std::chrono::milliseconds> time_ =
      std::chrono::sys_days{std::chrono::year{2026} / 1 / 2} + std::chrono::hours{9};
  std::multimap<std::uint64_t, std::string> later_;  // Redeliveries, by the line before which they are due.
  std::uint64_t printed_ = 0;
};

}  // namespace

int main(int argc, char** argv) try {
  std::uint64_t messages = 600;
  std::uint64_t seed = 1;
  CLI::App app("Makes message envelopes as services behind a topic exchange get them, as NDJSON.", "oncelog-sample");
  app.add_option("--messages", messages, "messages to publish; each is delivered about three times")
      ->capture_default_str();
  app.add_option("--seed", seed, "of the random numbers")->capture_default_str();
  CLI11_PARSE(app, argc, argv);

  Exchange exchange(seed);
  for (std::uint64_t i = 0; i != messages; ++i) exchange.publish();
  exchange.finish();
  return std::fflush(stdout) == 0 ? 0 : 2;
} catch (const std::exception& error) {
  std::fprintf(stderr, "oncelog-sample: %s\n", error.what());
  return 2;
}
