#include "remote/redis/server_check.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>

#include "base/error.h"

namespace oncelog::internal::remote {
namespace {

struct Version {
  unsigned major = 0;
  unsigned minor = 0;

  friend auto operator<=>(const Version&, const Version&) = default;
};

Version version_in(std::string_view info) {
  const std::string_view text = info_field(info, "redis_version");
  const char* const end = text.data() + text.size();
  Version version;
  const auto [dot, error] = std::from_chars(text.data(), end, version.major);
  if (error == std::errc{} && dot != end) std::from_chars(dot + 1, end, version.minor);
  return version;
}

struct Configured {
  std::string appendfsync;
  bool pauses = false;  // no-appendfsync-on-rewrite.
};

/// Nothing when CONFIG is not for this user.
std::optional<Configured> configured(Connection& connection, Deadline deadline) {
  const Command command{"CONFIG", "GET", "appendfsync", "no-appendfsync-on-rewrite"};
  const Command* one = &command;
  connection.send({&one, 1}, deadline);
  const Reply reply = connection.receive(deadline);
  // Forbidden by an ACL, or renamed.
  if (is_error(*reply, "NOPERM") || is_error(*reply, "ERR")) return std::nullopt;
  if (is_error(*reply)) throw_error(connection.name(), reply->str);
  Configured found;
  const auto values = elements_of(*reply);
  for (std::size_t i = 0; i + 1 < values.size(); i += 2) {
    if (text_of(*values[i]) == "appendfsync") found.appendfsync = text_of(*values[i + 1]);
    if (text_of(*values[i]) == "no-appendfsync-on-rewrite") found.pauses = text_of(*values[i + 1]) == "yes";
  }
  if (found.appendfsync.empty()) return std::nullopt;
  return found;
}

[[noreturn]] void refuse_server(const std::string& name, std::string_view why) {
  throw Error(ErrorCode::unsupported, fmt::format("{}: {}", name, why));
}

Syncs syncs_of(const std::optional<Configured>& config, Version version) {
  if (config && config->appendfsync == "always" && !config->pauses) return Syncs::each_write;
  if (version >= Version{7, 2}) return Syncs::when_asked;
  return config && !config->pauses ? Syncs::each_second : Syncs::unknown;
}

}  // namespace

void check_can_wait(Syncs syncs, const std::string& name) {
  if (syncs != Syncs::unknown) return;
  refuse_server(name,
                "nobody can wait for its disk: that takes a user who may ask CONFIG GET appendfsync, and "
                "no-appendfsync-on-rewrite no; or a server that knows WAITAOF (Redis 7.2, Valkey)");
}

ServerFacts check_server(Connection& connection, Ack ack, Deadline deadline) {
  const std::string& name = connection.name();
  const std::string_view info = connection.info();
  const Version version = version_in(info);
  if (version < Version{7, 0}) {
    refuse_server(
        name, fmt::format("it says that it is Redis {}; 7.0 at least is needed", info_field(info, "redis_version")));
  }
  ServerFacts facts;
  facts.replica = info_field(info, "role") != "master";
  facts.clustered = info_field(info, "cluster_enabled") == "1";
  const std::string_view policy = info_field(info, "maxmemory_policy");
  if (policy != "noeviction") {
    refuse_server(name, fmt::format("maxmemory-policy is {}, which removes ids before their time once maxmemory is "
                                    "reached; set it to noeviction",
                                    policy));
  }
  if (info_field(info, "aof_enabled") != "1") {
    refuse_server(name, "appendonly is off, so that a crash of the server forgets minutes; set it to yes");
  }
  const auto config = configured(connection, deadline);
  if (config && config->appendfsync == "no") {
    refuse_server(name,
                  "appendfsync is no, so that a crash of the server's host forgets half a minute; set it to "
                  "everysec or always");
  }
  facts.syncs = syncs_of(config, version);
  if (ack == Ack::disk && facts.syncs != Syncs::each_write && facts.syncs != Syncs::when_asked) {
    refuse_server(name,
                  "Ack::disk needs appendfsync always and no-appendfsync-on-rewrite no, or a server that knows WAITAOF "
                  "(Redis 7.2, Valkey)");
  }
  return facts;
}

}  // namespace oncelog::internal::remote
