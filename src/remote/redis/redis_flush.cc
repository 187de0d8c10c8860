#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <thread>

#include "base/error.h"
#include "remote/redis/redis_backend.h"

/// RedisBackend's way to the disk, by what the server offers: see Syncs.

namespace oncelog::internal::remote {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kPoll{50};
/// A server that syncs each second starts to do so within this time after the last one has ended: its seconds begin
/// with those of its clock, and it looks ten times in one.
constexpr std::int64_t kStartsWithinUs = 1'300'000;

struct Progress {
  std::int64_t time_us = 0;
  bool idle = false;  // Nothing is being synced, or waits to be written.
};

Progress progress_of(Connection& connection, Deadline deadline) {
  const Reply reply = connection.ask({"INFO"}, deadline);
  const std::string_view info = text_of(*reply);
  if (info_field(info, "aof_last_write_status") != "ok") {
    throw Error(ErrorCode::io, fmt::format("{}: the server cannot write its append-only file", connection.name()));
  }
  Progress progress;
  const std::string_view time = info_field(info, "server_time_usec");
  std::from_chars(time.data(), time.data() + time.size(), progress.time_us);
  progress.idle = info_field(info, "aof_pending_bio_fsync") == "0" && info_field(info, "aof_buffer_length") == "0";
  return progress;
}

}  // namespace

/// With appendfsync everysec no command says up to where the file is on disk, but INFO says whether a sync is pending.
/// Everything that was answered is in the file. When no sync is pending, the next one begins after this moment, and so
/// covers it; and it has begun within kStartsWithinUs. So all is on disk once none is pending after that time.
void RedisBackend::flush(Node& node) {
  Node::Lease lease = router_.connect(node);
  Connection& connection = lease.connection();
  check_can_wait(lease.facts().syncs, connection.name());
  const Deadline limit = router_.deadline();
  if (lease.facts().syncs == Syncs::when_asked) {
    const std::string key = router_.key_at(node, keys_.prefix());
    connection.ask({"SET", key, "", "PX", "1000"}, limit);
    const int left_ms = std::max(milliseconds_until(limit), 1);  // 0 would be for ever.
    const Reply synced = connection.ask({"WAITAOF", "1", "0", std::to_string(left_ms)}, limit);
    if (integer_of(*elements_of(*synced, 2)[0]) < 1) {
      throw Error(ErrorCode::io, fmt::format("{}: the server's disk took longer than the timeout", connection.name()));
    }
  } else if (lease.facts().syncs == Syncs::each_second) {
    std::int64_t idle_since_us = 0;  // 0: it was not idle yet.
    while (true) {
      const Progress now = progress_of(connection, limit);
      if (now.idle && idle_since_us == 0) idle_since_us = now.time_us;
      if (now.idle && now.time_us >= idle_since_us + kStartsWithinUs) break;
      if (std::chrono::steady_clock::now() > limit) {
        throw Error(ErrorCode::io,
                    fmt::format("{}: the server's disk took longer than the timeout", connection.name()));
      }
      std::this_thread::sleep_for(kPoll);  // The server tells nobody when it has synced.
    }
  }
  lease.keep();
}

void RedisBackend::await_seconds(Ack ack) {
  if (ack != Ack::disk) return;
  std::vector<Node*> to_wait_for;
  for (Node* node : router_.masters()) {
    Node::Lease lease = router_.connect(*node);
    const bool each_second = lease.facts().syncs == Syncs::each_second;
    lease.keep();
    if (each_second) to_wait_for.push_back(node);
  }
  for (Node* node : to_wait_for) flush(*node);
}

void RedisBackend::flush() {
  for (Node* node : router_.masters()) flush(*node);
}

}  // namespace oncelog::internal::remote
