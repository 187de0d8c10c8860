#include <signal.h>
#include <sys/wait.h>

#include <array>
#include <atomic>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "base/shared_memory.h"
#include "shared.h"
#include "shared/shared_state.h"
#include "store_files.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;
using std::chrono::microseconds;

namespace {

constexpr std::size_t kMostIds = 8'000'000;
constexpr unsigned kWorkers = 3;

/// What the children have been told, in memory that outlives them. An id is noted after its mark has returned, so a
/// child may die with one mark that nobody knows of; what is noted must stand.
struct Journal {
  struct Worker {
    alignas(64) std::atomic<std::uint64_t> steps{0};
    std::atomic<std::uint64_t> target{~std::uint64_t{0}};
    std::atomic<std::uint32_t> reached{0};  // Futex.

    /// Called by the child at each step; wakes the parent when the moment that it waits for has come.
    void step() {
      if (steps.fetch_add(1) + 1 < target.load()) return;
      reached.store(1);
      internal::futex_wake_all(reached);
    }

    /// Called by the parent: waits until the child has made so many more steps, or has ended.
    bool await(std::uint64_t more, pid_t child) {
      reached.store(0);
      target.store(steps.load() + more);
      return holds_soon([&] {
        siginfo_t ended{};
        if (::waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED | WNOHANG | WNOWAIT) != 0 || ended.si_pid != 0)
          return true;
        if (steps.load() >= target.load()) return true;
        internal::futex_wait(reached, 0, 100ms);
        return false;
      });
    }
  };

  std::atomic<std::uint64_t> next{0};   // Ids below have been tried.
  std::atomic<std::uint64_t> notes{0};  // How often a mark has returned.
  std::array<Worker, kWorkers> workers{};
  std::array<std::atomic<std::uint8_t>, kMostIds> acknowledged{};
  std::array<std::atomic<std::uint8_t>, kMostIds> fresh{};
  std::array<std::atomic<std::int64_t>, kMostIds> processed_us{};  // At the earliest; with a fake clock.

  void note(std::uint64_t id, const Marked& marked) {
    if (marked == Verdict::fresh) fresh[id].fetch_add(1);
    acknowledged[id].store(1);
    notes.fetch_add(1);
  }
};

std::string id_of(std::uint64_t number) {
  return "message-" + std::to_string(number) + std::string(number % 7 * 9, '.');
}

/// Children that do `work` until they are killed, and are replaced then.
class Workers {
 public:
  using Work = std::function<void(Journal::Worker&, std::mt19937_64&)>;

  Workers(Journal& journal, std::uint64_t seed, Work work) : journal_(journal), random_(seed), work_(std::move(work)) {
    for (unsigned w = 0; w < kWorkers; ++w) start(w);
  }

  ~Workers() { kill_all(); }

  /// Waits until one of them has had a mark acknowledged.
  void await_mark() {
    const std::uint64_t before = journal_.notes.load();
    REQUIRE(holds_soon([&] { return journal_.notes.load() != before; }));
  }

  /// Kills one at a random moment, once it has made some steps, while the others go on; another takes its place.
  void kill_one(std::uint64_t most_steps) {
    const auto victim = static_cast<unsigned>(random_() % kWorkers);
    REQUIRE(journal_.workers[victim].await(1 + random_() % most_steps, *children_[victim]));
    // The moment within the step is random as well.
    const std::uint64_t spins = random_() % 20'000;
    for (std::uint64_t i = 0; i < spins; ++i) spin();
    kill(victim);
    start(victim);
  }

  /// Kills all of them as close together as it goes.
  void kill_all() {
    for (const auto& child : children_) {
      if (child) ::kill(*child, SIGKILL);
    }
    for (unsigned w = 0; w < kWorkers; ++w) kill(w);
  }

  std::uint64_t kills() const { return kills_; }

 private:
  void start(unsigned w) {
    const std::uint64_t seed = random_();
    children_[w] = spawn([this, w, seed]() -> int {
      std::mt19937_64 random(seed);
      for (;;) work_(journal_.workers[w], random);
    });
  }

  void kill(unsigned w) {
    if (!children_[w]) return;
    ::kill(*children_[w], SIGKILL);
    const int end = wait_for(*children_[w]);
    children_[w].reset();
    CHECK(end == -SIGKILL);  // Otherwise it had ended with an error before.
    ++kills_;
  }

  Journal& journal_;
  std::mt19937_64 random_;
  Work work_;
  std::array<std::optional<pid_t>, kWorkers> children_;
  std::uint64_t kills_ = 0;
};

