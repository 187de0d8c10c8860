#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "asking.h"
#include "memory_backend.h"
#include "remote/gathering.h"
#include "remote/near.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;
using internal::remote::Answer;
using internal::remote::Ask;
using internal::remote::Attempt;
using internal::remote::Backend;
using internal::remote::ConnectionLost;
using internal::remote::Gathering;
using internal::remote::Near;
using internal::remote::NearEvent;
using std::chrono::microseconds;

namespace {

/// Two hosts with a near tier each before one server, and a second server that is asked the same without any. Answers
/// get lost on the way to the hosts, who ask again.
class Walk {
 public:
  explicit Walk(std::uint64_t seed) : random_(seed) {
    const std::array retentions{2s, 60s, 3600s};
    const std::array stalenesses{0ms, 100ms, 10'000ms};
    const MemoryBackend::Settings settings{.retention = retentions[below(3)],
                                           .now = Time{microseconds{FakeHost::kStartUs}} + hours(below(3)) - 1h};
    staleness_ = stalenesses[below(3)];
    retention_ = settings.retention;
    server_ = std::make_shared<MemoryBackend>(settings);
    twin_ = std::make_unique<MemoryBackend>(settings);
    for (std::size_t i = 0; i < kHosts; ++i) open(i);
  }

  std::string describe() const {
    return fmt::format("retention {} us, staleness {} ms", retention_.count(), staleness_.count());
  }

  void step() {
    const std::uint64_t dice = below(1000);
    if (dice < 300) {
      decide(1, false);
    } else if (dice < 400) {
      decide(2 + below(below(8) == 0 ? 150 : 8), false);
    } else if (dice < 500) {
      decide(1, true);
    } else if (dice < 550) {
      decide(2 + below(8), true);
    } else if (dice < 650) {
      complete_one_held();
    } else if (dice < 680) {
      end_one_held();
    } else if (dice < 800) {
      find(below(2) == 0 ? 1 : 2 + below(100));
    } else if (dice < 840) {
      forget();
    } else if (dice < 850) {
      release();
    } else if (dice < 990) {
      pass(microseconds{below(below(20) == 0 ? static_cast<std::uint64_t>(2 * retention_.count()) : 300'000)});
    } else if (dice < 997) {
      open(below(kHosts));
    } else {
      lose_directory(below(kHosts));
    }
  }

  void finish() {
    CHECK(events_ == 0);
    CHECK(near_hits_ > 0);
    CHECK(losses_ > 0);
  }

 private:
  static constexpr std::size_t kHosts = 2;
  static constexpr std::array<std::string_view, 2> kScopes{"orders", "payments"};
  struct Holding {
    std::string scope;
    std::string id;
    std::uint64_t token;
  };
  struct Given {
    std::string correlation;
    std::string result;
    std::string source;
    Attributes attributes;
  };

  std::uint64_t below(std::uint64_t limit) {
    return std::uniform_int_distribution<std::uint64_t>(0, limit - 1)(random_);
  }
  static std::chrono::hours hours(std::uint64_t count) { return std::chrono::hours{static_cast<long>(count)}; }

  void open(std::size_t host) {
    hosts_[host].reset();
    hosts_[host] = std::make_unique<Near>(std::make_shared<Gathering>(server_, 1h),
                                          internal::remote::NearSettings{directory_ / std::to_string(host), staleness_,
                                                                         5s, [this](const NearEvent&) { ++events_; }},
                                          host_);
  }
  void lose_directory(std::size_t host) {
    hosts_[host].reset();
    std::filesystem::remove_all(directory_ / std::to_string(host));
    open(host);
  }
  Backend& any_host() { return *hosts_[below(kHosts)]; }
  std::string_view any_scope() { return kScopes[below(kScopes.size())]; }
  std::string any_id() { return "id-" + std::to_string(below(120)); }

  Ids any_ids(std::size_t count) {
    return Ids(count, [&](std::size_t) { return any_id(); });
  }

  /// The hosts' clock is a little slower or faster than the server's.
  void pass(microseconds time) {
    server_->advance(time);
    twin_->advance(time);
    const auto drift = time / 2000;
    host_.advance(below(2) == 0 ? time + drift : time - drift);
  }

  /// Asks again while the answer gets lost.
  template <typename Call>
  void with_losses(Call call) {
    if (below(10) == 0) {
      server_->lose(below(2) == 0 ? MemoryBackend::Lost::before : MemoryBackend::Lost::after, below(3));
    }
    for (bool answered = false; !answered;) {
      try {
        call();
        answered = true;
      } catch (const ConnectionLost&) {
        ++losses_;
      }
    }
    server_->lose_nothing();
  }

  std::vector<Given> any_given(std::size_t count) {
    std::vector<Given> all(count);
    for (Given& given : all) {
      if (below(3) == 0) given.correlation = "order-" + std::to_string(below(5));
      if (below(3) == 0) given.result = std::string(below(100) == 0 ? 70'000 : below(40), 'r');
      if (below(3) == 0) given.source = "topic";
      given.attributes = {.correlation = given.correlation,
                          .fingerprint = below(3),
                          .result = given.result,
                          .source = {given.source, 0, given.source.empty() ? 0 : below(3)}};
    }
    return all;
  }

  void decide(std::size_t count, bool claims) {
    const Ids ids = any_ids(count);
    const std::vector<Given> given = any_given(count);
    std::vector<Ask> asked;
    for (std::size_t i = 0; i < count; ++i) {
      asked.push_back({ids.data()[i], below(2) == 0 ? &given[i].attributes : nullptr});
    }
    const std::string_view scope = any_scope();
    const Attempt attempt = new_attempt();
    const Ack ack = below(4) == 0 ? Ack::disk : Ack::host;
    const internal::remote::Terms terms{std::chrono::milliseconds{1 + below(60'000)}};
    std::vector<Answer> here(count);
    std::vector<Answer> there(count);
    const auto ask = [&](Backend& backend, std::vector<Answer>& out) {
      if (claims) {
        backend.claim(scope, asked, terms, attempt, out);
      } else {
        backend.mark(scope, asked, ack, attempt, out);
      }
    };
    const std::uint64_t before = server_->ids_asked();
    Backend& host = any_host();
    with_losses([&] { ask(host, here); });
    near_hits_ += server_->ids_asked() == before;
    ask(*twin_, there);
    for (std::size_t i = 0; i < count; ++i) {
      CAPTURE(ids[i]);
      CHECK(shown(here[i]) == shown(there[i]));
      if (here[i].token != 0) held_.push_back({std::string(scope), ids[i], here[i].token});
    }
  }

  Holding take_held() {
    std::swap(held_[below(held_.size())], held_.back());
    Holding one = std::move(held_.back());
    held_.pop_back();
    return one;
  }

  void complete_one_held() {
    if (held_.empty()) return;
    const Holding one = take_held();
    const std::vector<Given> given = any_given(1);
    const Attempt attempt = new_attempt();
    Backend& host = any_host();
    internal::remote::Stamp here;
    with_losses([&] { here = complete_one(host, one.scope, one.id, one.token, given[0].attributes, attempt); });
    const auto there = complete_one(*twin_, one.scope, one.id, one.token, given[0].attributes, attempt);
    CHECK(here.lsn == there.lsn);
    CHECK(here.processed_at == there.processed_at);
  }

  void end_one_held() {
    if (held_.empty()) return;
    const Holding one = take_held();
    const internal::remote::Held held{one.id, one.token};
    Backend& host = any_host();
    if (below(2) == 0) {
      CHECK(host.abandon(one.scope, {&held, 1}) == twin_->abandon(one.scope, {&held, 1}));
    } else if (host.renew(one.scope, held, 1min)) {
      CHECK(twin_->renew(one.scope, held, 1min));
      held_.push_back(one);
    } else {
      CHECK_FALSE(twin_->renew(one.scope, held, 1min));
    }
  }

  void find(std::size_t count) {
    const Ids ids = any_ids(count);
    const std::string_view scope = any_scope();
    const bool whole = below(2) == 0;
    std::vector<std::optional<Record>> here(count);
    std::vector<std::optional<Record>> there(count);
    Backend& host = any_host();
    with_losses([&] { host.find(scope, ids, whole, here); });
    twin_->find(scope, ids, whole, there);
    for (std::size_t i = 0; i < count; ++i) {
      CAPTURE(ids[i]);
      CHECK(shown(here[i]) == shown(there[i]));
    }
  }

  /// The host that forgets knows it at once, the other after the staleness.
  void forget() {
    const std::string_view scope = any_scope();
    const std::string id = any_id();
    const Attempt attempt = new_attempt();
    Backend& host = any_host();
    bool here = false;
    with_losses([&] { here = host.forget(scope, id, Ack::disk, attempt); });
    CHECK(here == twin_->forget(scope, id, Ack::disk, attempt));
    CHECK_FALSE(find_one(host, scope, id));
    pass(staleness_ * 2);
  }

  void release() {
    const std::string_view scope = any_scope();
    const std::string id = any_id();
    CHECK(any_host().holder(scope, id).has_value() == twin_->holder(scope, id).has_value());
    const Attempt attempt = new_attempt();
    CHECK(any_host().release(scope, id, attempt) == twin_->release(scope, id, attempt));
  }

  std::mt19937_64 random_;
  TempDir directory_{memory_directory()};
  FakeHost host_;
  microseconds retention_{};
  std::chrono::milliseconds staleness_{};
  std::shared_ptr<MemoryBackend> server_;
  std::unique_ptr<MemoryBackend> twin_;
  int events_ = 0;
  std::array<std::unique_ptr<Near>, kHosts> hosts_;
  std::vector<Holding> held_;
  std::uint64_t near_hits_ = 0;
  std::uint64_t losses_ = 0;
};

}  // namespace

TEST_CASE("a random walk by way of near tiers has the answers of the engine behind them") {
  const std::uint64_t rounds = scaled(30, 4);
  for (std::uint64_t round = 0; round < rounds; ++round) {
    const std::uint64_t seed = test_seed() + round;
    CAPTURE(seed);
    Walk walk(seed);
    const std::string settings = walk.describe();
    CAPTURE(settings);
    for (std::uint64_t i = 0; i < scaled(3000, 500); ++i) {
      CAPTURE(i);
      walk.step();
    }
    walk.finish();
  }
}
