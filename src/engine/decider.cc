#include "engine/decider.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "engine/durability.h"
#include "engine/report.h"
#include "shared/argument_checks.h"

namespace oncelog::internal {
namespace {

/// Fresh ids get a record.
struct MarkPolicy {
  const Chunk& chunk;

  Need accept(std::size_t i, Hold& hold, Lease* orphan, const ChainEnd* chain, Owners&) {
    const Probe& probe = chunk.probes[i];
    const Attributes* given = chunk.attributes.empty() ? nullptr : &chunk.attributes[i];
    const RecordDraft draft = RecordDraft::of(probe.scope, probe.id, probe.hash.digest(), given);
    if (const Need need = hold.prepare(draft.bytes()); need != Need::none) return need;
    if (orphan != nullptr) {
      if (hold.store().state().leases().free(*orphan)) hold.wake_waiters();
      HostCounters::add(hold.store().header().counters.takeovers, 1);
    }
    chunk.out[i] = {Verdict::fresh, hold.append(draft, probe.hash, chain)};
    return Need::none;
  }

  void held(std::size_t i, const Lease&) { chunk.out[i] = {Verdict::in_progress, Lsn{}}; }
};

void mark_chunk(Acceptor& acceptor, Reader& reader, const Chunk& chunk) {
  MarkPolicy policy{chunk};
  decide(acceptor, reader, chunk, policy);
  if (!chunk.copies.empty()) compare_attributes(chunk);
}

}  // namespace

void compare_attributes(const Chunk& chunk) {
  for (std::size_t i = 0; i < chunk.probes.size(); ++i) {
    const Attributes& given = chunk.attributes[i];
    Marked& marked = chunk.out[i];
    if (marked.verdict != Verdict::duplicate || !compares(given)) continue;
    const auto record = decode_record(chunk.copies[i].bytes());
    if (!record || !record->attributes) continue;
    const StoredAttributes& stored = *record->attributes;
    if (payloads_differ(given.fingerprint, stored.fingerprint)) marked.verdict = Verdict::conflict;
    marked.redelivered = !given.source.name.empty() && record->source_name() == given.source.name &&
                         stored.source_partition == given.source.partition &&
                         stored.source_offset == given.source.offset;
  }
}

Marked Decider::mark(const ScopeRef& scope, std::string_view id, const Attributes& attributes, Ack ack) {
  store_.check_writable();
  check_may_wait(store_, ack);
  check_id(id);
  const bool with_attributes = StoredAttributes::stores(attributes) || attributes.sent_at.has_value();
  if (with_attributes) check_attributes(attributes, store_.state().ring());
  Reader& reader = store_.reader();
  Report report(store_.options().on_decision, reader.counters, scope, 1);
  const Probe probe = store_.probe(scope.key, id);
  Marked marked;
  {
    const SampledTime time(reader.counters, Timed::mark);
    std::optional<Found> found;
    RecordCopy copy;
    const std::span<const Attributes> given(&attributes, with_attributes ? 1 : 0);
    mark_chunk(acceptor_, reader,
               {std::span(&probe, 1), given, std::span(&found, 1), std::span(&marked, 1),
                std::span(&copy, with_attributes && compares(attributes) ? 1 : 0)});
    report.count(0, marked.verdict, found);
    if (ack == Ack::disk && marked.lsn.value != 0) marked = wait_or_take_back(marked, probe);
  }
  report.tell({&id, 1}, {&attributes, 1}, std::span<const Marked>(&marked, 1));
  return marked;
}

/// A mark that was to be on disk, and cannot be, is taken back: then the id is not marked.
Marked Decider::wait_or_take_back(const Marked& marked, const Probe& probe) {
  try {
    wait_for_disk(store_, marked.lsn);
  } catch (const Error& error) {
    if (store_.durable() > marked.lsn) return marked;  // By another process's flush.
    const bool fresh = marked.verdict == Verdict::fresh;
    const bool taken_back = fresh && take_back(store_.reader(), probe, marked.lsn);
    if (!taken_back && store_.durable() > marked.lsn) return marked;
    if (!fresh) throw;
    throw with_outcome(error, taken_back ? "The id is not marked"
                                         : "The id stands as marked nevertheless, as contains() shows; it is on disk "
                                           "once a later commit succeeds");
  }
  return marked;
}

void Decider::mark(const ScopeRef& scope, std::span<const std::string_view> ids, std::span<const Attributes> attributes,
                   std::span<Marked> out, Ack ack) {
  store_.check_writable();
  check_may_wait(store_, ack);
  for (const std::string_view id : ids) check_id(id);
  for (const Attributes& given : attributes) check_attributes(given, store_.state().ring());
  Reader& reader = store_.reader();
  Report report(store_.options().on_decision, reader.counters, scope, ids.size());
  std::ranges::fill(out.first(ids.size()), Marked{});
  Lsn last;
  bool decided = false;
  try {
    mark_chunks(report, reader, scope, ids, attributes, out);
    decided = true;
    if (!ids.empty()) last = std::ranges::max(out.first(ids.size()), {}, &Marked::lsn).lsn;
    if (ack == Ack::disk && last.value != 0) wait_for_disk(store_, last);
  } catch (const Error& error) {
    // What was to be on disk is not marked. Marks of other kinds stand, those of the first ids.
    if (ack != Ack::disk) throw;
    if (!decided || store_.durable() <= last) {  // Otherwise another process's flush did it.
      const std::size_t standing = take_back_all(reader, scope.key, ids, out);
      throw with_outcome(
          error, standing == 0
                     ? std::string("None of the ids is marked that was not before")
                     : fmt::format("{} of the ids stand as marked nevertheless, as contains() shows", standing));
    }
  }
  report.tell(ids, attributes, std::span<const Marked>(out));
}

void Decider::mark_chunks(Report& report, Reader& reader, const ScopeRef& scope, std::span<const std::string_view> ids,
                          std::span<const Attributes> attributes, std::span<Marked> out) {
  std::array<Probe, kChunk> probes;
  std::array<std::optional<Found>, kChunk> found;
  std::vector<RecordCopy> copies(std::ranges::any_of(attributes, compares) ? kChunk : 0);
  for (std::size_t begin = 0; begin < ids.size(); begin += kChunk) {
    const std::size_t count = std::min(kChunk, ids.size() - begin);
    store_.make_probes(reader, scope.key, ids.subspan(begin, count), probes);
    const Chunk chunk{std::span(probes).first(count),
                      attributes.empty() ? attributes : attributes.subspan(begin, count), std::span(found).first(count),
                      out.subspan(begin, count), std::span(copies).first(std::min(count, copies.size()))};
    mark_chunk(acceptor_, reader, chunk);
    for (std::size_t i = 0; i < count; ++i) report.count(begin + i, chunk.out[i].verdict, found[i]);
  }
}

/// Takes the fresh marks of a refused call back; returns how many of them stand nevertheless.
std::size_t Decider::take_back_all(Reader& reader, ScopeKey scope, std::span<const std::string_view> ids,
                                   std::span<const Marked> out) {
  std::size_t standing = 0;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (out[i].verdict != Verdict::fresh || out[i].lsn.value == 0) continue;  // Nothing was accepted.
    if (!take_back(reader, store_.probe(scope, ids[i]), out[i].lsn)) ++standing;
  }
  return standing;
}