/// Marks until killed: mostly ids that the others mark at the same moment, each worker in an order of its own.
Workers::Work marking(Journal& journal, const std::filesystem::path& path, const Options& options,
                      std::uint64_t marks_an_open) {
  return [&journal, path, options, marks_an_open](Journal::Worker& self, std::mt19937_64& random) {
    self.step();
    const Store store = Store::open(path, options);
    const Scope scope = store.scope("orders");
    for (std::uint64_t i = 0; i < marks_an_open; ++i) {
      constexpr std::uint64_t kWindow = 200;
      std::uint64_t front = journal.next.load();
      const std::uint64_t number = front + random() % kWindow;
      if (number >= kMostIds) {  // There are no more ids, but deaths to come.
        self.step();
        continue;
      }
      if (number >= front + kWindow / 2) journal.next.compare_exchange_strong(front, front + 2);
      if (random() % 4 == 0) {  // A batch.
        const Ids ids(std::min<std::uint64_t>(20, kMostIds - number), [&](std::size_t m) { return id_of(number + m); });
        std::vector<Marked> marked(ids.size());
        scope.mark(ids, marked);
        for (std::size_t m = 0; m < marked.size(); ++m) journal.note(number + m, marked[m]);
      } else {
        journal.note(number, scope.mark(id_of(number)));
      }
      self.step();
    }
  };
}

/// With nobody else at it: the store opens, everything acknowledged is a duplicate, and nothing was fresh twice.
/// Returns the metrics.
Metrics verify(const Journal& journal, const std::filesystem::path& path, const Options& options) {
  const Store store = Store::open(path, options);
  const Scope scope = store.scope("orders");
  std::uint64_t acknowledged = 0;
  std::uint64_t forgotten = 0;
  std::uint64_t fresh_twice = 0;
  for (std::uint64_t id = 0; id < std::min<std::uint64_t>(journal.next.load() + 1'000, kMostIds); ++id) {
    if (journal.acknowledged[id].load() == 0) continue;
    ++acknowledged;
    forgotten += !scope.contains(id_of(id)) || scope.mark(id_of(id)) != Verdict::duplicate;
    fresh_twice += journal.fresh[id].load() > 1;
  }
  CHECK(acknowledged > 0);
  CHECK(forgotten == 0);
  CHECK(fresh_twice == 0);
  std::uint64_t scanned = 0;
  Lsn last;
  store.scan({}, [&](const Record& record) {
    scanned += record.lsn > last;
    last = record.lsn;
    return true;
  });
  CHECK(scanned >= acknowledged);
  CHECK(scope.mark("after " + std::to_string(last.value)) == Verdict::fresh);
  return store.metrics();
}

const Options kTight{.expected_ids = 1, .flush_interval = 1ms, .ring_bytes = 64 << 10};

}  // namespace

TEST_CASE(
    "nothing acknowledged is forgotten or fresh twice when processes are killed at random moments while others go on") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  const TempDir dir;
  const Shared<Journal> journal;
  const std::uint64_t kills = scaled(150, 12);
  std::uint64_t done = 0;
  std::uint64_t dead_owners = 0;
  for (unsigned epoch = 0; done < kills; ++epoch) {
    CAPTURE(epoch);
    {
      Workers workers(*journal, seed + epoch, marking(*journal, dir / "store", kTight, 1'000'000));
      workers.await_mark();
      for (unsigned i = 0; i < 12; ++i) workers.kill_one(2'000);
      workers.kill_all();
      done += workers.kills();
    }
    dead_owners = std::max(dead_owners, verify(*journal, dir / "store", kTight).dead_owners);
  }
  MESSAGE(done << " kills, " << journal->next.load() << " ids, the lock taken over from the dead " << dead_owners
               << " times, seed " << seed);
}

TEST_CASE("nothing acknowledged is lost when processes are killed while they open and close the store") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  const TempDir dir;
  const Shared<Journal> journal;
  std::uint64_t done = 0;
  for (unsigned epoch = 0; done < scaled(60, 8); ++epoch) {
    CAPTURE(epoch);
    {
      Workers workers(*journal, seed + epoch, marking(*journal, dir / "store", kTight, 5));
      workers.await_mark();
      for (unsigned i = 0; i < 9; ++i) workers.kill_one(30);
      workers.kill_all();
      done += workers.kills();
    }
    verify(*journal, dir / "store", kTight);
  }
  MESSAGE(done << " kills, seed " << seed);
}

