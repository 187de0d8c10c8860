/// A service that gets each message from RabbitMQ several times, and processes it once.
///
/// The order service has three queues, bound to one topic exchange with patterns that overlap: a message that matches
/// three of them is delivered three times. Publishers send again what they are not sure of, and the broker delivers
/// again what was not acknowledged when a consumer died. All these copies carry the same message_id.
///
///   rabbitmq_consumer publish 500 --distinct 300   # with a broker on this host
///   rabbitmq_consumer consume --die-after 100      # gets killed while it holds messages
///   rabbitmq_consumer consume & rabbitmq_consumer consume
///   rabbitmq_consumer report
///
/// The service's own data and its memory of which messages it has processed are in one store, in the folder given with
/// --folder, which all its instances share: both change in one commit.

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <oncelog/oncelog.h>
#include <CLI/CLI.hpp>

#include "rabbitmq.h"

namespace oncelog::example {
namespace {

using namespace std::chrono_literals;

constexpr std::string_view kExchange = "events";
constexpr std::string_view kProcessed = "processed";  // The service's table: how often each message was processed.
constexpr std::uint64_t kForever = std::numeric_limits<std::uint64_t>::max();

struct Binding {
  std::string_view queue;
  std::string_view pattern;
};

constexpr std::array<Binding, 3> kBindings{{
    {"order-service.orders", "order.*.*"},
    {"order-service.created", "*.created.*"},
    {"order-service.us-west", "*.*.us-west"},
}};

struct Arguments {
  std::string host = "127.0.0.1";
  int port = 5672;
  std::filesystem::path folder = "order-service";
  std::uint64_t messages = 0;  // To publish.
  std::uint64_t distinct = 0;  // Of these; 0 is all.
  std::uint64_t deliveries_to_live = kForever;
  bool die_uncommitted = false;
};

/// A file of lines that several processes append to. A line that was written outlives the process.
class Lines {
 public:
  explicit Lines(const std::filesystem::path& file) : out_(file, std::ios::app) {
    out_.exceptions(std::ios::failbit | std::ios::badbit);
  }

  void append(std::string line) {
    line += '\n';
    out_ << line << std::flush;
  }

 private:
  std::ofstream out_;
};

/// What the service does with its messages, and its memory of which it has processed.
class OrderService {
 public:
  explicit OrderService(const std::filesystem::path& folder)
      : store_(Store::open(folder / "store")),
        orders_(store_.scope("order-service")),
        deliveries_(folder / "deliveries") {}

  /// Processes the messages of which no earlier copy was processed, and notes that, in one commit. It is on disk then:
  /// the deliveries may be acknowledged. With `die` the process is killed right before the commit.
  void handle(std::span<const Delivery> deliveries, bool die) {
    for (const Delivery& delivery : deliveries) {
      deliveries_.append(
          fmt::format("{} {} {}", delivery.message_id, delivery.queue, delivery.redelivered ? "redelivered" : "first"));
    }
    const Delivery* blocked = nullptr;
    do {
      blocked = nullptr;
      store_.transact([&](Transaction& tx) {
        for (const Delivery& delivery : deliveries) {
          const Marked marked = tx.mark(orders_, delivery.message_id);
          if (marked == Verdict::fresh) process(tx, delivery);
          if (marked == Verdict::in_progress) blocked = &delivery;
        }
        if (die) std::raise(SIGKILL);
      });
      // Transactions run one at a time, so this is a message of a consumer that is just being killed: the kernel has
      // freed the way for this transaction, but not yet ended the process. Whoever uses claims as well waits for them
      // here. The next transaction finds duplicates of all that this one has processed.
      if (blocked != nullptr) orders_.wait_until_free(blocked->message_id, kPatience);
    } while (blocked != nullptr);
  }

 private:
  static constexpr auto kPatience = 1s;

  /// The effect that must come once, and shows when it comes again.
  static void process(Transaction& tx, const Delivery& delivery) {
    const std::uint64_t times = std::stoull(std::string(tx.get(kProcessed, delivery.message_id).value_or("0")));
    tx.put(kProcessed, delivery.message_id, std::to_string(times + 1));
  }

