#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "intercept.h"
#include "shared.h"
#include "support.h"

// What a store writes is recorded, and its directory made as the disk may have it when the power fails at any moment:
// what was synced is whole, of the rest each sector may be there or not, in any of its versions. Then the machine
// boots. See README.md for the long mode, which visits more moments.

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

namespace {

constexpr std::size_t kSector = 512;
constexpr std::size_t kMaxOps = 1 << 17;
constexpr std::size_t kMaxBytes = std::size_t{256} << 20;
constexpr std::size_t kNone = ~std::size_t{0};

enum class OpKind : std::uint8_t {
  create,        // `path` is a new, empty file.
  rename,        // `path` is `second` from now on, with all in it.
  link,          // `second` is another name of `path`.
  unlink,        // `path` is gone.
  sync_names,    // The names in directory `path` are on disk, as they were at `covers`.
  write,         // Bytes at an offset of a file.
  resize,        // A file's size is `offset`.
  sync_all,      // All writes of the file before `covers` are on disk.
  sync_one,      // The write `covers` is on disk.
  lose_all,      // Those before `covers` may never be, even when a later sync succeeds: a sync has failed.
  lose_one,      // The write `covers` may never be.
  marking,       // Message `number` was handed to mark, at `wall_us`.
  acknowledged,  // It is on disk, the store says.
  transacting,   // Transaction `number` has begun.
  committed,     // It has committed.
  nothing,       // The call failed.
};

struct Op {
  OpKind kind{};
  ino_t file = 0;
  std::uint64_t offset = 0;
  std::size_t bytes = 0;  // Of a write, at `data` of the recording's.
  std::size_t data = 0;
  std::size_t covers = kNone;
  unsigned number = 0;
  std::int64_t wall_us = 0;
  char path[64] = {};  // Relative to where the store is made.
  char second[64] = {};
};

/// In memory that the recorded processes share. Ops are in an order in which they may have happened.
struct Recording {
  Recording() {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&mutex, &attributes);
  }

  std::size_t append(Op op, std::span<const iovec> bytes = {}) {
    pthread_mutex_lock(&mutex);
    const std::size_t at = count;
    std::size_t size = 0;
    for (const iovec& part : bytes) size += part.iov_len;
    if (at == ops.size() || data_bytes + size > data.size()) {
      std::fputs("the recording is full\n", stderr);
      std::abort();
    }
    op.data = data_bytes;
    op.bytes = size;
    for (const iovec& part : bytes) {
      std::memcpy(data.data() + data_bytes, part.iov_base, part.iov_len);
      data_bytes += part.iov_len;
    }
    op.wall_us = host->wall_us();
    ops[at] = op;
    ++count;
    pthread_mutex_unlock(&mutex);
    return at;
  }

  std::size_t now() {
    pthread_mutex_lock(&mutex);
    const std::size_t at = count;
    pthread_mutex_unlock(&mutex);
    return at;
  }

  pthread_mutex_t mutex;
  const FakeHost* host = nullptr;
  std::atomic<unsigned> syncs{0};
  std::size_t count = 0;
  std::size_t data_bytes = 0;
  std::array<Op, kMaxOps> ops;
  std::array<std::byte, kMaxBytes> data;
};

/// Records what becomes of files under `root` that outlive a boot, and has the n-th sync fail, if wanted.
class Recorder final : public Interceptor {
 public:
  Recorder(fs::path root, Recording& recording, unsigned failing_sync)
      : root_(std::move(root)), recording_(recording), failing_sync_(failing_sync) {}

