#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "remote/call_limit.h"
#include "remote/remote_engine.h"

namespace oncelog::internal::remote {

/// A transaction on a shared store. An id that it marks is claimed first, outside of the server's transaction, so that
/// others are told that it is in progress instead of being kept waiting; the commit completes the claims. Should this
/// process die meanwhile, the claims' leases end.
class RemoteEngine::Body final : public TransactionBody {
 public:
  explicit Body(RemoteEngine& engine);
  /// Frees what it did not commit.
  ~Body() override;

  using TransactionBody::run;

  Marked mark(const ScopeRef& scope, std::string_view id, const Attributes& attributes) override;
  bool complete(std::unique_ptr<HeldClaim>& claim, const Attributes& attributes) override;
  void put(std::string_view table, std::string_view key, std::string_view value) override;
  std::optional<std::string_view> get(std::string_view table, std::string_view key) const override;
  bool erase(std::string_view table, std::string_view key) override;
  void scan(std::string_view table, std::string_view from, const EntryVisitor& visitor) const override;

  void commit();
  pg_conn* connection() noexcept override { return work_->connection(); }

 private:
  /// Longer than the commit of any transaction; renewed by nobody.
  static constexpr std::chrono::minutes kLease{10};

  struct Mark {
    HeldClaim claim;
    std::string result;
    bool completes = false;  // It was a claim before.
  };

  bool has_marked(std::uint32_t scope, std::string_view id) const;
  Lsn complete_in_work();
  /// Committing, and freeing what was not committed, take no longer than one call.
  void begin_to_end();

  RemoteEngine& engine_;
  const RunningWork running_;
  std::unique_ptr<Work> work_;
  std::deque<Mark> marks_;                  // They stay where they are: leases view their ids.
  mutable std::deque<std::string> values_;  // What get() has returned.
  std::optional<CallLimit> ending_;         // Since begin_to_end().
};

}  // namespace oncelog::internal::remote
