#include "remote/near.h"

#include <array>
#include <atomic>
#include <fstream>
#include <functional>
#include <latch>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "asking.h"
#include "memory_backend.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;
using internal::remote::Answer;
using internal::remote::Ask;
using internal::remote::ConnectionLost;
using internal::remote::kMostNearResultBytes;
using internal::remote::Near;
using internal::remote::NearEvent;
using std::chrono::microseconds;

namespace {

constexpr std::string_view kScope = "orders";

/// A server, and a host with a near tier. The two clocks pass alike, and say what they like.
struct Pair {
  explicit Pair(const MemoryBackend::Settings& settings = {.retention = 1h}, std::chrono::milliseconds staleness = 1min)
      : server(std::make_shared<MemoryBackend>(settings)), staleness_(staleness) {
    open();
  }

  void open() {
    near.reset();
    near = std::make_unique<Near>(
        server,
        internal::remote::NearSettings{directory / "near", staleness_, 5s,
                                       [this](const NearEvent& event) { events.push_back(event); }},
        host);
  }
  void advance(microseconds by) {
    host.advance(by);
    server->advance(by);
  }
  /// How many calls of the server `work` takes.
  template <typename Work>
  std::uint64_t calls_of(Work work) const {
    const std::uint64_t before = server->calls();
    work();
    return server->calls() - before;
  }
  /// The same answer from here, without the server, and from the server.
  void check_known_here(std::string_view id, const Attributes& given) {
    std::string here;
    CHECK(calls_of([&] { here = shown(mark_one(*near, kScope, id, given)); }) == 0);
    CHECK(here == shown(mark_one(*server, kScope, id, given)));
    CHECK(calls_of([&] { here = shown(claim_one(*near, kScope, id, given)); }) == 0);
    CHECK(here == shown(claim_one(*server, kScope, id, given)));
    CHECK(calls_of([&] { here = shown(find_one(*near, kScope, id)); }) == 0);
    CHECK(here == shown(find_one(*server, kScope, id)));
    CHECK(calls_of([&] { here = shown(find_one(*near, kScope, id, false)); }) == 0);
    CHECK(here == shown(find_one(*server, kScope, id, false)));
  }

  TempDir directory;
  FakeHost host;
  std::shared_ptr<MemoryBackend> server;
  std::vector<NearEvent> events;
  std::unique_ptr<Near> near;

 private:
  const std::chrono::milliseconds staleness_;
};

const Attributes kGiven{.correlation = "order-7", .fingerprint = 7, .result = "the answer", .source = {"topic", 1, 77}};

}  // namespace

TEST_CASE("what was marked here is a duplicate here, with the server's answer") {
  Pair pair;
  CHECK(mark_one(*pair.near, kScope, "a", kGiven).marked == Verdict::fresh);
  CHECK(mark_one(*pair.near, kScope, "plain").marked == Verdict::fresh);
  pair.advance(10s);
  pair.check_known_here("a", {});
  pair.check_known_here("a", kGiven);
  pair.check_known_here("a", {.fingerprint = 8});
  pair.check_known_here("a", {.source = {"topic", 1, 78}});
  pair.check_known_here("plain", kGiven);
  CHECK(mark_one(*pair.near, kScope, "a", {.fingerprint = 8}).marked == Verdict::conflict);
  CHECK(mark_one(*pair.near, kScope, "a", kGiven).marked.redelivered);
}

TEST_CASE("what the server has answered as a duplicate is one here from then on") {
  Pair pair;
  mark_one(*pair.server, kScope, "marked", kGiven);
  mark_one(*pair.server, kScope, "claimed", kGiven);
  mark_one(*pair.server, kScope, "found", kGiven);
  CHECK(mark_one(*pair.near, kScope, "marked", {.fingerprint = 8}).marked == Verdict::conflict);
  CHECK(claim_one(*pair.near, kScope, "claimed").marked == Verdict::duplicate);
  CHECK(find_one(*pair.near, kScope, "found"));
  for (const std::string_view id : {"marked", "claimed", "found"}) pair.check_known_here(id, kGiven);
}

