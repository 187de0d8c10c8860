#include "shared/uncommitted.h"

#include <string>
#include <vector>

#include "background/log_writer.h"
#include "dying.h"
#include "parts.h"

using namespace oncelog;
using namespace oncelog::internal;
using namespace oncelog::testing;

namespace {

const std::string kResult(200, 'r');
const Attributes kAttributes{.correlation = "c", .result = kResult, .source = {.name = "topic"}};

/// A store of some flushed and some unflushed records of others, and a transaction of three: plain, attributed, plain.
struct TestUncommitted : Parts {
  TestUncommitted() : Parts({.ring_bytes = std::uint64_t{64} << 10, .max_claims = 8}) {
    append("flushed");
    flush();
    append("before");
    begin = head();
    end = begin;
    for (std::size_t i = 0; i < 3; ++i) end.value += bytes_of(i);
    uncommitted.emplace(*live, identity.hash_seed);
  }

  static std::string id_of(std::size_t i) { return "marked " + std::to_string(i); }
  static std::size_t bytes_of(std::size_t i) {
    const StoredAttributes attributes = StoredAttributes::of(kAttributes);
    return record_bytes(id_of(i).size(), i == 1 ? &attributes : nullptr);
  }

  /// Announces the transaction, and accepts that many of its records.
  void accept(std::size_t count) {
    uncommitted->announce(begin, end);
    for (std::size_t i = 0; i < count; ++i) {
      lsns.push_back(append(id_of(i), kUncommitted, i == 1 ? &kAttributes : nullptr));
    }
    if (count == 3) REQUIRE(head() == end);
  }

  /// The transaction's commit, without what comes after it.
  void commit() {
    lmdb::WriteTxn txn(tables.env);
    write_log(txn, *tables.log, *tables.catalog, header(), live->ring(), layout(), flushed(), end,
              [&](std::span<std::byte> block, Lsn lsn) { uncommitted->make_messages(block, lsn); });
    txn.commit();
  }

  Lsn log_end() const {
    const lmdb::Txn txn(tables.env, MDB_RDONLY);
    return *tables.log->end(txn);
  }

  Lease* claim(std::size_t i, Lsn lsn) const {
    live->header().leases.token_epoch = 1;
    const std::string id = id_of(i);
    const Probe one = probe(id);
    Lease* lease = live->leases().take(one.hash, one.scope, one.id, {1, 1}, 1, OrphanPolicy::free_at_once);
    lease->completing = lsn.value | Lease::kOfTransaction;
    return lease;
  }
  Lease* lease_of(std::size_t i) const {
    const Probe one = probe(id_of(i));
    return live->leases().find(one.hash, one.scope);
  }

  std::vector<std::byte> ring_bytes(Lsn from, Lsn to) const {
    std::vector<std::byte> bytes(to.value - from.value);
    live->ring().copy_stable(from, bytes);
    return bytes;
  }

  std::optional<Found> look(std::string_view id) {
    BlockDirectory directory;
    Reader reader(tables.env, *tables.log, directory, header(), live->ring(), *views);
    return reader.look(reader.view(), probe(id));
  }
  bool is_message(std::string_view id) {
    const auto found = look(id);
    return found && found->is_message();
  }

  /// Every record from `begin` to head is intact, in one piece, and has these flags, but for kHasAttributes.
  void check_flags(const std::vector<std::uint32_t>& expected) const {
    Lsn at = begin;
    for (const std::uint32_t flags : expected) {
      REQUIRE(at < head());
      const auto bytes = ring_bytes(at, head());
      const auto record = decode_record(bytes);
      REQUIRE(record);
      CHECK(record->all_intact(at, probe(record->id).hash.digest()));
      CHECK((record->header.flags() & ~kHasAttributes) == flags);
      at.value += record->header.bytes();
    }
    CHECK(at == head());
  }

  /// What a store makes of it after everything but its log is lost.
  void reopen_from_the_log() {
    flush();
    uncommitted.reset();
    host.reboot();
    open();
    recovery().verify_log();
  }

  std::span<const std::byte> shared_memory() const {
    return {reinterpret_cast<const std::byte*>(&header()), std::filesystem::file_size(live_dir / "live")};
  }

  Lsn begin;
  Lsn end;
  std::vector<Lsn> lsns;
  std::optional<Uncommitted> uncommitted;
};

}  // namespace

TEST_CASE("where nothing is announced there is nothing to settle") {
  TestUncommitted test;
  const auto before = test.ring_bytes(Lsn{8}, test.head());
  CHECK_FALSE(test.uncommitted->any());
  test.uncommitted->settle(test.log_end());
  CHECK_FALSE(test.uncommitted->settle_records(test.log_end()));
  CHECK(test.ring_bytes(Lsn{8}, test.head()) == before);
}

