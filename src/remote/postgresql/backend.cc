#include "remote/postgresql/backend.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "base/error.h"
#include "remote/postgresql/initialize.h"
#include "remote/postgresql/running_work.h"
#include "remote/postgresql/statements.h"

namespace oncelog::internal::remote {

PostgresqlBackend::PostgresqlBackend(const std::string& uri, std::string name, std::string schema,
                                     const oncelog::remote::Options& options)
    : pool_(uri, std::move(name), options.connections, options.timeout), schema_(std::move(schema)) {
  const auto connection = pool_.take();
  retention_ = open_schema(*connection, pool_.name(), schema_, options);
}

std::string PostgresqlBackend::sql(std::string_view text) const {
  return in_schema(text, schema_);
}

Rows PostgresqlBackend::ask(const std::string& statement, const Parameters& parameters) {
  return pool_.take()->ask(statement, parameters);
}

// --- Ids

void PostgresqlBackend::find(std::string_view scope, std::span<const std::string_view> ids, bool whole,
                             std::span<std::optional<Record>> out) {
  Parameters parameters;
  parameters.text(scope).bytes(texts_of(ids)).flag(whole);
  const Rows rows = ask(sql("select * from oncelog.find($1, $2, $3)"), parameters);
  std::ranges::fill(out, std::nullopt);
  for (int row = 0; row < rows.count(); ++row) {
    const auto place = static_cast<std::uint64_t>(rows.integer(row, 0)) - 1;
    if (place >= out.size()) throw Error(ErrorCode::corrupt, pool_.name() + ": an answer to what was not asked");
    out[place] = read_record(rows, row, 1);
  }
}

void PostgresqlBackend::decide(std::string_view scope, std::span<const Ask> asked, const Terms* terms, Ack ack,
                               const Attempt& attempt, std::span<Answer> out) {
  const std::string statement = sql(fmt::format(
      "{}select d.* from mode, oncelog.decide($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) as d",
      commit_mode(ack)));
  const Rows rows = ask(statement, decide_parameters(scope, asked, terms, attempt, terms != nullptr));
  read_answers(rows, terms != nullptr, out);
  // What has written nothing waits for no disk, and a record that was found may not be there yet.
  const auto is_fresh = [](const Answer& answer) { return answer.marked == Verdict::fresh; };
  if (ack == Ack::disk && terms == nullptr && std::ranges::none_of(out, is_fresh)) flush();
}

void PostgresqlBackend::mark(std::string_view scope, std::span<const Ask> asked, Ack ack, const Attempt& attempt,
                             std::span<Answer> out) {
  decide(scope, asked, nullptr, ack, attempt, out);
}

void PostgresqlBackend::claim(std::string_view scope, std::span<const Ask> asked, const Terms& terms,
                              const Attempt& attempt, std::span<Answer> out) {
  // On disk at once: a sequence goes back with what a crash takes, and tokens must not.
  decide(scope, asked, &terms, Ack::disk, attempt, out);
  for (std::size_t i = 0; i < asked.size(); ++i) {
    const auto own = [&](std::size_t j) {
      return asked[j].id == asked[i].id && out[j].token != 0 &&
             attempt_of(asked[j], attempt) == attempt_of(asked[i], attempt);
    };
    if (out[i].marked != Verdict::in_progress) continue;
    for (std::size_t j = 0; j < i; ++j) {
      if (own(j)) out[i].marked.verdict = Verdict::duplicate;
    }
  }
}

void PostgresqlBackend::complete(std::string_view scope, std::span<const Held> held, Ack ack, const Attempt& attempt,
                                 std::span<Stamp> out) {
  const std::string statement = sql(fmt::format(
      "{}select c.* from mode, oncelog.complete($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) as c", commit_mode(ack)));
  read_stamps(ask(statement, complete_parameters(scope, held, &attempt)), out);
}

bool PostgresqlBackend::renew(std::string_view scope, const Held& held, std::chrono::milliseconds lease) {
  Parameters parameters;
  parameters.text(scope).bytes(held.id).big(std::bit_cast<std::int64_t>(held.token)).interval(lease);
  return ask(sql("select oncelog.renew($1, $2, $3, $4)"), parameters).flag(0, 0);
}

std::size_t PostgresqlBackend::abandon(std::string_view scope, std::span<const Held> held) {
  const Rows rows = ask(sql("select oncelog.abandon($1, $2, $3)"), held_parameters(scope, held));
  return static_cast<std::size_t>(rows.integer(0, 0));
}

void PostgresqlBackend::import(std::string_view scope, std::span<const Record> records, std::span<ImportOutcome> out) {
  const std::string statement = sql(fmt::format(
      "{}select i.* from mode, oncelog.import($1, $2, $3, $4, $5, $6, $7, $8, $9) as i", commit_mode(Ack::host)));
  read_outcomes(ask(statement, import_parameters(scope, records)), out);
}

bool PostgresqlBackend::forget(std::string_view scope, std::string_view id, Ack ack, const Attempt& attempt) {
  Parameters parameters;
  parameters.text(scope).bytes(id).uuid(attempt);
  return ask(sql(fmt::format("{}select oncelog.forget($1, $2, $3) from mode", commit_mode(ack))), parameters)
      .flag(0, 0);
}

bool PostgresqlBackend::release(std::string_view scope, std::string_view id, const Attempt& attempt) {
  Parameters parameters;
  parameters.text(scope).bytes(id).uuid(attempt);
  return ask(sql("select oncelog.release($1, $2, $3)"), parameters).flag(0, 0);
}

std::optional<ClaimOwner> PostgresqlBackend::holder(std::string_view scope, std::string_view id) {
  Parameters parameters;
  parameters.text(scope).bytes(id);
  const Rows rows = ask(sql("select owner, deadline from oncelog.holder($1, $2)"), parameters);
  if (rows.count() == 0) return std::nullopt;
  return ClaimOwner{static_cast<std::int32_t>(rows.integer(0, 0)), rows.time(0, 1)};
}

Pulse PostgresqlBackend::pulse(std::string_view scope) {
  Parameters parameters;
  parameters.text(scope);
  const Rows rows = ask(sql("select now, generation from oncelog.pulse($1)"), parameters);
  return {rows.time(0, 0), std::bit_cast<std::uint64_t>(rows.integer(0, 1))};
}

// --- The whole store

std::vector<std::string> PostgresqlBackend::scopes() {
  const Rows rows = ask(sql("select name from oncelog.scopes order by number"));
  std::vector<std::string> names;
  for (int row = 0; row < rows.count(); ++row) names.emplace_back(rows.bytes(row, 0));
  return names;
}

std::vector<ClaimInfo> PostgresqlBackend::claims() {
  const Rows rows = ask(sql(
      "select distinct on (e.token) coalesce(s.name, ''), substr(e.id, 1, 64), e.owner, e.deadline, e.orphans, e.token "
      "from oncelog.entries as e left join oncelog.scopes as s on s.number = e.scope where e.token is not null "
      "and (e.orphans = 2 or e.deadline > oncelog.clock()) order by e.token"));
  std::vector<ClaimInfo> claims;
  for (int row = 0; row < rows.count(); ++row) {
    ClaimInfo info;
    info.scope = rows.bytes(row, 0);
    info.id = rows.bytes(row, 1);
    info.owner = {static_cast<std::int32_t>(rows.integer(row, 2)), rows.time(row, 3)};
    info.owner_alive = true;  // Nobody can tell from here; its lease says how long it counts.
    info.orphans = static_cast<OrphanPolicy>(std::clamp<std::int64_t>(rows.integer(row, 4), 0, 2));
    info.token = std::bit_cast<std::uint64_t>(rows.integer(row, 5));
    claims.push_back(std::move(info));
  }
  return claims;
}

Time PostgresqlBackend::known_since() {
  return ask(sql("select oncelog.clock() - retention + interval '1 microsecond' from oncelog.settings")).time(0, 0);
}

std::vector<Record> PostgresqlBackend::correlated(std::string_view correlation) {
  Parameters parameters;
  parameters.bytes(correlation);
  const Rows rows = ask(sql(fmt::format("{} and e.correlation = $1{}", kSelectRecords, kRecordOrder)), parameters);
  std::vector<Record> records;
  for (int row = 0; row < rows.count(); ++row) records.push_back(read_named_record(rows, row));
  return records;
}

void PostgresqlBackend::scan(const ScanRange& range, const std::function<bool(const Record&)>& visitor) {
  const auto connection = pool_.take();
  Parameters parameters;
  std::string wanted;
  if (range.scope) {
    parameters.text(*range.scope);
    wanted += fmt::format(" and s.name = ${}", parameters.count());
  }
  if (range.since) {
    parameters.time(*range.since);
    wanted += fmt::format(" and e.at >= ${}", parameters.count());
  }
  if (range.until) {
    parameters.time(*range.until);
    wanted += fmt::format(" and e.at < ${}", parameters.count());
  }
  connection->run("begin read only");
  connection->ask(
      sql(fmt::format("declare oncelog_scan no scroll cursor for {}{}{}", kSelectRecords, wanted, kRecordOrder)),
      parameters);
  for (bool more = true; more;) {
    const Rows rows = connection->ask(sql("fetch 1000 from oncelog_scan"));
    more = rows.count() != 0;
    for (int row = 0; row < rows.count() && more; ++row) more = visitor(read_named_record(rows, row));
  }
  connection->run("commit");
}

std::uint64_t PostgresqlBackend::records() {
  // The planner's estimate, once there is one that is worth it.
  const Rows rows = ask(sql(
      "select case when e.rows > 100000 then e.rows else (select count(distinct lsn) from oncelog.entries where token "
      "is null and at > (select oncelog.clock() - retention from oncelog.settings)) end from (select "
      "sum(greatest(reltuples, 0))::bigint as rows from pg_class where oid in (select inhrelid from pg_inherits where "
      "inhparent = 'oncelog.entries'::regclass)) as e"));
  return static_cast<std::uint64_t>(rows.integer(0, 0));
}

// --- The disk

void PostgresqlBackend::flush() {
  ask(sql("select oncelog.flush()"));
}

Expired PostgresqlBackend::upkeep() {
  constexpr int kStepsATurn = 4;
  Expired expired;
  for (int step = 0; step < kStepsATurn; ++step) {
    if (!ask(sql("select oncelog.upkeep()")).flag(0, 0)) break;
    expired.buckets = 1;
  }
  return expired;
}

// --- Transactions

std::unique_ptr<Work> PostgresqlBackend::begin_work() {
  return std::make_unique<PostgresqlWork>(pool_, schema_);
}

std::optional<std::string> PostgresqlBackend::get(std::string_view table, std::string_view key) {
  const auto connection = pool_.take();
  return get_entry(*connection, schema_, table, key);
}

void PostgresqlBackend::scan_table(std::string_view table, std::string_view from, const EntryVisitor& visitor) {
  const auto connection = pool_.take();
  scan_entries(*connection, schema_, table, from, visitor);
}

}  // namespace oncelog::internal::remote