TEST_CASE("what was completed here is a duplicate here") {
  Pair pair;
  const std::uint64_t token = claim_one(*pair.near, kScope, "a").token;
  CHECK(pair.calls_of([&] {
    CHECK(claim_one(*pair.near, kScope, "a").marked == Verdict::in_progress);
    CHECK(claim_one(*pair.near, kScope, "a").marked == Verdict::in_progress);
  }) == 2);
  CHECK(complete_one(*pair.near, kScope, "a", token, kGiven).lsn.value != 0);
  pair.check_known_here("a", kGiven);
  CHECK(complete_one(*pair.near, kScope, "b", token, kGiven).lsn.value == 0);
  CHECK(mark_one(*pair.near, kScope, "b").marked == Verdict::fresh);
}

TEST_CASE("a check for presence answers checks, and the record is asked for when it is wanted") {
  Pair pair;
  mark_one(*pair.server, kScope, "a", kGiven);
  find_one(*pair.near, kScope, "a", false);
  CHECK(pair.calls_of([&] { CHECK(find_one(*pair.near, kScope, "a", false)); }) == 0);
  std::string here;
  CHECK(pair.calls_of([&] { here = shown(mark_one(*pair.near, kScope, "a", kGiven)); }) == 1);
  CHECK(here == shown(mark_one(*pair.server, kScope, "a", kGiven)));
  pair.check_known_here("a", kGiven);
}

TEST_CASE("a result that is too large to be remembered is the server's to give") {
  Pair pair;
  const std::string fits(kMostNearResultBytes, 'x');
  const std::string large(kMostNearResultBytes + 1, 'x');
  mark_one(*pair.near, kScope, "fits", {.result = fits});
  mark_one(*pair.near, kScope, "large", {.result = large});
  pair.check_known_here("fits", {});
  CHECK(pair.calls_of([&] {
    CHECK(mark_one(*pair.near, kScope, "large").record->result == large);
    CHECK(find_one(*pair.near, kScope, "large")->result == large);
  }) == 2);
}

TEST_CASE("a duplicate that is to be on disk is one here once the server has said that it is") {
  Pair pair;
  const auto ask_for_disk = [&] {
    CHECK(mark_one(*pair.near, kScope, "a", {}, new_attempt(), Ack::disk).marked == Verdict::duplicate);
  };
  mark_one(*pair.near, kScope, "a");
  CHECK(pair.calls_of(ask_for_disk) == 1);
  CHECK(pair.calls_of(ask_for_disk) == 0);
  pair.check_known_here("a", {});
}

TEST_CASE("of a batch, the server gets what is not known here, in order") {
  Pair pair;
  mark_one(*pair.near, kScope, "known");
  const std::array<Ask, 5> asked{{{"new"}, {"known"}, {"new"}, {"known"}, {"other"}}};
  std::array<Answer, 5> answers;
  const std::uint64_t before = pair.server->ids_asked();
  pair.near->mark(kScope, asked, Ack::host, new_attempt(), answers);
  CHECK(pair.server->ids_asked() - before == 3);
  std::vector<Verdict> verdicts;
  for (const Answer& answer : answers) verdicts.push_back(answer.marked.verdict);
  using enum Verdict;
  CHECK(verdicts == std::vector{fresh, duplicate, duplicate, duplicate, fresh});
  CHECK(answers[0].marked.lsn == answers[2].marked.lsn);
}

