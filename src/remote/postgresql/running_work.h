#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "remote/backend.h"
#include "remote/postgresql/pool.h"

namespace oncelog::internal::remote {

/// A transaction of PostgreSQL's, on a connection of its own.
class PostgresqlWork final : public Work {
 public:
  PostgresqlWork(Pool& pool, std::string schema);
  /// Rolls back what is not committed.
  ~PostgresqlWork() override;

  void complete(std::string_view scope, std::span<const Held> held, std::span<Stamp> out) override;
  void put(std::string_view table, std::string_view key, std::string_view value) override;
  std::optional<std::string> get(std::string_view table, std::string_view key) override;
  bool erase(std::string_view table, std::string_view key) override;
  void scan(std::string_view table, std::string_view from, const EntryVisitor& visitor) override;
  void commit() override;
  pg_conn* connection() noexcept override { return connection_->handle(); }

 private:
  bool has_committed(std::int64_t transaction);

  Pool& pool_;
  const std::string schema_;
  Pool::Loan connection_;
};

std::optional<std::string> get_entry(PostgresqlConnection& connection, const std::string& schema,
                                     std::string_view table, std::string_view key);
void scan_entries(PostgresqlConnection& connection, const std::string& schema, std::string_view table,
                  std::string_view from, const EntryVisitor& visitor);

}  // namespace oncelog::internal::remote
