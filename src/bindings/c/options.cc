#include "bindings/c/options.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string_view>

#include <oncelog/remote.h>

#include "api/remote_opener.h"
#include "base/error.h"
#include "bindings/c/handles.h"

namespace oncelog::internal::c {
namespace {

using std::chrono::milliseconds;

/// What the hooks get. Whoever drops it last has the caller's function called.
using User = std::shared_ptr<void>;

User user_of(const oncelog_options& given) {
  if (given.free_user == nullptr) return {given.user, [](void*) {}};
  return {given.user, given.free_user};
}

DecisionHook decision_hook(const oncelog_options& given, const User& user) {
  if (given.on_decision == nullptr) return {};
  return [hook = given.on_decision, user](const Decision& decision) {
    oncelog_decision shown = {};
    shown.size = sizeof shown;
    shown.scope = view(decision.scope);
    shown.id = view(decision.id);
    shown.correlation = view(decision.correlation);
    shown.first_seen_us = decision.first_seen ? us_of(*decision.first_seen) : 0;
    shown.verdict = static_cast<oncelog_verdict>(decision.verdict);
    hook(&shown, user.get());
  };
}

StoreEventHook event_hook(const oncelog_options& given, const User& user) {
  if (given.on_event == nullptr) return {};
  return [hook = given.on_event, user](const StoreEvent& event) {
    hook(static_cast<oncelog_event_kind>(event.kind), event.sentence.c_str(), user.get());
  };
}

void check_flags(const oncelog_options& given) {
  for (const auto flag :
       {given.never_create, given.read_only, given.allow_foreign_owner, given.allow_network_filesystem}) {
    if (flag > 1) refuse(fmt::format("a flag of oncelog_options is {}; it is 0 or 1", flag));
  }
  check_reserved(given.reserved, sizeof given.reserved, "oncelog_options");
  check_reserved(&given.reserved2, sizeof given.reserved2, "oncelog_options");
}

/// An option that this kind of store does not have.
void check_absent(bool set, const char* name, const char* kind) {
  if (set) refuse(fmt::format("{} is no option of a store {}", name, kind));
}

/// Of what means "as stored" or "the default" when it is zero.
template <typename Value, typename Given>
std::optional<Value> unless_zero(Given given) {
  return given == 0 ? std::nullopt : std::optional<Value>(given);
}

Options local_options(const oncelog_options& given, const User& user) {
  constexpr const char* kKind = "in a directory";
  check_absent(given.timeout_ms != 0, "timeout_ms", kKind);
  check_absent(given.connections != 0, "connections", kKind);
  check_absent(given.near_directory != nullptr, "near_directory", kKind);
  check_absent(given.near_staleness_ms != 0, "near_staleness_ms", kKind);

  Options options;
  options.retention = unless_zero<milliseconds>(given.retention_ms);
  options.buckets = unless_zero<unsigned>(given.buckets);
  options.ack = ack_of(given.ack, options.ack);
  options.create = given.never_create == 0;
  options.read_only = given.read_only != 0;
  options.allow_foreign_owner = given.allow_foreign_owner != 0;
  options.allow_network_filesystem = given.allow_network_filesystem != 0;
  options.on_decision = decision_hook(given, user);
  options.on_event = event_hook(given, user);
  options.max_bytes = unless_zero<std::uint64_t>(given.max_bytes);
  if (given.max_bytes == ONCELOG_NO_CAP) options.max_bytes = 0;
  if (given.live_dir != nullptr) options.live_dir = given.live_dir;
  options.expected_ids = unless_zero<std::uint64_t>(given.expected_ids);
  if (given.flush_interval_ms != 0) options.flush_interval = milliseconds{given.flush_interval_ms};
  options.ring_bytes = unless_zero<std::uint64_t>(given.ring_bytes);
  options.max_claims = unless_zero<std::uint32_t>(given.max_claims);
  if (given.map_bytes != 0) options.map_bytes = given.map_bytes;
  if (given.max_readers != 0) options.max_readers = given.max_readers;
  return options;
}

remote::Options remote_options(const oncelog_options& given, const User& user) {
  constexpr const char* kKind = "at an address";
  check_absent(given.buckets != 0, "buckets", kKind);
  check_absent(given.allow_foreign_owner != 0, "allow_foreign_owner", kKind);
  check_absent(given.allow_network_filesystem != 0, "allow_network_filesystem", kKind);
  check_absent(given.max_bytes != 0, "max_bytes", kKind);
  check_absent(given.live_dir != nullptr, "live_dir", kKind);
  check_absent(given.expected_ids != 0, "expected_ids", kKind);
  check_absent(given.flush_interval_ms != 0, "flush_interval_ms", kKind);
  check_absent(given.ring_bytes != 0, "ring_bytes", kKind);
  check_absent(given.map_bytes != 0, "map_bytes", kKind);
  check_absent(given.max_claims != 0, "max_claims", kKind);
  check_absent(given.max_readers != 0, "max_readers", kKind);

  remote::Options options;
  options.retention = unless_zero<milliseconds>(given.retention_ms);
  options.ack = ack_of(given.ack, options.ack);
  options.create = given.never_create == 0;
  options.read_only = given.read_only != 0;
  options.on_decision = decision_hook(given, user);
  options.on_event = event_hook(given, user);
  if (given.timeout_ms != 0) options.timeout = milliseconds{given.timeout_ms};
  if (given.connections != 0) options.connections = given.connections;
  if (given.near_directory != nullptr) options.near = given.near_directory;
  if (given.near_staleness_ms < -1) {
    refuse(fmt::format("near_staleness_ms is {}; -1 is the least", given.near_staleness_ms));
  }
  if (given.near_staleness_ms != 0) options.near_staleness = std::max(milliseconds{given.near_staleness_ms}, {});
  return options;
}

}  // namespace

oncelog_store* open(const char* directory_or_address, const oncelog_options* options) {
  const oncelog_options given = options == nullptr ? oncelog_options{} : known_part(options, "oncelog_options");
  const User user = user_of(given);  // From here on it is freed, whatever fails.
  need(directory_or_address, "the directory or address");
  check_flags(given);
  if (is_remote_address(directory_or_address)) {
    const remote::Options at_address = remote_options(given, user);
    return new oncelog_store{remote_opener()(directory_or_address, at_address), at_address.ack};
  }
  const Options local = local_options(given, user);
  return new oncelog_store{Store::open(directory_or_address, local), local.ack};
}

oncelog_store* open_in_memory(const oncelog_options* options, const oncelog_clock* clock) {
  const oncelog_options given = options == nullptr ? oncelog_options{} : known_part(options, "oncelog_options");
  const User user = user_of(given);
  check_flags(given);
  const Options local = local_options(given, user);
  return new oncelog_store{testing::open_in_memory(local, clock == nullptr ? nullptr : clock->clock), local.ack};
}

}  // namespace oncelog::internal::c
