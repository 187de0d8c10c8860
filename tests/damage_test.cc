#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <oncelog/verify.h>

#include "lmdb/catalog.h"
#include "lmdb/pages.h"
#include "maintenance/store_check.h"
#include "shared.h"
#include "shared/leases.h"
#include "store_files.h"
#include "support.h"

// Every byte of a small store is damaged in turn. What then becomes of it, in verify and in a process that opens it, is
// compared with what must hold, and printed as a table. See README.md for the long mode, which opens every one of them.

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

namespace {

constexpr std::size_t kPage = 4096;
constexpr unsigned kIds = 60;
constexpr unsigned kEntries = 30;
/// Before all messages, and within the retention.
const Time kKnownSince = std::chrono::floor<std::chrono::microseconds>(std::chrono::system_clock::now()) - 1h;
constexpr std::uint64_t kTokenEpoch = 7;

/// Retention and buckets are those that the store says.
const Options kOptions{.expected_ids = 1,
                       .flush_interval = 1h,
                       .ring_bytes = 64 << 10,
                       .max_claims = 16,
                       .map_bytes = 16 << 20,
                       .max_readers = 16};

std::string id_of(unsigned number) {
  return "message-" + std::to_string(number);
}
std::string result_of(unsigned number) {
  return number % 4 == 0 ? std::string(number * 7, static_cast<char>('a' + number % 26)) : "";
}
std::string value_of(unsigned number) {
  return std::string(number == 3 ? 2'100 : 180, static_cast<char>('A' + number));
}
std::string_view scope_of(unsigned number) {
  return number % 3 == 0 ? "mails" : "orders";
}

/// A store with a bit of everything, in several commits; closed.
void fill(const fs::path& path) {
  Options options = kOptions;
  options.retention = 24h;
  options.buckets = 4;
  Store::open(path, options);
  {
    const internal::lmdb::Env env(path, MDB_NOTLS | MDB_NORDAHEAD, std::uint64_t{16} << 20, 16, 8);
    internal::lmdb::WriteTxn txn(env);
    const internal::Catalog catalog(txn, 0);
    using Number = internal::Catalog::Number;
    catalog.put_number(txn, Number::token_epoch, kTokenEpoch);
    catalog.put_number(
        txn, Number::known_since_us,
        static_cast<std::uint64_t>(
            std::chrono::duration_cast<std::chrono::microseconds>(kKnownSince.time_since_epoch()).count()));
    txn.commit();
  }
  remove_derived(path);  // Their numbers are other ones.
  const Store store = Store::open(path, kOptions);
  for (unsigned i = 0; i < kIds; ++i) {
    const std::string result = result_of(i);
    store.scope(scope_of(i)).mark(id_of(i), {.correlation = i % 5 == 0 ? "chain" : "", .result = result});
    if (i % 20 == 19) store.sync();
  }
  // Only the last block says where the log ends. If its length shrank to another record's end, nobody would notice: so
  // the last record is longer than any change of one bit can cut off.
  store.scope("mails").mark("the last one", {.result = std::string(3'000, 'e')});
  store.sync();
  store.transact([&](Transaction& tx) {
    for (unsigned i = 0; i < kEntries; ++i) tx.put("table", "key-" + std::to_string(i), value_of(i));
  });
}

/// What is done to a file.
struct Damage {
  enum class Kind { change, zero, cut } kind = Kind::change;
  std::size_t offset = 0;
  std::size_t bytes = 1;  // Of zero.
  std::byte mask{};       // Of change: these bits are flipped.
};

using Bytes = std::vector<std::byte>;

Bytes read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  Bytes bytes(text.size());
  std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

/// Writes some bytes, after which the file has `size`. In place: the file stays the one that it was, and so the derived
/// files stay its own.
void write_file(const fs::path& path, std::span<const std::byte> bytes, std::size_t offset, std::size_t size) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  const bool written =
      file >= 0 &&
      ::pwrite(file, bytes.data(), bytes.size(), static_cast<off_t>(offset)) == static_cast<ssize_t>(bytes.size()) &&
      ::ftruncate(file, static_cast<off_t>(size)) == 0;
  if (file >= 0) ::close(file);
  expect(written, "a file is written");
}

/// Does a damage to the file that holds `sound`.
void damage_file(const fs::path& path, const Bytes& sound, const Damage& damage) {
  switch (damage.kind) {
    case Damage::Kind::change: {
      const std::byte changed = sound[damage.offset] ^ damage.mask;
      return write_file(path, {&changed, 1}, damage.offset, sound.size());
    }
    case Damage::Kind::zero:
      return write_file(path, Bytes(std::min(damage.bytes, sound.size() - damage.offset)), damage.offset, sound.size());
    case Damage::Kind::cut:
      return write_file(path, {}, 0, damage.offset);
  }
}

/// What came of a damaged store; of the two of a case the worst is what counts.
enum class Outcome : std::uint8_t {
  not_asked,
  right,        // Verify finds nothing; all answers are right.
  reported,     // Verify finds it; an Error.
  wrong_value,  // A user's entry, which has no checksum, differs; all verdicts are right.
  wrong,        // An answer about an id is wrong.
  crashed,
  hung,
};
constexpr std::size_t kOutcomes = 7;
constexpr const char* kOutcomeNames[] = {"not asked", "right", "reported", "other value", "wrong", "crashed", "hung"};
static_assert(std::size(kOutcomeNames) == kOutcomes);

Outcome ask_verify(const fs::path& path, bool deep) {
  try {
    return verify(path, {.deep = deep}).sound() ? Outcome::right : Outcome::reported;
  } catch (const Error&) {
    return Outcome::reported;
  }
}

/// Asks for all that is in the store, then uses it.
Outcome ask_store(const fs::path& path) {
  bool wrong = false;
  bool other_value = false;
  try {
    const Store store = Store::open(path, kOptions);
    wrong |= store.known_since() != kKnownSince;
    for (unsigned i = 0; i < kIds; ++i) {
      const Scope scope = store.scope(scope_of(i));
      const auto record = scope.find(id_of(i));
      wrong |= !record || record->result != result_of(i) || record->correlation != (i % 5 == 0 ? "chain" : "");
      wrong |= scope.contains("never-" + std::to_string(i));
      wrong |= scope.mark(id_of(i)) != Verdict::duplicate;
    }
    for (unsigned i = 0; i < kEntries; ++i)
      other_value |= store.get("table", "key-" + std::to_string(i)) != value_of(i);
    store.scan({}, [](const Record&) { return true; });
    store.correlated("chain");
    const Scope orders = store.scope("orders");
    for (unsigned i = 0; i < 20; ++i) wrong |= orders.mark("new-" + std::to_string(i)) != Verdict::fresh;
    store.transact([&](Transaction& tx) {
      tx.put("table", "new", "value");
      tx.mark(orders, "new in a transaction");
    });
    wrong |= orders.begin("claimed", 30s).token() >> internal::LeaseTable::kEpochShift <= kTokenEpoch;
    store.sync();
    for (unsigned i = 0; i < 20; ++i) wrong |= !orders.contains("new-" + std::to_string(i));
  } catch (const Error&) {
    return wrong ? Outcome::wrong : Outcome::reported;
  }
  return wrong ? Outcome::wrong : other_value ? Outcome::wrong_value : Outcome::right;
}

struct Result {
  Outcome verified = Outcome::not_asked;
  Outcome opened = Outcome::not_asked;
};

/// What to do to a store. With `boots` it is opened without its derived files, as after a boot, and so read as a whole.
struct Plan {
  fs::path file;  // Relative to the store.
  std::vector<Damage> damages;
  unsigned open_every = 1;  // Those that verify finds; the others are all opened ...
  // ... or, where this says that no answer about an id depends on the byte, one of 16.
  std::function<bool(std::size_t)> is_minor = [](std::size_t) { return false; };
  bool boots = true;
  bool deep = false;

  bool opens(std::size_t at, Outcome verified) const {
    return at % (verified != Outcome::right ? open_every : is_minor(damages[at].offset) ? 16 : 1) == 0;
  }
};

/// A copy of a store, on which damage is done and undone. Opened and closed once, as the derived files are those of one
/// data.mdb.
class Victim {
 public:
  Victim(const fs::path& sound, const Plan& plan) : dir_(memory_directory()), plan_(plan) {
    copy_store(sound, path());
    expect(wait_for(spawn([&] {
             Store::open(path(), kOptions).sync();
             return 0;
           })) == 0,
           "the copy can be opened");
    for (const auto& entry : fs::directory_iterator(path())) files_[entry.path()] = read_file(entry.path());
  }

  fs::path path() const { return dir_ / "store"; }
  void damage(const Damage& damage) const {
    const fs::path file = path() / plan_.file;
    damage_file(file, files_.at(file), damage);
  }
  /// After a damage that was only read.
  void undo(const Damage& damage) const {
    const fs::path file = path() / plan_.file;
    const Bytes& sound = files_.at(file);
    const std::size_t length = damage.kind == Damage::Kind::cut ? sound.size() : damage.bytes;
    write_file(file, std::span(sound).subspan(damage.offset).first(std::min(length, sound.size() - damage.offset)),
               damage.offset, sound.size());
  }
  void restore() const {
    for (const auto& [file, bytes] : files_) write_file(file, bytes, 0, bytes.size());
    for (const auto& entry : fs::directory_iterator(path())) {
      if (!files_.contains(entry.path())) fs::remove(entry.path());
    }
  }

 private:
  TempDir dir_;
  const Plan& plan_;
  std::map<fs::path, Bytes> files_;
};

/// Of one of the processes among which the damages are divided. Written by the process and its children.
struct Progress {
  std::atomic<std::size_t> at{0};  // Only one process at a time writes and reads it: relaxed would do.
  std::atomic<bool> opening{false};
};

/// Exit codes of a process that has asked a store begin there: the sanitizers have others.
constexpr int kFirstCode = 40;

/// Does every `step`-th damage, in processes that may crash.
void run_part(const Victim& victim, const Plan& plan, std::size_t step, Progress& progress, Result* results) {
  while (progress.at < plan.damages.size()) {
    victim.restore();
    const int status = wait_for(spawn([&] {
      ::close(STDERR_FILENO);  // LMDB's assertions.
      ::open("/dev/null", O_WRONLY);
      for (const int crash : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL}) ::signal(crash, SIG_DFL);  // Not doctest's.
      constexpr rlimit kNoCore{0, 0};
      ::setrlimit(RLIMIT_CORE, &kNoCore);
      for (; progress.at < plan.damages.size(); progress.at += step) {
        const std::size_t at = progress.at;
        Result& result = results[at];
        ::alarm(60);
        victim.damage(plan.damages[at]);
        result.verified = ask_verify(victim.path(), plan.deep);
        if (plan.deep) {
          victim.restore();
        } else {
          victim.undo(plan.damages[at]);
        }
        ::alarm(0);
        if (!plan.opens(at, result.verified)) continue;
        // In another process, which may crash.
        progress.opening = true;
        const int opened = wait_for(spawn([&] {
          ::alarm(60);
          victim.damage(plan.damages[at]);
          if (plan.boots) remove_derived(victim.path());
          return kFirstCode + static_cast<int>(ask_store(victim.path()));
        }));
        const bool answered = opened > kFirstCode && opened < kFirstCode + static_cast<int>(kOutcomes);
        result.opened = opened == -SIGALRM ? Outcome::hung
                        : answered         ? static_cast<Outcome>(opened - kFirstCode)
                                           : Outcome::crashed;
        victim.restore();
        progress.opening = false;
      }
      return 0;
    }));
    if (status == 0) break;
    const std::size_t at = progress.at;
    expect(!progress.opening, "what waits for the process that opens the store lives");
    results[at].verified = status == -SIGALRM ? Outcome::hung : Outcome::crashed;
    progress.at += step;
  }
}

/// Does to the file of a store, one after the other, what the plan says.
std::vector<Result> run(const fs::path& sound, const Plan& plan) {
  constexpr std::size_t kMost = 1 << 18;
  constexpr std::size_t kParts = 2;
  struct Common {
    std::array<Progress, kParts> progress;
    std::array<Result, kMost> results{};
  };
  REQUIRE(plan.damages.size() <= kMost);
  const Shared<Common> common;
  std::vector<pid_t> parts;
  for (std::size_t part = 0; part < kParts; ++part) {
    common->progress[part].at = part;
    parts.push_back(spawn([&] {
      const Victim victim(sound, plan);
      run_part(victim, plan, kParts, common->progress[part], common->results.data());
      return 0;
    }));
  }
  for (const pid_t part : parts) REQUIRE(wait_for(part) == 0);
  return {common->results.begin(), common->results.begin() + static_cast<std::ptrdiff_t>(plan.damages.size())};
}

/// What lies on each page of the sound file.
std::vector<std::string> regions_of(const fs::path& data) {
  using namespace internal::lmdb;
  const internal::DataFile file(data);
  const Pages pages(file.fd(), data);
  const auto ignore = [](const Fault&) {};
  std::vector<std::string> regions(static_cast<std::size_t>(pages.pages()), "free or never used");
  const auto meta = pages.newest();
  REQUIRE(meta);
  const auto note = [&](const std::string& name, const TreeInfo& tree) {
    if (tree.root == kNoPage) return;
    regions[static_cast<std::size_t>(tree.root)] = name + (tree.depth > 1 ? ", branch" : ", leaf");
    pages.each(
        tree,
        [&](const TreeEntry& entry) {
          regions[static_cast<std::size_t>(entry.page)] = name + ", leaf";
          for (std::size_t i = 0; entry.overflow != kNoPage && i * kPage < entry.bytes + Pages::kHeaderBytes; ++i) {
            regions[static_cast<std::size_t>(entry.overflow) + i] = name + ", overflow";
          }
          return true;
        },
        ignore);
  };
  regions[0] = regions[1] = "meta page";
  note("free list", meta->free);
  note("root of the tables", meta->main);
  pages.tables(
      *meta, [&](std::string_view name, const TreeInfo& tree) { note("table " + std::string(name), tree); }, ignore);
  return regions;
}

/// Whether a byte lies between the pointers and the entries of a page that has such, or behind a meta page's contents.
bool in_gap(const Bytes& data, std::size_t offset) {
  constexpr std::size_t kMetaBytes = 16 + 136;
  std::array<std::uint16_t, 3> header{};  // Flags; where the gap begins; where it ends.
  std::memcpy(header.data(), data.data() + offset / kPage * kPage + 10, sizeof header);
  const std::size_t in_page = offset % kPage;
  if ((header[0] & 8) != 0) return in_page >= kMetaBytes;
  return (header[0] == 1 || header[0] == 2) && in_page >= header[1] && in_page < header[2];
}

std::string describe(const Plan& plan, std::size_t at) {
  const Damage& damage = plan.damages[at];
  const char* what = damage.kind == Damage::Kind::change ? "changed by"
                     : damage.kind == Damage::Kind::zero ? "zeroed"
                                                         : "cut";
  return plan.file.string() + " " + what + " " + std::to_string(static_cast<int>(damage.mask)) + " at " +
         std::to_string(damage.offset) + " (page " + std::to_string(damage.offset / kPage) + " + " +
         std::to_string(damage.offset % kPage) + ")";
}

/// Prints how often what happened, by region, and gives each case that must not be to `judge`.
void report(const Plan& plan, const std::vector<Result>& results,
            const std::function<std::string(std::size_t)>& region_of) {
  std::map<std::string, std::array<std::array<unsigned, kOutcomes>, 2>> table;
  for (std::size_t at = 0; at < results.size(); ++at) {
    auto& row = table[region_of(plan.damages[at].offset)];
    ++row[0][static_cast<std::size_t>(results[at].verified)];
    ++row[1][static_cast<std::size_t>(results[at].opened)];
  }
  for (const auto& [region, row] : table) {
    for (const std::size_t who : {0U, 1U}) {
      std::string line = region + (who == 0 ? ", verify:" : ", opened:");
      for (std::size_t i = 1; i < kOutcomes; ++i) {
        if (row[who][i] != 0) line += " " + std::to_string(row[who][i]) + " " + kOutcomeNames[i] + ";";
      }
      MESSAGE(line);
    }
  }
}

/// Verify neither crashes nor hangs, and what it finds nothing wrong with answers rightly.
void judge(const Plan& plan, const std::vector<Result>& results) {
  unsigned shown = 0;
  for (std::size_t at = 0; at < results.size(); ++at) {
    const auto [verified, opened] = results[at];
    const bool answers = opened == Outcome::not_asked || opened == Outcome::right || opened == Outcome::reported ||
                         opened == Outcome::wrong_value;
    const bool good = verified == Outcome::reported || (verified == Outcome::right && answers);
    if (good || ++shown > 20) continue;
    FAIL_CHECK(describe(plan, at) << ": verify: " << std::string(kOutcomeNames[static_cast<int>(verified)])
                                  << ", opened: " << std::string(kOutcomeNames[static_cast<int>(opened)]));
  }
}

struct SoundStore {
  SoundStore() : dir(memory_directory()) {
    REQUIRE(wait_for(spawn([&] {
              fill(dir / "store");
              return 0;
            })) == 0);
    data = read_file(dir / "store" / "data.mdb");
  }

  TempDir dir;
  Bytes data;
};

void visit_data(const Plan& plan, const SoundStore& sound) {
  const auto results = run(sound.dir / "store", plan);
  const auto regions = regions_of(sound.dir / "store" / "data.mdb");
  report(plan, results, [&](std::size_t offset) {
    return offset / kPage < regions.size() ? regions[offset / kPage] : std::string("the end");
  });
  judge(plan, results);
}

}  // namespace

TEST_CASE("verify finds nothing wrong with a store that is sound, and all its answers are right") {
  const SoundStore sound;
  const auto results = run(sound.dir / "store", {.file = "data.mdb", .damages = {{.mask = std::byte{0}}}});
  CHECK(results[0].verified == Outcome::right);
  CHECK(results[0].opened == Outcome::right);
}

TEST_CASE("whichever byte of data.mdb is changed, verify finds it or every answer about an id is right") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  const SoundStore sound;
  Plan plan{.file = "data.mdb", .damages = {}, .open_every = 97};
  if (long_mode()) {
    plan.open_every = 1;
  } else {
    const auto regions = regions_of(sound.dir / "store" / "data.mdb");
    plan.is_minor = [&sound, regions](std::size_t offset) {
      return in_gap(sound.data, offset) || regions[offset / kPage].starts_with("table user");
    };
  }
  // Under the sanitizers every 24th byte on the average, others each time.
  const std::uint64_t most_skipped = scaled(1, 47);
  for (std::size_t at = 0; at < sound.data.size(); at += 1 + random() % most_skipped) {
    const auto bit = std::byte{1} << random() % 8;
    const auto byte = static_cast<std::byte>(1 + random() % 255);
    if (long_mode()) {
      for (const std::byte mask : {bit, byte, std::byte{255}}) plan.damages.push_back({.offset = at, .mask = mask});
    } else {
      plan.damages.push_back({.offset = at, .mask = random() % 2 == 0 ? bit : byte});
    }
  }
  visit_data(plan, sound);
}

TEST_CASE("whichever page of data.mdb is zeroed, verify finds it or every answer about an id is right") {
  const SoundStore sound;
  Plan plan{.file = "data.mdb", .damages = {}};
  for (std::size_t at = 0; at < sound.data.size(); at += kPage) {
    plan.damages.push_back({.kind = Damage::Kind::zero, .offset = at, .bytes = kPage});
    plan.damages.push_back({.kind = Damage::Kind::zero, .offset = at, .bytes = 512});
    plan.damages.push_back({.kind = Damage::Kind::zero, .offset = at + kPage - 512, .bytes = 512});
  }
  visit_data(plan, sound);
}

TEST_CASE("wherever data.mdb is cut short, verify finds it or every answer about an id is right") {
  const SoundStore sound;
  Plan plan{.file = "data.mdb", .damages = {}};
  for (std::size_t at = 0; at < sound.data.size(); at += kPage / 2) {
    plan.damages.push_back({.kind = Damage::Kind::cut, .offset = at});
    plan.damages.push_back({.kind = Damage::Kind::cut, .offset = at + 7});
  }
  visit_data(plan, sound);
}

TEST_CASE("wherever a file of hints is damaged, a deep verify finds it or every answer about an id is right") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  const SoundStore sound;
  for (const auto& file : derived_files(sound.dir / "store")) {
    if (file.filename() == "live") continue;
    const std::size_t size = fs::file_size(file);
    Plan plan{.file = file.filename(), .damages = {}, .open_every = 1, .boots = false, .deep = true};
    for (std::size_t at = 0; at + kPage <= size; at += kPage) {
      plan.damages.push_back({.kind = Damage::Kind::zero, .offset = at, .bytes = kPage});
      plan.damages.push_back({.kind = Damage::Kind::cut, .offset = at});
    }
    for (unsigned i = 0; i < (long_mode() ? 4000 : scaled(150, 10)); ++i) {
      plan.damages.push_back({.offset = random() % size, .mask = static_cast<std::byte>(1 + random() % 255)});
      plan.damages.push_back({.kind = Damage::Kind::zero, .offset = random() % size, .bytes = 512});
    }
    const auto results = run(sound.dir / "store", plan);
    report(plan, results, [&](std::size_t) { return file.filename().string().substr(0, 5); });
    judge(plan, results);
  }
}
