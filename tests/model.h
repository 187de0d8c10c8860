#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support.h"

namespace oncelog::testing {

/// Attributes, with their texts.
struct Text {
  std::string correlation;
  std::uint64_t fingerprint = 0;
  std::string result;
  Source source;
  std::optional<Time> sent_at;

  Attributes attributes() const {
    return {correlation, fingerprint, result, {source.name, source.partition, source.offset}, sent_at};
  }
};

/// Who holds an id, or a lock.
struct Holder {
  std::uint64_t token = 0;
  std::int64_t deadline_us = 0;  // Boot clock.
  OrphanPolicy orphans = OrphanPolicy::free_at_once;
  std::uint64_t fingerprint = 0;
};

/// What a store must answer, in the plainest form: all records ever accepted, and the newest of each id; and who holds
/// what.
class Model {
 public:
  struct Entry {
    std::string scope;
    std::string id;
    std::int64_t processed_us;
    Lsn lsn;
    Text text;
    bool note = false;       // That the id was forgotten.
    bool forgotten = false;  // By such a note.
    // Its retention was over at some time: its space may have gone, also when the clock went back after that.
    bool was_over = false;
    // After the store has dropped it, known_since() is later than this: the time it was processed or, if that is
    // earlier, the time its bucket was closed, since a clock that was ahead may have stamped it.
    std::int64_t latest_us = 0;
  };

  Model(const FakeHost& host, std::int64_t retention_us) : host_(host), retention_us_(retention_us) {}

  /// The shared memory was rebuilt, and nothing was left of an earlier one of this boot.
  void anchor() {
    offset_us_ = host_.wall_us() - host_.boot_us();
    // A known_since() that lies in the future is kept for an hour: the clock may not be set yet.
    const bool in_future =
        std::any_of(entries_.begin(), gone_end(), [&](const Entry& entry) { return entry.latest_us >= stamp_us(); });
    known_settles_at_us_ = in_future ? host_.boot_us() + std::chrono::microseconds(std::chrono::hours{1}).count() : 0;
    clock_moved();
  }

  /// The shared memory was rebuilt, after anchor() where both apply, and writes to a bucket that begins at `first`.
  /// All buckets before it count as closed now, and so does this one unless it is closed later.
  void rebuilt(Lsn first) {
    std::for_each(gone_end(), entries_.end(), [&](Entry& entry) { close(entry); });
    current_bucket_ = first;
  }

  /// The store writes to the bucket that begins at `first`: the one before it is closed.
  void bucket_opened(Lsn first) {
    for (Entry& entry : entries_) {
      if (entry.lsn >= current_bucket_ && entry.lsn < first) close(entry);
    }
    current_bucket_ = first;
  }

  /// The store has dropped the record, and with it all that came before.
  void dropped(const Entry& entry) { gone_ = std::max(gone_, static_cast<std::size_t>(&entry - entries_.data()) + 1); }

  /// The store has moved its clock's anchor.
  void follow(std::int64_t offset_us) {
    offset_us_ = offset_us;
    clock_moved();
  }

  /// To be called after every change of the host's clocks.
  void clock_moved() {
    for (Entry& entry : entries_) {
      entry.was_over |= !within_retention(entry);
      // A known_since() in the future is taken back to the present.
      if (entry.was_over && host_.boot_us() >= known_settles_at_us_) {
        entry.latest_us = std::min(entry.latest_us, stamp_us());
      }
    }
  }

  /// The newest record of the id if the id is a duplicate now.
  Entry* find(const std::string& scope, const std::string& id) {
    const auto at = newest_.find({scope, id});
    if (at == newest_.end() || !within_retention(entries_[at->second])) return nullptr;
    return &entries_[at->second];
  }

  /// Never back, and never behind what the boot clock says has passed.
  std::int64_t next_time() const { return std::max(stamp_us(), last_us_); }

  void accept(const std::string& scope, const std::string& id, Lsn lsn, const Text& text = {}) {
    last_us_ = next_time();
    newest_[{scope, id}] = entries_.size();
    entries_.push_back({scope, id, last_us_, lsn, text});
    entries_.back().was_over = !within_retention(entries_.back());
    entries_.back().latest_us = last_us_;
  }

  /// `note` is where it is noted.
  void forget(const std::string& scope, const std::string& id, Lsn note) {
    find(scope, id)->forgotten = true;
    accept(scope, id, note);
    entries_.back().note = true;
    newest_.erase({scope, id});
  }

  /// The holder of an id, or of a lock (of no scope), unless another one may take it.
  Holder* holder(const std::string& scope, const std::string& id) {
    const auto at = holders_.find({scope, id});
    if (at == holders_.end()) return nullptr;
    const bool over = at->second.deadline_us <= host_.boot_us() && at->second.orphans != OrphanPolicy::keep;
    return over ? nullptr : &at->second;
  }
  /// Whoever has it, its lease over or not.
  std::map<std::pair<std::string, std::string>, Holder>& holders() { return holders_; }

  /// The records that a scan must show, and those that it may.
  bool must_show(const Entry& entry) const { return within_retention(entry) && !entry.was_over; }
  bool may_show(const Entry& entry) const { return within_retention(entry); }
  /// What was processed just a retention ago is forgotten now.
  std::int64_t known_since_us() const {
    return std::min(host_.wall_us(), host_.boot_us() + offset_us_) - retention_us_ + 1;
  }
  /// The store may say this late: what was over at some time it may have let go of.
  std::int64_t latest_known_since_us() const {
    std::int64_t latest = known_since_us();
    for (const Entry& entry : entries_) {
      if (entry.was_over) latest = std::max(latest, entry.processed_us + 1);
    }
    return latest;
  }
  const std::vector<Entry>& entries() const { return entries_; }  // By ascending LSN.
  Lsn last_lsn() const { return entries_.empty() ? Lsn{} : entries_.back().lsn; }

 private:
  std::int64_t stamp_us() const { return std::max(host_.wall_us(), host_.boot_us() + offset_us_); }

  std::vector<Entry>::iterator gone_end() { return entries_.begin() + static_cast<std::ptrdiff_t>(gone_); }

  /// The bucket of the entry is closed. An expired entry may have been dropped before.
  void close(Entry& entry) const {
    const std::int64_t latest_us = std::min(entry.processed_us, stamp_us());
    entry.latest_us = entry.was_over ? std::min(entry.latest_us, latest_us) : latest_us;
  }

  bool within_retention(const Entry& entry) const {
    const std::int64_t now_us = std::min(host_.wall_us(), host_.boot_us() + offset_us_);
    return now_us < entry.processed_us + retention_us_;
  }

  const FakeHost& host_;
  std::int64_t retention_us_;
  std::int64_t offset_us_ = 0;
  std::int64_t last_us_ = 0;
  std::int64_t known_settles_at_us_ = 0;  // Boot clock.
  Lsn current_bucket_;
  std::vector<Entry> entries_;
  std::size_t gone_ = 0;  // How many of them, from the first on, the store has certainly dropped.
  std::map<std::pair<std::string, std::string>, std::size_t> newest_;
  std::map<std::pair<std::string, std::string>, Holder> holders_;
};

}  // namespace oncelog::testing
