#include "parts.h"

#include <algorithm>

#include "background/log_writer.h"
#include "shared/hints.h"

namespace oncelog::testing {

using namespace internal;

Tables::Tables(std::uint64_t map_bytes, unsigned max_readers)
    : env(dir.path(), MDB_NOTLS | MDB_NORDAHEAD, map_bytes, max_readers, 8) {
  lmdb::WriteTxn txn(env);
  catalog.emplace(txn, MDB_CREATE);
  log.emplace(txn, MDB_CREATE);
  txn.commit();
}

Parts::Parts(const Options& with, unsigned buckets, std::chrono::microseconds retention, std::uint64_t map_bytes)
    : tables(map_bytes), options(with) {
  identity.buckets = buckets;
  identity.retention_us = retention.count();
  identity.store_id = random_uuid();
  fill_random(&identity.hash_seed, sizeof identity.hash_seed);
  live_dir = tables.dir / "shared";
  open();
}

Recovery Parts::recovery() const {
  std::filesystem::create_directories(live_dir);
  return {tables.env, *tables.log, *tables.catalog, identity, store_file_id, host, Settings{}.with(options)};
}

void Parts::open(bool alone, const std::filesystem::path& former_dir) {
  close();
  auto opened = recovery().open(live_dir, former_dir, alone);
  live.emplace(std::move(opened.live));
  damage = std::move(opened.damage);
  rules = BucketRules::make(identity.retention_us, identity.buckets, header().planned_ids);
  clock.emplace(host, header().clock);
  views.emplace(*live, live_dir, tables.dir.path());
}

void Parts::close() {
  views.reset();
  clock.reset();
  live.reset();
}

Layout Parts::layout() const {
  std::uint64_t epoch = 0;
  return header().layout.read(epoch);
}

Probe Parts::probe(std::string_view id) const {
  return {id, kScope, MessageHash(MessageHash::scope_seed(identity.hash_seed, kScope), id)};
}

void Parts::open_bucket() {
  Layout next = layout();
  if (next.spare_bucket_slots == 0) {
    next.spare_bucket_slots = IndexTable::slots_for(rules.planned_ids);
    views->make_index(next.next_bucket, 0, next.spare_bucket_slots);
  }
  const std::int64_t last_us = header().marks.last_time_us.load(std::memory_order_relaxed);
  internal::open_bucket(next, rules, head(), host.wall_us(), last_us, host.wall_us());
  header().layout.publish(next);
}

Lsn Parts::append(std::string_view id, std::uint32_t flags, const Attributes* attributes, std::optional<Lsn> previous) {
  if (layout().empty()) open_bucket();
  const auto view = views->newest();
  const View::Bucket& bucket = view->buckets.back();
  const Probe one = probe(id);
  const Lsn lsn = head();
  const std::int64_t time_us = std::max(host.wall_us(), header().marks.last_time_us.load(std::memory_order_relaxed));
  RecordDraft draft = RecordDraft::of(kScope, id, one.hash.digest(), attributes, flags);
  std::optional<ChainHint> chain;
  if (previous) {
    const std::uint64_t seed = MessageHash::scope_seed(identity.hash_seed, MessageHash::kCorrelationScope);
    draft.attributes.previous = previous->value;
    chain = ChainHint{MessageHash(seed, attributes->correlation), *previous};
  }
  std::vector<std::uint64_t> buffer(draft.bytes() / kRecordUnit);
  const auto record = encode_record(buffer, draft, lsn, time_us);
  REQUIRE(lsn.value + record.size_bytes() <= flushed().value + live->ring().bytes());
  live->ring().write(lsn, record);
  REQUIRE(add_hints(bucket, *view->generations.back(), one.hash, lsn, chain ? &*chain : nullptr));
  header().marks.last_time_us.store(time_us, std::memory_order_release);
  const Lsn end{lsn.value + record.size_bytes()};
  header().marks.head.store(end.value, std::memory_order_release);
  bucket.newest_table().reach(end);
  view->generations.back()->reach(bucket.info.lane, end);
  return lsn;
}

void Parts::flush() {
  lmdb::WriteTxn txn(tables.env);
  write_log(txn, *tables.log, *tables.catalog, header(), live->ring(), layout(), flushed(), head());
  txn.commit();
  header().marks.flushed.store(head().value, std::memory_order_release);
}

std::vector<std::string> files_in(const std::filesystem::path& directory, std::string_view prefix) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    std::string name = entry.path().filename().string();
    if (name.starts_with(prefix)) names.push_back(std::move(name));
  }
  std::ranges::sort(names);
  return names;
}

}  // namespace oncelog::testing