/// Notes that the id is forgotten, if the record at `lsn` is the newest word on it; false when that cannot be noted. A
/// call that forgot the id meanwhile has done it already. The disk is what fails: nothing is waited for, and where room
/// has to be made for the note there is none.
bool Decider::take_back(Reader& reader, const Probe& probe, Lsn lsn) {
  const RecordDraft draft = RecordDraft::of(probe.scope, probe.id, probe.hash.digest(), nullptr, kForgotten);
  try {
    for (;;) {
      const Glance glance{lsn, reader.view()};  // What is newer than the record.
      Hold hold(store_, reader, glance);
      if (hold.need() != Need::none) continue;
      bool passed = false;
      const auto newest = hold.look_again(probe, passed);
      if (passed) return false;  // On disk meanwhile, and gone from the ring.
      if (!newest || newest->lsn != lsn) return true;
      const Need need = hold.prepare(draft.bytes(), 1, Hold::Room::reserve);
      if (need == Need::newer_view) continue;
      if (need != Need::none) return false;
      hold.append(draft, probe.hash, nullptr);
      return true;
    }
  } catch (const Error&) {
    return false;  // The caller throws what made it ask.
  }
}

bool Decider::forget(ScopeKey scope, std::string_view id, Ack ack) {
  store_.check_writable();
  check_may_wait(store_, ack);
  check_id(id);
  Reader& reader = store_.reader();
  const Probe probe = store_.probe(scope, id);
  const RecordDraft draft = RecordDraft::of(probe.scope, probe.id, probe.hash.digest(), nullptr, kForgotten);
  Owners owners;
  Lsn noted;
  const auto try_to_note = [&]() -> Need {
    const Glance glance = acceptor_.glance(reader);
    std::optional<Found> newest = reader.look(glance.view, probe);
    store_.flusher().throw_if_failed();
    Hold hold(store_, reader, glance);
    if (hold.need() != Need::none) return hold.need();
    bool passed = false;
    if (hold.moved()) {
      if (const auto newer = hold.look_again(probe, passed)) newest = newer;
    }
    if (passed) return Need::newer_view;
    // Once its transaction has ended, or is found dead, it is a message or nothing.
    if (newest && newest->uncommitted()) return Need::settle;
    if (!newest || !is_processed(store_, *newest)) return Need::none;
    const Need need = hold.prepare(draft.bytes());
    if (need == Need::none) noted = hold.append(draft, probe.hash, nullptr);
    return need;
  };
  for (Need need = try_to_note(); need != Need::none; need = try_to_note()) acceptor_.meet(need, owners);
  if (noted.value == 0) return false;
  if (ack == Ack::disk) wait_for_standing(store_, noted);
  return true;
}

}  // namespace oncelog::internal
