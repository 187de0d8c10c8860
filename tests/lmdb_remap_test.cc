#include <chrono>
#include <string>

#include "injector.h"
#include "intercept.h"
#include "lmdb/env.h"
#include "lmdb/handles.h"
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
