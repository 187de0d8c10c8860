#include "remote/postgresql/pool.h"

#include <fmt/format.h>

#include <exception>

#include "base/error.h"
#include "remote/call_limit.h"

namespace oncelog::internal::remote {

Pool::Loan Pool::take() {
  {
    std::unique_lock lock(mutex_);
    if (!free_.wait_until(lock, CallLimit::or_within(timeout_), [this] { return taken_ < most_; })) {
      throw Error(ErrorCode::io,
                  fmt::format("{}: all of its {} connections were in use for {} ms", name_, most_, timeout_.count()));
    }
    ++taken_;
    if (!idle_.empty()) {
      auto connection = std::move(idle_.back());
      idle_.pop_back();
      return {*this, std::move(connection)};
    }
  }
  try {
    return {*this, std::make_unique<PostgresqlConnection>(uri_, name_, timeout_)};
  } catch (const std::exception&) {
    return_place();
    throw;
  }
}

void Pool::return_place() {
  {
    const std::lock_guard guard(mutex_);
    --taken_;
  }
  free_.notify_one();
}

void Pool::give_back(std::unique_ptr<PostgresqlConnection> connection) {
  if (connection->usable() && !connection->in_transaction()) {
    const std::lock_guard guard(mutex_);
    idle_.push_back(std::move(connection));
  }
  connection.reset();  // Others are closed without the mutex.
  return_place();
}

}  // namespace oncelog::internal::remote