  int before(const Intercepted& call) override {
    begun_ = kNone;
    switch (call.call) {
      case SystemCall::pwrite:
      case SystemCall::write:
        if (const auto file = file_of(call.fd)) {
          begun_ = recording_.append(
              {.kind = OpKind::write, .file = *file, .offset = static_cast<std::uint64_t>(call.offset)}, call.bytes);
        }
        break;
      case SystemCall::ftruncate:
      case SystemCall::fallocate:
        if (const auto file = file_of(call.fd)) {
          recording_.append({.kind = OpKind::resize, .file = *file, .offset = static_cast<std::uint64_t>(call.offset)});
        }
        break;
      case SystemCall::fdatasync:
      case SystemCall::fsync:
        begun_ = recording_.now();
        break;
      case SystemCall::open: {
        struct stat status {};
        was_there_ = ::stat(call.path, &status) == 0;
        break;
      }
      case SystemCall::rename:
        if (kept(call.path) || kept(call.second_path)) begun_ = names(OpKind::rename, call.path, call.second_path);
        break;
      case SystemCall::link:
        if (kept(call.path) || kept(call.second_path)) begun_ = names(OpKind::link, call.path, call.second_path);
        break;
      case SystemCall::unlink:
        if (kept(call.path)) begun_ = names(OpKind::unlink, call.path, "");
        break;
      default:
        break;
    }
    return 0;
  }

  int after(const Intercepted& call, long result) override {
    if (result < 0) {
      const bool names =
          call.call == SystemCall::rename || call.call == SystemCall::link || call.call == SystemCall::unlink;
      if (names && begun_ != kNone) recording_.ops[begun_].kind = OpKind::nothing;
      return 0;
    }
    switch (call.call) {
      case SystemCall::open:
        if (call.creates && !was_there_ && kept(call.path)) {
          const auto file = file_of(static_cast<int>(result), call.path);
          Op op{.kind = OpKind::create, .file = *file};
          set_path(op.path, call.path);
          recording_.append(op);
        } else if (kept(call.path)) {
          file_of(static_cast<int>(result), call.path);
        }
        return 0;
      case SystemCall::pwrite:
      case SystemCall::write: {
        if (begun_ == kNone || (::fcntl(call.fd, F_GETFL) & O_DSYNC) == 0) return 0;
        const bool fails = sync_fails();
        recording_.append({.kind = fails ? OpKind::lose_one : OpKind::sync_one,
                           .file = recording_.ops[begun_].file,
                           .covers = begun_});
        return fails ? EIO : 0;
      }
      case SystemCall::fdatasync:
      case SystemCall::fsync: {
        struct stat status {};
        if (::fstat(call.fd, &status) != 0) return 0;
        if (S_ISDIR(status.st_mode)) {
          const std::string path = fs::read_symlink("/proc/self/fd/" + std::to_string(call.fd)).string();
          Op op{.kind = OpKind::sync_names, .covers = begun_};
          if (!inside(path)) return 0;
          if (sync_fails()) return EIO;  // The names may be on disk or not, as before.
          set_path(op.path, path.c_str());
          recording_.append(op);
          return 0;
        }
        if (!files_.contains(status.st_ino)) return 0;
        const bool fails = sync_fails();
        recording_.append(
            {.kind = fails ? OpKind::lose_all : OpKind::sync_all, .file = status.st_ino, .covers = begun_});
        return fails ? EIO : 0;
      }
      default:
        return 0;
    }
  }

 private:
  bool inside(std::string_view path) const {
    const std::string root = root_.string();
    return path == root || (path.starts_with(root) && path[root.size()] == '/');
  }

  /// A file whose contents matter after a boot: not what is derived, nor locks.
  bool kept(const char* path) const {
    const std::string name = fs::path(path).filename().string();
    const auto is = [&](std::string_view prefix) { return name.starts_with(prefix); };
    return inside(path) && !is("live") && !is("filter-") && !is("index-") && !is("lock.mdb") && !is("oncelog.lock");
  }

  void set_path(char (&to)[64], const char* path) const {
    const std::string text = inside(path) ? fs::path(path).lexically_relative(root_).string() : "";
    if (text.size() >= sizeof to) std::abort();
    std::memcpy(to, text.c_str(), text.size() + 1);
  }

  std::size_t names(OpKind kind, const char* path, const char* second) {
    Op op{.kind = kind};
    set_path(op.path, path);
    set_path(op.second, second);
    return recording_.append(op);
  }

