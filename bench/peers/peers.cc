#include <fmt/format.h>

#include <algorithm>

#include "peer.h"

namespace oncelog::bench {
namespace {

struct Found {
  std::vector<PeerKind> kinds;
  std::vector<std::string> missing;

  [[maybe_unused]] void without(const char* name, const char* package) {
    missing.push_back(fmt::format("{}: {} is missing", name, package));
  }
};

void find_embedded(Found& found) {
  found.kinds.push_back({"oncelog", true, [] { return make_oncelog(false); }});
  found.kinds.push_back({"oncelog-planned", false, [] { return make_oncelog(true); }});
  found.kinds.push_back({"unordered_set", true, make_unordered_set});
#ifdef WITH_ROCKSDB
  found.kinds.push_back({"rocksdb", true, make_rocksdb});
#else
  found.without("rocksdb", "librocksdb-dev");
#endif
#ifdef WITH_LEVELDB
  found.kinds.push_back({"leveldb", true, make_leveldb});
#else
  found.without("leveldb", "libleveldb-dev");
#endif
  found.kinds.push_back({"lmdb", true, make_lmdb});
#ifdef WITH_SQLITE
  found.kinds.push_back({"sqlite", true, make_sqlite});
#else
  found.without("sqlite", "libsqlite3-dev");
#endif
}

void find_servers(Found& found) {
#ifdef WITH_REDIS
  if (have_redis_server()) {
    found.kinds.push_back({"redis-everysec", true, [] { return make_redis(Sync::background); }});
    found.kinds.push_back({"redis-always", true, [] { return make_redis(Sync::each); }});
  } else {
    found.without("redis", "redis-server");
  }
#else
  found.without("redis", "libhiredis-dev");
#endif
#ifdef WITH_POSTGRESQL
  if (have_postgresql_server()) {
    found.kinds.push_back({"postgresql", true, make_postgresql});
  } else {
    found.without("postgresql", "postgresql-15");
  }
#else
  found.without("postgresql", "libpq-dev");
#endif
}

const Found& found() {
  static const Found all = [] {
    Found now;
    find_embedded(now);
    find_servers(now);
    return now;
  }();
  return all;
}

}  // namespace

const std::vector<PeerKind>& peer_kinds() {
  return found().kinds;
}
const std::vector<std::string>& missing_peers() {
  return found().missing;
}

}  // namespace oncelog::bench
