#include <string>

#include "injector.h"
#include "sealed.h"

using namespace oncelog;
using namespace oncelog::internal;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

/// LMDB's environment is opened again some time after a write of data.mdb has failed.
void await_data(const Sealed& store) {
  wait_until([&] {
    try {
      const lmdb::Txn txn(store.tables.env, MDB_RDONLY);
      return true;
    } catch (const Error&) {
      return false;
    }
  });
}

/// Seals with the n-th call failing that `lack` concerns, and all later ones if `always`. Returns whether one failed.
bool seal_with(Sealed& store, Lack lack, unsigned nth, bool always) {
  Injector injector(lack, nth, always);
  intercept(&injector);
  injector.arm(true);
  std::optional<Error> error;
  try {
    store.seal();
  } catch (const Error& failed) {
    error = failed;
  }
  injector.arm(false);
  intercept(nullptr);
  await_data(store);
  // A file that is left over, and whose deletion fails, costs space until the next seal.
  if (error) CHECK(fits(lack, error->code()));
  if (injector.fired() && !error && lack != Lack::permission) CHECK(store.notes().size() == 1);
  return injector.fired();
}

}  // namespace

TEST_CASE("where a call fails while a bucket is sealed, nothing is noted that is not on disk, and it is tried again") {
  Lack lack = Lack::space;
  SUBCASE("no space") {}
  SUBCASE("a broken disk") {
    lack = Lack::device;
  }
  SUBCASE("no permission") {
    lack = Lack::permission;
  }
  SUBCASE("no descriptors") {
    lack = Lack::descriptors;
  }
  bool always = false;
  SUBCASE("once") {}
  SUBCASE("from then on") {
    always = true;
  }
  CAPTURE(to_string(lack));
  CAPTURE(always);
  unsigned nth = 1;
  for (bool failed = true; failed; ++nth) {
    CAPTURE(nth);
    Sealed store;
    fill_two(store);
    failed = seal_with(store, lack, nth, always);
    if (store.notes().empty()) {
      CHECK_FALSE(store.sealer->due());  // For a while.
      store.reboot();
      CHECK(store.damage.empty());
      check_two(store);
      store.restart();
      store.seal();
    }
    REQUIRE(store.notes().size() == 1);
    store.reboot();
    CHECK(store.damage.empty());
    CHECK(store.bucket(0).sealed_end == store.layout().buckets[1].first_lsn);
    check_two(store);
    store.restart();
    if (store.sealer->due()) store.seal();
  }
  CHECK(nth > 3);
}