  /// The number of a file that is recorded.
  std::optional<ino_t> file_of(int fd, const char* opened_as = nullptr) {
    struct stat status {};
    if (::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) return std::nullopt;
    const std::lock_guard guard(mutex_);
    if (opened_as != nullptr) files_.insert(status.st_ino);
    return files_.contains(status.st_ino) ? std::optional(status.st_ino) : std::nullopt;
  }

  bool sync_fails() { return recording_.syncs.fetch_add(1) + 1 == failing_sync_; }

  const fs::path root_;
  Recording& recording_;
  const unsigned failing_sync_;
  std::mutex mutex_;
  std::set<ino_t> files_;
  static thread_local std::size_t begun_;
  static thread_local bool was_there_;
};
thread_local std::size_t Recorder::begun_ = kNone;
thread_local bool Recorder::was_there_ = false;

/// A file as it is on disk for certain, and what may be there besides.
class DiskFile {
 public:
  void write(std::size_t op, std::uint64_t offset, std::span<const std::byte> bytes) {
    if (cache_.size() < offset + bytes.size()) cache_.resize(offset + bytes.size());
    std::memcpy(cache_.data() + offset, bytes.data(), bytes.size());
    for (std::uint64_t sector = offset / kSector; sector * kSector < offset + bytes.size(); ++sector) {
      Version version{op, false, {}};
      const std::size_t end = std::min(cache_.size(), (sector + 1) * kSector);
      std::memcpy(version.bytes.data(), cache_.data() + sector * kSector, end - sector * kSector);
      pending_[sector].push_back(version);
    }
  }

  void resize(std::uint64_t size) {
    cache_.resize(std::max<std::size_t>(cache_.size(), size));  // A store never makes its file smaller.
  }

  void sync(std::size_t covers, bool one) {
    for (auto at = pending_.begin(); at != pending_.end();) {
      std::vector<Version>& versions = at->second;
      auto newest = versions.end();
      for (auto version = versions.begin(); version != versions.end(); ++version) {
        if (one ? version->op == covers : version->op < covers && !version->lost) newest = version;
      }
      if (newest != versions.end()) {
        put(durable_, at->first, newest->bytes);
        versions.erase(versions.begin(), newest + 1);
      }
      at = versions.empty() ? pending_.erase(at) : std::next(at);
    }
    // The size is part of what makes the data readable.
    if (!one) durable_.resize(std::max(durable_.size(), cache_.size()));
  }

  void lose(std::size_t covers, bool one) {
    for (auto& [sector, versions] : pending_) {
      for (Version& version : versions) version.lost |= one ? version.op == covers : version.op < covers;
    }
  }

  /// What the disk may have: each sector in one of its versions.
  std::vector<std::byte> image(std::mt19937_64& random, unsigned percent) const {
    std::vector<std::byte> bytes = durable_;
    for (const auto& [sector, versions] : pending_) {
      for (const Version& version : versions) {
        if (random() % 100 < percent) put(bytes, sector, version.bytes);
      }
    }
    if (random() % 4 == 0) bytes.resize(std::max(bytes.size(), cache_.size()));
    return bytes;
  }

 private:
  struct Version {
    std::size_t op;
    bool lost;  // The system has given up writing it.
    std::array<std::byte, kSector> bytes;
  };

  static void put(std::vector<std::byte>& file, std::uint64_t sector, const std::array<std::byte, kSector>& bytes) {
    if (file.size() < (sector + 1) * kSector) file.resize((sector + 1) * kSector);
    std::memcpy(file.data() + sector * kSector, bytes.data(), kSector);
  }

  std::vector<std::byte> durable_;
  std::vector<std::byte> cache_;  // As processes see it.
  std::map<std::uint64_t, std::vector<Version>> pending_;
};

/// The disk, moved forward through a recording.
class Disk {
 public:
  explicit Disk(const Recording& recording) : recording_(recording) {}

