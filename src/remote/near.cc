#include "remote/near.h"

#include <algorithm>
#include <utility>

#include "engine/compare.h"
#include "shared/argument_checks.h"

namespace oncelog::internal::remote {
namespace {

using std::chrono::microseconds;

/// As many values as a call has ids: most have one, which takes no allocation.
template <typename T>
class Row {
 public:
  explicit Row(std::size_t size) : many_(size > 1 ? size : 0), size_(size) {}

  T* data() { return size_ > 1 ? many_.data() : &one_; }
  std::size_t size() const { return size_; }
  T& operator[](std::size_t i) { return data()[i]; }
  std::span<T> all() { return {data(), size_}; }

 private:
  T one_{};
  std::vector<T> many_;
  std::size_t size_;
};

void answer_known(const Ask& ask, Record& record, Answer& out) {
  out.marked = compare(record, ask.given);
  out.record = std::move(record);
  out.owner.reset();
  out.token = 0;
  out.processed_at = {};
}

/// Whether pack() can hold it, as what a server says may be anything.
bool fits(const NearEntry& entry, const Attributes& attributes) {
  return entry.lsn.value != 0 && entry.lsn.value % 8 == 0 && attributes.result.size() <= kMostNearResultBytes &&
         attributes.source.name.size() <= kMaxSourceBytes && attributes.correlation.size() <= kMaxCorrelationBytes;
}

/// What is to be remembered of an id after an answer; nothing when it was not processed.
std::optional<ToRemember> learned_from(const Ask& ask, const Answer& answer, std::uint64_t generation,
                                       std::uint64_t flags) {
  ToRemember one{ask.id, {generation, {}, answer.marked.lsn, flags | NearEntry::kWhole}, {}};
  if (answer.record) {
    one.entry.processed_at = answer.record->processed_at;
    one.attributes = attributes_of(*answer.record);
  } else if (answer.marked == Verdict::fresh) {  // Of LSN 0 when it is claimed.
    one.entry.processed_at = answer.processed_at;
    if (ask.given != nullptr) one.attributes = *ask.given;
  } else {
    return std::nullopt;
  }
  return one;
}

}  // namespace

/// A scope, as the local store knows it.
struct Near::Place {
  std::string name;
  ScopeKey key;
  Place* next = nullptr;
  SightingCell sighting;
  std::mutex asking;  // Held while a Pulse is asked for, and by all that write the sighting.

  ScopeRef ref() const { return {key, name}; }
};

/// Whether entries hold, for one call; what it takes is found out with the first of them.
class Near::Judge {
 public:
  Judge(Near& near, Place& place) : near_(near), place_(place) {}

  bool holds(const NearEntry& entry, std::uint64_t wanted_flags) {
    if (!looked_) look();
    const std::int64_t processed_us = entry.processed_at.time_since_epoch().count();
    return entry.generation == seen_.generation && (entry.flags & wanted_flags) == wanted_flags &&
           latest_server_us_ - processed_us < near_.retention_.count();
  }

 private:
  void look() {
    const Host& host = near_.store_.host();
    std::int64_t now_us = host.boot_us();
    const std::int64_t too_old_us = now_us - near_.staleness_.count();
    seen_ = place_.sighting.read();
    if (seen_.asked_us <= too_old_us) [[unlikely]] {
      seen_ = near_.look_at_server(place_, too_old_us);
      now_us = host.boot_us();
    }
    latest_server_us_ = seen_.latest_server_us(now_us);
    looked_ = true;
  }

