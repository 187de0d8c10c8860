#include "remote/redis/history.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "remote/redis/scripts.h"

namespace oncelog::internal::remote {

std::string ServerClock::packed() const {
  std::string out;
  // Relaxed: a test changes one between calls.
  put(out, fixed.load(std::memory_order_relaxed) ? 1 : 0, 1);
  put(out, static_cast<std::uint64_t>(us.load(std::memory_order_relaxed)), 8);
  return out;
}

std::string History::looked_under(const std::string& state) {
  const std::lock_guard guard(mutex_);
  return known_[state].run;
}

Command History::question(const std::string& state, const Known& known) const {
  std::string terms = clock_->packed();
  put(terms, static_cast<std::uint64_t>(retention_us_), 8);
  put(terms, epoch_of(known.token), 8);
  put(terms, counter_of(known.token), 8);
  put(terms, static_cast<std::uint64_t>(known.time_us), 8);
  put(terms, known.lsn.value / 8, 8);
  const bool has_record = !known.key.empty();
  Command command(has_record ? 7 : 6);
  command.add("EVALSHA").add_digest(static_cast<std::size_t>(Script::adopt)).add(has_record ? "2" : "1").add(state);
  if (has_record) command.add(known.key);
  return std::move(command.add_run().add(terms).belongs_to(state));
}

std::int64_t History::take(const std::string& state, const Reply& reply) {
  const auto answers = elements_of(*reply, 2);
  const ShardState found = unpacked_state(text_of(*answers[1]));
  const bool lost = integer_of(*answers[0]) != 0;
  const std::lock_guard guard(mutex_);
  Known& known = known_[state];
  known.run = found.run;
  known.token = std::max(known.token, found.token);
  if (lost) known.key.clear();
  return lost ? found.since_us : 0;
}

void History::look(std::span<const Wanted> wanted) {
  std::int64_t lost_since_us = 0;
  {
    const std::lock_guard one_at_a_time(looking_);
    std::vector<std::string> states;
    std::vector<Command> questions;
    {
      const std::lock_guard guard(mutex_);
      for (const auto& [state, before] : wanted) {
        const Known& known = known_[state];
        if (known.run != before || std::ranges::find(states, state) != states.end()) continue;
        states.push_back(state);
        questions.push_back(question(state, known));
      }
    }
    const std::vector<Reply> replies = router_.run(questions);
    for (std::size_t i = 0; i < states.size(); ++i) {
      lost_since_us = std::max(lost_since_us, take(states[i], replies[i]));
    }
    looks_.fetch_add(1, std::memory_order_relaxed);  // Read by the thread that looked, or by others in time.
  }
  if (lost_since_us != 0) tell(lost_since_us);
}

void History::tell(std::int64_t since_us) const {
  if (!on_event_) return;
  const auto since = std::chrono::floor<std::chrono::seconds>(Time{std::chrono::microseconds{since_us}});
  // The nearest of the kinds there are; the sentence says what it is.
  on_event_(
      {StoreEventKind::server_forgot,
       fmt::format("{}: the server has forgotten marks that it had answered, as after a failover to a replica that "
                   "was behind: it is known only what was processed since {:%F %T} UTC; claims may be lost, and "
                   "tokens keep growing",
                   router_.name(), since)});
}

void History::note_record(const std::string& state, const std::string& key, std::int64_t time_us, Lsn lsn) {
  const std::lock_guard guard(mutex_);
  Known& known = known_[state];
  if (lsn <= known.lsn && !known.key.empty()) return;
  known.key = key;
  known.time_us = time_us;
  known.lsn = lsn;
}

void History::note_token(const std::string& state, std::uint64_t token) {
  const std::lock_guard guard(mutex_);
  Known& known = known_[state];
  known.token = std::max(known.token, token);
}

}  // namespace oncelog::internal::remote
