#include "shared/leases.h"

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "dying.h"
#include "shared.h"

using namespace oncelog;
using namespace oncelog::internal;
using namespace oncelog::testing;

namespace {

constexpr std::uint32_t kCapacity = 5;
constexpr std::uint32_t kChains = 16;
constexpr std::uint32_t kScope = 7;
constexpr std::uint64_t kEpoch = 3;
constexpr std::int64_t kDeadlineUs = 1'000'000;
constexpr Lsn kHead{800};
const std::filesystem::path kPath = "live";
const ProcessIdentity kOwner{41, 42};
const ProcessIdentity kOther{51, 52};

/// What processes share: the table, its header, and the head of the stream of records.
struct Memory {
  LeaseHeader header;
  alignas(64) std::array<std::byte, kChains * sizeof(std::uint32_t) + kCapacity * sizeof(Lease)> table;
  alignas(64) std::atomic<std::uint64_t> head;
};

MessageHash hash_of(std::string_view id) {
  return {9, id};
}

struct TestLeases {
  TestLeases() {
    REQUIRE(LeaseTable::bytes_for(kCapacity) == sizeof memory->table);
    memory->header.token_epoch = kEpoch;
    memory->head = kHead.value;
  }

  Lease* take(std::string_view id) const {
    return table.take(hash_of(id), kScope, id, kOwner, kDeadlineUs, OrphanPolicy::free_at_once);
  }
  Lease* find(std::string_view id) const { return table.find(hash_of(id), kScope); }
  bool free(std::string_view id) const { return table.free(*find(id)); }

  /// As found in memory, not through its chain.
  Lease& at(std::uint32_t number) const {
    return reinterpret_cast<Lease*>(memory->table.data() + kChains * sizeof(std::uint32_t))[number];
  }
  std::atomic<std::uint32_t>& chain_of(std::string_view id) const {
    return reinterpret_cast<std::atomic<std::uint32_t>*>(memory->table.data())[hash_of(id).chain(kChains)];
  }

  /// What the next user does after a death.
  void mend() const {
    memory->header.suspect = 1;
    table.mend_if_suspect(Lsn{memory->head.load()});
    CHECK(memory->header.suspect == 0);
  }

  /// The ids of all leases held. Each has to be found through its chain, and every other lease can be taken: none is
  /// lost, none is there twice.
  std::set<std::string> held() const {
    std::set<std::string> ids;
    std::set<std::uint64_t> tokens;
    table.each([&](const Lease& lease) {
      const std::string id(lease.id, lease.id_bytes);
      CHECK(ids.insert(id).second);
      CHECK(tokens.insert(lease.token.load()).second);
      CHECK(find(id) == &lease);
    });
    CHECK(table.header().held == ids.size());
    CHECK(table.any() == !ids.empty());
    std::vector<std::byte> saved(sizeof(Memory));
    std::memcpy(saved.data(), static_cast<const void*>(&*memory), saved.size());
    std::set<const Lease*> more;
    for (std::size_t i = ids.size(); i < kCapacity; ++i) {
      const Lease* lease = take(std::string("more ").append(std::to_string(i)));
      REQUIRE(lease != nullptr);
      CHECK(more.insert(lease).second);
      CHECK(lease->completing == 0);
      if (!tokens.empty()) CHECK(lease->token > *tokens.rbegin());
    }
    CHECK(take("one too many") == nullptr);
    for (const std::string& id : ids) CHECK_FALSE(more.contains(find(id)));
    std::memcpy(static_cast<void*>(&*memory), saved.data(), saved.size());
    return ids;
  }

