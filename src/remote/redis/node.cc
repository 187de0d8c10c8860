#include "remote/redis/node.h"

#include <fmt/format.h>

#include "remote/backend.h"

namespace oncelog::internal::remote {

Node::Lease::~Lease() {
  if (!node_ || !session_) return;  // Moved from.
  if (!kept_) session_.reset();
  node_->give_back(std::move(session_));
}

Node::Lease Node::take(Deadline deadline) {
  std::unique_ptr<Session> session;
  {
    std::unique_lock lock(mutex_);
    if (!freed_.wait_until(lock, deadline, [&] { return taken_ < most_; })) {
      throw ConnectionLost(
          fmt::format("{}: all {} connections were in use for the whole timeout", endpoint_.name(), most_));
    }
    ++taken_;
    if (!idle_.empty()) {
      session = std::move(idle_.back());
      idle_.pop_back();
    }
  }
  try {
    // A server that was restarted has closed it.
    if (!session || session->connection.is_stale()) session = made(deadline);
  } catch (...) {
    give_back(nullptr);
    throw;
  }
  return {*this, std::move(session)};
}

std::unique_ptr<Node::Session> Node::made(Deadline deadline) const {
  Connection connection(endpoint_, deadline);
  connection.prepare(deadline);
  const ServerFacts facts = check_server(connection, ack_, deadline);
  return std::make_unique<Session>(Session{std::move(connection), facts});
}

void Node::give_back(std::unique_ptr<Session> session) noexcept {
  {
    const std::lock_guard guard(mutex_);
    --taken_;
    if (session) idle_.push_back(std::move(session));  // The constructor has reserved it.
  }
  freed_.notify_one();
}

}  // namespace oncelog::internal::remote
