#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <libpq-fe.h>
#include <oncelog/record.h>

#include "remote/postgresql/parameters.h"

namespace oncelog::internal::remote {

/// Rows, as the server has sent them. Reading a cell checks its length.
class Rows {
 public:
  explicit Rows(PGresult* result) : result_(result, &PQclear) {}

  int count() const { return PQntuples(result_.get()); }
  bool null(int row, int column) const { return PQgetisnull(result_.get(), row, column) != 0; }
  std::string_view bytes(int row, int column) const;
  std::int64_t integer(int row, int column) const;  // Of 2, 4 or 8 bytes.
  bool flag(int row, int column) const;
  Time time(int row, int column) const;

 private:
  std::unique_ptr<PGresult, decltype(&PQclear)> result_;
};

/// One connection to a server. One thread at a time. Errors: ConnectionLost, after which it is of no use; otherwise the
/// server's, as Error with its sentence, after which it is.
class PostgresqlConnection {
 public:
  using Limit = std::chrono::steady_clock::time_point;

  /// `name` is for sentences.
  PostgresqlConnection(const std::string& uri, std::string name, std::chrono::milliseconds timeout);
  PostgresqlConnection(const PostgresqlConnection&) = delete;
  PostgresqlConnection& operator=(const PostgresqlConnection&) = delete;

  bool usable() const { return usable_; }
  bool in_transaction() const { return PQtransactionStatus(connection_.get()) != PQTRANS_IDLE; }
  int server_version() const { return PQserverVersion(connection_.get()); }
  PGconn* handle() const { return connection_.get(); }

  /// One statement, with its answer in binary format.
  Rows ask(const std::string& sql, const Parameters& parameters = {});
  /// Statements without parameters or answers.
  void run(const std::string& sql);

 private:
  [[noreturn]] void lose(const std::string& why);
  [[noreturn]] void fail(const PGresult* result);
  void wait_for(short events, Limit limit);
  void connect(Limit limit);
  void flush_out(Limit limit);
  std::unique_ptr<PGresult, decltype(&PQclear)> last_result(Limit limit);

  std::unique_ptr<PGconn, decltype(&PQfinish)> connection_;
  const std::string name_;
  const std::chrono::milliseconds timeout_;
  bool usable_ = true;
};

}  // namespace oncelog::internal::remote
