// What a killed process has left in `live`, with a word of it, or all of a page, damaged: the next one to open the
// store finds every acknowledged mark, whatever the header says.

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "shared.h"
#include "shared/shared_state.h"
#include "store_files.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::internal;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

const Options kOptions{
    .retention = 1h, .expected_ids = 1, .flush_interval = 1h, .ring_bytes = std::uint64_t{64} << 10, .max_claims = 16};
constexpr int kFlushed = 10;
constexpr int kInRing = 40;
constexpr std::size_t kHeadAt = offsetof(SharedHeader, marks) + offsetof(Watermarks, head);
constexpr std::size_t kFlushedAt = offsetof(SharedHeader, marks) + offsetof(Watermarks, flushed);

/// What the killed process has left word of.
struct LastWords {
  std::atomic<std::uint64_t> token;  // The highest one that anybody had.
  std::atomic<int> in_ring;          // Marks after the last sync.
};

/// A store whose process was killed with marks in the ring, which can be put back as it was then. Not by copying: in
/// another file of that name it would be another store.
class KilledStore {
 public:
  KilledStore() : dir_(memory_directory()) {
    Shared<LastWords> words;
    const pid_t child = spawn([&] {
      const Store store = Store::open(path(), kOptions);
      const Scope scope = store.scope("s");
      const Scope kept = store.scope("kept", {.orphans = OrphanPolicy::keep});
      for (int i = 0; i < kFlushed; ++i) scope.mark("flushed " + std::to_string(i));
      scope.mark("forgotten");
      store.transact([&](Transaction& tx) { tx.mark(scope, "of a transaction"); });
      store.sync();
      const std::string result(300, 'r');
      scope.forget("forgotten", Ack::host);
      Claim held = kept.begin("held", 1h);
      Claim mortal = scope.begin("mortal", 1h);
      Claim completed = scope.begin("completed", 1h);
      words->token = completed.token();
      completed.complete();
      const Attributes given{.correlation = "chain", .result = result};
      // The background's first round comes when it comes, and flushes.
      Lsn durable;
      do {
        durable = store.durable();
        for (int i = 0; i < kInRing; ++i) {
          scope.mark("in the ring " + std::to_string(words->in_ring++), i % 4 == 0 ? given : Attributes{});
        }
      } while (store.durable() != durable);
      ::raise(SIGKILL);
      return 0;
    });
    REQUIRE(wait_for(child) == -SIGKILL);
    token_ = words->token;
    REQUIRE(token_ != 0);
    for (int i = 0; i < kFlushed; ++i) acknowledged_.push_back("flushed " + std::to_string(i));
    for (int i = 0; i < words->in_ring; ++i) acknowledged_.push_back("in the ring " + std::to_string(i));
    acknowledged_.insert(acknowledged_.end(), {"of a transaction", "completed"});
    for (const auto& entry : std::filesystem::directory_iterator(path())) {
      if (entry.path().filename() == "lock.mdb") continue;
      std::ifstream in(entry.path(), std::ios::binary);
      files_.emplace_back(entry.path(), std::string(std::istreambuf_iterator<char>(in), {}));
      if (entry.path().filename() == "live") live_ = files_.back().second;
    }
    REQUIRE(live_.size() > SharedState::kHeaderBytes);
    REQUIRE(word(kFlushedAt) + kInRing * kRecordHeaderBytes < word(kHeadAt));
  }

  std::filesystem::path path() const { return dir_ / "store"; }
  /// As it was when the process was killed.
  const std::string& live() const { return live_; }
  std::uint64_t word(std::size_t at) const {
    std::uint64_t word = 0;
    std::memcpy(&word, live_.data() + at, sizeof word);
    return word;
  }
  std::uint64_t token() const { return token_; }
  const std::vector<std::string>& acknowledged() const { return acknowledged_; }

  /// Puts everything back, with this for `live`.
  void restore(const std::string& live) const {
    remove_derived(path());
    for (const auto& [file, bytes] : files_) {
      std::ofstream out(file, std::ios::binary | std::ios::trunc);
      out << (file.filename() == "live" ? live : bytes);
      REQUIRE(out.flush());
    }
  }

 private:
  TempDir dir_;
  std::vector<std::pair<std::filesystem::path, std::string>> files_;
  std::string live_;
  std::uint64_t token_ = 0;
  std::vector<std::string> acknowledged_;
};

/// What must hold whatever was damaged, but for `may_be_lost` of the acknowledged ids; in a child.
void look(const KilledStore& killed, std::size_t may_be_lost) {
  for (const bool again : {false, true}) {
    const Store store = Store::open(killed.path(), kOptions);
    const Scope scope = store.scope("s");
    std::size_t lost = 0;
    for (const std::string& id : killed.acknowledged()) {
      const bool contained = scope.contains(id);
      const Marked marked = scope.mark(id);
      expect(contained == (marked == Verdict::duplicate), "contains and mark agree on " + id);
      if (again) expect(contained, "what was marked is a duplicate from then on: " + id);
      if (!contained) std::fprintf(stderr, "lost: %s\n", id.c_str());
      lost += !contained;
    }
    expect(lost <= may_be_lost, "every acknowledged mark is a duplicate");
    if (may_be_lost == 0 && !again) expect(!scope.contains("forgotten"), "what was forgotten stays so");
    expect((scope.mark("new") == Verdict::fresh) != again, "a new id is fresh once");
    expect(scope.mark("new") == Verdict::duplicate, "and then a duplicate");
    {
      Claim claim = scope.begin("claimed now", 1h);
      expect(bool(claim), "an id that nobody has can be claimed");
      expect(claim.token() > killed.token(), "tokens go on growing");
    }
    store.scope("kept").begin("held", 1h);
    store.claims();
    store.transact([&](Transaction& tx) { tx.mark(scope, again ? "later" : "late"); });
    store.sync();
    store.metrics();
    const VerifyReport report = store.verify({.deep = true});
    for (const auto& problem : report.problems) {
      std::fprintf(stderr, "again %d %s: %s\n", again, problem.where.c_str(), problem.sentence.c_str());
    }
    expect(report.sound(), "the store verifies");
    expect(store.durable() == store.metrics().head, "all is on disk");
  }
}

