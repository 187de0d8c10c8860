/// The hot operations of a store over a workload that is the same in every run, for tools/instructions, which has
/// valgrind count the instructions of each. Counts see what times cannot: a few per cent more, on a busy machine.
///
/// Nothing in here may vary. The ids and the store's secret seed are fixed, the clock stands still, and the background
/// has nothing to do: the flush interval is an hour, and a quarter of the ring is never full.

#include <fmt/format.h>
#include <gnu/libc-version.h>
#include <lmdb.h>
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

#include <oncelog/oncelog.h>

#include "api/store_access.h"
#include "base/xxh3.h"
#include "log/record_codec.h"
#include "workload.h"

/// Takes the C library's place in this program, so that the store's seed is the same each time.
extern "C" ssize_t getrandom(void* buffer, std::size_t size, unsigned) {
  static std::uint64_t drawn = 0;
  auto* out = static_cast<unsigned char*>(buffer);
  for (std::size_t i = 0; i < size; ++i) out[i] = static_cast<unsigned char>(XXH3_64bits(&++drawn, sizeof drawn));
  return static_cast<ssize_t>(size);
}

namespace oncelog::bench {
namespace {

constexpr std::size_t kBatch = 64;
constexpr std::chrono::hours kLease{1};

/// Calls some(ids) for batch after batch, and adds up what it returns.
template <typename Some>
std::size_t sum_of_batches(const Ids& ids, Some some) {
  std::size_t sum = 0;
  Batch<kBatch> batch;
  for (std::size_t i = 0; i < ids.size(); i += kBatch) sum += some(batch.of(ids, i));
  return sum;
}

std::size_t count_known(const Scope& scope, const Ids& ids) {
  std::size_t known = 0;
  for (std::size_t i = 0; i < ids.size(); ++i) known += scope.contains(ids[i]) ? 1 : 0;
  return known;
}

std::size_t count_known_in_batches(const Scope& scope, const Ids& ids) {
  std::array<bool, kBatch> known{};
  return sum_of_batches(ids, [&](std::span<const std::string_view> some) {
    scope.contains(some, std::span(known).first(some.size()));
    std::size_t count = 0;
    for (const bool one : std::span(known).first(some.size())) count += one ? 1 : 0;
    return count;
  });
}

std::size_t count_marked(const Scope& scope, const Ids& ids, Verdict verdict) {
  std::size_t marked = 0;
  for (std::size_t i = 0; i < ids.size(); ++i) marked += scope.mark(ids[i]) == verdict ? 1 : 0;
  return marked;
}

std::size_t count_marked_in_batches(const Scope& scope, const Ids& ids, Verdict verdict) {
  std::array<Marked, kBatch> marked;
  return sum_of_batches(ids, [&](std::span<const std::string_view> some) {
    scope.mark(some, std::span(marked).first(some.size()));
    std::size_t count = 0;
    for (const Marked& one : std::span(marked).first(some.size())) count += one == verdict ? 1 : 0;
    return count;
  });
}

std::size_t count_claimed(const Scope& scope, const Ids& ids) {
  std::size_t claimed = 0;
  for (std::size_t i = 0; i < ids.size(); ++i) claimed += scope.begin(ids[i], kLease).complete() ? 1 : 0;
  return claimed;
}

std::size_t count_run_once(const Scope& scope, const Ids& ids) {
  std::size_t run = 0;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    run += scope.once(ids[i], {}, [] { return std::string(); }).verdict == Verdict::fresh ? 1 : 0;
  }
  return run;
}

std::size_t count_claimed_in_batches(const Scope& scope, const Ids& ids) {
  return sum_of_batches(ids, [&](std::span<const std::string_view> some) {
    ClaimBatch claims = scope.begin(some, kLease);
    const auto fresh = std::ranges::count(claims.verdicts(), Verdict::fresh);
    std::size_t late = 0;
    claims.complete(&late);
    return static_cast<std::size_t>(fresh) - late;
  });
}

}  // namespace