  Store store_;
  Scope orders_;
  Lines deliveries_;
};

void declare(Rabbitmq& broker) {
  broker.declare_topic_exchange(kExchange);
  for (const Binding& binding : kBindings) broker.declare_queue(binding.queue, kExchange, binding.pattern);
}

/// Every way to match at least one of the three patterns, in turn.
std::string routing_key(std::uint64_t number) {
  const std::uint64_t matches = number % 7 + 1;
  return fmt::format("{}.{}.{}", (matches & 1) != 0 ? "order" : "payment", (matches & 2) != 0 ? "created" : "updated",
                     (matches & 4) != 0 ? "us-west" : "eu-central");
}

int publish(const Arguments& arguments) {
  constexpr std::uint64_t kUnconfirmed = 256;
  Rabbitmq broker(arguments.host, arguments.port);
  declare(broker);
  Lines published(arguments.folder / "published");
  for (std::uint64_t i = 0; i != arguments.messages; ++i) {
    const std::uint64_t number = arguments.distinct == 0 ? i : i % arguments.distinct;
    const std::string id = fmt::format("message-{}", number);
    const std::string key = routing_key(number);
    broker.publish(kExchange, key, id, fmt::format(R"({{"order":{}}})", number));
    published.append(fmt::format("{} {}", id, key));
    if (i % kUnconfirmed == kUnconfirmed - 1) broker.confirm();
  }
  broker.confirm();
  broker.close();
  return 0;
}

/// Whether nothing waits for a consumer. Others may hold messages still, and give them back by dying.
bool queues_are_empty(Rabbitmq& broker) {
  return std::ranges::all_of(kBindings, [&](const Binding& binding) { return broker.state(binding.queue).ready == 0; });
}

int consume(const Arguments& arguments) {
  constexpr std::uint16_t kPrefetch = 64;  // Of each queue.
  constexpr std::size_t kBatch = 64;  // Deliveries for one commit and one acknowledgement, where so many are there.
  constexpr auto kPatience = 50ms;    // An idle consumer's, before it asks whether there will be more.

  Rabbitmq broker(arguments.host, arguments.port);
  declare(broker);
  OrderService service(arguments.folder);
  for (const Binding& binding : kBindings) broker.consume(binding.queue, kPrefetch);

  std::uint64_t left = arguments.deliveries_to_live;
  std::vector<Delivery> batch;
  for (;;) {
    batch.clear();
    while (batch.size() < std::min<std::uint64_t>(kBatch, left)) {
      auto delivery = broker.next(batch.empty() ? kPatience : 0ms);
      if (!delivery) break;
      batch.push_back(std::move(*delivery));
    }
    if (batch.empty()) {
      if (queues_are_empty(broker) && !broker.has_next()) break;
      continue;
    }
    left -= batch.size();
    service.handle(batch, left == 0 && arguments.die_uncommitted);
    if (left == 0) std::raise(SIGKILL);
    broker.acknowledge_up_to(batch.back().tag);
  }
  broker.close();
  return 0;
}

/// How often each first word is there in a file of lines.
std::map<std::string, std::uint64_t> count_ids(const std::filesystem::path& file) {
  std::map<std::string, std::uint64_t> counts;
  std::ifstream in(file);
  for (std::string id, rest; in >> id && std::getline(in, rest);) ++counts[id];
  return counts;
}

std::uint64_t count_lines(const std::filesystem::path& file, std::string_view ending) {
  std::uint64_t count = 0;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) count += line.ends_with(ending) ? 1 : 0;
  return count;
}

int report(const Arguments& arguments) {
  Rabbitmq broker(arguments.host, arguments.port);
  QueueState queues = {};
  for (const Binding& binding : kBindings) {
    const QueueState queue = broker.state(binding.queue);
    queues.ready += queue.ready;
    queues.consumers += queue.consumers;
  }
  const auto published = count_ids(arguments.folder / "published");
  std::map<std::string, std::uint64_t> processed;
  const auto store = Store::open(arguments.folder / "store");
  store.scan_table(kProcessed, "", [&](std::string_view id, std::string_view times) {
    processed.emplace(id, std::stoull(std::string(times)));
    return true;
  });
  fmt::print("ready {}\n", queues.ready);
  fmt::print("consumers {}\n", queues.consumers);
  fmt::print("published {}\n", count_lines(arguments.folder / "published", ""));
  fmt::print("distinct {}\n", published.size());
  fmt::print("deliveries {}\n", count_lines(arguments.folder / "deliveries", ""));
  fmt::print("redelivered {}\n", count_lines(arguments.folder / "deliveries", " redelivered"));
  fmt::print("processed_once {}\n", std::ranges::count(processed, 1u, [](const auto& id) { return id.second; }));
  fmt::print("processed_again {}\n", std::ranges::count_if(processed, [](const auto& id) { return id.second > 1; }));
  fmt::print("lost {}\n",
             std::ranges::count_if(published, [&](const auto& id) { return !processed.contains(id.first); }));
  return 0;
}

int run(int argc, char** argv) {
  Arguments arguments;
  CLI::App app("Processes each message from RabbitMQ once.", "rabbitmq_consumer");
  app.add_option("--host", arguments.host, "the broker's")->capture_default_str();
  app.add_option("--port", arguments.port, "the broker's")->capture_default_str();
  app.add_option("--folder", arguments.folder, "where the service keeps its files")->capture_default_str();
  app.require_subcommand(1);
  app.fallthrough();
  CLI::App& publishing = *app.add_subcommand("publish", "sends messages");
  publishing.add_option("messages", arguments.messages, "how many")->required();
  publishing.add_option("--distinct", arguments.distinct, "of how many, when some are to be sent again");
  CLI::App& consuming = *app.add_subcommand("consume", "processes messages until the queues are empty");
  consuming
      .add_option("--die-after", arguments.deliveries_to_live,
                  "be killed by SIGKILL after that many deliveries, the last of them not acknowledged")
      ->check(CLI::PositiveNumber);
  consuming.add_flag("--uncommitted", arguments.die_uncommitted, "... and not committed either");
  app.add_subcommand("report", "counts what has happened");
  CLI11_PARSE(app, argc, argv);

  if (!publishing.parsed() && !consuming.parsed()) return report(arguments);
  std::filesystem::create_directories(arguments.folder);
  return publishing.parsed() ? publish(arguments) : consume(arguments);
}

}  // namespace
}  // namespace oncelog::example

int main(int argc, char** argv) try { return oncelog::example::run(argc, argv); } catch (const std::exception& error) {
  std::fprintf(stderr, "rabbitmq_consumer: %s\n", error.what());
  return 2;
}