class Damage {
 public:
  Damage() : seed_(test_seed()), random_(seed_) {}

  /// Opens the store with this in `live`'s place; false when what must hold did not.
  bool survived(const std::string& live, std::size_t may_be_lost = 0) {
    ++rounds;
    killed.restore(live);
    const pid_t child = spawn([&] {
      ::alarm(60);  // For what hangs.
      look(killed, may_be_lost);
      return 0;
    });
    return wait_for(child) == 0;
  }

  /// The words of [begin, end), every `stride`th of them, each with `values` of the values in turn.
  void words(std::size_t begin, std::size_t end, std::size_t stride, std::size_t values, std::size_t may_be_lost = 0) {
    for (std::size_t at = begin / 8 * 8 + random_() % stride * 8; at < end; at += 8 * stride) {
      for (std::size_t i = 0; i < values; ++i) {
        const std::uint64_t before = killed.word(at);
        const std::uint64_t word = damaged(before, turn_++);
        if (word == before) continue;
        std::string live = killed.live();
        std::memcpy(live.data() + at, &word, sizeof word);
        const bool well = survived(live, may_be_lost);
        INFO("seed " << seed_ << ", the word at " << at << " was " << before << " and became " << word);
        CHECK(well);
      }
    }
  }

  std::string noise(std::size_t bytes) {
    std::string noise(bytes, '\0');
    for (char& c : noise) c = static_cast<char>(random_());
    return noise;
  }

  static constexpr std::size_t kValues = 5;
  KilledStore killed;
  std::size_t rounds = 0;

 private:
  std::uint64_t damaged(std::uint64_t word, std::size_t turn) {
    switch (turn % kValues) {
      case 0:
        return 0;
      case 1:
        return ~std::uint64_t{0};
      case 2:
        return random_();
      case 3:
        return word ^ std::uint64_t{1} << random_() % 64;
      default:
        return word - 8 * (1 + random_() % 40);
    }
  }

  std::uint64_t seed_;
  std::mt19937_64 random_;
  std::size_t turn_ = 0;
};

}  // namespace

TEST_CASE("whatever a word of a killed process's shared memory says, every acknowledged mark is a duplicate") {
  Damage damage;
  constexpr std::size_t kLayout = offsetof(SharedHeader, layout);
  constexpr std::size_t kBehind = kLayout + sizeof(LayoutCell);
  constexpr std::size_t kTally = offsetof(SharedHeader, counters);
  REQUIRE(damage.survived(damage.killed.live()));
  const std::size_t few = scaled(Damage::kValues, 1);
  SUBCASE("of the header's beginning") {
    damage.words(0, kLayout, 1, few);
  }
  SUBCASE("of the layout") {
    damage.words(kLayout, kBehind, scaled(3, 16), 1);
  }
  SUBCASE("between the layout and the counters") {
    damage.words(kBehind, kTally, 1, few);
  }
  SUBCASE("of the counters") {
    damage.words(kTally, sizeof(SharedHeader), scaled(8, 64), 1);
  }
  SUBCASE("of the claims") {
    damage.words(SharedState::kHeaderBytes, SharedState::kHeaderBytes + SharedState::lease_bytes(*kOptions.max_claims),
                 scaled(4, 32), 1);
  }
  SUBCASE("of the ring, but for the record that it belongs to") {
    const std::size_t ring = SharedState::kHeaderBytes + SharedState::lease_bytes(*kOptions.max_claims);
    damage.words(ring + damage.killed.word(kFlushedAt), ring + damage.killed.word(kHeadAt), scaled(4, 32), 1, 1);
  }
  SUBCASE("of the ring's copy of what is on disk") {
    const std::size_t ring = SharedState::kHeaderBytes + SharedState::lease_bytes(*kOptions.max_claims);
    damage.words(ring, ring + damage.killed.word(kFlushedAt), scaled(1, 8), 1);
  }
  MESSAGE(damage.rounds << " rounds");
}

TEST_CASE("a page, or the whole header, of a killed process's shared memory is lost, and no acknowledged mark is") {
  Damage damage;
  const std::string& sound = damage.killed.live();
  const std::size_t behind = SharedState::kHeaderBytes + SharedState::lease_bytes(*kOptions.max_claims);
  const auto without = [&](std::size_t begin, std::size_t bytes, const std::string& instead) {
    std::string live = sound;
    live.replace(begin, bytes, instead);
    return live;
  };
  for (std::size_t page = 0; page < behind; page += 4096) {
    CAPTURE(page);
    CHECK(damage.survived(without(page, 4096, std::string(4096, '\0'))));
    CHECK(damage.survived(without(page, 4096, damage.noise(4096))));
  }
  CHECK(damage.survived(without(0, behind, std::string(behind, '\0'))));
  CHECK(damage.survived(without(0, behind, damage.noise(behind))));
  CHECK(damage.survived(without(sound.size() - 4096, 4096, damage.noise(4096))));
}