/// What valgrind finds by name. Each does one operation to every id, and returns for how many the answer was right.
/// They are called by their addresses, and so neither inlined nor made into variants of other names.
namespace measured {

[[gnu::noinline]] std::size_t contains_fresh(const Scope& scope, const Ids& ids) {
  return ids.size() - count_known(scope, ids);
}

[[gnu::noinline]] std::size_t contains_recent(const Scope& scope, const Ids& ids) {
  return count_known(scope, ids);
}

[[gnu::noinline]] std::size_t contains_old(const Scope& scope, const Ids& ids) {
  return count_known(scope, ids);
}

[[gnu::noinline]] std::size_t contains_fresh_batch(const Scope& scope, const Ids& ids) {
  return ids.size() - count_known_in_batches(scope, ids);
}

[[gnu::noinline]] std::size_t contains_old_batch(const Scope& scope, const Ids& ids) {
  return count_known_in_batches(scope, ids);
}

[[gnu::noinline]] std::size_t mark_fresh(const Scope& scope, const Ids& ids) {
  return count_marked(scope, ids, Verdict::fresh);
}

[[gnu::noinline]] std::size_t mark_recent(const Scope& scope, const Ids& ids) {
  return count_marked(scope, ids, Verdict::duplicate);
}

[[gnu::noinline]] std::size_t mark_old(const Scope& scope, const Ids& ids) {
  return count_marked(scope, ids, Verdict::duplicate);
}

[[gnu::noinline]] std::size_t mark_fresh_batch(const Scope& scope, const Ids& ids) {
  return count_marked_in_batches(scope, ids, Verdict::fresh);
}

[[gnu::noinline]] std::size_t claim(const Scope& scope, const Ids& ids) {
  return count_claimed(scope, ids);
}

[[gnu::noinline]] std::size_t once(const Scope& scope, const Ids& ids) {
  return count_run_once(scope, ids);
}

[[gnu::noinline]] std::size_t claim_batch(const Scope& scope, const Ids& ids) {
  return count_claimed_in_batches(scope, ids);
}

}  // namespace measured

namespace {

/// The ids that an operation is given: never seen before; in the ring; in the log alone. The last two in random order.
enum class Of { fresh, recent, old };

struct Operation {
  const char* name;
  Of ids;
  std::size_t (*run)(const Scope&, const Ids&);
};

constexpr std::array kOperations{
    Operation{"contains_fresh", Of::fresh, measured::contains_fresh},
    Operation{"contains_recent", Of::recent, measured::contains_recent},
    Operation{"contains_old", Of::old, measured::contains_old},
    Operation{"contains_fresh_batch", Of::fresh, measured::contains_fresh_batch},
    Operation{"contains_old_batch", Of::old, measured::contains_old_batch},
    Operation{"mark_fresh", Of::fresh, measured::mark_fresh},
    Operation{"mark_recent", Of::recent, measured::mark_recent},
    Operation{"mark_old", Of::old, measured::mark_old},
    Operation{"mark_fresh_batch", Of::fresh, measured::mark_fresh_batch},
    Operation{"claim", Of::fresh, measured::claim},
    Operation{"claim_batch", Of::fresh, measured::claim_batch},
    Operation{"once", Of::fresh, measured::once},
};

constexpr std::size_t kIdsAnOperation = 6016;
constexpr unsigned kBuckets = 8;
constexpr std::chrono::hours kRetention{24 * kBuckets};
constexpr std::size_t kIdsABucket = 50'000;
constexpr std::size_t kIdsAFlush = 25'000;
constexpr std::size_t kRecentIds = 6400;          // The newest, not flushed.
constexpr std::size_t kOldIds = 4 * kIdsABucket;  // Those of the first buckets.
constexpr std::size_t kFlushedIds = 7 * kIdsABucket + 12'000;
constexpr std::size_t kFreshIds = 5 * (kIdsAnOperation + kBatch);  // Marked by the operations, and before them.
constexpr std::uint64_t kRingBytes = std::uint64_t{8} << 20;
constexpr std::size_t kRecordBytes = internal::record_bytes(Ids::kBytes);

static_assert(kFlushedIds + kRecentIds + kFreshIds <= kBuckets * kIdsABucket, "a bucket is not outgrown");
static_assert((kFlushedIds - kOldIds) * kRecordBytes > kRingBytes, "old ids are not in the ring any more");
static_assert(std::max(kIdsAFlush, kRecentIds + kFreshIds) * kRecordBytes < kRingBytes / 4,
              "the background, which flushes when a quarter of the ring is full, has nothing to do");

/// A clock that stands still until it is moved. Thread-safe.
class StandingHost final : public internal::Host {
 public:
  internal::Uuid boot_id() const override { return {1}; }
  std::int64_t wall_us() const override { return kStartUs + boot_us(); }
  std::int64_t boot_us() const override { return passed_us_.load(std::memory_order_relaxed); }

  void advance(std::chrono::microseconds by) { passed_us_.fetch_add(by.count(), std::memory_order_relaxed); }

