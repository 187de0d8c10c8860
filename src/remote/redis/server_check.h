#pragma once

#include <cstdint>

#include <oncelog/options.h>

#include "remote/redis/connection.h"

namespace oncelog::internal::remote {

/// How a server brings to its disk what it has answered.
enum class Syncs : std::uint8_t {
  each_write,   // appendfsync always: no answer leaves before it is on disk.
  when_asked,   // WAITAOF, of 7.2.
  each_second,  // appendfsync everysec, on its own schedule.
  unknown,      // As each_second, as far as one is told.
};

struct ServerFacts {
  Syncs syncs = Syncs::each_second;
  bool replica = false;
  bool clustered = false;
};

/// Reads from INFO and CONFIG whether a server can keep a store's promises, and throws Error::unsupported with what to
/// set when it cannot:
///
/// - It is Redis 7.0 or Valkey at least.
/// - maxmemory-policy is noeviction, whatever maxmemory is: all other policies remove keys of ours when it is reached,
///   the volatile ones too, as all of ours have a time to live; and maxmemory can be set at any time.
/// - appendonly is on, with appendfsync everysec for Ack::host; snapshots alone lose minutes, `no` half a minute. For
///   Ack::disk it is always, without a pause while the file is rewritten, or the server knows WAITAOF.
///
/// Where CONFIG is forbidden, as in many hosted services, appendfsync is not known: everysec, the default, is believed
/// then, and waiting for the disk needs WAITAOF. The rest is in INFO. One round trip.
ServerFacts check_server(Connection& connection, Ack ack, Deadline deadline);

/// Throws Error::unsupported when a server does not say how it syncs: then nobody can wait for that.
void check_can_wait(Syncs syncs, const std::string& name);

}  // namespace oncelog::internal::remote