  void advance_to(std::size_t end) {
    for (; at_ < end; ++at_) {
      const Op& op = recording_.ops[at_];
      switch (op.kind) {
        case OpKind::create:
        case OpKind::rename:
        case OpKind::link:
        case OpKind::unlink:
          names_.push_back(at_);
          break;
        case OpKind::sync_names:
          for (const std::size_t name : names_) {
            if (name < op.covers && parent(recording_.ops[name]) == std::string_view(op.path)) {
              durable_names_ = std::max(durable_names_, name + 1);
            }
          }
          break;
        case OpKind::write:
          files_[op.file].write(at_, op.offset, std::span(recording_.data).subspan(op.data, op.bytes));
          break;
        case OpKind::resize:
          files_[op.file].resize(op.offset);
          break;
        case OpKind::sync_all:
        case OpKind::sync_one:
          files_[op.file].sync(op.covers, op.kind == OpKind::sync_one);
          break;
        case OpKind::lose_all:
        case OpKind::lose_one:
          files_[op.file].lose(op.covers, op.kind == OpKind::lose_one);
          break;
        default:
          break;
      }
    }
  }

  /// Makes in `root` what the disk may have.
  void make(const fs::path& root, std::mt19937_64& random) const {
    // Names come to the disk in their order.
    std::size_t names_end = durable_names_;
    for (const std::size_t name : names_) {
      if (name < durable_names_) continue;
      if (random() % 2 == 0) break;
      names_end = name + 1;
    }
    std::map<std::string, ino_t> paths;
    for (const std::size_t name : names_) {
      if (name >= names_end) break;
      const Op& op = recording_.ops[name];
      if (op.kind == OpKind::create) paths[op.path] = op.file;
      if (op.kind == OpKind::unlink) paths.erase(op.path);
      if (op.kind == OpKind::link && paths.contains(op.path)) paths[op.second] = paths[op.path];
      if (op.kind == OpKind::rename) rename(paths, op.path, op.second);
    }
    constexpr std::array<unsigned, 6> kPercents{0, 10, 50, 90, 99, 100};
    const unsigned percent = kPercents[random() % kPercents.size()];
    for (const auto& [path, file] : paths) {
      fs::create_directories((root / path).parent_path());
      const auto found = files_.find(file);
      const auto bytes = found == files_.end() ? std::vector<std::byte>() : found->second.image(random, percent);
      std::ofstream(root / path, std::ios::binary)
          .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    }
  }

 private:
  static std::string parent(const Op& op) {
    const fs::path path(op.kind == OpKind::rename || op.kind == OpKind::link ? op.second : op.path);
    const std::string text = path.parent_path().string();
    return text.empty() ? "." : text;
  }

  static void rename(std::map<std::string, ino_t>& paths, const std::string& from, const std::string& to) {
    std::map<std::string, ino_t> moved;
    for (auto at = paths.begin(); at != paths.end();) {
      const bool concerned = at->first == from || at->first.starts_with(from + "/");
      if (concerned) moved[to + at->first.substr(from.size())] = at->second;
      at = concerned ? paths.erase(at) : std::next(at);
    }
    for (const auto& [path, file] : moved) paths[path] = file;
  }

  const Recording& recording_;
  std::size_t at_ = 0;
  std::vector<std::size_t> names_;  // Ops that change names.
  std::size_t durable_names_ = 0;   // Those before this op are on disk.
  std::map<ino_t, DiskFile> files_;
};

constexpr auto kRetention = 80s;

Options options_for(std::uint64_t max_bytes) {
  return {.retention = kRetention,
          .buckets = 8,
          .max_bytes = max_bytes,
          .expected_ids = 1,
          .flush_interval = 1h,
          .ring_bytes = 64 << 10,
          .max_claims = 16,
          .map_bytes = 64 << 20,
          .max_readers = 16};
}

std::string id_of(unsigned number) {
  return "message-" + std::to_string(number);
}

std::string value_of(unsigned number) {
  return std::string(number % 5 == 4 ? 150'000 : number % 3 == 2 ? 9'000 : 50, static_cast<char>('a' + number % 26));
}

/// A process that uses a store and has noted what the store promises. Numbers are those of its messages and
/// transactions, and no other process's.
class Worker {
 public:
  Worker(fs::path path, const Options& options, FakeHost& host, Recording& recording, unsigned first)
      : path_(std::move(path)), options_(options), host_(host), recording_(recording), next_(first) {
    open();
  }

