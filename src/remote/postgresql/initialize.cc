#include "remote/postgresql/initialize.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "remote/postgresql/schema.h"
#include "remote/postgresql/statements.h"
#include "shared/argument_checks.h"

namespace oncelog::internal::remote {
namespace {

using std::chrono::microseconds;

constexpr int kOldestServer = 130000;

void check_server(PostgresqlConnection& connection, const std::string& name, bool read_only) {
  if (connection.server_version() < kOldestServer) {
    throw Error(ErrorCode::unsupported, fmt::format("{}: PostgreSQL 13 is the oldest that will do", name));
  }
  if (!read_only && connection.ask("select pg_is_in_recovery()").flag(0, 0)) {
    throw Error(ErrorCode::unsupported, fmt::format("{}: it is a standby, which is for reading only", name));
  }
}

void check_schema_name(std::string_view schema) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || c == '_'; };
  const auto other = [&](char c) { return letter(c) || (c >= '0' && c <= '9'); };
  constexpr std::size_t kMost = 48;  // Roles and indexes are named after it, in 63 bytes.
  if (!schema.empty() && schema.size() <= kMost && letter(schema[0]) && std::ranges::all_of(schema, other)) return;
  refuse(fmt::format("a schema is named by 1 to {} of a-z, 0-9 and _, and begins with no figure: \"{}\" is not", kMost,
                     schema));
}

struct Stored {
  int version = 0;
  microseconds retention{0};
};

std::optional<Stored> stored_settings(PostgresqlConnection& connection, const std::string& schema) {
  Parameters parameters;
  parameters.text(schema + ".settings");
  if (connection.ask("select to_regclass($1) is null", parameters).flag(0, 0)) return std::nullopt;
  const Rows rows = connection.ask(
      in_schema("select version, (extract(epoch from retention) * 1000000)::bigint from oncelog.settings", schema));
  if (rows.count() == 0) return std::nullopt;
  return Stored{static_cast<int>(rows.integer(0, 0)), microseconds{rows.integer(0, 1)}};
}

/// A schema that was made before there was import(), and belongs to this role. The statements add what it lacks, and
/// change nothing for clients of that time, so its version stays.
bool lacks_functions(PostgresqlConnection& connection, const std::string& schema) {
  Parameters parameters;
  parameters.text(schema);
  return connection
      .ask(
          "select pg_has_role(n.nspowner, 'usage') and not exists (select from pg_proc as p where p.pronamespace = "
          "n.oid and p.proname = 'import') from pg_namespace as n where n.nspname = $1",
          parameters)
      .flag(0, 0);
}

/// In one transaction, one process at a time; whoever comes second finds that nothing is left to do.
void initialize(PostgresqlConnection& connection, const std::string& schema, microseconds retention) {
  connection.run("begin");
  Parameters lock;
  lock.text("oncelog: " + schema);
  connection.ask("select pg_advisory_xact_lock(hashtextextended($1, 0))", lock);
  const auto stored = stored_settings(connection, schema);
  if (stored) retention = stored->retention;
  if (!stored || lacks_functions(connection, schema)) connection.run(schema_statements(schema, retention));
  connection.run("commit");
}

}  // namespace

std::string schema_statements(std::string_view schema, microseconds retention) {
  check_schema_name(schema);
  const std::string settings = fmt::format(
      "\ninsert into oncelog.settings (version, retention, slice_end) values ({0}, interval '{1} microseconds', "
      "oncelog.clock() + interval '{1} microseconds' / 4) on conflict do nothing;\n",
      kSchemaVersion, retention.count());
  return in_schema(kSchemaSql, schema) + in_schema(settings, schema);
}

microseconds open_schema(PostgresqlConnection& connection, const std::string& name, const std::string& schema,
                         const oncelog::remote::Options& options) {
  check_schema_name(schema);
  check_server(connection, name, options.read_only);
  auto stored = stored_settings(connection, schema);
  const bool known = !stored || stored->version <= kSchemaVersion;
  if (known && options.create && !options.read_only && (!stored || lacks_functions(connection, schema))) {
    initialize(connection, schema, options.retention.value_or(kDefaultRetention));
    stored = stored_settings(connection, schema);
  }
  if (!stored) {
    throw Error(ErrorCode::not_found,
                fmt::format("{}: there is no schema {} of oncelog's; `oncelog remote init` makes it", name, schema));
  }
  if (stored->version > kSchemaVersion) {
    throw Error(ErrorCode::newer_format,
                fmt::format("{}: its schema {} is of version {}; this oncelog knows versions up to {}", name, schema,
                            stored->version, kSchemaVersion));
  }
  if (options.retention && *options.retention != stored->retention) {
    const auto kept = std::chrono::duration_cast<std::chrono::milliseconds>(stored->retention);
    throw Error(ErrorCode::options_mismatch, fmt::format("{}: retention {} was asked for; the store has {}", name,
                                                         in_words(*options.retention), in_words(kept)));
  }
  return stored->retention;
}

}  // namespace oncelog::internal::remote
