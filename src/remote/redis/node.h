#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "remote/redis/connection.h"
#include "remote/redis/server_check.h"

namespace oncelog::internal::remote {

/// One server and the connections to it: at most so many at once, made when they are needed, checked once each. Any
/// thread.
class Node {
 public:
  struct Session {
    Connection connection;
    ServerFacts facts;
  };

  Node(Endpoint endpoint, Ack ack, unsigned most) : endpoint_(std::move(endpoint)), ack_(ack), most_(most) {
    idle_.reserve(most);
  }

  /// A connection for one thread. It is closed by the destructor unless keep() has said that nothing of it is left
  /// unread.
  class Lease {
   public:
    Lease(Node& node, std::unique_ptr<Session> session) : node_(&node), session_(std::move(session)) {}
    Lease(Lease&& other) noexcept = default;
    Lease& operator=(Lease&&) = delete;
    ~Lease();

    Connection& connection() { return session_->connection; }
    const ServerFacts& facts() const { return session_->facts; }
    void keep() { kept_ = true; }

   private:
    Node* node_;
    std::unique_ptr<Session> session_;
    bool kept_ = false;
  };

  /// Waits for one while all are taken. Throws ConnectionLost, and what check_server() throws.
  Lease take(Deadline deadline);
  const Endpoint& endpoint() const { return endpoint_; }

 private:
  std::unique_ptr<Session> made(Deadline deadline) const;
  void give_back(std::unique_ptr<Session> session) noexcept;

  const Endpoint endpoint_;
  const Ack ack_;
  const unsigned most_;
  std::mutex mutex_;
  std::condition_variable freed_;
  std::vector<std::unique_ptr<Session>> idle_;
  unsigned taken_ = 0;
};

}  // namespace oncelog::internal::remote