  FakeHost& host() { return host_; }
  Store& store() { return *store_; }

  void mark(Ack ack) {
    const unsigned number = next_++;
    recording_.append({.kind = OpKind::marking, .number = number});
    const bool done = attempt([&] {
      const std::string result(number % 7 * 100, 'r');
      const auto marked = store_->scope("orders").mark(id_of(number), {.correlation = "chain", .result = result}, ack);
      if (ack != Ack::disk) waiting_.emplace_back(number, marked.lsn);
    });
    if (done && ack == Ack::disk) recording_.append({.kind = OpKind::acknowledged, .number = number});
    acknowledge();
  }

  void mark(unsigned count) {
    while (count-- > 0) mark(Ack::host);
  }

  void sync() {
    attempt([&] { store_->sync(); });
    acknowledge();
  }

  void transact() {
    const unsigned number = next_++;
    recording_.append({.kind = OpKind::transacting, .number = number});
    const bool done = attempt([&] {
      const Scope orders = store_->scope("orders");
      store_->transact([&](Transaction& tx) {
        tx.mark(orders, "first-" + std::to_string(number));
        tx.put("table", std::to_string(number), value_of(number));
        if (number >= 20) tx.put("table", std::to_string(number - number % 20), "again");
        tx.mark(orders, "second-" + std::to_string(number));
      });
    });
    if (done) recording_.append({.kind = OpKind::committed, .number = number});
    acknowledge();
  }

  void expire() {
    attempt([&] { store_->expire(); });
  }

  void reopen() {
    store_.reset();
    open();
    acknowledge();
  }

 private:
  /// With an application's patience: what failed may be right the next time.
  void open() {
    for (int tries = 0; !store_; ++tries) {
      try {
        store_ = StoreAccess::open(path_, options_, host_);
      } catch (const Error&) {
        if (tries == 5) throw;
      }
    }
  }

  bool attempt(const std::function<void()>& call) {
    try {
      call();
      return true;
    } catch (const Error&) {
      if (store_) reopen();
      return false;
    }
  }

  /// What the store says is on disk.
  void acknowledge() {
    const Lsn durable = store_->durable();
    std::erase_if(waiting_, [&](const auto& waiting) {
      if (waiting.second >= durable) return false;
      recording_.append({.kind = OpKind::acknowledged, .number = waiting.first});
      return true;
    });
  }

  const fs::path path_;
  const Options options_;
  FakeHost& host_;
  Recording& recording_;
  unsigned next_;
  std::optional<Store> store_;
  std::vector<std::pair<unsigned, Lsn>> waiting_;
};

struct Message {
  std::int64_t wall_us = 0;
  bool promised = false;
};

/// What was promised up to a moment of a recording.
struct Promises {
  Promises(const Recording& recording, std::size_t end) {
    for (std::size_t at = 0; at < end; ++at) {
      const Op& op = recording.ops[at];
      wall_us = op.wall_us;
      if (op.kind == OpKind::marking) messages[op.number].wall_us = op.wall_us;
      if (op.kind == OpKind::acknowledged) messages[op.number].promised = true;
      if (op.kind == OpKind::transacting) transactions[op.number].wall_us = op.wall_us;
      if (op.kind == OpKind::committed) transactions[op.number].promised = true;
    }
  }

  std::int64_t wall_us = FakeHost::kStartUs;
  std::map<unsigned, Message> messages;
  std::map<unsigned, Message> transactions;
};

