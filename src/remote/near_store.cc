#include "remote/near_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include <oncelog/options.h>
#include <oncelog/transaction.h>

#include "base/error.h"
#include "engine/local_engine.h"
#include "engine/registry.h"

namespace oncelog::internal::remote {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr std::string_view kTable = "near";
constexpr std::string_view kFormatKey = "format";

/// Nothing waits for its disk, and what a power failure takes is asked for at the server.
constexpr milliseconds kFlushInterval{1000};

/// What passes by itself, perhaps.
bool may_pass(ErrorCode code) {
  return code == ErrorCode::full || code == ErrorCode::io || code == ErrorCode::too_many_readers;
}

/// Where the local store's retention of it is over, so is the server's, which is looked at in any case.
void take(const OpenedStore& store, const Probe& probe, const std::optional<Found>& found, const RecordCopy& copy,
          std::optional<Remembered>& out) {
  out.reset();
  if (!found || !found->is_message() || !found->has_attributes()) return;
  const auto view = decode_record(copy.bytes());
  if (!view || !view->all_intact(found->lsn, probe.hash.digest())) {
    throw error_at(ErrorCode::corrupt, store.directory(), "the record at LSN {} is damaged", found->lsn.value);
  }
  const auto entry = unpack(view->result());
  if (!entry) return;
  out.emplace().entry = *entry;
  if (!unpack(view->result(), *entry, out->record)) out.reset();
}

/// Room for the record that a thread looks up, which spares an allocation each time; of large ones nothing stays.
class CopyRoom {
 public:
  CopyRoom() = default;
  CopyRoom(const CopyRoom&) = delete;
  CopyRoom& operator=(const CopyRoom&) = delete;
  ~CopyRoom() {
    if (copy_.words.capacity() * sizeof(std::uint64_t) > kMostBytes) copy_.words = {};
  }

  RecordCopy& operator*() const { return copy_; }

 private:
  static constexpr std::size_t kMostBytes = 4096;
  static thread_local RecordCopy copy_;
};

thread_local RecordCopy CopyRoom::copy_;

}  // namespace

NearStore::NearStore(std::filesystem::path directory, microseconds retention, NearHook hook, const Host& host)
    : directory_(std::move(directory)), hook_(std::move(hook)), host_(host) {
  try {
    open(retention);
  } catch (const Error& error) {
    engine_.reset();
    paused_until_us_.store(kForGood, std::memory_order_relaxed);
    report(false, error.what());
  }
}

NearStore::~NearStore() = default;

void NearStore::open(microseconds retention) {
  Options options;
  options.retention = std::chrono::ceil<milliseconds>(retention);
  options.flush_interval = kFlushInterval;
  engine_ = open_engine(directory_, options, host_);
  take_directory();
}

/// Makes a new store one of a near tier. One that is something else stays what it is.
void NearStore::take_directory() {
  const auto is_taken = [&] {
    const auto format = engine_->get(kTable, kFormatKey);
    if (format && *format != kNearFormat) {
      throw error_at(ErrorCode::newer_format, directory_,
                     "it is a near tier of format {}, and this version knows {}; delete it, and it is made again",
                     *format, kNearFormat);
    }
    return format.has_value();
  };
  if (is_taken()) return;
  // In this order: another process may take it at the same time, and add scopes.
  if (!engine_->scopes().empty() && !is_taken()) {
    throw error_at(ErrorCode::in_use, directory_,
                   "it is a store of its own; a near tier needs a directory that holds nothing else");
  }
  engine_->transact([](Transaction& transaction) { transaction.put(kTable, kFormatKey, kNearFormat); });
}

/// Does what may fail without harm.
template <typename Work>
void NearStore::use(Use how, Work work) {
  if (!in_use()) return;
  try {
    work();
  } catch (const Error& error) {
    leave_out(error);
    return;
  }
  if (how == Use::write && paused_until_us_.load(std::memory_order_relaxed) != kNotPaused) take_back_into_use();
}

std::optional<ScopeKey> NearStore::scope(std::string_view name) {
  std::optional<ScopeKey> key;
  use(Use::read, [&] { key = engine_->scope(name); });
  return key;
}

void NearStore::look(ScopeKey scope, std::span<const std::string_view> ids, std::span<std::optional<Remembered>> out) {
  use(Use::read, [&] {
    if (ids.size() != 1) return look_at_all(scope, ids, out);
    OpenedStore& store = engine_->store();
    Reader& reader = store.reader();
    const Probe probe = store.probe(scope, ids[0]);
    const CopyRoom copy;
    const auto found = reader.look(reader.view(), probe, &*copy);
    take(store, probe, found, *copy, out[0]);
    reader.counters.count(scope.number, out[0] ? IdEvent::known : IdEvent::unknown);
  });
}

