#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include <oncelog/remote.h>

#include "remote/address.h"
#include "remote/call_limit.h"
#include "remote/redis/keys.h"
#include "remote/redis/node.h"
#include "remote/redis/reply.h"

namespace oncelog::internal::remote {

/// Sends commands to the servers that they belong to: to the one there is, or in a cluster to the master of each one's
/// slot. All that go to one server are one pipeline, and all servers are asked at once, so that it is one round trip.
///
/// In a cluster MOVED and ASK are followed, and the map of slots is read again after the first and after a lost
/// connection. Scripts that a server no longer knows are loaded again. Each call ends within the timeout.
///
/// Any thread. Errors: ConnectionLost when any answer is missing; otherwise what the first error among the answers
/// means, when all have been read.
class Router {
 public:
  /// Connects, and reads the map of slots. Throws Error::unsupported for servers that cannot keep the promises.
  Router(const Address& address, const oncelog::remote::Options& options);

  /// The answers in the order of the commands. With Ack::disk they, and whatever was answered before, are on the
  /// servers' disks, except on servers that sync each second; each server that is concerned must have got a write then.
  std::vector<Reply> run(std::span<const Command> commands, Ack ack = Ack::host);
  Reply run(const Command& command) { return std::move(run({&command, 1}).front()); }

  /// The servers that hold the store: all masters of a cluster.
  std::vector<Node*> masters();
  /// A connection to one of them, for commands that no key leads to. Checks that it is none of a replica.
  Node::Lease connect(Node& node);
  /// A key of which that server is the master, for a write that only has to be one.
  std::string key_at(const Node& node, const std::string& prefix);
  Deadline deadline() const { return CallLimit::or_within(timeout_); }

  /// Whether a server was met whose disk must be waited for, with a write to wait for.
  bool waits_for_writes() const { return waits_.load(std::memory_order_relaxed); }
  bool is_cluster() const { return address_.kind == Address::Kind::cluster; }
  const std::string& name() const { return name_; }

 private:
  struct Pending {
    std::size_t index;  // Of the command.
    Node* node;
    bool asking = false;  // The slot is on its way there.
  };
  struct Round;

  /// Sends what is pending, and returns what has to be sent again, elsewhere or with its script loaded.
  std::vector<Pending> send(std::span<const Command> commands, std::span<const Pending> pending, Ack ack,
                            std::vector<Reply>& replies, Deadline deadline);
  void sort_out(Round& round, const Pending& one, Reply reply, std::vector<Reply>& replies);
  Node& node_of(const Command& command);
  Node& node_at(const Address::Host& host);
  /// The one that an error such as "MOVED 3999 10.0.0.1:6381" names; null when it names none.
  Node* target_of(std::string_view error, const Node& from);
  /// Reads the map of slots, unless it is known.
  void know_slots();
  void read_slots(Deadline deadline);
  bool read_slots_from(Node& node, Deadline deadline);
  Node::Lease connect(Node& node, Deadline deadline);

  const Address address_;
  const std::string name_;
  const Ack ack_;
  const std::chrono::milliseconds timeout_;
  const unsigned connections_;
  std::atomic<bool> opened_{false};
  std::atomic<bool> waits_{false};
  Node* only_ = nullptr;  // Of a single server; null in a cluster.

  std::mutex mutex_;                                    // Of all below.
  std::map<std::string, std::unique_ptr<Node>> nodes_;  // By host and port. None is destroyed before the router.
  std::array<Node*, kSlots> slots_{};
  bool slots_known_ = false;
};

}  // namespace oncelog::internal::remote
