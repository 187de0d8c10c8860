#include <cstdlib>
#include <string>

#include "lmdb/catalog.h"
#include "lmdb/handles.h"
#include "shared.h"
#include "support.h"

// Each format's store that stores/make_store.cc has made with that format's code, as this build reads it.

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

const std::filesystem::path kStores = ONCELOG_TEST_STORES;

/// Unpacks the store of that format.
void unpack(unsigned format, const std::filesystem::path& path) {
  std::filesystem::create_directory(path);
  const auto packed = kStores / ("format" + std::to_string(format) + ".mdb.gz");
  const std::string command = "gzip -dc '" + packed.string() + "' > '" + (path / "data.mdb").string() + "'";
  REQUIRE(std::system(command.c_str()) == 0);
}

bool is_kept(unsigned format) {
  return std::filesystem::exists(kStores / ("format" + std::to_string(format) + ".mdb.gz"));
}

/// What only LMDB's own calls see, of a store that this process has not open.
template <typename Use>
auto with_identity(const std::filesystem::path& path, Use use) {
  const internal::lmdb::Env env(path, MDB_NOTLS | MDB_NORDAHEAD, std::uint64_t{64} << 20, 16, 8);
  internal::lmdb::WriteTxn txn(env);
  const internal::Catalog catalog(txn, 0);
  auto identity = catalog.identity(txn);
  REQUIRE(identity);
  const auto result = use(*identity);
  catalog.put_identity(txn, *identity);
  txn.commit();
  return result;
}

std::uint32_t stored_format(const std::filesystem::path& path) {
  return with_identity(path, [](const internal::StoreIdentity& identity) { return identity.format_version; });
}

const Options kOptions{.expected_ids = 1, .flush_interval = 1h, .ring_bytes = 1 << 20, .max_claims = 16};