  Shared<Memory> memory;
  LeaseTable table{memory->header, memory->table.data(), kCapacity, kPath};
};

using IdSet = std::set<std::string>;

/// Names of so many keys of one chain.
std::vector<std::string> of_one_chain(std::size_t count) {
  std::vector<std::string> names;
  for (int i = 0; names.size() < count; ++i) {
    std::string name = std::to_string(i);
    name.insert(name.begin(), 'k');
    if (hash_of(name).chain(kChains) == 3) names.push_back(std::move(name));
  }
  return names;
}

/// Has `work` die after each of its stores in turn, on tables that `prepare` has made, and `check` what is left once
/// the next user has mended it. Returns in how many places it died.
unsigned each_death(const std::function<void(const TestLeases&)>& prepare,
                    const std::function<void(const TestLeases&)>& work,
                    const std::function<void(const TestLeases&)>& check) {
  for (unsigned n = 1;; ++n) {
    const TestLeases test;
    prepare(test);
    const auto memory = std::as_bytes(std::span(&*test.memory, 1));
    if (!dies_at_change(memory, n, [&] { work(test); })) return n - 1;
    CAPTURE(n);
    test.mend();
    check(test);
  }
}

}  // namespace

TEST_CASE("a lease is found under its hash and scope alone, and says what it was taken with") {
  const TestLeases test;
  CHECK_FALSE(test.table.any());
  CHECK(test.find("a") == nullptr);
  const Lease* lease = test.table.take(hash_of("a"), kScope, "a", kOwner, kDeadlineUs, OrphanPolicy::keep);
  REQUIRE(lease != nullptr);
  CHECK(test.table.any());
  CHECK(test.find("a") == lease);
  CHECK(test.find("b") == nullptr);
  CHECK(test.table.find(hash_of("a"), kScope + 1) == nullptr);
  CHECK(lease->owner() == kOwner);
  CHECK(lease->deadline_us == kDeadlineUs);
  CHECK(lease->orphans == OrphanPolicy::keep);
  CHECK(lease->scope == kScope);
  CHECK(lease->completing == 0);
  CHECK(std::string_view(lease->id, lease->id_bytes) == "a");
  CHECK(test.held() == IdSet{"a"});
}

TEST_CASE("of a long id a lease keeps the beginning, and is found by all of it") {
  const TestLeases test;
  const std::string id = std::string(Lease::kIdBytes, 'x') + "more";
  const Lease* lease = test.take(id);
  CHECK(std::string_view(lease->id, lease->id_bytes) == id.substr(0, Lease::kIdBytes));
  CHECK(test.find(id) == lease);
  CHECK(test.find(id.substr(0, Lease::kIdBytes)) == nullptr);
}

TEST_CASE("a freed lease is found no more, and is the first to be taken again") {
  const TestLeases test;
  const Lease* first = test.take("a");
  test.take("b");
  CHECK_FALSE(test.free("a"));
  CHECK(test.find("a") == nullptr);
  CHECK(test.held() == IdSet{"b"});
  CHECK(test.take("c") == first);
  CHECK(test.held() == IdSet{"b", "c"});
}

TEST_CASE("tokens only grow, whether a lease is taken, passed on or taken again, and begin with the epoch") {
  const TestLeases test;
  std::uint64_t last = kEpoch << LeaseTable::kEpochShift;
  for (int i = 0; i < 100; ++i) {
    Lease* lease = test.take("a");
    CHECK(lease->token > last);
    last = lease->token;
    test.table.pass_on(*lease, kOther, 5, OrphanPolicy::free_after_lease);
    CHECK(lease->token > last);
    CHECK((lease->token >> LeaseTable::kEpochShift) == kEpoch);
    CHECK(lease->owner() == kOther);
    CHECK(lease->deadline_us == 5);
    CHECK(lease->orphans == OrphanPolicy::free_after_lease);
    CHECK(test.find("a") == lease);
    last = lease->token;
    test.free("a");
  }
  test.memory->header.token_epoch = kEpoch + 1;
  test.memory->header.next_token = 0;  // As after a reboot.
  CHECK(test.take("a")->token > last);
}

TEST_CASE("keys that share a chain are found each, whichever of them is freed") {
  std::vector<std::string> names = of_one_chain(4);
  std::ranges::sort(names);
  do {
    const TestLeases test;
    IdSet expected(names.begin(), names.end());
    for (const std::string& name : expected) test.take(name);
    CHECK(test.held() == expected);
    for (const std::string& name : names) {
      test.free(name);
      expected.erase(name);
      CHECK(test.held() == expected);
    }
  } while (std::ranges::next_permutation(names).found);
}