TEST_CASE("the records of a transaction are seen as not committed, and no flush may take them") {
  TestUncommitted test;
  test.accept(3);
  CHECK(test.uncommitted->any());
  for (std::size_t i = 0; i < 3; ++i) {
    REQUIRE(test.look(test.id_of(i)));
    CHECK(test.look(test.id_of(i))->uncommitted());
    CHECK_FALSE(test.is_message(test.id_of(i)));
  }
  CHECK(error_code_of([&] { test.flush(); }) == ErrorCode::corrupt);
}

TEST_CASE("once it has committed its records are messages, the same in the ring as in the log") {
  TestUncommitted test;
  test.accept(3);
  test.commit();
  test.uncommitted->settle(test.log_end());
  CHECK_FALSE(test.uncommitted->any());
  test.check_flags({0, 0, 0});
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(test.is_message(test.id_of(i)));
    CHECK(test.look(test.id_of(i))->lsn == test.lsns[i]);
  }
  std::vector<std::byte> log;
  {
    lmdb::ReadTxn txn(test.tables.env, test.tables.log->dbi());
    const lmdb::ReadTxn::Active active(txn);
    for (auto block = Log::block_at(txn, Lsn{8}); block; block = Log::block_at(txn, block->end())) {
      log.insert(log.end(), block->bytes.begin(), block->bytes.end());
    }
  }
  CHECK(log == test.ring_bytes(Lsn{8}, test.head()));
  test.header().marks.flushed.store(test.head().value);
  test.reopen_from_the_log();
  for (const char* id : {"flushed", "before", "marked 0", "marked 1", "marked 2"}) CHECK(test.is_message(id));
}

TEST_CASE("when it has not committed its records are nothing, and the stream goes on behind them") {
  TestUncommitted test;
  test.accept(3);
  test.uncommitted->settle(test.log_end());
  CHECK_FALSE(test.uncommitted->any());
  test.append("after");
  test.check_flags({kVoid, kVoid, kVoid, 0});
  const auto check = [&] {
    for (std::size_t i = 0; i < 3; ++i) CHECK_FALSE(test.look(test.id_of(i)));
    for (const char* id : {"flushed", "before", "after"}) CHECK(test.is_message(id));
  };
  check();
  test.append(test.id_of(1));  // Fresh, and processed now.
  CHECK(test.is_message(test.id_of(1)));
  test.reopen_from_the_log();
  CHECK(test.is_message(test.id_of(1)));
  CHECK_FALSE(test.look(test.id_of(0)));
  CHECK_FALSE(test.look(test.id_of(2)));
}

TEST_CASE(
    "of a transaction that died half-way the accepted records are nothing, and others' behind them stay as they are") {
  for (std::size_t accepted = 0; accepted <= 2; ++accepted) {
    for (const std::size_t others : {std::size_t{0}, std::size_t{1}, std::size_t{60}}) {
      CAPTURE(accepted);
      CAPTURE(others);
      TestUncommitted test;
      test.accept(accepted);
      const Lsn behind = test.head();
      std::vector<std::uint32_t> flags(accepted, kVoid);
      for (std::size_t i = 0; i < others; ++i) {  // 60 of them go on beyond the end that was announced.
        test.append(std::string("other ").append(std::to_string(i)) + std::string(100, 'x'));
        flags.push_back(0);
      }
      if (others == 60) REQUIRE(test.head() > test.end);
      const auto before = test.ring_bytes(behind, test.head());
      test.uncommitted->settle(test.log_end());
      CHECK_FALSE(test.uncommitted->any());
      CHECK(test.ring_bytes(behind, test.head()) == before);
      test.check_flags(flags);
      for (std::size_t i = 0; i < accepted; ++i) CHECK_FALSE(test.look(test.id_of(i)));
      test.reopen_from_the_log();
      for (std::size_t i = 0; i < accepted; ++i) CHECK_FALSE(test.look(test.id_of(i)));
      for (std::size_t i = 0; i < others; ++i) {
        CHECK(test.is_message(std::string("other ").append(std::to_string(i)) + std::string(100, 'x')));
      }
    }
  }
}

TEST_CASE("the claims of a transaction end with its commit, and stay their owner's without one") {
  for (const bool committed : {false, true}) {
    CAPTURE(committed);
    TestUncommitted test;
    test.accept(3);
    test.claim(0, test.lsns[0])->waited_for = 1;
    test.claim(2, test.lsns[2]);
    test.claim(1, Lsn{});  // Of a transaction that died before it had accepted anything.
    const Probe other = test.probe("somebody else's");
    test.live->leases().take(other.hash, other.scope, other.id, {1, 1}, 1, OrphanPolicy::free_at_once)->completing = 8;
    if (committed) test.commit();
    const std::uint32_t freed = test.header().leases.freed;
    test.uncommitted->settle(test.log_end());
    CHECK((test.lease_of(0) == nullptr) == committed);
    CHECK((test.lease_of(2) == nullptr) == committed);
    if (!committed) CHECK(test.lease_of(0)->completing == 0);
    REQUIRE(test.lease_of(1) != nullptr);
    CHECK(test.lease_of(1)->completing == 0);
    CHECK(test.live->leases().find(other.hash, other.scope)->completing == 8);
    CHECK((test.header().leases.freed != freed) == committed);
  }
}