TEST_CASE("a store whose rebuilding was killed at any moment is rebuilt by the next to open it") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  const TempDir dir;
  const Shared<Journal> journal;
  {
    const Store store = Store::open(dir / "store", kTight);
    const Scope scope = store.scope("orders");
    for (std::uint64_t id = 0; id < 20'000; ++id) journal->note(id, scope.mark(id_of(id)));
    journal->next.store(20'000);
  }
  Options known = kTight;
  known.create = false;  // A store that had vanished is not to be taken for a new one.
  const std::uint64_t kills = scaled(40, 6);
  for (std::uint64_t i = 0; i < kills; ++i) {
    Journal::Worker& worker = journal->workers[0];
    if (random() % 2 == 0) std::filesystem::remove(dir / "store" / "live");
    for (const auto& file : derived_files(dir / "store", "filter-")) std::filesystem::remove(file);
    std::filesystem::remove(dir / "store" / "live-new");  // Left by the one before, who was killed.
    const std::uint64_t before = worker.steps.load();
    const pid_t child = spawn([&]() -> int {
      worker.step();
      const Store store = Store::open(dir / "store", known);
      for (;;) worker.step();
    });
    REQUIRE(worker.await(1, child));
    // Once the first file is there, after a random while: in the middle of it, or a little later.
    REQUIRE(holds_soon(
        [&] { return std::filesystem::exists(dir / "store" / "live-new") || worker.steps.load() > before + 1; }));
    const std::uint64_t spins = random() % 300'000;
    for (std::uint64_t s = 0; s < spins; ++s) spin();
    ::kill(child, SIGKILL);
    CHECK(wait_for(child) == -SIGKILL);
    if (i % 10 == 9) verify(*journal, dir / "store", known);
  }
  verify(*journal, dir / "store", known);
}

TEST_CASE("what is acknowledged with Ack::disk is in data.mdb, whatever is killed") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  const TempDir dir;
  const Shared<Journal> journal;
  Options options = kTight;
  options.ack = Ack::disk;
  std::uint64_t done = 0;
  for (unsigned epoch = 0; done < scaled(24, 6); ++epoch) {
    CAPTURE(epoch);
    {
      Workers workers(*journal, seed + epoch, marking(*journal, dir / "store", options, 1'000'000));
      workers.await_mark();
      for (unsigned i = 0; i < 3; ++i) workers.kill_one(60);
      workers.kill_all();
      done += workers.kills();
    }
    // As after a power failure: nothing but data.mdb is there.
    const std::filesystem::path copy = dir / ("copy-" + std::to_string(epoch));
    std::filesystem::create_directory(copy);
    std::filesystem::copy_file(dir / "store" / "data.mdb", copy / "data.mdb");
    verify(*journal, copy, options);
  }
}