/// As make_store.cc left it, 14 hours after the first of its messages.
void check_contents(const Store& store, unsigned format) {
  const Time begin{std::chrono::microseconds(FakeHost::kStartUs)};
  CHECK(store.scopes() == std::vector<std::string>{"orders", "mails"});
  // The cap has made it forget the first bucket, which most of the old ids were in.
  CHECK(store.known_since() > begin);
  CHECK(store.known_since() <= begin + 7h);
  const Scope orders = store.scope("orders");
  const Scope mails = store.scope("mails");
  int old = 0;
  for (int i = 0; i < 50; ++i) old += orders.contains("old-" + std::to_string(i));
  CHECK(old < 50);
  CHECK(orders.mark("never marked", {.sent_at = begin}) == Verdict::too_old);
  for (int i = 0; i < 40; ++i) {
    const auto record = orders.find("mid-" + std::to_string(i));
    REQUIRE(record);
    CHECK(record->result == std::string(16'000, 'o'));
    CHECK(record->processed_at == begin + 7h);
  }
  for (unsigned i = 0; i < 100; ++i) {
    CAPTURE(i);
    const std::string n = std::to_string(i);
    CHECK(mails.contains("mail-" + n) == (i < 50));
    CHECK_FALSE(mails.contains("new-" + n));
    const auto record = orders.find("new-" + n);
    if (i == 7 && format >= 2) {
      CHECK_FALSE(record);  // Forgotten.
      continue;
    }
    REQUIRE(record);
    CHECK(record->processed_at == begin + 14h);
    CHECK(record->correlation == "chain-" + std::to_string(i % 5));
    CHECK(record->fingerprint == i + 1);
    CHECK(record->result == "result-" + n);
    CHECK(record->source == Source{"queue", i % 3, i});
    CHECK(orders.mark("new-" + n, {.fingerprint = i + 1}) == Verdict::duplicate);
    CHECK(orders.mark("new-" + n, {.fingerprint = i + 2}) == Verdict::conflict);
  }
  CHECK(store.correlated("chain-0").size() == 21);
  CHECK(store.correlated("chain-1").size() == 20);
  CHECK(store.correlated("chain-0").back().id == "in a transaction");
  CHECK(orders.contains("claimed"));
  CHECK(store.get("balances", "account-9") == "900");
  CHECK(store.get("large", "one") == std::string(20'000, 'v'));
  int entries = 0;
  store.scan_table("balances", "", [&](std::string_view, std::string_view) { return ++entries > 0; });
  CHECK(entries == 10);
  int scanned = 0;
  store.scan({}, [&](const Record& record) { return scanned += !record.forgotten, true; });
  CHECK(scanned >= 40 + 99 + 50 + 2);
}

}  // namespace

TEST_CASE("a store of every format up to the one before this is kept") {
  for (unsigned format = 1; format < internal::kFormatVersion; ++format) CHECK(is_kept(format));
}

TEST_CASE("a store of any format is read as it was written, brought up to this format, and goes on") {
  for (unsigned format = 1; format <= internal::kFormatVersion; ++format) {
    if (!is_kept(format)) continue;  // This format's, until it is released.
    CAPTURE(format);
    const TempDir dir;
    FakeHost host;
    host.advance(14h);
    const auto path = dir / "store";
    unpack(format, path);
    REQUIRE(stored_format(path) == format);
    {
      const Store reading = StoreAccess::open(path, {.read_only = true}, host);
      CHECK(reading.scope("orders").contains("new-1"));
    }
    CHECK(stored_format(path) == format);  // Reading changes nothing.
    CHECK(error_code_of([&] { StoreAccess::open(path, {.retention = 1h}, host); }) == ErrorCode::options_mismatch);
    std::uint64_t token = 0;
    {
      const Store store = StoreAccess::open(path, kOptions, host);
      check_contents(store, format);
      CHECK(store.scope("orders").mark("added", {.correlation = "chain-0"}, Ack::disk) == Verdict::fresh);
      token = store.scope("orders").begin("another", 1h).token();
      CHECK(token > 0);
    }
    CHECK(stored_format(path) == internal::kFormatVersion);
    host.reboot();
    {
      const Store store = StoreAccess::open(path, kOptions, host);
      const Scope orders = store.scope("orders");
      CHECK(orders.contains("new-1"));
      CHECK(orders.contains("mid-1"));
      CHECK(store.correlated("chain-0").size() == 22);
      CHECK(orders.begin("a third", 1h).token() > token);
      host.advance(17h);  // The retention of those of 7 hours.
      CHECK_FALSE(orders.contains("mid-1"));
      CHECK(orders.contains("new-1"));
      CHECK(orders.mark("mid-1") == Verdict::fresh);
      store.expire();
      host.advance(7h);
      CHECK(orders.mark("new-1") == Verdict::fresh);
      store.expire();
      CHECK(orders.contains("mid-1"));
      CHECK(store.get("balances", "account-9") == "900");
    }
  }
}

TEST_CASE("a store is of the format with imports from its first import on, and stays so") {
  const TempDir dir;
  const FakeHost host;
  const auto path = dir / "store";
  StoreAccess::open(path, kOptions, host).scope("s").mark("a");
  CHECK(stored_format(path) == internal::kFormatVersion);
  const Record record{"s", "b", Time{std::chrono::microseconds{host.wall_us()}} - 1h, {}};
  CHECK(StoreAccess::open(path, kOptions, host).import({&record, 1}) == Imported{.imported = 1});
  CHECK(stored_format(path) == internal::kFormatWithImports);
  const Store store = StoreAccess::open(path, kOptions, host);
  CHECK(store.scope("s").contains("a"));
  CHECK(store.scope("s").find("b")->processed_at == record.processed_at);
  CHECK(store.import({&record, 1}) == Imported{.known = 1});
}

TEST_CASE("a store of a later format is refused, and left as it is") {
  const TempDir dir;
  const FakeHost host;
  const auto path = dir / "store";
  StoreAccess::open(path, kOptions, host).scope("s").mark("a");
  const auto with_format = [&](std::uint32_t version) {
    return with_identity(
        path, [&](internal::StoreIdentity& identity) { return std::exchange(identity.format_version, version); });
  };
  CHECK(with_format(internal::kNewestFormat + 1) == internal::kFormatVersion);
  for (const bool read_only : {false, true}) {
    Options options = kOptions;
    options.read_only = read_only;
    CHECK(error_code_of([&] { StoreAccess::open(path, options, host); }) == ErrorCode::newer_format);
  }
}