void NearStore::look_at_all(ScopeKey scope, std::span<const std::string_view> ids,
                            std::span<std::optional<Remembered>> out) {
  OpenedStore& store = engine_->store();
  Reader& reader = store.reader();
  std::array<Probe, kChunk> probes;
  std::array<std::optional<Found>, kChunk> found;
  std::array<RecordCopy, kChunk> copies;
  for (std::size_t begin = 0; begin < ids.size(); begin += kChunk) {
    const std::size_t count = std::min(kChunk, ids.size() - begin);
    store.make_probes(reader, scope, ids.subspan(begin, count), probes);
    reader.look(reader.view(), std::span(probes).first(count), std::span(found).first(count),
                std::span(copies).first(count));
    std::size_t known = 0;
    for (std::size_t i = 0; i < count; ++i) {
      take(store, probes[i], found[i], copies[i], out[begin + i]);
      known += out[begin + i].has_value();
    }
    reader.counters.count(scope.number, IdEvent::known, known);
    reader.counters.count(scope.number, IdEvent::unknown, count - known);
  }
}

void NearStore::keep(const ScopeRef& scope, std::span<const ToRemember> entries) {
  if (entries.empty()) return;
  use(Use::write, [&] {
    if (entries.size() != 1) return keep_all(scope, entries);
    const std::string text = pack(entries[0].entry, entries[0].attributes);
    const Attributes packed{.result = text};
    if (engine_->mark(scope, entries[0].id, packed, Ack::host) != Verdict::fresh) replace(scope, entries[0], packed);
  });
}

void NearStore::keep_all(const ScopeRef& scope, std::span<const ToRemember> entries) {
  std::vector<std::string> texts;
  std::vector<std::string_view> ids;
  std::vector<Attributes> packed;
  texts.reserve(entries.size());
  ids.reserve(entries.size());
  packed.reserve(entries.size());
  for (const ToRemember& one : entries) {
    ids.push_back(one.id);
    packed.push_back({.result = texts.emplace_back(pack(one.entry, one.attributes))});
  }
  std::vector<Marked> marked(entries.size());
  engine_->mark(scope, ids, packed, marked, Ack::host);
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (marked[i] != Verdict::fresh) replace(scope, entries[i], packed[i]);
  }
}

/// Other threads and processes may replace it at the same time. Whichever entry stays is right: each says by itself
/// until when it holds.
void NearStore::replace(const ScopeRef& scope, const ToRemember& wanted, const Attributes& packed) {
  std::optional<Remembered> present;
  look_at_all(scope.key, {&wanted.id, 1}, {&present, 1});
  if (present && present->entry.covers(wanted.entry)) return;
  engine_->forget(scope.key, wanted.id, Ack::host);
  engine_->mark(scope, wanted.id, packed, Ack::host);
}

void NearStore::remove(ScopeKey scope, std::string_view id) {
  use(Use::write, [&] { engine_->forget(scope, id, Ack::host); });
}

void NearStore::leave_out(const Error& error) {
  const bool passes = may_pass(error.code());
  const std::int64_t until_us = passes ? host_.boot_us() + microseconds(kPause).count() : kForGood;
  std::int64_t before_us = paused_until_us_.load(std::memory_order_relaxed);
  do {
    if (before_us == kForGood) return;
  } while (!paused_until_us_.compare_exchange_weak(before_us, until_us, std::memory_order_relaxed));
  // Not for each attempt that fails while it is left out anyway.
  if (before_us == kNotPaused || !passes) report(false, error.what());
}

void NearStore::take_back_into_use() {
  std::int64_t paused_us = paused_until_us_.load(std::memory_order_relaxed);
  if (paused_us == kNotPaused || paused_us == kForGood) return;
  if (!paused_until_us_.compare_exchange_strong(paused_us, kNotPaused, std::memory_order_relaxed)) return;
  report(true, fmt::format("{}: the near tier is in use again", directory_.string()));
}

void NearStore::report(bool in_use, std::string sentence) const {
  if (!hook_) return;
  if (!in_use) {
    const bool returns = paused_until_us_.load(std::memory_order_relaxed) != kForGood;
    sentence = fmt::format("{}; the near tier is left out {}, and the server is asked for every id", sentence,
                           returns ? "as long as that lasts" : "until the shared store is opened again");
  }
  hook_({in_use, std::move(sentence)});
}

}  // namespace oncelog::internal::remote