TEST_CASE("a full table has no lease to give until one is freed") {
  const TestLeases test;
  for (std::uint32_t i = 0; i < kCapacity; ++i) REQUIRE(test.take(std::to_string(i)) != nullptr);
  const std::uint64_t tokens = test.memory->header.next_token;
  CHECK(test.take("one more") == nullptr);
  CHECK(test.memory->header.next_token == tokens);
  CHECK(test.find("one more") == nullptr);
  CHECK(test.held().size() == kCapacity);
  test.free("2");
  CHECK(test.take("one more") != nullptr);
  CHECK(test.held() == IdSet{"0", "1", "3", "4", "one more"});
}

TEST_CASE("freeing says whether somebody waits, and the next holder begins with nobody waiting") {
  const TestLeases test;
  test.take("a")->waited_for = 1;
  CHECK(test.free("a"));
  test.take("b");
  CHECK_FALSE(test.free("b"));
}

TEST_CASE("each visits what is held, and may free what it visits") {
  const TestLeases test;
  for (const char* id : {"a", "b", "c", "d"}) test.take(id);
  test.free("b");
  IdSet visited;
  test.table.each([&](Lease& lease) {
    visited.emplace(lease.id, lease.id_bytes);
    if (lease.id[0] != 'c') test.table.free(lease);
  });
  CHECK(visited == IdSet{"a", "c", "d"});
  CHECK(test.held() == IdSet{"c"});
}

TEST_CASE("takes, passings-on and frees in any order leave what a map of them holds") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  const TestLeases test;
  std::map<std::string, std::uint64_t> model;
  std::uint64_t last = 0;
  for (std::uint64_t i = 0; i < scaled(20'000, 2'000); ++i) {
    const std::string id = std::to_string(random() % 20);
    if (Lease* lease = test.find(id); lease == nullptr) {
      REQUIRE_FALSE(model.contains(id));
      lease = test.take(id);
      REQUIRE((lease == nullptr) == (model.size() == kCapacity));
      if (lease == nullptr) continue;
      REQUIRE(lease->token > last);
      last = model[id] = lease->token;
    } else {
      REQUIRE(model.at(id) == lease->token);
      if (random() % 4 == 0) {
        test.table.pass_on(*lease, kOther, kDeadlineUs, OrphanPolicy::free_at_once);
        REQUIRE(lease->token > last);
        last = model[id] = lease->token;
      } else {
        test.table.free(*lease);
        model.erase(id);
      }
    }
    if (i % 50 != 0) continue;
    if (random() % 2 == 0) test.mend();  // Changes nothing where nothing is amiss.
    IdSet ids;
    for (const auto& [name, token] : model) ids.insert(name);
    REQUIRE(test.held() == ids);
    for (const auto& [name, token] : model) REQUIRE(test.find(name)->token == token);
  }
}

TEST_CASE("chains and lists that lead out of the table or in circles are damage") {
  const TestLeases test;
  test.take("a");
  SUBCASE("a chain that leads out") {
    test.chain_of("a") = kCapacity + 1;
  }
  SUBCASE("a circle") {
    const std::vector<std::string> names = of_one_chain(3);
    test.take(names[0]);
    test.take(names[1])->next = 2;
    test.at(1).next = 3;
    CHECK(error_code_of([&] { test.find(names[2]); }) == ErrorCode::corrupt);
    return;
  }
  SUBCASE("a free list that leads out") {
    test.memory->header.free_list = kCapacity + 1;
    CHECK(error_code_of([&] { test.take("b"); }) == ErrorCode::corrupt);
    return;
  }
  CHECK(error_code_of([&] { test.find("a"); }) == ErrorCode::corrupt);
  CHECK(error_text_of([&] { test.find("a"); }).find(kPath.string() + ": the lease table") == 0);
}

