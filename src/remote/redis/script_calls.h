#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "remote/redis/history.h"
#include "remote/redis/keys.h"
#include "remote/redis/router.h"
#include "remote/redis/scripts.h"

namespace oncelog::internal::remote {

/// What a script is asked to do in one shard.
struct ShardCall {
  Script script;
  std::string state;                   // KEYS[1]
  std::vector<std::string> keys;       // The others.
  std::string terms;                   // After those that all scripts have.
  std::vector<std::string> arguments;  // After the terms.
};

/// Runs scripts, in one round trip for all, and looks whether the server has forgotten something where they want that
/// first. Any thread.
class ScriptCalls {
 public:
  ScriptCalls(Router& router, History& history, std::shared_ptr<const ServerClock> clock, std::int64_t retention_us)
      : router_(router), history_(history), clock_(std::move(clock)), retention_us_(retention_us) {}

  /// The answer of each. Errors: Router's.
  std::vector<Reply> run(std::span<const ShardCall> calls, Ack ack = Ack::host);
  Reply run(const ShardCall& call, Ack ack = Ack::host) { return std::move(run({&call, 1}, ack).front()); }

 private:
  Command command_of(const ShardCall& call, const std::string& looked_under) const;

  Router& router_;
  History& history_;
  const std::shared_ptr<const ServerClock> clock_;
  const std::int64_t retention_us_;
};

}  // namespace oncelog::internal::remote
