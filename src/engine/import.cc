#include "engine/import.h"

#include <algorithm>
#include <array>
#include <optional>

#include "engine/decide.h"
#include "shared/argument_checks.h"

namespace oncelog::internal {
namespace {

std::int64_t time_of(const Record& record) {
  return record.processed_at.time_since_epoch().count();
}

/// An id that is neither processed nor claimed gets its record, unless that is past the retention.
struct ImportPolicy {
  const Chunk& chunk;
  std::span<const Record> records;
  Imported& counts;

  Need accept(std::size_t i, Hold& hold, Lease* orphan, const ChainEnd* chain, Owners&) {
    const std::int64_t now_us = hold.time_us();
    const std::int64_t given_us = time_of(records[i]);
    const std::int64_t kept_us = std::min(given_us, now_us);
    chunk.out[i] = {Verdict::fresh, Lsn{}};
    if (!hold.store().within_retention(kept_us)) {
      ++counts.expired;
      return Need::none;
    }
    const Probe& probe = chunk.probes[i];
    const RecordDraft draft =
        RecordDraft::of_import(probe.scope, probe.id, probe.hash.digest(), chunk.attributes[i], kept_us);
    if (const Need need = hold.prepare(draft.bytes()); need != Need::none) return need;
    if (orphan != nullptr) {
      if (hold.store().state().leases().free(*orphan)) hold.wake_waiters();
      HostCounters::add(hold.store().header().counters.takeovers, 1);
    }
    chunk.out[i].lsn = hold.append(draft, probe.hash, chain);
    ++counts.imported;
    counts.redated += given_us > now_us;
    return Need::none;
  }

  void held(std::size_t i, const Lease&) {
    chunk.out[i] = {Verdict::in_progress, Lsn{}};
    ++counts.claimed;
  }
};

}  // namespace

Imported import_records(OpenedStore& store, Acceptor& acceptor, std::span<const Record> records,
                        const std::function<ScopeKey(std::string_view)>& scope_of) {
  store.check_writable();
  store.check_not_in_transaction("an import");
  std::array<Attributes, kChunk> attributes;
  for (const Record& record : records) {
    check_import(record);
    check_attributes(attributes_of(record), store.state().ring());
  }
  Imported counts;
  if (records.empty()) return counts;
  store.allow_imports();
  Reader& reader = store.reader();
  std::array<Probe, kChunk> probes;
  std::array<std::optional<Found>, kChunk> found;
  std::array<Marked, kChunk> out;
  std::string_view scope_name;
  ScopeKey scope{};
  for (std::size_t begin = 0; begin < records.size(); begin += kChunk) {
    const auto some = records.subspan(begin, std::min(kChunk, records.size() - begin));
    for (std::size_t i = 0; i < some.size(); ++i) {
      if (scope_name != some[i].scope) scope = scope_of(scope_name = some[i].scope);
      probes[i] = store.probe(scope, some[i].id);
      attributes[i] = attributes_of(some[i]);
    }
    const Chunk chunk{std::span(probes).first(some.size()), std::span(attributes).first(some.size()),
                      std::span(found).first(some.size()), std::span(out).first(some.size())};
    ImportPolicy policy{chunk, some, counts};
    decide(acceptor, reader, chunk, policy);
    counts.known += static_cast<std::uint64_t>(std::ranges::count(chunk.out, Verdict::duplicate, &Marked::verdict));
  }
  return counts;
}

}  // namespace oncelog::internal