/// The machine has booted again: all that was promised is there, and the store goes on.
void check_after_boot(const fs::path& path, const Promises& promises) {
  FakeHost host;
  host.advance(std::chrono::microseconds(promises.wall_us - FakeHost::kStartUs));
  host.reboot();
  Options options = options_for(0);
  options.retention.reset();
  options.buckets.reset();
  const bool anything = std::ranges::any_of(promises.messages, [](const auto& one) { return one.second.promised; });
  {
    const Store store = StoreAccess::open(path, options, host);
    const Scope orders = store.scope("orders");
    const std::int64_t since_us = store.known_since().time_since_epoch() / 1us;
    const auto remembered = [&](const Message& message) { return message.wall_us >= since_us; };
    for (const auto& [number, message] : promises.messages) {
      if (message.promised && remembered(message)) {
        expect(orders.contains(id_of(number)), id_of(number) + " is on disk, the store had said");
      }
    }
    for (const auto& [number, message] : promises.transactions) {
      const auto value = store.get("table", std::to_string(number));
      const bool effect = value.has_value();
      expect(!message.promised || effect, "transaction " + std::to_string(number) + " had committed");
      expect(!effect || *value == "again" || *value == value_of(number), "an effect is what was put");
      if (!remembered(message)) continue;
      const bool first = orders.contains("first-" + std::to_string(number));
      const bool second = orders.contains("second-" + std::to_string(number));
      // "again" is a later transaction's, and there also when this one has failed.
      const bool own = !effect || *value != "again";
      expect(first == second && (!own || first == effect) && (!message.promised || first),
             "transaction " + std::to_string(number) + " is there whole or not at all");
    }
    for (const auto& [number, message] : promises.messages) {
      if (!remembered(message)) continue;
      const Verdict verdict = orders.mark(id_of(number)).verdict;
      expect(verdict == Verdict::fresh || verdict == Verdict::duplicate, "a mark has a verdict");
      expect(orders.mark(id_of(number)) == Verdict::duplicate, "no id is fresh twice");
    }
    std::set<std::string> seen;
    store.scan({}, [&](const Record& record) {
      if (record.forgotten) {
        seen.erase(record.id);  // A mark that was refused was taken back.
        return true;
      }
      expect(seen.insert(record.id).second, "no id has two records: " + record.id);
      return true;
    });
    expect(orders.mark("after the boot", Ack::disk) == Verdict::fresh, "the store goes on");
    store.transact([&](Transaction& tx) { tx.put("table", "after", "the boot"); });
    expect(!anything || !seen.empty() || since_us > 0, "something is there");
  }
  host.reboot();
  const Store store = StoreAccess::open(path, options, host);
  expect(store.scope("orders").contains("after the boot"), "the store had gone on");
  expect(store.get("table", "after") == "the boot", "the transaction too");
}

/// Runs the workload in a process of its own, with its n-th sync failing unless that is 0, and lets the power fail at
/// every sync and at `points` moments besides. Returns how many syncs there were.
unsigned lose_power(std::uint64_t seed, unsigned failing_sync, std::size_t points, std::uint64_t max_bytes,
                    const std::function<void(const std::function<Worker(unsigned)>&)>& workload) {
  const TempDir dir(memory_directory());
  const Shared<FakeHost> host;
  const Shared<Recording> recording;
  recording->host = &*host;
  REQUIRE(wait_for(spawn([&] {
            fs::create_directory(dir / "disk");
            Recorder recorder(dir / "disk", *recording, failing_sync);
            intercept(&recorder);
            workload([&](unsigned first) {
              return Worker(dir / "disk" / "store", options_for(max_bytes), *host, *recording, first);
            });
            intercept(nullptr);
            return 0;
          })) == 0);
  fs::remove_all(dir / "disk");
  std::mt19937_64 random(seed);
  std::vector<std::size_t> moments;
  for (std::size_t at = 0; at < recording->count; ++at) {
    const OpKind kind = recording->ops[at].kind;
    if (kind == OpKind::sync_all || kind == OpKind::sync_one || kind == OpKind::sync_names) {
      moments.insert(moments.end(), {at, at + 1});
    }
  }
  for (std::size_t i = 0; i < points; ++i) moments.push_back(random() % (recording->count + 1));
  std::ranges::sort(moments);
  constexpr std::size_t kGroup = 100;  // In one process, which what is wrong may crash.
  for (std::size_t first = 0; first < moments.size(); first += kGroup) {
    const Shared<std::array<char, 1024>> at;
    const std::uint64_t group_seed = random();
    const int status = wait_for(spawn([&] {
      ::alarm(120);
      std::mt19937_64 choice(group_seed);
      Disk disk(*recording);
      for (std::size_t i = first; i < std::min(first + kGroup, moments.size()); ++i) {
        std::snprintf(at->data(), at->size(), "the power fails before op %zu of %zu", moments[i], recording->count);
        disk.advance_to(moments[i]);
        const TempDir image(memory_directory());
        fs::create_directory(image / "store");
        disk.make(image.path(), choice);
        check_after_boot(image / "store", Promises(*recording, moments[i]));
      }
      return 0;
    }));
    const std::string where = at->data();
    CAPTURE(where);
    CAPTURE(failing_sync);
    REQUIRE(status == 0);
  }
  return recording->syncs;
}