TEST_CASE("large batches are answered here as single ids are") {
  Pair pair;
  const Ids ids(300, [](std::size_t i) { return "id-" + std::to_string(i); });
  std::vector<Ask> asked;
  for (const std::string_view id : ids) asked.push_back({id, &kGiven});
  std::vector<Answer> first(ids.size());
  std::vector<Answer> second(ids.size());
  pair.near->mark(kScope, std::span(asked).first(200), Ack::host, new_attempt(), std::span(first).first(200));
  const std::uint64_t before = pair.server->ids_asked();
  pair.near->mark(kScope, asked, Ack::host, new_attempt(), second);
  CHECK(pair.server->ids_asked() - before == 100);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    CHECK((second[i].marked == Verdict::fresh) == (i >= 200));
    if (i < 200) CHECK(second[i].marked.lsn == first[i].marked.lsn);
  }
  std::vector<std::optional<Record>> here(ids.size());
  std::vector<std::optional<Record>> there(ids.size());
  CHECK(pair.calls_of([&] { pair.near->find(kScope, ids, true, here); }) == 0);
  pair.server->find(kScope, ids, true, there);
  for (std::size_t i = 0; i < ids.size(); ++i) CHECK(shown(here[i]) == shown(there[i]));
}

TEST_CASE("an id is a duplicate here no longer than at the server, wherever the two clocks stand") {
  for (const auto ahead : {-1h, 0h, 1h}) {
    CAPTURE(ahead.count());
    Pair pair({.retention = 10s, .now = Time{microseconds{FakeHost::kStartUs}} + ahead});
    mark_one(*pair.near, kScope, "a");
    pair.advance(9s);
    CHECK(pair.calls_of([&] { CHECK(mark_one(*pair.near, kScope, "a").marked == Verdict::duplicate); }) == 0);
    pair.advance(1s - 1us);
    CHECK(mark_one(*pair.near, kScope, "a").marked == Verdict::duplicate);
    pair.advance(1us);
    CHECK(mark_one(*pair.near, kScope, "a").marked == Verdict::fresh);
    pair.check_known_here("a", {});
  }
}

TEST_CASE("a server whose clock runs faster by less than a thousandth is not overtaken") {
  Pair pair({.retention = 100s}, 200s);
  mark_one(*pair.near, kScope, "a");
  pair.server->advance(100s);
  pair.host.advance(99'900'100us);
  CHECK(mark_one(*pair.near, kScope, "a").marked == Verdict::fresh);
}

TEST_CASE("a server whose clock is set forward is believed after the staleness at the latest") {
  Pair pair;
  mark_one(*pair.near, kScope, "a");
  pair.server->advance(2h);
  pair.advance(1min);
  CHECK(mark_one(*pair.near, kScope, "a").marked == Verdict::fresh);
}

TEST_CASE("what another host forgets is a duplicate here for the staleness at most") {
  Pair pair;
  mark_one(*pair.near, kScope, "a");
  mark_one(*pair.near, kScope, "b");
  pair.advance(30s);
  CHECK(pair.server->forget(kScope, "a", Ack::host, new_attempt()));
  pair.advance(30s - 1us);
  CHECK(pair.calls_of([&] { CHECK(mark_one(*pair.near, kScope, "a").marked == Verdict::duplicate); }) == 0);
  pair.advance(1us);
  CHECK(mark_one(*pair.near, kScope, "a").marked == Verdict::fresh);
  // The others of the scope are asked for once.
  CHECK(pair.calls_of([&] { CHECK(mark_one(*pair.near, kScope, "b").marked == Verdict::duplicate); }) == 1);
  pair.check_known_here("b", {});
  pair.check_known_here("a", {});
}

TEST_CASE("while nothing is forgotten, the server is asked once in the staleness") {
  Pair pair;
  for (int i = 0; i < 10; ++i) mark_one(*pair.near, kScope, std::to_string(i));
  for (int round = 0; round < 5; ++round) {
    pair.advance(1min);
    CHECK(pair.calls_of([&] {
      for (int i = 0; i < 10; ++i) CHECK(mark_one(*pair.near, kScope, std::to_string(i)).marked == Verdict::duplicate);
    }) == 1);
  }
}

TEST_CASE("without any staleness, what another host forgets is fresh at once") {
  Pair pair({.retention = 1h}, 0ms);
  mark_one(*pair.near, kScope, "a");
  CHECK(mark_one(*pair.near, kScope, "a").marked == Verdict::duplicate);
  pair.server->forget(kScope, "a", Ack::host, new_attempt());
  CHECK(mark_one(*pair.near, kScope, "a").marked == Verdict::fresh);
}

