#pragma once

/// @file
/// Stores that all hosts share: the same calls on PostgreSQL, Redis and Valkey. Library oncelog-remote, which is there
/// where libpq or hiredis were found when it was built; pkg-config knows it by the same name.

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include <oncelog/error.h>
#include <oncelog/event.h>
#include <oncelog/options.h>
#include <oncelog/store.h>

/// libpq's connection, `PGconn`.
struct pg_conn;

namespace oncelog::remote {

/// How to open a shared store.
struct Options {
  /// As oncelog::Options::retention. Fixed by the first to open the store.
  std::optional<std::chrono::milliseconds> retention = std::nullopt;

  /// What a mark waits for, unless the call says otherwise. Ack::host: it survives the death of this process and host,
  /// and the server has answered; a crash of the server may lose the last fraction of a second (PostgreSQL:
  /// synchronous_commit=off; Redis: appendfsync everysec). Ack::disk: it survives that, too.
  Ack ack = Ack::host;

  /// Make what the store needs on the server where it is missing. Without, it is Error::not_found.
  bool create = true;

  /// Accept nothing; see oncelog::Options::read_only.
  bool read_only = false;

  /// The longest that a call takes which waits for nothing but the server, reconnecting and asking again included: 1 ms
  /// to 1 hour. What has no answer by then is Error::io. Of a mark it is not known then whether it stands; asking again
  /// tells. The end of a transaction, its commit and what is given back after it, counts as one call. Resolving a
  /// host's name may add to it. A server of Redis that syncs once a second (appendfsync everysec) takes up to 3 seconds
  /// for what waits for its disk: less time than that is too little there.
  std::chrono::milliseconds timeout{5000};

  /// Connections that may be open at once, 1 to 1000. Each call uses one; more callers wait for a free one.
  unsigned connections = 8;

  /// Called for each decision on an id; see DecisionHook.
  DecisionHook on_decision = {};
  /// Called for what happens to the store; see StoreEventHook.
  StoreEventHook on_event = {};

  /// A directory for a local store in front of the shared one, the near tier; none by default. An id that was ever
  /// answered as a duplicate here, or marked here, is then answered here, without the server; the ids that threads ask
  /// for at the same time and that are not known here go to the server together. After Scope::forget on another host
  /// this one may go on to say duplicate for `near_staleness`.
  std::filesystem::path near = {};
  /// How long what another host forgot may still be a duplicate here: 0 to the retention.
  std::chrono::milliseconds near_staleness = std::chrono::minutes{1};
};

/// Opens the store at an address:
///
///     postgresql://user@host/database?schema=oncelog     what libpq takes; `schema` is the store's name
///     redis://user:password@host:port/database?prefix=oncelog
///     redis+unix:///run/redis.sock?prefix=oncelog
///     redis+cluster://host:port,host:port?prefix=oncelog
///
/// The handles are those of any store: thread-safe, cheap to copy. Each call that is not answered by the near tier is
/// one round trip; many ids in one call are one as well. What an engine cannot do is Error::unsupported, with the
/// reason; what each one promises is in src/remote/README.md. A lost connection is never a verdict: the call asks again
/// until `timeout`, and does not take its own mark for another's.
///
/// Errors: invalid_argument for an address or option outside its range; not_found, no_permission, options_mismatch,
/// newer_format as for a local store; unsupported for a server that cannot keep the promises; io when it cannot be
/// reached.
ONCELOG_API Store open(std::string_view address, const Options& options = {});

/// Whether that is an address, rather than the path of a local store.
ONCELOG_API bool is_address(std::string_view text) noexcept;

/// The connection in which a transaction on PostgreSQL runs, so that the caller's own statements commit with its marks:
/// `PGconn*`. Only during the function that Store::transact calls, only on its thread, and not for statements that end
/// the transaction. Null on other engines.
ONCELOG_API pg_conn* connection(Transaction& transaction) noexcept;

/// The statements that make the store at that address of PostgreSQL's, as open() runs them: for those who run them
/// themselves. Nothing is asked of the server. Errors: invalid_argument; unsupported for another engine's address.
ONCELOG_API std::string postgresql_schema(std::string_view address,
                                          std::chrono::milliseconds retention = kDefaultRetention);

}  // namespace oncelog::remote
