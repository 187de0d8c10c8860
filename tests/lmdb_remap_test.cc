#include <algorithm>
#include <chrono>
#include <optional>
#include <string>

#include "injector.h"
#include "intercept.h"
#include "lmdb/env.h"
#include "lmdb/handles.h"
#include "log/log_lookup.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;

TEST_CASE("a data.mdb that cannot be mapped again when it has grown is mapped as before, and parked readers go on") {
  constexpr std::uint64_t kReserve = std::uint64_t{1} << 20;
  bool fired = true;
  for (unsigned nth = 1; fired; ++nth) {
    for (const bool always : {false, true}) {
      CAPTURE(nth);
      CAPTURE(always);
      const TempDir dir;
      const internal::lmdb::Env env(dir.path(), MDB_NOTLS | MDB_NORDAHEAD, 64 * kReserve, 16, 4, kReserve);
      MDB_dbi dbi = 0;
      const std::string value(kReserve / 10, 'v');
      const auto put = [&](std::uint64_t key) {
        internal::lmdb::WriteTxn txn(env);
        if (dbi == 0) dbi = txn.open_table("table", MDB_CREATE | MDB_INTEGERKEY);
        txn.put(dbi, internal::lmdb::to_val(key), internal::lmdb::to_bytes(value));
        txn.commit();
      };
      put(0);
      internal::lmdb::ReadTxn parked(env, dbi);
      Injector injector(Lack::memory, nth, always);
      intercept(&injector);
      injector.arm(true);
      for (std::uint64_t key = 1; key < 15; ++key) {
        try {
          put(key);
        } catch (const Error& error) {
          CHECK((fits(Lack::memory, error.code()) || error.code() == ErrorCode::full));
        }
      }
      injector.arm(false);
      intercept(nullptr);
      fired = injector.fired();
      const auto limit = std::chrono::steady_clock::now() + kPatience;
      for (;;) {
        try {
          put(15);
          break;
        } catch (const Error& error) {
          REQUIRE_MESSAGE(std::chrono::steady_clock::now() < limit, error.what());
        }
      }
      const internal::lmdb::ReadTxn::Active active(parked);
      CHECK(parked.get(dbi, internal::lmdb::to_val(std::uint64_t{0})).has_value());
      CHECK(parked.get(dbi, internal::lmdb::to_val(std::uint64_t{15})).has_value());
      CHECK((always || env.reserved_bytes() > kReserve));
    }
  }
}

TEST_CASE("records are found when data.mdb could not be mapped again, or was opened again, while it grew") {
  constexpr std::uint64_t kReserve = std::uint64_t{1} << 20;
  constexpr std::size_t kBlockBytes = 65'520;
  bool fired = true;
  for (unsigned nth = 1; fired; ++nth) {
    for (const bool always : {false, true}) {
      CAPTURE(nth);
      CAPTURE(always);
      const TempDir dir;
      const internal::lmdb::Env env(dir.path(), MDB_NOTLS | MDB_NORDAHEAD, 64 * kReserve, 16, 4, kReserve);
      std::optional<internal::Log> log;
      Lsn end{8};
      const auto append = [&] {
        internal::lmdb::WriteTxn txn(env);
        if (!log) log.emplace(txn, MDB_CREATE);
        std::ranges::fill(log->append(txn, end, kBlockBytes), static_cast<std::byte>(end.value / kBlockBytes));
        txn.commit();
        end.value += kBlockBytes;
      };
      append();
      internal::BlockDirectory directory;
      internal::LogLookup lookup(env, *log, directory);
      const auto find_all = [&] {
        for (std::uint64_t lsn = 8; lsn < end.value; lsn += kBlockBytes) {
          const auto guess = lookup.guess(Lsn{lsn});
          internal::LogLookup::Snapshot snapshot(lookup);
          const auto found = snapshot.find(Lsn{lsn}, guess);
          REQUIRE(found);
          REQUIRE(found->size() == kBlockBytes);
          REQUIRE((*found)[kBlockBytes - 1] == static_cast<std::byte>(lsn / kBlockBytes));
        }
      };
      find_all();
      const std::uint64_t mapping = env.mapping();
      Injector injector(Lack::memory, nth, always);
      intercept(&injector);
      injector.arm(true);
      for (int i = 0; i < 25; ++i) {
        try {
          append();
          find_all();
        } catch (const Error& error) {
          CHECK((fits(Lack::memory, error.code()) || error.code() == ErrorCode::full));
        }
      }
      injector.arm(false);
      intercept(nullptr);
      fired = injector.fired();
      const auto limit = std::chrono::steady_clock::now() + kPatience;
      for (bool done = false; !done;) {
        try {
          append();
          done = true;
        } catch (const Error& error) {
          REQUIRE_MESSAGE(std::chrono::steady_clock::now() < limit, error.what());
        }
      }
      find_all();
      CHECK(env.mapping() > mapping);
    }
  }
}
