#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "remote/postgresql/connection.h"

namespace oncelog::internal::remote {

/// The connections of one store. Each call takes one for its time; one that is of no use any more is closed, and the
/// next call makes another. Thread-safe.
class Pool {
 public:
  Pool(std::string uri, std::string name, unsigned most, std::chrono::milliseconds timeout)
      : uri_(std::move(uri)), name_(std::move(name)), most_(most), timeout_(timeout) {}

  /// A connection on loan.
  class Loan {
   public:
    Loan(Pool& pool, std::unique_ptr<PostgresqlConnection> connection)
        : pool_(&pool), connection_(std::move(connection)) {}
    Loan(Loan&&) noexcept = default;
    Loan& operator=(Loan&&) = delete;
    ~Loan() {
      if (connection_) pool_->give_back(std::move(connection_));
    }

    PostgresqlConnection* operator->() const { return connection_.get(); }
    PostgresqlConnection& operator*() const { return *connection_; }

   private:
    Pool* pool_;
    std::unique_ptr<PostgresqlConnection> connection_;
  };

  /// Throws ConnectionLost when none can be made, Error::io when none comes free in time.
  Loan take();

  const std::string& name() const { return name_; }
  std::chrono::milliseconds timeout() const { return timeout_; }

 private:
  friend class Loan;
  void give_back(std::unique_ptr<PostgresqlConnection> connection);
  void return_place();

  const std::string uri_;
  const std::string name_;
  const unsigned most_;
  const std::chrono::milliseconds timeout_;
  std::mutex mutex_;
  std::condition_variable free_;
  std::vector<std::unique_ptr<PostgresqlConnection>> idle_;
  unsigned taken_ = 0;
};

}  // namespace oncelog::internal::remote