void do_everything(Worker& worker, std::mt19937_64& random, unsigned steps) {
  for (unsigned step = 0; step < steps; ++step) {
    switch (random() % 10) {
      case 0:
        worker.sync();
        break;
      case 1:
        worker.mark(Ack::disk);
        break;
      case 2:
      case 3:
        worker.transact();
        break;
      case 4:
        worker.host().advance(std::chrono::milliseconds(random() % 9000));
        break;
      case 5:
        worker.expire();
        break;
      case 6:
        worker.reopen();
        break;
      case 7:
        worker.mark(static_cast<unsigned>(random() % 400));
        break;
      default:
        worker.mark(static_cast<unsigned>(random() % 20));
        break;
    }
  }
}

std::size_t points(std::size_t few) {
  return long_mode() ? few * 20 : few;
}

}  // namespace

TEST_CASE("a power failure at any moment takes nothing that is on disk, and leaves transactions whole") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  lose_power(seed, 0, points(400), 0, [&](const auto& worker) {
    std::mt19937_64 random(seed);
    Worker one = worker(0);
    do_everything(one, random, 150);
  });
}

TEST_CASE("a power failure at any moment in a store's making leaves one that opens, or none") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  lose_power(seed, 0, points(200), 0, [&](const auto& worker) {
    Worker one = worker(0);
    one.mark(Ack::disk);
    one.transact();
  });
}

TEST_CASE("a power failure at any moment of a store with a cap takes nothing that it remembers") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  lose_power(seed, 0, points(150), 1 << 20, [&](const auto& worker) {
    Worker one = worker(0);
    for (unsigned round = 0; round < 60; ++round) {
      one.mark(100);
      if (round % 7 == 3) one.expire();
      if (round % 11 == 5) one.transact();
      if (round % 23 == 9) one.reopen();
      one.sync();
      one.host().advance(2s);
    }
  });
}

TEST_CASE("a power failure at any moment takes nothing of two processes") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  lose_power(seed, 0, points(250), 0, [&](const auto& worker) {
    std::array<pid_t, 2> children{};
    for (unsigned i = 0; i < children.size(); ++i) {
      children[i] = spawn([&] {
        std::mt19937_64 random(seed + i);
        Worker one = worker(i * 100'000);
        do_everything(one, random, 60);
        return 0;
      });
    }
    for (const pid_t child : children) {
      if (wait_for(child) != 0) throw std::runtime_error("a process failed");
    }
  });
}

TEST_CASE("a sync that fails and whose data is lost takes nothing that is on disk") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  unsigned syncs = 2;
  for (unsigned failing = 1; failing < syncs; failing += long_mode() ? 1 : 7) {
    syncs = lose_power(seed, failing, points(5), 0, [&](const auto& worker) {
      std::mt19937_64 random(seed);
      Worker one = worker(0);
      do_everything(one, random, 40);
    });
  }
}

TEST_CASE("a sync that fails while a store is made, and is tried again, takes nothing that is on disk") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  unsigned syncs = 2;
  for (unsigned failing = 1; failing < syncs; ++failing) {
    syncs = lose_power(seed, failing, points(20), 0, [&](const auto& worker) {
      Worker one = worker(0);
      one.mark(Ack::disk);
      one.transact();
    });
  }
}
