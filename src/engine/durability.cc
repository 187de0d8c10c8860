#include "engine/durability.h"

#include <fmt/format.h>

#include "base/error.h"

namespace oncelog::internal {

void wait_for_disk(OpenedStore& store, Lsn lsn) {
  if (store.durable() > lsn) return;
  store.check_writable();
  if (lsn >= store.head()) refuse(fmt::format("there is no record at LSN {} yet to wait for", lsn.value));
  store.check_not_in_transaction("waiting for the disk");
  store.flusher().drive(Lsn{lsn.value + 1});
}

void wait_for_standing(OpenedStore& store, Lsn lsn) {
  try {
    wait_for_disk(store, lsn);
  } catch (const Error& error) {
    if (store.durable() > lsn) return;
    throw with_outcome(error, "What was done stands nevertheless; it is on disk once a later commit succeeds");
  }
}

Error with_outcome(const Error& error, const std::string& outcome) {
  return Error(error.code(), fmt::format("{}. {}", error.what(), outcome), error.path());
}

}  // namespace oncelog::internal
