#include "remote/redis/script_calls.h"

#include <utility>

#include "remote/backend.h"

namespace oncelog::internal::remote {
namespace {

/// Of looks that are in vain, because a server is replaced by the next one meanwhile.
constexpr int kMostLooks = 4;

}  // namespace

Command ScriptCalls::command_of(const ShardCall& call, const std::string& looked_under) const {
  std::string terms = clock_->packed();
  put(terms, static_cast<std::uint64_t>(retention_us_), 8);
  terms += call.terms;
  // EVALSHA, digest, the number of keys, the state; run id, the other run id, terms.
  Command command(7 + call.keys.size() + call.arguments.size());
  command.add("EVALSHA").add_digest(static_cast<std::size_t>(call.script));
  command.add(std::to_string(1 + call.keys.size())).add(call.state);
  for (const std::string& key : call.keys) command.add(key);
  command.add_run().add(looked_under).add(terms);
  for (const std::string& argument : call.arguments) command.add(argument);
  return std::move(command.belongs_to(call.state));
}

std::vector<Reply> ScriptCalls::run(std::span<const ShardCall> calls, Ack ack) {
  std::vector<Reply> replies(calls.size());
  std::vector<std::size_t> left(calls.size());
  for (std::size_t i = 0; i < calls.size(); ++i) left[i] = i;
  for (int looks = 0; !left.empty(); ++looks) {
    if (looks == kMostLooks) throw ConnectionLost(router_.name() + ": the servers are being replaced");
    std::vector<Command> commands;
    std::vector<std::string> runs;
    for (const std::size_t i : left) {
      runs.push_back(history_.looked_under(calls[i].state));
      commands.push_back(command_of(calls[i], runs.back()));
    }
    std::vector<Reply> got = router_.run(commands, ack);
    std::vector<std::size_t> again;
    std::vector<History::Wanted> wanted;
    for (std::size_t place = 0; place < left.size(); ++place) {
      const std::size_t i = left[place];
      if (is_text(*got[place], "RUN")) {
        wanted.push_back({calls[i].state, runs[place]});
        again.push_back(i);
      } else {
        replies[i] = std::move(got[place]);
      }
    }
    if (!wanted.empty()) history_.look(wanted);
    left = std::move(again);
  }
  return replies;
}

}  // namespace oncelog::internal::remote