TEST_CASE("an id is a duplicate until its retention is over although processes are killed while buckets come and go") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  const TempDir dir;
  const Shared<Journal> journal;
  const Shared<FakeHost> host;
  Options options = kTight;
  options.retention = 200ms;
  options.buckets = 4;
  const auto work = [&](Journal::Worker& self, std::mt19937_64& random) {
    const Store store = StoreAccess::open(dir / "store", options, *host);
    const Scope scope = store.scope("orders");
    for (;;) {
      if (journal->next.load() >= kMostIds - kWorkers) {  // There are no more ids, but deaths to come.
        self.step();
        continue;
      }
      const std::uint64_t id = journal->next.fetch_add(1);
      journal->processed_us[id].store(host->wall_us());
      journal->note(id, scope.mark(id_of(id)));
      host->advance(microseconds(random() % 300));
      self.step();
    }
  };
  std::uint64_t done = 0;
  for (unsigned epoch = 0; done < scaled(50, 8); ++epoch) {
    CAPTURE(epoch);
    {
      Workers workers(*journal, seed + epoch, work);
      for (unsigned i = 0; i < 10; ++i) workers.kill_one(1'500);
      workers.kill_all();
      done += workers.kills();
    }
    const Store store = StoreAccess::open(dir / "store", options, *host);
    const Scope scope = store.scope("orders");
    std::uint64_t live = 0;
    std::uint64_t forgotten = 0;
    std::uint64_t fresh_twice = 0;
    for (std::uint64_t id = 0; id < journal->next.load(); ++id) {
      fresh_twice += journal->fresh[id].load() > 1;
      if (journal->acknowledged[id].load() == 0 || journal->processed_us[id].load() + 200'000 <= host->wall_us())
        continue;
      ++live;
      forgotten += !scope.contains(id_of(id));
    }
    CHECK((live > 0 || journal->next.load() >= kMostIds - kWorkers));
    CHECK(forgotten == 0);
    CHECK(fresh_twice == 0);
    host->advance(1s);
    store.expire();
    CHECK(store.metrics().ids == 0);
    CHECK_FALSE(scope.contains(id_of(journal->next.load() - 1)));
  }
}

namespace {

/// Whether the store that nobody has open holds what was accepted and is not on disk.
bool has_unflushed(const std::filesystem::path& path, const Options& options) {
  std::filesystem::path live_dir = path;
  if (options.live_dir != path) live_dir = std::filesystem::directory_iterator(options.live_dir)->path();
  // Of this boot and store file, whichever those are.
  const auto file = internal::MappedFile::open(live_dir / "live", internal::kFileHeaderBytes);
  REQUIRE(file);
  const internal::FileStamp stamp = internal::load_stamp(file->data());
  const auto live = internal::SharedState::open(live_dir / "live", stamp.boot_id, stamp.store_file_id);
  REQUIRE(live);
  const internal::Watermarks& marks = live->header().marks;
  return marks.flushed.load() < marks.head.load();
}

/// Has a process mark the ids after those of the journal, and die with some of them unflushed.
void die_with_unflushed(Journal& journal, const std::filesystem::path& path, const Options& options) {
  bool certain = false;
  for (int attempt = 0; !certain && attempt < 20; ++attempt) {
    const std::uint64_t first = journal.next.load();
    const std::uint64_t end = first + 300;
    const pid_t child = spawn([&]() -> int {
      const Store store = Store::open(path, options);
      const Scope scope = store.scope("orders");
      Lsn last;
      for (std::uint64_t id = first; id < end; ++id) {
        const Marked marked = scope.mark(id_of(id));
        journal.note(id, marked);
        last = marked.lsn;
      }
      // A new bucket makes the flusher look once, at some time: what is marked after that stays unflushed.
      for (std::uint64_t more = 0; store.durable() > last; ++more) {
        last = scope.mark("more " + std::to_string(first) + " " + std::to_string(more)).lsn;
      }
      ::raise(SIGKILL);
      return 0;
    });
    REQUIRE(wait_for(child) == -SIGKILL);
    journal.next.store(end);
    // The flusher may have looked between the child's last look and its death. This only makes sure that there is
    // something to be saved, and hides no failure: what is acknowledged must stand whether it was flushed or not.
    certain = has_unflushed(path, options);
  }
  REQUIRE(certain);
}

}  // namespace

TEST_CASE("what was accepted but not flushed when all processes were killed is saved") {
  const TempDir dir;
  const auto path = dir / "store";
  const Options options{.live_dir = path, .expected_ids = 1, .flush_interval = 1h};
  std::filesystem::create_directories(dir / "elsewhere");
  Options elsewhere = options;
  elsewhere.live_dir = dir / "elsewhere";
  const Shared<Journal> journal;
  const auto die = [&](const Options& with) { die_with_unflushed(*journal, path, with); };
  SUBCASE("when everything is there") {
    die(options);
    verify(*journal, path, options);
  }
  SUBCASE("when an index file is gone") {
    die(options);
    std::filesystem::remove(derived_files(path, "index-").front());
    verify(*journal, path, options);
  }
  SUBCASE("when the filter files are gone") {
    die(options);
    for (const auto& file : derived_files(path, "filter-")) std::filesystem::remove(file);
    verify(*journal, path, options);
  }
  SUBCASE("when an index file is cut short") {
    die(options);
    std::filesystem::resize_file(derived_files(path, "index-").front(), 100);
    verify(*journal, path, options);
  }
  SUBCASE("when the next process has another live_dir, and the one after that the first again") {
    die(options);
    verify(*journal, path, elsewhere);
    CHECK(derived_files(path).empty());
    die(elsewhere);
    verify(*journal, path, options);
    die(options);
    verify(*journal, path, options);
  }
  SUBCASE("when the next process to open it is killed as well, before it could flush") {
    for (int i = 0; i < 5; ++i) die(options);
    verify(*journal, path, options);
  }
  SUBCASE("when the next process may only read") {
    die(options);
    {
      Options reading = options;
      reading.read_only = true;
      const Scope scope = Store::open(path, reading).scope("orders");
      for (std::uint64_t id = 0; id < journal->next.load(); ++id) REQUIRE(scope.contains(id_of(id)));
    }
    verify(*journal, path, options);
  }
}

TEST_CASE("the lock of an owner that was killed passes to the next, who is told") {
  struct Cell {
    internal::RobustMutex mutex;
    std::atomic<int> guarded{0};
  };
  const Shared<Cell> cell;
  cell->mutex.initialise();
  const pid_t child = spawn([&]() -> int {
    cell->mutex.lock();
    cell->guarded.store(1);
    ::raise(SIGKILL);
    return 0;
  });
  REQUIRE(wait_for(child) == -SIGKILL);
  CHECK(cell->mutex.lock());
  CHECK(cell->guarded.load() == 1);
  cell->mutex.unlock();
  CHECK_FALSE(cell->mutex.lock());
  cell->mutex.unlock();
}
