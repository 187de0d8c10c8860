#include "remote/redis/router.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <set>
#include <utility>

#include "base/error.h"
#include "remote/backend.h"

namespace oncelog::internal::remote {
namespace {

constexpr int kMostRounds = 8;

std::string_view error_of(const redisReply& reply) {
  return {reply.str, static_cast<std::size_t>(reply.len)};
}

/// Parses what follows the last word of "MOVED 3999 10.0.0.1:6381". The host is empty when it is the one that said so.
std::optional<Address::Host> host_in(std::string_view error) {
  const std::string_view place = error.substr(std::min(error.rfind(' '), error.size() - 1) + 1);
  const std::size_t colon = place.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  Address::Host host{std::string(place.substr(0, colon)), 0};
  const char* const end = place.data() + place.size();
  const auto [stop, failure] = std::from_chars(place.data() + colon + 1, end, host.port);
  if (failure != std::errc{} || stop != end || host.port == 0) return std::nullopt;
  return host;
}

}  // namespace

/// One round of questions.
struct Router::Round {
  std::vector<Pending> again;
  std::string failed;  // The first error's server.
  std::string error;   // The first error.
  std::set<Node*> without_scripts;
  bool moved = false;
};

Router::Router(const Address& address, const oncelog::remote::Options& options)
    : address_(address),
      name_(address.name()),
      ack_(options.ack),
      timeout_(options.timeout),
      connections_(options.connections) {
  if (is_cluster()) {
    for (const Address::Host& host : address_.hosts) node_at(host);
  } else {
    only_ = &node_at(address_.kind == Address::Kind::socket ? Address::Host{} : address_.hosts.front());
  }
  for (Node* node : masters()) connect(*node).keep();
  opened_ = true;
}

Node& Router::node_at(const Address::Host& host) {
  const std::lock_guard guard(mutex_);
  auto& node = nodes_[to_string(host)];
  if (!node) {
    Endpoint endpoint{host, address_.socket, address_.user, address_.password, address_.database};
    node = std::make_unique<Node>(std::move(endpoint), ack_, connections_);
  }
  return *node;
}

Node::Lease Router::connect(Node& node) {
  return connect(node, deadline());
}

Node::Lease Router::connect(Node& node, Deadline deadline) {
  Node::Lease lease = node.take(deadline);
  const std::string& name = lease.connection().name();
  if (lease.facts().replica) {
    if (opened_) throw ConnectionLost(fmt::format("{}: the server is a replica now", name));
    throw Error(ErrorCode::unsupported, fmt::format("{}: the server is a replica; a store needs its master", name));
  }
  if (lease.facts().clustered && !is_cluster()) {
    throw Error(ErrorCode::unsupported,
                fmt::format("{}: the server is part of a Redis Cluster; its address is redis+cluster://", name));
  }
  if (!lease.facts().clustered && is_cluster()) {
    throw Error(ErrorCode::unsupported,
                fmt::format("{}: the server is not part of a Redis Cluster; its address is redis://", name));
  }
  // Relaxed: what is sent on this connection is sent by this thread.
  if (lease.facts().syncs == Syncs::when_asked) waits_.store(true, std::memory_order_relaxed);
  return lease;
}

void Router::know_slots() {
  {
    const std::lock_guard guard(mutex_);
    if (slots_known_) return;
  }
  read_slots(deadline());
}

std::vector<Node*> Router::masters() {
  if (only_ != nullptr) return {only_};
  know_slots();
  const std::lock_guard guard(mutex_);
  const std::set<Node*> all(slots_.begin(), slots_.end());
  return {all.begin(), all.end()};
}

Node& Router::node_of(const Command& command) {
  if (only_ != nullptr) return *only_;
  const std::lock_guard guard(mutex_);
  return *slots_[static_cast<std::size_t>(std::max(command.slot(), 0))];
}

std::string Router::key_at(const Node& node, const std::string& prefix) {
  const std::lock_guard guard(mutex_);
  for (unsigned n = 0; n < kSlots; ++n) {
    std::string key = fmt::format("{}:{{{}}}flush", prefix, n);
    if (only_ != nullptr || slots_[slot_of(key)] == &node) return key;
  }
  throw ConnectionLost(fmt::format("{}: {} has hardly any slots", name_, node.endpoint().name()));
}

/// Asks all that are known, until one knows.
void Router::read_slots(Deadline deadline) {
  std::vector<Node*> all;
  {
    const std::lock_guard guard(mutex_);
    for (const auto& [name, node] : nodes_) all.push_back(node.get());
  }
  std::string last = "no server of the cluster knows all of its slots";
  for (Node* node : all) {
    try {
      // One that does not answer must leave time for the others.
      const Deadline soon = std::chrono::steady_clock::now() + timeout_ / (2 * static_cast<long>(all.size()));
      if (read_slots_from(*node, std::min(deadline, soon))) return;
    } catch (const ConnectionLost& lost) {
      last = lost.what();
    }
  }
  throw ConnectionLost(fmt::format("{}: {}", name_, last));
}

bool Router::read_slots_from(Node& node, Deadline deadline) {
  // A replica knows them as well.
  Node::Lease lease = node.take(deadline);
  if (!lease.facts().clustered) {
    throw Error(ErrorCode::unsupported, fmt::format("{}: the server is not part of a Redis Cluster; its address is "
                                                    "redis://",
                                                    lease.connection().name()));
  }
  const Reply reply = lease.connection().ask({"CLUSTER", "SLOTS"}, deadline);
  lease.keep();
  std::array<Node*, kSlots> slots{};
  for (const redisReply* range : elements_of(*reply)) {
    const auto parts = elements_of(*range);
    if (parts.size() < 3) throw Error(ErrorCode::io, name_ + ": CLUSTER SLOTS answered something else");
    const std::int64_t first = integer_of(*parts[0]);
    const std::int64_t last = integer_of(*parts[1]);
    const auto master = elements_of(*parts[2]);
    if (first < 0 || last < first || last >= kSlots || master.size() < 2) {
      throw Error(ErrorCode::io, name_ + ": CLUSTER SLOTS answered something else");
    }
    // No name, or "?", is the server that was asked.
    std::string host = is_nil(*master[0]) ? std::string() : std::string(text_of(*master[0]));
    if (host.empty() || host == "?") host = node.endpoint().host.name;
    const std::int64_t port = integer_of(*master[1]);
    if (port <= 0 || port > 65'535) throw Error(ErrorCode::io, name_ + ": CLUSTER SLOTS answered something else");
    Node& owner = node_at({host, static_cast<std::uint16_t>(port)});
    std::fill(slots.begin() + first, slots.begin() + last + 1, &owner);
  }
  if (std::ranges::find(slots, nullptr) != slots.end()) return false;
  const std::lock_guard guard(mutex_);
  slots_ = slots;
  slots_known_ = true;
  return true;
}

Node* Router::target_of(std::string_view error, const Node& from) {
  auto host = host_in(error);
  if (!host) return nullptr;
  if (host->name.empty()) host->name = from.endpoint().host.name;
  return &node_at(*host);
}

void Router::sort_out(Round& round, const Pending& one, Reply reply, std::vector<Reply>& replies) {
  if (!is_error(*reply)) {
    replies[one.index] = std::move(reply);
    return;
  }
  if (is_error(*reply, "NOSCRIPT")) {
    round.without_scripts.insert(one.node);
    round.again.push_back(one);
    return;
  }
  const bool moved = is_error(*reply, "MOVED");
  if (is_cluster() && (moved || is_error(*reply, "ASK"))) {
    if (Node* target = target_of(error_of(*reply), *one.node)) {
      round.moved = round.moved || moved;
      round.again.push_back({one.index, target, !moved});
      return;
    }
  }
  if (!round.error.empty()) return;
  round.error = error_of(*reply);
  round.failed = one.node->endpoint().name();
}

std::vector<Router::Pending> Router::send(std::span<const Command> commands, std::span<const Pending> pending, Ack ack,
                                          std::vector<Reply>& replies, Deadline deadline) {
  static const Command kAsking{"ASKING"};
  const Command on_disk{"WAITAOF", "1", "0", std::to_string(std::max(milliseconds_until(deadline), 1))};
  std::map<Node*, std::vector<Pending>> by_node;
  for (const Pending& one : pending) by_node[one.node].push_back(one);
  std::vector<Node::Lease> leases;
  for (auto& [node, all] : by_node) {
    Node::Lease lease = connect(*node, deadline);
    if (ack == Ack::disk) check_can_wait(lease.facts().syncs, node->endpoint().name());
    std::vector<const Command*> sent;
    for (const Pending& one : all) {
      if (one.asking) sent.push_back(&kAsking);
      sent.push_back(&commands[one.index]);
    }
    if (ack == Ack::disk && lease.facts().syncs == Syncs::when_asked) sent.push_back(&on_disk);
    lease.connection().send(sent, deadline);
    leases.push_back(std::move(lease));
  }
  Round round;
  std::size_t place = 0;
  for (auto& [node, all] : by_node) {
    Node::Lease& lease = leases[place++];
    for (const Pending& one : all) {
      if (one.asking) lease.connection().receive(deadline);
      sort_out(round, one, lease.connection().receive(deadline), replies);
    }
    if (ack == Ack::disk && lease.facts().syncs == Syncs::when_asked) {
      const Reply synced = lease.connection().receive(deadline);
      if (is_error(*synced)) throw_error(node->endpoint().name(), error_of(*synced));
      if (integer_of(*elements_of(*synced, 2)[0]) < 1) {
        throw ConnectionLost(node->endpoint().name() + ": the server's disk took longer than the timeout");
      }
    }
    if (round.without_scripts.contains(node)) lease.connection().load_scripts(deadline);
    // After an error that may be of the server as a whole, the next call looks at it again.
    if (round.error.empty()) lease.keep();
  }
  if (round.moved) read_slots(deadline);
  if (!round.error.empty()) throw_error(round.failed, round.error);
  return std::move(round.again);
}

std::vector<Reply> Router::run(std::span<const Command> commands, Ack ack) {
  const Deadline limit = deadline();
  std::vector<Reply> replies(commands.size());
  try {
    if (is_cluster()) know_slots();
    std::vector<Pending> pending;
    for (std::size_t i = 0; i < commands.size(); ++i) pending.push_back({i, &node_of(commands[i])});
    for (int round = 0; !pending.empty(); ++round) {
      if (round == kMostRounds) throw ConnectionLost(name_ + ": the servers send each other's clients in circles");
      pending = send(commands, pending, ack, replies, limit);
    }
  } catch (const ConnectionLost&) {
    const std::lock_guard guard(mutex_);
    slots_known_ = false;  // Another server may have taken them over.
    throw;
  }
  return replies;
}

}  // namespace oncelog::internal::remote
