#include "remote/postgresql/running_work.h"

#include <fmt/format.h>

#include <chrono>
#include <exception>
#include <thread>

#include "base/error.h"
#include "remote/call_limit.h"
#include "remote/postgresql/statements.h"

namespace oncelog::internal::remote {

PostgresqlWork::PostgresqlWork(Pool& pool, std::string schema)
    : pool_(pool), schema_(std::move(schema)), connection_(pool.take()) {
  connection_->run("begin isolation level read committed read write; set local synchronous_commit to on");
}

PostgresqlWork::~PostgresqlWork() {
  if (!connection_->usable() || !connection_->in_transaction()) return;
  try {
    connection_->run("rollback");
  } catch (const std::exception&) {
    // The server rolls back what its client has left.
  }
}

void PostgresqlWork::complete(std::string_view scope, std::span<const Held> held, std::span<Stamp> out) {
  read_stamps(
      connection_->ask(in_schema("select * from oncelog.complete($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)", schema_),
                       complete_parameters(scope, held, nullptr)),
      out);
}

void PostgresqlWork::put(std::string_view table, std::string_view key, std::string_view value) {
  Parameters parameters;
  parameters.bytes(table).bytes(key).bytes(value);
  connection_->ask(
      in_schema("insert into oncelog.tables values ($1, $2, $3) on conflict (name, key) do update set value = "
                "excluded.value",
                schema_),
      parameters);
}

std::optional<std::string> PostgresqlWork::get(std::string_view table, std::string_view key) {
  return get_entry(*connection_, schema_, table, key);
}

bool PostgresqlWork::erase(std::string_view table, std::string_view key) {
  Parameters parameters;
  parameters.bytes(table).bytes(key);
  return connection_
             ->ask(in_schema("delete from oncelog.tables where name = $1 and key = $2 returning true", schema_),
                   parameters)
             .count() != 0;
}

void PostgresqlWork::scan(std::string_view table, std::string_view from, const EntryVisitor& visitor) {
  scan_entries(*connection_, schema_, table, from, visitor);
}

void PostgresqlWork::commit() {
  const CallLimit limit(std::chrono::steady_clock::now() + pool_.timeout());
  const std::int64_t transaction = connection_->ask("select pg_current_xact_id()::text::bigint").integer(0, 0);
  try {
    connection_->run("commit");
  } catch (const ConnectionLost&) {
    if (connection_->usable() || !has_committed(transaction)) throw;
  }
}

/// Asks on another connection, until the server knows.
bool PostgresqlWork::has_committed(std::int64_t transaction) {
  const auto limit = CallLimit::or_within(pool_.timeout());
  Parameters parameters;
  parameters.text(std::to_string(transaction));
  for (std::string why;; std::this_thread::sleep_for(std::chrono::milliseconds{20})) {
    try {
      const Rows rows =
          Pool::Loan(pool_.take())->ask("select coalesce(pg_xact_status($1::text::xid8), 'aborted')", parameters);
      const std::string_view status = rows.bytes(0, 0);
      if (status != "in progress") return status == "committed";
      why = "the server still takes it to be in progress";
    } catch (const ConnectionLost& lost) {
      why = lost.what();
    }
    if (std::chrono::steady_clock::now() >= limit) {
      throw Error(ErrorCode::io,
                  fmt::format("{}: whether the transaction was committed is not known: {}", pool_.name(), why));
    }
  }
}

std::optional<std::string> get_entry(PostgresqlConnection& connection, const std::string& schema,
                                     std::string_view table, std::string_view key) {
  Parameters parameters;
  parameters.bytes(table).bytes(key);
  const Rows rows =
      connection.ask(in_schema("select value from oncelog.tables where name = $1 and key = $2", schema), parameters);
  if (rows.count() == 0) return std::nullopt;
  return std::string(rows.bytes(0, 0));
}

void scan_entries(PostgresqlConnection& connection, const std::string& schema, std::string_view table,
                  std::string_view from, const EntryVisitor& visitor) {
  constexpr int kAtOnce = 1000;
  std::string first(from);
  for (const char* above = ">=";; above = ">") {
    Parameters parameters;
    parameters.bytes(table).bytes(first);
    const Rows rows = connection.ask(
        in_schema(fmt::format("select key, value from oncelog.tables where name = $1 and key {} $2 order by "
                              "key limit {}",
                              above, kAtOnce),
                  schema),
        parameters);
    for (int row = 0; row < rows.count(); ++row) {
      if (!visitor(rows.bytes(row, 0), rows.bytes(row, 1))) return;
    }
    if (rows.count() < kAtOnce) return;
    first = rows.bytes(rows.count() - 1, 0);
  }
}

}  // namespace oncelog::internal::remote
