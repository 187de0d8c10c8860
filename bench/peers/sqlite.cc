/// SQLite: a table of ids WITHOUT ROWID, marked with INSERT ... ON CONFLICT DO NOTHING, one connection for each caller.
///
/// - journal_mode WAL, as "Write-Ahead Logging" advises for speed and for readers beside a writer.
/// - synchronous NORMAL for marks that need not wait for the disk, which the pragma's page calls a good choice for most
///   applications in WAL mode; FULL for those that do.
/// - WITHOUT ROWID: its page advises it for a key that is no integer and rows below a twentieth of a page.
/// - Prepared statements; a batch is one transaction, as the FAQ advises for many INSERTs. A page cache of 1 GiB for
/// all
///   connections of the process, as RocksDB's. busy_timeout, so that writers wait for each other.
///
/// sqlite.org: wal.html, pragma.html#pragma_synchronous, withoutrowid.html, faq.html#q19, c3ref/busy_timeout.html

#include <fmt/format.h>
#include <sqlite3.h>

#include <ctime>
#include <stdexcept>

#include "peer.h"

namespace oncelog::bench {
namespace {

constexpr int kBusyMs = 60'000;
constexpr std::size_t kCacheKib = std::size_t{1} << 20;
constexpr std::size_t kMostConnections = 64;

class Statement {
 public:
  Statement(sqlite3* db, const char* sql) : db_(db) {
    if (sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement_, nullptr) != SQLITE_OK) fail();
  }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;
  ~Statement() { sqlite3_finalize(statement_); }

  /// Runs it with the id, and the time where it takes one, as its arguments. Returns whether there was a row.
  bool run(std::string_view id = {}, std::int64_t time = 0) {
    const int arguments = sqlite3_bind_parameter_count(statement_);
    if (arguments >= 1) expect(sqlite3_bind_text(statement_, 1, id.data(), static_cast<int>(id.size()), SQLITE_STATIC));
    if (arguments >= 2) expect(sqlite3_bind_int64(statement_, 2, time));
    const int code = sqlite3_step(statement_);
    if (code != SQLITE_ROW && code != SQLITE_DONE) fail();
    expect(sqlite3_reset(statement_));
    return code == SQLITE_ROW;
  }

 private:
  void expect(int code) {
    if (code != SQLITE_OK) fail();
  }
  [[noreturn]] void fail() { throw std::runtime_error(fmt::format("sqlite: {}", sqlite3_errmsg(db_))); }

  sqlite3* db_;
  sqlite3_stmt* statement_ = nullptr;
};

/// An open file, closed after all statements of it.
class Connection {
 public:
  Connection(const std::filesystem::path& file, Sync sync) {
    constexpr int kFlags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    if (sqlite3_open_v2(file.c_str(), &db_, kFlags, nullptr) != SQLITE_OK) {
      const std::string why = sqlite3_errmsg(db_);
      sqlite3_close(db_);
      throw std::runtime_error("sqlite: " + why);
    }
    sqlite3_busy_timeout(db_, kBusyMs);
    run("PRAGMA journal_mode = WAL");
    run(sync == Sync::each ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL");
    run(fmt::format("PRAGMA cache_size = -{}", kCacheKib / (sync == Sync::each ? kMostConnections : 1)).c_str());
    run("CREATE TABLE IF NOT EXISTS processed (id TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID");
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() { sqlite3_close(db_); }

  sqlite3* get() const { return db_; }

 private:
  void run(const char* sql) { Statement(db_, sql).run(); }

  sqlite3* db_ = nullptr;
};

class SqliteSession final : public Session {
 public:
  SqliteSession(const std::filesystem::path& file, Sync sync)
      : connection_(file, sync),
        find_(connection_.get(), "SELECT 1 FROM processed WHERE id = ?"),
        insert_(connection_.get(), "INSERT INTO processed VALUES (?, ?) ON CONFLICT DO NOTHING"),
        delete_(connection_.get(), "DELETE FROM processed WHERE id = ?"),
        begin_read_(connection_.get(), "BEGIN"),
        begin_write_(connection_.get(), "BEGIN IMMEDIATE"),
        commit_(connection_.get(), "COMMIT") {}

  bool check(std::string_view id) override { return find_.run(id); }
  std::size_t check(std::span<const std::string_view> ids) override {
    std::size_t known = 0;
    begin_read_.run();
    for (const std::string_view id : ids) known += check(id);
    commit_.run();
    return known;
  }
  bool mark(std::string_view id) override {
    insert_.run(id, std::time(nullptr));
    return sqlite3_changes(connection_.get()) == 1;
  }
  std::size_t mark(std::span<const std::string_view> ids) override {
    std::size_t fresh = 0;
    begin_write_.run();
    for (const std::string_view id : ids) fresh += mark(id);
    commit_.run();
    return fresh;
  }
  void remove(std::span<const std::string_view> ids) override {
    begin_write_.run();
    for (const std::string_view id : ids) delete_.run(id);
    commit_.run();
  }

 private:
  Connection connection_;
  Statement find_;
  Statement insert_;
  Statement delete_;
  Statement begin_read_;
  Statement begin_write_;
  Statement commit_;
};

class Sqlite final : public Peer {
 public:
  std::string version() const override { return sqlite3_libversion(); }

  void open(const std::filesystem::path& directory, std::size_t) override {
    std::filesystem::create_directories(directory);
    file_ = directory / "processed.db";
    first_ = std::make_unique<Connection>(file_, Sync::background);
  }
  std::unique_ptr<Session> session(Sync sync) override { return std::make_unique<SqliteSession>(file_, sync); }
  void close() override { first_.reset(); }

 private:
  std::filesystem::path file_;
  std::unique_ptr<Connection> first_;  // Keeps the WAL's index between sessions.
};

}  // namespace

std::unique_ptr<Peer> make_sqlite() {
  return std::make_unique<Sqlite>();
}

}  // namespace oncelog::bench
