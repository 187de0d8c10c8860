#include <oncelog/remote.h>

#include <fmt/format.h>

#include <memory>

#include "api/remote_opener.h"
#include "api/store_access.h"
#include "base/error.h"
#include "remote/ask_again.h"
#include "remote/gathering.h"
#include "remote/near.h"
#include "remote/remote_engine.h"
#include "shared/argument_checks.h"
#ifdef ONCELOG_WITH_REDIS
#include "remote/address.h"
#include "remote/redis/redis_backend.h"
#endif
#ifdef ONCELOG_WITH_POSTGRESQL
#include "remote/postgresql/address.h"
#include "remote/postgresql/backend.h"
#include "remote/postgresql/initialize.h"
#endif

namespace oncelog::remote {
namespace {

using std::chrono::milliseconds;

using internal::begins_with;
using internal::kPostgresqlSchemes;
using internal::kRedisSchemes;

void check_options(const Options& options) {
  if (options.timeout < milliseconds{1} || options.timeout > std::chrono::hours{1}) {
    internal::refuse(fmt::format("timeout is {} ms; 1 ms to 1 hour are possible", options.timeout.count()));
  }
  if (options.connections < 1 || options.connections > 1000) {
    internal::refuse(fmt::format("connections is {}; 1 to 1000 are possible", options.connections));
  }
  internal::check_option_ranges({.retention = options.retention});
}

[[noreturn]] [[maybe_unused]] void refuse_engine(std::string_view engine) {
  throw Error(ErrorCode::unsupported, fmt::format("this oncelog-remote was built without {}", engine));
}

using internal::EventDispatch;
using internal::remote::Backend;

std::shared_ptr<Backend> engine_at(std::string_view address, [[maybe_unused]] const Options& options) {
  if (begins_with(address, kPostgresqlSchemes)) {
#ifdef ONCELOG_WITH_POSTGRESQL
    auto parsed = internal::remote::PostgresqlAddress::parse(address);
    return std::make_shared<internal::remote::PostgresqlBackend>(parsed.uri, std::move(parsed.name),
                                                                 std::move(parsed.schema), options);
#else
    refuse_engine("PostgreSQL");
#endif
  }
  if (begins_with(address, kRedisSchemes)) {
#ifdef ONCELOG_WITH_REDIS
    return internal::remote::open_redis(internal::remote::parse_redis_address(address), options);
#else
    refuse_engine("Redis");
#endif
  }
  internal::refuse("an address begins with postgresql:// or redis://");
}

/// The engine, with what stands before it.
std::shared_ptr<Backend> backend_at(std::string_view address, const Options& options,
                                    const std::shared_ptr<EventDispatch>& events) {
  std::shared_ptr<Backend> engine = engine_at(address, options);
  if (options.near.empty()) return engine;
  internal::remote::NearSettings settings{options.near, options.near_staleness, options.timeout};
  settings.on_event = [events](const internal::remote::NearEvent& event) {
    if (!events) return;
    events->raise(event.in_use ? StoreEventKind::near_in_use : StoreEventKind::near_left_out, event.sentence);
  };
  auto gathering = std::make_shared<internal::remote::Gathering>(std::move(engine), options.timeout);
  return std::make_shared<internal::remote::Near>(std::move(gathering), settings);
}

// So that the core, and with it the C interface, opens addresses once this library is loaded.
[[gnu::constructor]] void provide_opener() {
  internal::provide_remote_opener(&open);
}

}  // namespace

Store open(std::string_view address, const Options& options) {
  check_options(options);
  const auto events = options.on_event ? std::make_shared<EventDispatch>(options.on_event) : nullptr;
  Options inner = options;
  if (events) inner.on_event = [events](const StoreEvent& event) { events->raise(event.kind, event.sentence); };
  auto backend =
      internal::remote::ask_again(options.timeout, "the store", [&] { return backend_at(address, inner, events); });
  return StoreAccess::on(std::make_shared<internal::remote::RemoteEngine>(std::move(backend), options, events),
                         options.ack);
}

bool is_address(std::string_view text) noexcept {
  return internal::is_remote_address(text);
}

pg_conn* connection(Transaction& transaction) noexcept {
  return internal::TransactionBody::of(transaction).connection();
}

std::string postgresql_schema(std::string_view address, [[maybe_unused]] std::chrono::milliseconds retention) {
  if (!begins_with(address, kPostgresqlSchemes)) {
    throw Error(ErrorCode::unsupported,
                "only stores on PostgreSQL are made by statements: an address that begins with "
                "postgresql:// is needed");
  }
#ifdef ONCELOG_WITH_POSTGRESQL
  return internal::remote::schema_statements(internal::remote::PostgresqlAddress::parse(address).schema, retention);
#else
  refuse_engine("PostgreSQL");
#endif
}

}  // namespace oncelog::remote
