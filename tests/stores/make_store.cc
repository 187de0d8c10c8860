// Makes the store that old_stores_test.cc expects of a format: make_store DIRECTORY [FORMAT]. It is built with the code
// of the format that it is to make; see README.md beside this. FORMAT 1 makes a store of that format with the code of
// format 2.
#include <cstdio>
#include <cstdlib>
#include <string>

#include <oncelog/oncelog.h>

#include "api/store_access.h"
#include "base/host.h"
#include "lmdb/catalog.h"
#include "lmdb/handles.h"

using namespace oncelog;
using namespace std::chrono_literals;

namespace {

/// The clock that the test begins with, too.
class SteppedHost final : public internal::Host {
 public:
  internal::Uuid boot_id() const override { return {1}; }
  std::int64_t wall_us() const override { return 1'800'000'000'000'000 + passed_us_; }
  std::int64_t boot_us() const override { return 1'000'000'000 + passed_us_; }
  void advance(std::chrono::microseconds by) { passed_us_ += by.count(); }

 private:
  std::int64_t passed_us_ = 0;
};

void fill(const std::filesystem::path& path, SteppedHost& host, unsigned format) {
  const Store store = StoreAccess::open(
      path, {.retention = 24h, .buckets = 4, .max_bytes = 1 << 20, .expected_ids = 1, .flush_interval = 1h}, host);
  const Scope orders = store.scope("orders");
  const Scope mails = store.scope("mails");
  const std::string padding(16'000, 'o');
  const auto mark_padded = [&](const std::string& prefix, int count) {
    for (int i = 0; i < count; ++i) orders.mark(prefix + std::to_string(i), {.result = padding});
    store.sync();
    store.expire();
  };
  mark_padded("old-", 50);
  host.advance(7h);
  mark_padded("mid-", 40);
  host.advance(7h);
  for (unsigned i = 0; i < 100; ++i) {
    const std::string n = std::to_string(i);
    const std::string correlation = "chain-" + std::to_string(i % 5);
    const std::string result = "result-" + n;
    orders.mark("new-" + n, {.correlation = correlation,
                             .fingerprint = i + 1,
                             .result = result,
                             .source = {.name = "queue", .partition = i % 3, .offset = i}});
    if (i < 50) mails.mark("mail-" + n);
  }
  if (format >= 2) orders.forget("new-7");
  store.transact([&](Transaction& tx) {
    tx.mark(orders, "in a transaction", {.correlation = "chain-0"});
    for (int i = 0; i < 10; ++i) tx.put("balances", "account-" + std::to_string(i), std::to_string(i * 100));
    tx.put("large", "one", std::string(20'000, 'v'));
  });
  orders.begin("claimed", 1h).complete();
  store.sync();
  store.expire();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fputs("usage: make_store DIRECTORY [FORMAT]\n", stderr);
    return 2;
  }
  const std::filesystem::path path = argv[1];
  const unsigned format = argc > 2 ? static_cast<unsigned>(std::atoi(argv[2])) : internal::kFormatVersion;
  SteppedHost host;
  fill(path, host, format);
  if (format != internal::kFormatVersion) {
    const internal::lmdb::Env env(path, MDB_NOTLS | MDB_NORDAHEAD, std::uint64_t{64} << 20, 16, 8);
    internal::lmdb::WriteTxn txn(env);
    const internal::Catalog catalog(txn, 0);
    auto identity = *catalog.identity(txn);
    identity.format_version = format;
    catalog.put_identity(txn, identity);
    txn.commit();
  }
  return 0;
}
