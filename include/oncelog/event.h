#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include <oncelog/record.h>

namespace oncelog {

/// One decision on an id, as Options::on_decision gets it. The views are valid during the call.
struct Decision {
  Verdict verdict;
  std::string_view scope;
  std::string_view id;
  std::string_view correlation;  ///< As the caller gave it; empty when not.
  /// When the earlier record of a duplicate or conflict was made; nothing for the other verdicts.
  std::optional<Time> first_seen;
};

/// Called on the deciding thread, once it holds no lock, for every id that mark, begin and Transaction::mark decide on
/// (not for checks). What it throws reaches the caller, and changes nothing about the decision. Costs nothing when
/// unset.
using DecisionHook = std::function<void(const Decision&)>;

/// What can happen to a store that its operator should know of.
enum class StoreEventKind : std::uint8_t {
  bucket_dropped_early,  ///< Options::max_bytes made the store forget before the retention was over.
  clock_fault,           ///< The wall clock runs ahead of the boot clock; expiry follows the latter until the
                         ///< former has been ahead for the retention (an hour at least), and is believed.
  flush_failed,          ///< A group commit failed; marks are refused until one succeeds.
  flush_recovered,       ///< One did.
  memory_damaged,        ///< The store's shared memory was damaged when this process opened it as the only one, and was
                         ///< made anew. What it held that was not on disk is saved where it was whole; the sentence
                         ///< says how much, and what is lost. Where its header was damaged, claims and locks are
                         ///< released, and tokens go on growing.
};

struct StoreEvent {
  StoreEventKind kind;
  std::string sentence;
};

/// Called on a thread of its own, one event at a time, so that it may take its time (more than 64 events that wait for
/// it are dropped, which the next one's sentence says), and may use, open and close any store. The store's last handle,
/// when destroyed elsewhere, closes the store and then waits until the hook has been called for what had happened;
/// destroyed by the hook itself it does not wait, and that call is the last. Must not throw anything but
/// std::exception, which Metrics::last_error reports.
using StoreEventHook = std::function<void(const StoreEvent&)>;

ONCELOG_API std::string_view to_string(StoreEventKind kind);

}  // namespace oncelog
