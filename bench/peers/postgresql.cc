/// PostgreSQL over a Unix socket: processed_messages (id text primary key, processed_at), marked with INSERT ... ON
/// CONFLICT DO NOTHING RETURNING; prepared statements, one connection for each caller. A batch is one statement that
/// takes an array of 1,000 ids.
///
/// - synchronous_commit off for marks that need not wait for the disk ("Asynchronous Commit": what a crash may take is
///   recent, and nothing is ever inconsistent); on for those that do. Unlike with the other peers, a killed server
///   loses marks as well then. fsync stays on.
/// - shared_buffers a quarter of the memory, as "Resource Consumption" advises as a beginning, at most 4 GiB.
/// - max_wal_size 4 GiB, as "Populating a Database" advises for much writing.
/// - initdb --no-locale: text in the C locale is what comparisons are fastest in ("Locale Support").
/// - It runs as the user postgres where the harness is root, as it refuses to run as root.
/// - Expiry is by name here; with a table for each day it would be a DROP TABLE.
///
/// postgresql.org/docs/15: wal-async-commit, runtime-config-resource, populate, locale, sql-insert, server-start

#include <fmt/format.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <stdexcept>
#include <thread>

#include "peer.h"
#include "process.h"

namespace oncelog::bench {
namespace {

constexpr std::size_t kBatch = 1000;
const std::string kUser = "postgres";

struct ClearResult {
  void operator()(PGresult* result) const { PQclear(result); }
};
using Result = std::unique_ptr<PGresult, ClearResult>;

struct Finish {
  void operator()(PGconn* connection) const { PQfinish(connection); }
};
using Connection = std::unique_ptr<PGconn, Finish>;

/// Not connected where the server cannot be reached.
Connection connect_to(const std::filesystem::path& directory) {
  const std::string where = fmt::format("host={} dbname=postgres user={}", directory.string(), kUser);
  return Connection(PQconnectdb(where.c_str()));
}

Result checked(PGconn* connection, PGresult* result) {
  Result owned(result);
  const ExecStatusType status = PQresultStatus(result);
  if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) return owned;
  throw std::runtime_error(fmt::format("postgresql: {}", PQerrorMessage(connection)));
}

/// Ids hold neither quotes nor backslashes: those of a benchmark are UUIDs.
std::string array_of(std::span<const std::string_view> ids) {
  std::string text = "{";
  for (const std::string_view id : ids) {
    if (text.size() > 1) text += ',';
    text += id;
  }
  return text + "}";
}

class PostgresqlSession final : public Session {
 public:
  PostgresqlSession(const std::filesystem::path& directory, Sync sync) : connection_(connect_to(directory)) {
    run(sync == Sync::each ? "SET synchronous_commit = on" : "SET synchronous_commit = off");
    prepare("find", "SELECT 1 FROM processed_messages WHERE id = $1::text");
    prepare("find_all", "SELECT id FROM processed_messages WHERE id = ANY ($1::text[])");
    prepare("mark", "INSERT INTO processed_messages VALUES ($1::text) ON CONFLICT DO NOTHING RETURNING 1");
    prepare("mark_all", "INSERT INTO processed_messages SELECT unnest($1::text[]) ON CONFLICT DO NOTHING RETURNING 1");
    prepare("remove_all", "DELETE FROM processed_messages WHERE id = ANY ($1::text[])");
  }

  bool check(std::string_view id) override { return rows("find", std::string(id)) == 1; }
  std::size_t check(std::span<const std::string_view> ids) override { return rows("find_all", array_of(ids)); }
  bool mark(std::string_view id) override { return rows("mark", std::string(id)) == 1; }
  std::size_t mark(std::span<const std::string_view> ids) override { return rows("mark_all", array_of(ids)); }
  void remove(std::span<const std::string_view> ids) override { rows("remove_all", array_of(ids)); }