TEST_CASE("after a death that left no mark, mending is not done") {
  const TestLeases test;
  test.take("a");
  test.chain_of("a") = 0;
  test.table.mend_if_suspect(kHead);
  CHECK(test.find("a") == nullptr);
  test.mend();
  CHECK(test.find("a") != nullptr);
}

TEST_CASE("a new table takes over the former one's tokens and the leases that outlive their owners, as they are") {
  const TestLeases former;
  const auto take = [&](std::string_view id, OrphanPolicy orphans) {
    return former.table.take(hash_of(id), kScope, id, kOther, 77, orphans)->token.load();
  };
  take("at once", OrphanPolicy::free_at_once);
  const std::uint64_t after_lease = take("after lease", OrphanPolicy::free_after_lease);
  const std::uint64_t never = take("never", OrphanPolicy::keep);
  take("freed", OrphanPolicy::keep);
  former.free("freed");
  const TestLeases next;
  next.memory->header.token_epoch = 0;  // As new.
  next.table.take_over(former.table);
  CHECK(next.held() == IdSet{"after lease", "never"});
  CHECK(next.find("after lease")->token == after_lease);
  CHECK(next.find("never")->token == never);
  CHECK(next.find("never")->orphans == OrphanPolicy::keep);
  CHECK(next.find("never")->owner() == kOther);
  CHECK(next.find("never")->deadline_us == 77);
  CHECK(next.take("later")->token >= former.take("later")->token);
}

// The states that a death can leave, made by hand; "died taking" and the like are the same from real deaths.

TEST_CASE("a lease that was in neither chain nor free list is free again") {
  const TestLeases test;
  test.take("a");
  SUBCASE("never used before") {
    test.memory->header.used = 2;
  }
  SUBCASE("used before") {
    test.take("b");
    test.free("b");
    test.memory->header.free_list = 0;
  }
  SUBCASE("unlinked and nobody's, not in the free list yet") {
    test.take("b");
    test.chain_of("b") = 0;
    test.at(1).token = 0;
  }
  test.mend();
  CHECK(test.held() == IdSet{"a"});
  CHECK(test.memory->header.used <= 2);
}

TEST_CASE("a lease that was its owner's, in whatever it was linked, is held") {
  const TestLeases test;
  test.take("a");
  Lease& b = *test.take("b");
  const std::uint64_t token = b.token;
  SUBCASE("linked, but not counted") {
    test.memory->header.held = 1;
  }
  SUBCASE("counted, but not linked") {
    test.chain_of("b") = 0;
  }
  SUBCASE("neither counted nor linked") {
    test.memory->header.held = 1;
    test.chain_of("b") = 0;
  }
  test.mend();
  CHECK(test.held() == IdSet{"a", "b"});
  CHECK(test.find("b")->token == token);
}

TEST_CASE("a lease that was being passed on is nobody's") {
  const TestLeases test;
  test.take("a");
  test.take("b")->token = 0;
  test.mend();
  CHECK(test.held() == IdSet{"a"});
}

TEST_CASE("a lease whose record was accepted is free, and one whose record was not is held") {
  const TestLeases test;
  test.take("accepted")->completing = kHead.value - 8;
  test.take("not accepted")->completing = kHead.value;
  test.take("not completed");
  test.mend();
  CHECK(test.held() == IdSet{"not accepted", "not completed"});
  CHECK(test.find("not accepted")->completing == 0);
  test.memory->head = kHead.value + 8;  // Of somebody else's record.
  test.mend();
  CHECK(test.held() == IdSet{"not accepted", "not completed"});
}

TEST_CASE("whoever waits for a lease that mending frees is woken, and nobody otherwise") {
  const TestLeases test;
  Lease& lease = *test.take("a");
  const std::uint32_t before = test.memory->header.freed;
  lease.completing = kHead.value - 8;
  SUBCASE("waited for") {
    lease.waited_for = 1;
    test.mend();
    CHECK(test.memory->header.freed != before);
  }
  SUBCASE("not waited for") {
    test.mend();
    CHECK(test.memory->header.freed == before);
  }
  CHECK(test.held().empty());
}

