#include "shared/leases.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstring>

#include "base/error.h"
#include "base/failpoint.h"
#include "base/shared_memory.h"

namespace oncelog::internal {
namespace {

// All loads here are relaxed: the store's mutex orders them. Stores that link and unlink are releases, which keeps the
// compiler from moving earlier stores behind them: a process that dies has done those.
constexpr auto kUnderMutex = std::memory_order_relaxed;
constexpr auto kAfterAllBefore = std::memory_order_release;

}  // namespace

std::uint64_t LeaseTable::chains_for(std::uint32_t capacity) {
  return std::bit_ceil(std::max<std::uint64_t>(capacity, 16));
}

std::size_t LeaseTable::bytes_for(std::uint32_t capacity) {
  return chains_for(capacity) * sizeof(std::atomic<std::uint32_t>) + capacity * sizeof(Lease);
}

LeaseTable::LeaseTable(LeaseHeader& header, std::byte* memory, std::uint32_t capacity,
                       const std::filesystem::path& path)
    : header_(&header),
      chains_(reinterpret_cast<std::atomic<std::uint32_t>*>(memory)),
      leases_(reinterpret_cast<Lease*>(memory + chains_for(capacity) * sizeof *chains_)),
      capacity_(capacity),
      chain_count_(chains_for(capacity)),
      path_(&path) {}

Error LeaseTable::damaged() const {
  return error_at(
      ErrorCode::corrupt, *path_,
      "the lease table in the store's shared memory is damaged; close the store in every process and delete "
      "this file");
}

std::uint32_t LeaseTable::used() const {
  return std::min(header_->used.load(kUnderMutex), capacity_);
}

Lease* LeaseTable::at(std::uint32_t number_plus_one) const {
  if (number_plus_one == 0) return nullptr;
  if (number_plus_one > capacity_) throw damaged();
  return &leases_[number_plus_one - 1];
}

Lease* LeaseTable::find(const MessageHash& hash, std::uint32_t scope) const {
  std::uint32_t steps = 0;
  for (Lease* lease = at(chains_[hash.chain(chain_count_)].load(kUnderMutex)); lease != nullptr;
       lease = at(lease->next.load(kUnderMutex))) {
    if (lease->hash == hash && lease->scope == scope) return lease;
    if (++steps > capacity_) throw damaged();
  }
  return nullptr;
}

Lease* LeaseTable::find_held(const MessageHash& hash, std::uint32_t scope, std::uint64_t token) const {
  Lease* lease = find(hash, scope);
  return lease != nullptr && lease->token.load(kUnderMutex) == token ? lease : nullptr;
}

bool LeaseTable::has_tokens() const {
  if (header_->next_token.load(kUnderMutex) >= kMaxTokenNumber) {
    // The epoch first: a death in between leaves no epoch, instead of one whose tokens begin again.
    header_->token_epoch.store(0, kAfterAllBefore);
    header_->next_token.store(0, kAfterAllBefore);
    header_->twin_token.store(0, kAfterAllBefore);
  }
  return header_->token_epoch.load(kUnderMutex) != 0;
}

std::uint64_t LeaseTable::new_token() const {
  const std::uint64_t number = header_->next_token.load(kUnderMutex) + 1;
  header_->next_token.store(number, kAfterAllBefore);
  header_->twin_token.store(number, kAfterAllBefore);
  failpoint();
  return header_->token_epoch.load(kUnderMutex) << kEpochShift | number;
}

void LeaseTable::fill(Lease& lease, const ProcessIdentity& owner, std::int64_t deadline_us, OrphanPolicy orphans,
                      std::uint64_t fingerprint) const {
  lease.pid = owner.pid;
  lease.start_ticks = owner.start_ticks;
  lease.deadline_us = deadline_us;
  lease.orphans = orphans;
  lease.fingerprint = fingerprint;
  lease.completing.store(0, kUnderMutex);
  lease.token.store(new_token(), kAfterAllBefore);
}

Lease* LeaseTable::take(const MessageHash& hash, std::uint32_t scope, std::string_view id, const ProcessIdentity& owner,
                        std::int64_t deadline_us, OrphanPolicy orphans, std::uint64_t fingerprint) const {
  assert(find(hash, scope) == nullptr);
  Lease* lease = at(header_->free_list.load(kUnderMutex));
  if (lease != nullptr) {
    header_->free_list.store(lease->next.load(kUnderMutex), kAfterAllBefore);
  } else {
    const std::uint32_t number = used();
    if (number == capacity_) return nullptr;
    lease = &leases_[number];
    header_->used.store(number + 1, kAfterAllBefore);
  }
  failpoint();
  lease->hash = hash;
  lease->scope = scope;
  lease->waited_for = 0;
  const std::size_t shown = std::min(id.size(), Lease::kIdBytes);
  lease->id_bytes = static_cast<std::uint16_t>(shown);
  std::memcpy(lease->id, id.data(), shown);
  std::atomic<std::uint32_t>& chain = chains_[hash.chain(chain_count_)];
  lease->next.store(chain.load(kUnderMutex), kUnderMutex);
  fill(*lease, owner, deadline_us, orphans, fingerprint);
  failpoint();
  header_->held.store(header_->held.load(kUnderMutex) + 1, kAfterAllBefore);
  failpoint();
  chain.store(static_cast<std::uint32_t>(lease - leases_) + 1, kAfterAllBefore);
  return lease;
}

void LeaseTable::pass_on(Lease& lease, const ProcessIdentity& owner, std::int64_t deadline_us, OrphanPolicy orphans,
                         std::uint64_t fingerprint) const {
  // Nobody holds it for a moment: after a death here mend() frees it.
  lease.token.store(0, kAfterAllBefore);
  failpoint();
  fill(lease, owner, deadline_us, orphans, fingerprint);
}

bool LeaseTable::free(Lease& lease) const {
  const auto number_plus_one = static_cast<std::uint32_t>(&lease - leases_) + 1;
  std::atomic<std::uint32_t>* link = &chains_[lease.hash.chain(chain_count_)];
  for (std::uint32_t steps = 0; link->load(kUnderMutex) != number_plus_one; ++steps) {
    Lease* before = at(link->load(kUnderMutex));
    if (before == nullptr || steps > capacity_) throw damaged();
    link = &before->next;
  }
  const bool waited_for = lease.waited_for != 0;
  link->store(lease.next.load(kUnderMutex), kAfterAllBefore);
  failpoint();
  lease.token.store(0, kAfterAllBefore);
  failpoint();
  lease.completing.store(0, kAfterAllBefore);
  header_->held.store(header_->held.load(kUnderMutex) - 1, kAfterAllBefore);
  failpoint();
  lease.next.store(header_->free_list.load(kUnderMutex), kAfterAllBefore);
  failpoint();
  header_->free_list.store(number_plus_one, kAfterAllBefore);
  return waited_for;
}

void LeaseTable::wake() const {
  header_->freed.fetch_add(1, std::memory_order_release);  // Pairs with the acquire by those who wait.
  futex_wake_all(header_->freed);
}

void LeaseTable::take_over(const LeaseTable& former) const {
  header_->token_epoch.store(former.header_->token_epoch.load(kUnderMutex), kUnderMutex);
  header_->next_token.store(former.header_->next_token.load(kUnderMutex), kUnderMutex);
  header_->twin_token.store(former.header_->next_token.load(kUnderMutex), kUnderMutex);
  former.each([&](const Lease& lease) {
    // Damage can make two leases alike.
    if (!outlives_owner(lease) || find(lease.hash, lease.scope) != nullptr) return;
    const std::string_view id(lease.id, std::min<std::size_t>(lease.id_bytes, Lease::kIdBytes));
    Lease* taken =
        take(lease.hash, lease.scope, id, lease.owner(), lease.deadline_us, lease.orphans, lease.fingerprint);
    if (taken != nullptr) taken->token.store(lease.token.load(kUnderMutex), kUnderMutex);
  });
}

void LeaseTable::doubt(std::uint64_t newest_epoch) const {
  const std::uint64_t epoch = header_->token_epoch.load(kUnderMutex);
  const std::uint64_t next = header_->next_token.load(kUnderMutex);
  const std::uint64_t twin = header_->twin_token.load(kUnderMutex);
  const bool grows = next == twin || next == twin + 1;  // Its last user may have died between the two stores.
  if (!grows || next > kMaxTokenNumber || (epoch != 0 && epoch != newest_epoch)) {
    header_->token_epoch.store(0, kAfterAllBefore);  // The epoch first, as in has_tokens.
    header_->next_token.store(0, kAfterAllBefore);
  }
  header_->twin_token.store(header_->next_token.load(kUnderMutex), kAfterAllBefore);
  // A death may leave one lease that is held and not counted, or counted and not held.
  std::uint32_t held = 0;
  each([&](const Lease&) { ++held; });
  const std::uint32_t counted = header_->held.load(kUnderMutex);
  if (counted > held + 1 || held > counted + 1) header_->used.store(capacity_, kAfterAllBefore);
  if (used() != 0) header_->suspect.store(1, kAfterAllBefore);
}

void LeaseTable::mend(Lsn head) const {
  // Everything is linked again from the leases themselves. After a death here as well the next owner does it.
  for (std::uint64_t i = 0; i < chain_count_; ++i) chains_[i].store(0, kUnderMutex);
  header_->free_list.store(0, kUnderMutex);
  failpoint();
  std::uint32_t held = 0;
  bool freed = false;
  for (std::uint32_t i = used(); i-- > 0;) {
    Lease& lease = leases_[i];
    const std::uint64_t completing = lease.completing.load(kUnderMutex);
    // A transaction's lease stays after a death with the mutex: the transaction's settlement decides.
    const bool of_transaction = (completing & Lease::kOfTransaction) != 0;
    const bool accepted = completing != 0 && !of_transaction && head.value > completing;
    freed |= accepted && lease.waited_for != 0;
    if (lease.token.load(kUnderMutex) == 0 || accepted) {
      lease.token.store(0, kUnderMutex);
      lease.next.store(header_->free_list.load(kUnderMutex), kUnderMutex);
      header_->free_list.store(i + 1, kUnderMutex);
    } else {
      std::atomic<std::uint32_t>& chain = chains_[lease.hash.chain(chain_count_)];
      lease.next.store(chain.load(kUnderMutex), kUnderMutex);
      chain.store(i + 1, kUnderMutex);
      ++held;
    }
    if (!of_transaction) lease.completing.store(0, kUnderMutex);
    failpoint();
  }
  header_->held.store(held, kUnderMutex);
  header_->suspect.store(0, kAfterAllBefore);
  if (freed) wake();
}

}  // namespace oncelog::internal