 private:
  void run(const char* sql) { checked(connection_.get(), PQexec(connection_.get(), sql)); }
  void prepare(const char* name, const char* sql) {
    checked(connection_.get(), PQprepare(connection_.get(), name, sql, 1, nullptr));
  }
  std::size_t rows(const char* name, const std::string& argument) {
    const std::array<const char*, 1> values{argument.c_str()};
    const Result result =
        checked(connection_.get(), PQexecPrepared(connection_.get(), name, 1, values.data(), nullptr, nullptr, 0));
    return static_cast<std::size_t>(PQntuples(result.get()));
  }

  Connection connection_;
};

/// Debian keeps each version's programs in a folder of its own.
std::filesystem::path program(const std::string& name) {
  std::vector<std::filesystem::path> folders;
  std::error_code none;
  for (const auto& version : std::filesystem::directory_iterator("/usr/lib/postgresql", none)) {
    folders.push_back(version.path() / "bin");
  }
  std::ranges::sort(folders, std::greater());
  return find_program(name, folders);
}

std::uint64_t shared_buffers_mib() {
  const auto memory =
      static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(::sysconf(_SC_PAGE_SIZE));
  return std::min<std::uint64_t>(memory / 4, std::uint64_t{4} << 30) >> 20;
}

class Postgresql final : public Peer {
 public:
  std::string version() const override { return first_line_of(program("postgres").string() + " --version"); }
  std::size_t batch() const override { return kBatch; }
  bool served() const override { return true; }
  bool survives_kill() const override { return false; }

  void open(const std::filesystem::path& directory, std::size_t ids) override {
    attach(directory, ids);
    const bool is_new = !std::filesystem::exists(directory / "data");
    if (is_new) make(directory);
    server_.start({program("postgres"), "-D", directory / "data", "-c", "listen_addresses=", "-c",
                   fmt::format("unix_socket_directories={}", directory.string()), "-c",
                   fmt::format("shared_buffers={}MB", shared_buffers_mib()), "-c", "max_wal_size=4GB"},
                  kUser, directory / "log");
    const Connection connection = wait_until_ready();
    if (is_new) {
      checked(connection.get(), PQexec(connection.get(),
                                       "CREATE TABLE processed_messages (id text PRIMARY KEY, "
                                       "processed_at timestamptz NOT NULL DEFAULT now())"));
    }
  }
  void attach(const std::filesystem::path& directory, std::size_t) override { directory_ = directory; }
  std::unique_ptr<Session> session(Sync sync) override { return std::make_unique<PostgresqlSession>(directory_, sync); }
  void close() override { server_.end(SIGINT); }
  void kill() override { server_.end(SIGKILL); }
  std::uint64_t memory_bytes() const override { return server_.memory_bytes(); }

 private:
  static void make(const std::filesystem::path& directory) {
    std::filesystem::create_directories(directory);
    if (::geteuid() == 0) {
      const passwd* const user = ::getpwnam(kUser.c_str());
      if (user == nullptr) throw std::runtime_error("postgresql: there is no user " + kUser);
      if (::chown(directory.c_str(), user->pw_uid, user->pw_gid) != 0) throw std::runtime_error("postgresql: chown");
    }
    run_program(
        {program("initdb"), "-D", directory / "data", "-U", kUser, "--auth=trust", "--no-locale", "--encoding=UTF8"},
        kUser, directory / "initdb.log");
  }

  Connection wait_until_ready() {
    while (true) {
      server_.expect_alive();
      Connection connection = connect_to(directory_);
      if (PQstatus(connection.get()) == CONNECTION_OK) return connection;
      std::this_thread::sleep_for(std::chrono::milliseconds{1});
    }
  }

  std::filesystem::path directory_;
  Server server_;
};

}  // namespace

bool have_postgresql_server() {
  return !program("postgres").empty() && !program("initdb").empty();
}

std::unique_ptr<Peer> make_postgresql() {
  return std::make_unique<Postgresql>();
}

}  // namespace oncelog::bench
