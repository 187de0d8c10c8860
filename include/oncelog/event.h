#pragma once

/// @file
/// What a store reports to its owner: decisions on ids, and what happens to the store.

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include <oncelog/record.h>

namespace oncelog {

/// One decision on an id, as Options::on_decision receives it. The views are valid during the call.
struct Decision {
  Verdict verdict;               ///< What was decided.
  std::string_view scope;        ///< The scope's name.
  std::string_view id;           ///< The id as the caller gave it.
  std::string_view correlation;  ///< As the caller gave it; empty when unset.
  /// When the earlier record of a duplicate or conflict was made; nothing for the other verdicts.
  std::optional<Time> first_seen;
};

/// Called for every id that mark, begin and Transaction::mark decide on, not for checks. Called once for each, on the
/// deciding thread, which holds no lock then. What it throws reaches the caller, and the rest of a batch is not
/// reported. The decisions stand all the same, but claims just taken are released. Costs nothing when unset.
using DecisionHook = std::function<void(const Decision&)>;

/// What can happen to a store that its operator should know of.
enum class StoreEventKind : std::uint8_t {
  bucket_dropped_early,  ///< Options::max_bytes made the store forget ids before their retention was over.
  clock_fault,           ///< The wall clock is ahead of the boot clock. Expiry follows the boot clock until the wall
                         ///< clock has been ahead for the retention, an hour at least; then it is believed.
  flush_failed,          ///< A group commit failed. Marks are refused until one succeeds.
  flush_recovered,       ///< A group commit succeeded after that.
  memory_damaged,        ///< The store's shared memory was damaged when this process opened it as the only one, and was
                         ///< rebuilt. What was whole of the marks that were not on disk is saved; the sentence says how
                         ///< much, and what is lost. Where the header was damaged, claims and locks are released, and
                         ///< tokens keep growing. Or hints that are kept on disk for after a reboot were damaged, and
                         ///< were rebuilt from the log: then nothing is lost.
  server_forgot,         ///< A shared store's server has lost what it had answered before, by a failover or a restart:
                         ///< Store::known_since() rises to that moment, and fencing tokens keep growing.
  near_left_out,         ///< The directory of a shared store's near tier cannot be used; the server is asked instead.
  near_in_use,           ///< The near tier is in use again after that.
};

/// Something that happened to a store.
struct StoreEvent {
  StoreEventKind kind;   ///< What happened.
  std::string sentence;  ///< The same for a person, with the store's path and the figures.
};

/// Called for each event, on a thread of its own, one event at a time. It may take its time, and may use, open and
/// close any store. At most 64 events wait for it; more are dropped, and the next sentence says how many.
///
/// When the store's last handle is destroyed, the store is closed; the destructor then waits until the hook has been
/// called for everything that had happened. Destroyed by the hook itself, it does not wait, and that call is the last.
/// The hook must throw nothing but std::exception, which Metrics::last_error reports.
using StoreEventHook = std::function<void(const StoreEvent&)>;

/// The kind's name, such as "flush_failed".
ONCELOG_API std::string_view to_string(StoreEventKind kind);

}  // namespace oncelog
