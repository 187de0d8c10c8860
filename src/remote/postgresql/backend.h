#pragma once

#include <memory>
#include <string>

#include <oncelog/remote.h>

#include "remote/backend.h"
#include "remote/postgresql/pool.h"

namespace oncelog::internal::remote {

/// The store in a schema of a PostgreSQL database, by the functions of schema.sql: each call is one statement, which is
/// a transaction of its own, so that it works through a pooler that gives each transaction another connection.
class PostgresqlBackend final : public Backend {
 public:
  /// `uri` is libpq's. Makes or checks the schema.
  PostgresqlBackend(const std::string& uri, std::string name, std::string schema,
                    const oncelog::remote::Options& options);

  std::chrono::microseconds retention() const override { return retention_; }
  std::string_view name() const override { return pool_.name(); }

  void find(std::string_view scope, std::span<const std::string_view> ids, bool whole,
            std::span<std::optional<Record>> out) override;
  void mark(std::string_view scope, std::span<const Ask> asked, Ack ack, const Attempt& attempt,
            std::span<Answer> out) override;
  void claim(std::string_view scope, std::span<const Ask> asked, const Terms& terms, const Attempt& attempt,
             std::span<Answer> out) override;
  void complete(std::string_view scope, std::span<const Held> held, Ack ack, const Attempt& attempt,
                std::span<Stamp> out) override;
  bool renew(std::string_view scope, const Held& held, std::chrono::milliseconds lease) override;
  std::size_t abandon(std::string_view scope, std::span<const Held> held) override;
  void import(std::string_view scope, std::span<const Record> records, std::span<ImportOutcome> out) override;
  bool forget(std::string_view scope, std::string_view id, Ack ack, const Attempt& attempt) override;
  bool release(std::string_view scope, std::string_view id, const Attempt& attempt) override;
  std::optional<ClaimOwner> holder(std::string_view scope, std::string_view id) override;
  Pulse pulse(std::string_view scope) override;

  std::vector<std::string> scopes() override;
  std::vector<ClaimInfo> claims() override;
  Time known_since() override;
  std::vector<Record> correlated(std::string_view correlation) override;
  void scan(const ScanRange& range, const std::function<bool(const Record&)>& visitor) override;
  std::uint64_t records() override;

  void flush() override;
  Expired upkeep() override;

  std::unique_ptr<Work> begin_work() override;
  std::optional<std::string> get(std::string_view table, std::string_view key) override;
  void scan_table(std::string_view table, std::string_view from, const EntryVisitor& visitor) override;

 private:
  std::string sql(std::string_view text) const;
  Rows ask(const std::string& statement, const Parameters& parameters = {});
  void decide(std::string_view scope, std::span<const Ask> asked, const Terms* terms, Ack ack, const Attempt& attempt,
              std::span<Answer> out);

  Pool pool_;
  const std::string schema_;
  std::chrono::microseconds retention_{0};
};

}  // namespace oncelog::internal::remote
