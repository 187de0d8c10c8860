#include "postgresql_server.h"

#include <fmt/format.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <stdexcept>
#include <thread>

#include "remote/postgresql/address.h"
#include "remote/postgresql/backend.h"

namespace oncelog::testing {
namespace {

using Connection = std::unique_ptr<PGconn, decltype(&PQfinish)>;
using Result = std::unique_ptr<PGresult, decltype(&PQclear)>;

Connection connect_to(const std::filesystem::path& directory) {
  const std::string where = fmt::format("host={} dbname=postgres user={}", directory.string(), PostgresqlServer::kUser);
  return {PQconnectdb(where.c_str()), &PQfinish};
}

Result answer(const std::filesystem::path& directory, const std::string& sql) {
  const Connection connection = connect_to(directory);
  PQsetNoticeProcessor(
      connection.get(), [](void*, const char*) {}, nullptr);
  Result result(PQexec(connection.get(), sql.c_str()), &PQclear);
  const ExecStatusType status = PQresultStatus(result.get());
  if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
    throw std::runtime_error(sql.substr(0, 200) + ": " + PQerrorMessage(connection.get()));
  }
  return result;
}

}  // namespace

std::filesystem::path PostgresqlServer::program(const std::string& name) {
  std::vector<std::filesystem::path> folders;
  const std::filesystem::path versions = "/usr/lib/postgresql";
  if (std::filesystem::is_directory(versions)) {
    for (const auto& version : std::filesystem::directory_iterator(versions)) folders.push_back(version.path() / "bin");
  }
  std::ranges::sort(folders, std::greater());
  return bench::find_program(name, folders);
}

bool PostgresqlServer::available() {
  const bool user = ::geteuid() != 0 || ::getpwnam(kUser) != nullptr;
  return user && !program("postgres").empty() && !program("initdb").empty();
}

void PostgresqlServer::give_directory_to_user() const {
  if (::geteuid() != 0) return;
  const passwd* const user = ::getpwnam(kUser);
  if (::chown(directory_.path().c_str(), user->pw_uid, user->pw_gid) != 0) throw std::runtime_error("chown");
}

PostgresqlServer::PostgresqlServer(StandbyOf primary) {
  give_directory_to_user();
  bench::run_program({program("pg_basebackup"), "-h", primary.primary.socket_directory(), "-U", kUser, "-D",
                      data_directory(), "--write-recovery-conf", "--checkpoint=fast", "--no-sync"},
                     kUser, directory_ / "basebackup.log");
  start();
}

PostgresqlServer::PostgresqlServer(std::vector<std::string> settings) : settings_(std::move(settings)) {
  give_directory_to_user();
  bench::run_program({program("initdb"), "-D", data_directory(), "-U", kUser, "--auth=trust", "--no-locale",
                      "--encoding=UTF8", "--no-sync"},
                     kUser, directory_ / "initdb.log");
  start();
}

void PostgresqlServer::start() {
  std::vector<std::string> command{program("postgres"),
                                   "-D",
                                   data_directory(),
                                   "-c",
                                   "listen_addresses=",
                                   "-c",
                                   "dynamic_shared_memory_type=mmap",  // In its folder: a killed server deletes none.
                                   "-c",
                                   "fsync=off",  // Tests end servers, no machine: a slow disk would only time them out.
                                   "-c",
                                   fmt::format("unix_socket_directories={}", directory_.path().string())};
  for (const std::string& setting : settings_) {
    command.emplace_back("-c");
    command.push_back(setting);
  }
  server_.start(command, kUser, directory_ / "log");
  for (;;) {
    server_.expect_alive();
    const Connection connection = connect_to(directory_.path());
    if (PQstatus(connection.get()) == CONNECTION_OK) return;
    std::this_thread::sleep_for(std::chrono::milliseconds{2});  // Until it answers.
  }
}

std::string PostgresqlServer::address(std::string_view schema) const {
  return fmt::format("postgresql://{}@/postgres?host={}&schema={}", kUser, directory_.path().string(), schema);
}

void PostgresqlServer::run(const std::string& sql) const {
  answer(directory_.path(), sql);
}

std::string PostgresqlServer::ask(const std::string& sql) const {
  const Result result = answer(directory_.path(), sql);
  return PQntuples(result.get()) == 0 ? "" : PQgetvalue(result.get(), 0, 0);
}

std::unique_ptr<internal::remote::Backend> open_backend(const std::string& address,
                                                        const oncelog::remote::Options& options) {
  const auto parsed = internal::remote::PostgresqlAddress::parse(address);
  return std::make_unique<internal::remote::PostgresqlBackend>(parsed.uri, parsed.name, parsed.schema, options);
}

void make_with_test_clock(const PostgresqlServer& server, const std::string& schema,
                          std::chrono::milliseconds retention) {
  server.run(remote::postgresql_schema(server.address(schema), retention));
  server.run(
      fmt::format("create table {0}.test_clock as select timestamptz '2027-01-15 08:00:00+00' as now;"
                  "create or replace function {0}.clock() returns timestamptz language sql as "
                  "'select now from {0}.test_clock';"
                  "update {0}.settings set slice_end = {0}.clock() + retention / 4",
                  schema));
}

void advance_test_clock(const PostgresqlServer& server, const std::string& schema, std::chrono::microseconds by) {
  server.run(fmt::format("update {}.test_clock set now = now + interval '{} microseconds'", schema, by.count()));
}

Time test_clock(const PostgresqlServer& server, const std::string& schema) {
  const std::string us =
      server.ask(fmt::format("select (extract(epoch from now) * 1000000)::bigint from {}.test_clock", schema));
  return Time{std::chrono::microseconds{std::stoll(us)}};
}

}  // namespace oncelog::testing