TEST_CASE("what is forgotten here is fresh here at once") {
  Pair pair;
  mark_one(*pair.near, kScope, "a");
  CHECK(pair.near->forget(kScope, "a", Ack::host, new_attempt()));
  CHECK_FALSE(find_one(*pair.near, kScope, "a"));
  CHECK_FALSE(pair.near->forget(kScope, "a", Ack::host, new_attempt()));
  CHECK(mark_one(*pair.near, kScope, "a").marked == Verdict::fresh);
  pair.server->lose(MemoryBackend::Lost::after);
  CHECK_THROWS_AS(pair.near->forget(kScope, "a", Ack::host, new_attempt()), ConnectionLost);
  CHECK(mark_one(*pair.near, kScope, "a").marked == Verdict::fresh);
}

namespace {

/// Does something between the server's answer and the near tier's note of it, once.
class Between final : public internal::remote::Forwarding {
 public:
  using Forwarding::Forwarding;

  void find(std::string_view scope, std::span<const std::string_view> ids, bool whole,
            std::span<std::optional<Record>> out) override {
    Forwarding::find(scope, ids, whole, out);
    if (const auto work = std::exchange(once, nullptr)) work();
  }
  void mark(std::string_view scope, std::span<const Ask> asked, Ack ack, const internal::remote::Attempt& attempt,
            std::span<Answer> out) override {
    Forwarding::mark(scope, asked, ack, attempt, out);
    if (const auto work = std::exchange(once, nullptr)) work();
  }

  std::function<void()> once;
};

}  // namespace

TEST_CASE("an answer that was under way while its id was forgotten here does not hold") {
  for (const bool marks : {false, true}) {
    CAPTURE(marks);
    Pair pair;
    const auto between = std::make_shared<Between>(pair.server);
    Near near(between, {pair.directory / "other", 1min, 5s, {}}, pair.host);
    mark_one(near, kScope, "known");
    mark_one(*pair.server, kScope, "a");
    between->once = [&] {
      std::thread([&] {
        CHECK(near.forget(kScope, "a", Ack::host, new_attempt()));
        CHECK(find_one(near, kScope, "known"));  // Asks how things stand now.
      }).join();
    };
    // It was there when the server was asked.
    if (marks) {
      CHECK(mark_one(near, kScope, "a").marked == Verdict::duplicate);
    } else {
      CHECK(find_one(near, kScope, "a"));
    }
    CHECK_FALSE(find_one(near, kScope, "a"));
    CHECK(mark_one(near, kScope, "a").marked == Verdict::fresh);
  }
}

TEST_CASE("a caller whose answer was lost gets its own mark as fresh, whoever has asked meanwhile") {
  Pair pair;
  const auto attempt = new_attempt();
  mark_one(*pair.near, kScope, "known");
  pair.server->lose(MemoryBackend::Lost::after);
  CHECK_THROWS_AS(mark_one(*pair.near, kScope, "a", {}, attempt), ConnectionLost);
  CHECK(mark_one(*pair.near, kScope, "a").marked == Verdict::duplicate);
  pair.check_known_here("a", {});
  CHECK(mark_one(*pair.near, kScope, "a", {}, attempt).marked == Verdict::fresh);
  pair.check_known_here("a", {});
}

TEST_CASE("a directory that knows another store at the same address knows nothing of this one") {
  Pair pair;
  mark_one(*pair.near, kScope, "a");
  pair.near.reset();
  pair.server = std::make_shared<MemoryBackend>(MemoryBackend::Settings{.retention = 1h, .first_generation = 1000});
  pair.open();
  CHECK(mark_one(*pair.near, kScope, "a").marked == Verdict::fresh);
  pair.check_known_here("a", {});
  CHECK(pair.events.empty());
}