  Near& near_;
  Place& place_;
  bool looked_ = false;
  Sighting seen_;
  std::int64_t latest_server_us_ = 0;
};

Near::Near(std::shared_ptr<Backend> next, const NearSettings& settings, const Host& host)
    : Forwarding(std::move(next)),
      retention_(this->next().retention()),
      staleness_(settings.staleness),
      store_(settings.directory, retention_, settings.on_event, host),
      lost_(2 * settings.timeout) {}

Near::~Near() = default;

Near::Place* Near::find_place(std::string_view scope, const std::atomic<Place*>& chain) {
  // Acquire: pairs with the release in add_place.
  for (Place* place = chain.load(std::memory_order_acquire); place != nullptr; place = place->next) {
    if (place->name == scope) return place;
  }
  return nullptr;
}

/// Null while the tier is left out. Locks have no place: they are never processed.
Near::Place* Near::place_of(std::string_view scope) {
  if (!store_.in_use() || scope == kLockScope) [[unlikely]]
    return nullptr;
  std::atomic<Place*>& chain = chain_of(scope);
  if (Place* const known = find_place(scope, chain)) return known;
  return add_place(scope, chain);
}

Near::Place* Near::add_place(std::string_view scope, std::atomic<Place*>& chain) {
  const std::lock_guard guard(adding_);
  if (Place* const known = find_place(scope, chain)) return known;  // Another thread was faster.
  const auto key = store_.scope(scope);
  if (!key) return nullptr;
  auto place = std::make_unique<Place>();
  place->name = scope;
  place->key = *key;
  place->next = chain.load(std::memory_order_relaxed);  // Relaxed: stored under the mutex.
  chain.store(places_.emplace_back(std::move(place)).get(), std::memory_order_release);  // Pairs with find_place.
  return places_.back().get();
}

/// What the server says now, or has said to another thread that asked later than `too_old_us` by the boot clock.
Sighting Near::look_at_server(Place& place, std::int64_t too_old_us) {
  const std::lock_guard guard(place.asking);
  if (const Sighting seen = place.sighting.read(); seen.asked_us > too_old_us) return seen;
  Sighting seen;
  seen.asked_us = store_.host().boot_us();
  const Pulse pulse = next().pulse(place.name);
  seen.generation = pulse.generation;
  seen.server_us = pulse.now.time_since_epoch().count();
  place.sighting.write(seen);
  return seen;
}

/// What is learned from a question that is asked after this is known to hold since this generation. One that is older
/// than it might be only makes the entry hold for a shorter time.
std::uint64_t Near::generation_before_asking(Place& place) {
  Sighting seen = place.sighting.read();
  if (seen.none()) seen = look_at_server(place, Sighting::kNever);
  return seen.generation;
}

template <typename Send>
void Near::decide(std::string_view scope, std::span<const Ask> asked, std::uint64_t flags, const Attempt& attempt,
                  std::span<Answer> out, Send send) {
  const bool again = asks_again(asked, attempt);
  try {
    if (Place* const place = place_of(scope); place == nullptr) {
      send(asked, out);
    } else {
      decide_at(*place, asked, again, flags, out, send);
    }
  } catch (const ConnectionLost&) {
    note_lost(asked, attempt);
    throw;
  }
  if (again) note_answered(asked, attempt);
}

template <typename Send>
void Near::decide_at(Place& place, std::span<const Ask> asked, bool again, std::uint64_t flags, std::span<Answer> out,
                     Send send) {
  Row<std::optional<Remembered>> known(asked.size());
  if (!again) {
    Row<std::string_view> ids(asked.size());
    for (std::size_t i = 0; i < asked.size(); ++i) ids[i] = asked[i].id;
    store_.look(place.key, ids.all(), known.all());
  }
  Judge judge(*this, place);
  std::vector<std::size_t> rest;
  for (std::size_t i = 0; i < asked.size(); ++i) {
    if (known[i] && judge.holds(known[i]->entry, flags | NearEntry::kWhole)) {
      answer_known(asked[i], known[i]->record, out[i]);
    } else {
      rest.push_back(i);
    }
  }
  if (!rest.empty()) ask_for_rest(place, asked, rest, flags, out, send);
}

template <typename Send>
void Near::ask_for_rest(Place& place, std::span<const Ask> asked, std::span<const std::size_t> rest,
                        std::uint64_t flags, std::span<Answer> out, Send send) {
  const std::uint64_t generation = generation_before_asking(place);
  if (rest.size() == asked.size()) {
    send(asked, out);
  } else {
    std::vector<Ask> some;
    for (const std::size_t i : rest) some.push_back(asked[i]);
    std::vector<Answer> answers(some.size());
    send(some, answers);
    for (std::size_t j = 0; j < rest.size(); ++j) out[rest[j]] = std::move(answers[j]);
  }
  std::vector<ToRemember> learned;
  for (const std::size_t i : rest) {
    if (const auto one = learned_from(asked[i], out[i], generation, flags)) learned.push_back(*one);
  }
  keep(place, learned);
}

void Near::keep(const Place& place, std::vector<ToRemember>& learned) {
  std::erase_if(learned, [](const ToRemember& one) { return !fits(one.entry, one.attributes); });
  store_.keep(place.ref(), learned);
}

bool Near::asks_again(std::span<const Ask> asked, const Attempt& attempt) const {
  if (!lost_.any()) [[likely]]
    return false;
  return lost_.contains(attempt) || std::ranges::any_of(asked, [&](const Ask& ask) {
           return ask.attempt != nullptr && lost_.contains(*ask.attempt);
         });
}

void Near::note_lost(std::span<const Ask> asked, const Attempt& attempt) {
  lost_.add(attempt);
  for (const Ask& ask : asked) {
    if (ask.attempt != nullptr) lost_.add(*ask.attempt);
  }
}

void Near::note_answered(std::span<const Ask> asked, const Attempt& attempt) {
  lost_.remove(attempt);
  for (const Ask& ask : asked) {
    if (ask.attempt != nullptr) lost_.remove(*ask.attempt);
  }
}

void Near::mark(std::string_view scope, std::span<const Ask> asked, Ack ack, const Attempt& attempt,
                std::span<Answer> out) {
  const std::uint64_t flags = ack == Ack::disk ? NearEntry::kOnDisk : 0;
  decide(scope, asked, flags, attempt, out, [&](std::span<const Ask> unknown, std::span<Answer> answers) {
    next().mark(scope, unknown, ack, attempt, answers);
  });
}

void Near::claim(std::string_view scope, std::span<const Ask> asked, const Terms& terms, const Attempt& attempt,
                 std::span<Answer> out) {
  decide(scope, asked, 0, attempt, out, [&](std::span<const Ask> unknown, std::span<Answer> answers) {
    next().claim(scope, unknown, terms, attempt, answers);
  });
}

void Near::complete(std::string_view scope, std::span<const Held> held, Ack ack, const Attempt& attempt,
                    std::span<Stamp> out) {
  Place* const place = place_of(scope);
  if (place == nullptr) return next().complete(scope, held, ack, attempt, out);
  const std::uint64_t generation = generation_before_asking(*place);
  next().complete(scope, held, ack, attempt, out);
  const std::uint64_t flags = NearEntry::kWhole | (ack == Ack::disk ? NearEntry::kOnDisk : 0);
  std::vector<ToRemember> learned;
  for (std::size_t i = 0; i < held.size(); ++i) {
    const Attributes given = held[i].given == nullptr ? Attributes{} : *held[i].given;
    learned.push_back({held[i].id, {generation, out[i].processed_at, out[i].lsn, flags}, given});
  }
  keep(*place, learned);
}

void Near::find(std::string_view scope, std::span<const std::string_view> ids, bool whole,
                std::span<std::optional<Record>> out) {
  Place* const place = place_of(scope);
  if (place == nullptr) return next().find(scope, ids, whole, out);
  Row<std::optional<Remembered>> known(ids.size());
  store_.look(place->key, ids, known.all());
  const std::uint64_t flags = whole ? NearEntry::kWhole : 0;
  Judge judge(*this, *place);
  std::vector<std::size_t> rest;
  std::vector<std::string_view> unknown;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (!known[i] || !judge.holds(known[i]->entry, flags)) {
      rest.push_back(i);
      unknown.push_back(ids[i]);
    } else if (whole) {
      out[i] = std::move(known[i]->record);
    } else {
      out[i] = Record{{}, {}, known[i]->entry.processed_at, known[i]->entry.lsn};
    }
  }
  if (rest.empty()) return;
  const std::uint64_t generation = generation_before_asking(*place);
  std::vector<std::optional<Record>> found(unknown.size());
  next().find(scope, unknown, whole, found);
  std::vector<ToRemember> learned;
  for (std::size_t j = 0; j < rest.size(); ++j) {
    std::optional<Record>& answer = out[rest[j]] = std::move(found[j]);
    if (!answer) continue;
    learned.push_back({unknown[j], {generation, answer->processed_at, answer->lsn, flags}, attributes_of(*answer)});
  }
  keep(*place, learned);
}

bool Near::forget(std::string_view scope, std::string_view id, Ack ack, const Attempt& attempt) {
  try {
    const bool known = next().forget(scope, id, ack, attempt);
    drop(scope, id);
    return known;
  } catch (const std::exception&) {
    drop(scope, id);  // It may be forgotten all the same.
    throw;
  }
}

/// Whatever another thread has asked before, and still writes, is of an earlier generation. That is why the next answer
/// from here waits for a new Pulse, which has to be asked for after this. It holds for a tier that is left out for a
/// while, too.
void Near::drop(std::string_view scope, std::string_view id) {
  Place* const place = find_place(scope, chain_of(scope));
  if (place == nullptr) return;
  {
    const std::lock_guard guard(place->asking);
    Sighting seen = place->sighting.read();
    seen.asked_us = Sighting::kNever;
    place->sighting.write(seen);
  }
  store_.remove(place->key, id);
}

}  // namespace oncelog::internal::remote