TEST_CASE("who dies settling leaves it to the next one, at whatever store it was") {
  const auto stride = static_cast<unsigned>(scaled(1, 4));  // Sanitizers make each step of a child slow.
  for (const bool committed : {false, true}) {
    CAPTURE(committed);
    unsigned deaths = 0;
    for (bool died = true; died; deaths += stride) {
      TestUncommitted test;
      test.accept(3);
      test.claim(0, test.lsns[0]);
      test.claim(2, test.lsns[2]);
      if (committed) test.commit();
      const Lsn log_end = test.log_end();
      died = dies_at_change(test.shared_memory(), deaths + 1, [&] { test.uncommitted->settle(log_end); });
      CAPTURE(deaths);
      test.uncommitted->settle(log_end);
      CHECK_FALSE(test.uncommitted->any());
      const std::uint32_t flag = committed ? 0U : kVoid;
      test.check_flags({flag, flag, flag});
      for (std::size_t i = 0; i < 3; ++i) CHECK(test.is_message(test.id_of(i)) == committed);
      for (const std::size_t i : {std::size_t{0}, std::size_t{2}}) {
        CHECK((test.lease_of(i) == nullptr) == committed);
        if (!committed) CHECK(test.lease_of(i)->completing == 0);
      }
      CHECK_FALSE(test.header().mutex.lock());  // Its dead owner was noticed already.
      test.header().mutex.unlock();
    }
    CHECK(deaths > 5);
  }
}

TEST_CASE("who dies announcing has announced all of it or nothing") {
  for (unsigned n = 1; n <= 2; ++n) {
    TestUncommitted test;
    REQUIRE(dies_at_change(test.shared_memory(), n, [&] { test.uncommitted->announce(test.begin, test.end); }));
    CHECK(test.uncommitted->any() == (n == 2));
    if (n == 2) CHECK(test.header().pending.end == test.end.value);
    test.uncommitted->settle(test.log_end());
    CHECK_FALSE(test.uncommitted->any());
    test.check_flags({});
  }
}

TEST_CASE("an announcement that the ring contradicts is damage, and changes nothing") {
  TestUncommitted test;
  test.accept(3);
  const auto before = test.ring_bytes(test.begin, test.head());
  const auto settling = [&](std::uint64_t begin, std::uint64_t end) {
    test.uncommitted->announce(Lsn{begin}, Lsn{end});
    return error_code_of([&] { test.uncommitted->settle(test.log_end()); });
  };
  const std::uint64_t begin = test.begin.value;
  const std::uint64_t end = test.end.value;
  CHECK(settling(8, end) == ErrorCode::corrupt);                                        // Flushed.
  CHECK(settling(begin, begin) == ErrorCode::corrupt);                                  // Empty.
  CHECK(settling(begin + 4, end) == ErrorCode::corrupt);                                // No LSN.
  CHECK(settling(begin, begin + test.live->ring().bytes() + 8) == ErrorCode::corrupt);  // Larger than the ring.
  CHECK(settling(begin + kRecordUnit, end) == ErrorCode::corrupt);                      // Within a record.
  const std::string named = (test.live_dir / "live").string() + ": the shared memory holds no record at LSN ";
  CHECK(error_text_of([&] { test.uncommitted->settle(test.log_end()); }).find(named) == 0);
  CHECK(test.ring_bytes(test.begin, test.head()) == before);
}

TEST_CASE("messages are made of a transaction's records alone, in a block with others") {
  TestUncommitted test;
  test.accept(3);
  auto block = test.ring_bytes(test.flushed(), test.head());
  const auto before = block;
  test.uncommitted->make_messages(block, test.flushed());
  const std::size_t others = test.begin.value - test.flushed().value;
  CHECK(std::equal(block.begin(), block.begin() + static_cast<std::ptrdiff_t>(others), before.begin()));
  Lsn at = test.flushed();
  for (std::span<const std::byte> rest = block; !rest.empty();) {
    const auto record = decode_record(rest);
    REQUIRE(record);
    CHECK((record->header.flags() & ~kHasAttributes) == 0);
    CHECK(record->all_intact(at, test.probe(record->id).hash.digest()));
    at.value += record->header.bytes();
    rest = rest.subspan(record->header.bytes());
  }
  std::vector<std::byte> nonsense(64, std::byte{0x11});
  CHECK(error_code_of([&] { test.uncommitted->make_messages(nonsense, Lsn{8}); }) == ErrorCode::corrupt);
}