 private:
  static constexpr std::int64_t kStartUs = std::int64_t{21'000} * 86'400 * 1'000'000;  // Midnight: a bucket begins.

  std::atomic<std::int64_t> passed_us_{1'000'000};
};

/// A store of ids in 8 buckets, the last of which is being filled.
class FilledStore {
 public:
  FilledStore() {
    for (std::size_t i = 0; i < known_.size(); ++i) {
      if (i == kFlushedIds || (i < kFlushedIds && i % kIdsAFlush == 0)) store_.sync();
      if (i != 0 && i % kIdsABucket == 0) host_.advance(kRetention / kBuckets);
      if (scope_.mark(known_[i]) != Verdict::fresh) throw std::runtime_error("two ids of the workload are the same");
    }
    warm_up();
  }

  /// Throws if an answer is not the right one.
  void run(const Operation& operation) {
    const std::size_t right = operation.run(scope_, ids_for(operation.ids));
    if (right == kIdsAnOperation) return;
    throw std::runtime_error(
        fmt::format("{}: only {} of {} answers are right", operation.name, right, kIdsAnOperation));
  }

 private:
  /// What is done once for all: symbols are found, readers and buffers are made, the claims' tokens get their numbers.
  void warm_up() const {
    const Ids old = old_.sample(kBatch, 1);
    count_known(scope_, old);
    count_known_in_batches(scope_, old);
    count_marked(scope_, old, Verdict::duplicate);
    constexpr std::uint64_t kUnused = std::uint64_t{1} << 41;
    count_marked_in_batches(scope_, Ids(kUnused, kBatch), Verdict::fresh);
    count_marked(scope_, Ids(kUnused + kBatch, kBatch), Verdict::fresh);
    count_claimed(scope_, Ids(kUnused + 2 * kBatch, kBatch));
    count_claimed_in_batches(scope_, Ids(kUnused + 3 * kBatch, kBatch));
    count_run_once(scope_, Ids(kUnused + 4 * kBatch, kBatch));
  }

  /// Fresh ones are other ones each time.
  Ids ids_for(Of of) {
    switch (of) {
      case Of::recent:
        return recent_.sample(kIdsAnOperation, 2);
      case Of::old:
        return old_.sample(kIdsAnOperation, 3);
      case Of::fresh:
        break;
    }
    next_fresh_ += kIdsAnOperation;
    return {next_fresh_ - kIdsAnOperation, kIdsAnOperation};
  }

  static Options options() {
    Options options;
    options.retention = kRetention;
    options.buckets = kBuckets;
    options.expected_ids = kBuckets * kIdsABucket;
    options.flush_interval = std::chrono::hours{1};
    options.ring_bytes = kRingBytes;
    return options;
  }

  StandingHost host_;
  ScratchDir dir_{std::filesystem::temp_directory_path()};
  Store store_ = StoreAccess::open(dir_.path() / "store", options(), host_);
  Scope scope_ = store_.scope("bench");
  const Ids known_{0, kFlushedIds + kRecentIds};
  const Ids old_{0, kOldIds};
  const Ids recent_{kFlushedIds, kRecentIds};
  std::uint64_t next_fresh_ = std::uint64_t{1} << 40;
};

/// What the counts depend on besides the sources. The processor is the one that valgrind makes believe: it decides with
/// which instructions the C library copies and compares.
std::string environment() {
#ifdef __clang__
  constexpr std::string_view kCompiler = "clang++ " __clang_version__;
#else
  constexpr std::string_view kCompiler = "g++ " __VERSION__;
#endif
#ifdef __x86_64__
  const std::string_view processor = __builtin_cpu_supports("avx2") ? "x86-64 with AVX2" : "x86-64 without AVX2";
#else
  const std::string_view processor = "not x86-64";
#endif
  int major = 0;
  int minor = 0;
  int patch = 0;
  mdb_version(&major, &minor, &patch);
  return fmt::format("{} -O{}, glibc {}, LMDB {}.{}.{}, xxHash {}.{}.{}, {}", kCompiler, ONCELOG_OPTIMIZATION,
                     gnu_get_libc_version(), major, minor, patch, XXH_VERSION_MAJOR, XXH_VERSION_MINOR,
                     XXH_VERSION_RELEASE, processor);
}

int run(std::string_view option) {
  if (option == "--environment") {
    fmt::print("{}\n", environment());
  } else if (option == "--list") {
    for (const Operation& operation : kOperations) fmt::print("{}\t{}\n", operation.name, kIdsAnOperation);
  } else if (option.empty()) {
    FilledStore store;
    for (const Operation& operation : kOperations) store.run(operation);
  } else {
    fmt::print(stderr, "usage: bench_instructions [--environment|--list]; see tools/instructions\n");
    return 2;
  }
  return 0;
}

}  // namespace
}  // namespace oncelog::bench

int main(int argc, char** argv) {
  try {
    return oncelog::bench::run(argc > 1 ? argv[1] : "");
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_instructions: {}\n", error.what());
    return 1;
  }
}