TEST_CASE("a lease of a transaction stays held whatever the head is, and says so still") {
  const TestLeases test;
  for (const std::uint64_t lsn : {kHead.value - 8, kHead.value, kHead.value + 8}) {
    test.take(std::to_string(lsn))->completing = lsn | Lease::kOfTransaction;
  }
  test.take("linked no more")->completing = (kHead.value - 8) | Lease::kOfTransaction;
  test.chain_of("linked no more") = 0;
  test.mend();
  CHECK(test.held() == IdSet{"792", "800", "808", "linked no more"});
  CHECK(test.find("792")->completing == (792 | Lease::kOfTransaction));
  CHECK(test.find("808")->completing == (808 | Lease::kOfTransaction));
}

TEST_CASE("who dies taking a lease has it or has it not") {
  std::set<bool> outcomes;
  const auto check = [&](const TestLeases& test) {
    IdSet ids = test.held();
    outcomes.insert(ids.erase("new") != 0);
    CHECK(ids == IdSet{"a", "b"});
  };
  const auto work = [](const TestLeases& test) { test.take("new"); };
  const auto two = [](const TestLeases& test) {
    test.take("a");
    test.take("b");
  };
  CHECK(each_death(two, work, check) > 5);
  CHECK(outcomes.size() == 2);
  outcomes.clear();
  const auto one_freed = [&](const TestLeases& test) {
    test.take("freed");
    two(test);
    test.free("freed");
  };
  CHECK(each_death(one_freed, work, check) > 5);
  CHECK(outcomes.size() == 2);
}

TEST_CASE("who dies freeing a lease has freed it or has not, and the others of its chain stay") {
  const std::vector<std::string> names = of_one_chain(3);
  for (const std::string& freed : names) {
    CAPTURE(freed);
    std::set<bool> outcomes;
    const unsigned deaths = each_death(
        [&](const TestLeases& test) {
          for (const std::string& name : names) test.take(name);
        },
        [&](const TestLeases& test) { test.free(freed); },
        [&](const TestLeases& test) {
          IdSet ids = test.held();
          outcomes.insert(ids.insert(freed).second);
          CHECK(ids == IdSet(names.begin(), names.end()));
        });
    CHECK(deaths > 3);
    CHECK(outcomes.size() == 2);
  }
}

TEST_CASE("who dies passing a lease on leaves it with a new token, or free, and never two owners in one") {
  std::uint64_t before = 0;
  std::set<bool> outcomes;
  const unsigned deaths = each_death(
      [&](const TestLeases& test) {
        test.take("a");
        before = test.find("a")->token;
      },
      [](const TestLeases& test) { test.table.pass_on(*test.find("a"), kOther, 5, OrphanPolicy::keep); },
      [&](const TestLeases& test) {
        const bool held = test.held() == IdSet{"a"};
        outcomes.insert(held);
        if (!held) return;
        CHECK(test.find("a")->token > before);
        CHECK(test.find("a")->owner() == kOther);
        CHECK(test.find("a")->deadline_us == 5);
        CHECK(test.find("a")->orphans == OrphanPolicy::keep);
      });
  CHECK(deaths > 3);
  CHECK(outcomes.size() == 2);
}

TEST_CASE("who dies completing a claim has it still as long as its record is not accepted, and no longer") {
  const std::uint64_t record = kHead.value;
  std::set<bool> outcomes;
  each_death(
      [](const TestLeases& test) {
        test.take("a");
        test.take("b");
      },
      [&](const TestLeases& test) {
        Lease& lease = *test.find("a");
        lease.completing.store(record, std::memory_order_release);
        test.memory->head.store(record + 56, std::memory_order_release);
        test.table.free(lease);
      },
      [&](const TestLeases& test) {
        const bool accepted = test.memory->head != record;
        outcomes.insert(accepted);
        CHECK(test.held() == (accepted ? IdSet{"b"} : IdSet{"a", "b"}));
      });
  CHECK(outcomes.size() == 2);
}