TEST_CASE("what is remembered outlives the process's handle, and a lost directory costs only questions") {
  Pair pair;
  mark_one(*pair.near, kScope, "a", kGiven);
  pair.open();
  find_one(*pair.near, kScope, "other");  // Asks how things stand.
  pair.check_known_here("a", kGiven);
  pair.near.reset();
  std::filesystem::remove_all(pair.directory / "near");
  pair.open();
  CHECK(mark_one(*pair.near, kScope, "a", kGiven).marked == Verdict::duplicate);
  pair.check_known_here("a", kGiven);
  CHECK(pair.events.empty());
}

TEST_CASE("the directory may be lost while it is open") {
  Pair pair;
  mark_one(*pair.near, kScope, "a");
  std::filesystem::remove_all(pair.directory / "near");
  CHECK(mark_one(*pair.near, kScope, "a").marked == Verdict::duplicate);
  CHECK(mark_one(*pair.near, kScope, "b").marked == Verdict::fresh);
  CHECK(mark_one(*pair.near, kScope, "b").marked == Verdict::duplicate);
  CHECK(mark_one(*pair.near, "another scope", "b").marked == Verdict::fresh);
  CHECK(mark_one(*pair.near, "another scope", "b").marked == Verdict::duplicate);
}

TEST_CASE("a directory that holds something else stays as it is, and the tier is left out with an event") {
  Pair pair;
  pair.near.reset();
  std::filesystem::remove_all(pair.directory / "near");
  SUBCASE("a file") {
    std::ofstream(pair.directory / "near") << "text";
  }
  SUBCASE("a store of its own") {
    CHECK(StoreAccess::open(pair.directory / "near", {.retention = 1h}, pair.host).scope(kScope).mark("b") ==
          Verdict::fresh);
  }
  SUBCASE("another retention") {
    const Near other(std::make_shared<MemoryBackend>(MemoryBackend::Settings{.retention = 2h}),
                     {pair.directory / "near", 1min, 5s, {}}, pair.host);
  }
  pair.open();
  REQUIRE(pair.events.size() == 1);
  CHECK_FALSE(pair.events[0].in_use);
  CHECK(pair.events[0].sentence.find("near") != std::string::npos);
  CHECK(pair.events[0].sentence.find("; the near tier is left out until the shared store is opened again") !=
        std::string::npos);
  CHECK(mark_one(*pair.near, kScope, "a").marked == Verdict::fresh);
  CHECK(pair.calls_of([&] { CHECK(mark_one(*pair.near, kScope, "a").marked == Verdict::duplicate); }) == 1);
  CHECK(mark_one(*pair.near, kScope, "b").marked == Verdict::fresh);
  CHECK(pair.events.size() == 1);
}

TEST_CASE("the server's errors are the caller's, and leave the tier in use") {
  Pair pair;
  mark_one(*pair.near, kScope, "a");
  pair.server->on_call = [](std::string_view, std::size_t) { throw Error(ErrorCode::full, "the server is full"); };
  CHECK(error_code_of([&] { mark_one(*pair.near, kScope, "b"); }) == ErrorCode::full);
  CHECK(error_code_of([&] { pair.near->forget(kScope, "b", Ack::host, new_attempt()); }) == ErrorCode::full);
  pair.host.advance(2min);
  CHECK(error_code_of([&] { mark_one(*pair.near, kScope, "a"); }) == ErrorCode::full);
  pair.server->on_call = nullptr;
  CHECK(pair.events.empty());
  CHECK(mark_one(*pair.near, kScope, "a").marked == Verdict::duplicate);
  pair.check_known_here("a", {});
}

TEST_CASE("locks are the server's alone") {
  Pair pair;
  CHECK(claim_one(*pair.near, internal::remote::kLockScope, "leader").token != 0);
  CHECK(pair.calls_of([&] {
    CHECK(claim_one(*pair.near, internal::remote::kLockScope, "leader").marked == Verdict::in_progress);
  }) == 1);
}
