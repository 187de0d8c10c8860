#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>

#include <oncelog/event.h>
#include <oncelog/record.h>

#include "remote/redis/codec.h"
#include "remote/redis/router.h"

namespace oncelog::internal::remote {

/// What tests put in the place of the server's clock: so much ahead, or one that stands still. Any thread.
struct ServerClock {
  std::atomic<bool> fixed{false};
  std::atomic<std::int64_t> us{0};  // Since 1970 when it is fixed, else ahead of the server's.

  /// The beginning of all scripts' terms.
  std::string packed() const;
};

/// Notices that a server has forgotten what it had answered: after a failover to a replica that was behind, a start
/// from an old file, or FLUSHALL.
///
/// Each shard's state names the run id of the server that wrote it. A server that finds another one's, or none, decides
/// nothing: its clients first look() whether what each of them was answered last is still there. Servers forget the
/// end of a history, never its middle, so a client whose last mark is there has lost none. And the client that was
/// answered is the one that must ask the new server, as its connection has ended with the old one. Where something is
/// lost, known_since rises to now, and an event says so. Tokens grow in either case: see the script.
///
/// What nobody can notice: what was answered only to clients that have ended since. What looks lost and is not: an id
/// that was forgotten and marked again between this client's last answer and its next look. Any thread.
class History {
 public:
  History(Router& router, std::shared_ptr<const ServerClock> clock, std::int64_t retention_us, StoreEventHook on_event)
      : router_(router), clock_(std::move(clock)), retention_us_(retention_us), on_event_(std::move(on_event)) {}

  /// The run id under which this client has looked last; 40 zeros when it never has.
  std::string looked_under(const std::string& state);
  /// Looks at states, in one round trip, except those at which somebody has since looked_under() was `before`.
  struct Wanted {
    std::string state;
    std::string before;
  };
  void look(std::span<const Wanted> wanted);

  /// How often this client has looked: what it knows besides may have to be looked at again when that has changed.
  std::uint64_t looks() const { return looks_.load(std::memory_order_relaxed); }

  /// What was answered.
  void note_record(const std::string& state, const std::string& key, std::int64_t time_us, Lsn lsn);
  void note_token(const std::string& state, std::uint64_t token);

 private:
  struct Known {
    std::string run = std::string(kDigestBytes, '0');
    std::string key;  // Of the newest record; empty: none.
    std::int64_t time_us = 0;
    Lsn lsn;
    std::uint64_t token = 0;
  };

  Command question(const std::string& state, const Known& known) const;
  /// Takes what the server has answered, and returns since when something is known where it has forgotten; 0 where not.
  std::int64_t take(const std::string& state, const Reply& reply);
  void tell(std::int64_t since_us) const;

  Router& router_;
  const std::shared_ptr<const ServerClock> clock_;
  const std::int64_t retention_us_;
  const StoreEventHook on_event_;

  std::atomic<std::uint64_t> looks_{0};
  std::mutex looking_;                               // Held while one looks; before mutex_.
  std::mutex mutex_;                                 // Of known_.
  std::map<std::string, Known, std::less<>> known_;  // By the state's key.
};

}  // namespace oncelog::internal::remote