TEST_CASE("who dies mending leaves it to the next, who loses nothing") {
  const unsigned deaths = each_death(
      [](const TestLeases& test) {
        for (const std::string& name : of_one_chain(3)) test.take(name);
        test.take("accepted")->completing = kHead.value - 8;
        test.take("of a transaction")->completing = (kHead.value - 8) | Lease::kOfTransaction;
        test.memory->header.suspect = 1;
      },
      [](const TestLeases& test) { test.table.mend_if_suspect(kHead); },
      [](const TestLeases& test) {
        IdSet expected{"of a transaction"};
        for (const std::string& name : of_one_chain(3)) expected.insert(name);
        CHECK(test.held() == expected);
        CHECK(test.find("of a transaction")->completing == ((kHead.value - 8) | Lease::kOfTransaction));
      });
  CHECK(deaths > 5);
}

TEST_CASE("tokens go on growing where those of an epoch have run out") {
  TestLeases test;
  test.memory->header.next_token = LeaseTable::kMaxTokenNumber - 1;
  REQUIRE(test.table.has_tokens());
  const std::uint64_t last = test.take("a")->token;
  CHECK(last == (kEpoch << LeaseTable::kEpochShift | LeaseTable::kMaxTokenNumber));
  CHECK_FALSE(test.table.has_tokens());
  CHECK_FALSE(test.table.has_tokens());
  test.memory->header.token_epoch = kEpoch + 1;
  REQUIRE(test.table.has_tokens());
  CHECK(test.take("b")->token > last);
  CHECK(test.find("a")->token == last);
}

TEST_CASE("whatever damage says of the table, its leases are found again, and tokens go on growing") {
  using Value = std::uint32_t;
  for (const Value value : {Value{0}, Value{1}, Value{2}, ~Value{0}}) {
    const auto survives = [&](auto damage) {
      TestLeases test;
      for (const char* id : {"a", "b", "c", "d"}) test.take(id);
      const std::uint64_t last = test.find("d")->token;
      test.free("b");
      damage(test);
      test.table.doubt(kEpoch);
      test.table.mend_if_suspect(kHead);
      CHECK(test.held() == IdSet{"a", "c", "d"});
      CHECK(test.memory->header.token_epoch == kEpoch);
      CHECK(test.take("e")->token > last);
    };
    survives([&](TestLeases& test) { test.memory->header.held = value; });
    survives([&](TestLeases& test) { test.memory->header.free_list = value; });
    survives([&](TestLeases& test) { test.memory->header.used = value; });
    survives([&](TestLeases& test) { test.chain_of("a") = value; });
    survives([&](TestLeases& test) { test.find("a")->next = value; });
  }
}

TEST_CASE("counters of tokens that can have gone back, or far ahead, have another epoch assigned") {
  const auto epoch_after = [](auto damage) {
    TestLeases test;
    for (const char* id : {"a", "b", "c"}) test.take(id);
    damage(test.memory->header);
    test.table.doubt(kEpoch);
    return test.memory->header.token_epoch.load();
  };
  CHECK(epoch_after([](LeaseHeader&) {}) == kEpoch);
  CHECK(epoch_after([](LeaseHeader& header) { header.next_token = 4; }) == kEpoch);  // Died before the twin.
  CHECK(epoch_after([](LeaseHeader& header) { header.next_token = 2; }) == 0);
  CHECK(epoch_after([](LeaseHeader& header) { header.next_token = ~std::uint64_t{0}; }) == 0);
  CHECK(epoch_after([](LeaseHeader& header) { header.twin_token = 0; }) == 0);
  CHECK(epoch_after([](LeaseHeader& header) { header.token_epoch = kEpoch + 1; }) == 0);
  CHECK(epoch_after([](LeaseHeader& header) { header.token_epoch = kEpoch - 1; }) == 0);
  CHECK(epoch_after([](LeaseHeader& header) { header.token_epoch = 0; }) == 0);
}
