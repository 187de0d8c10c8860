#include <oncelog/transaction.h>

#include <oncelog/scope.h>

#include "base/error.h"
#include "engine/engine.h"

namespace oncelog {

Marked Transaction::mark(const Scope& scope, std::string_view id, const Attributes& attributes) {
  if (!body_.is_of(*scope.engine_)) internal::refuse("a transaction marks ids of its own store's scopes only");
  return body_.mark({scope.key(), scope.name_}, id, attributes);
}

bool Transaction::complete(Claim& claim, const Attributes& attributes) {
  if (claim.engine_ == nullptr || !body_.is_of(*claim.engine_)) {
    internal::refuse("a transaction completes claims of its own store only");
  }
  if (!claim) internal::refuse("a claim that is not held cannot be completed");
  return body_.complete(claim.lease_, attributes);
}

void Transaction::put(std::string_view table, std::string_view key, std::string_view value) {
  body_.put(table, key, value);
}

std::optional<std::string_view> Transaction::get(std::string_view table, std::string_view key) const {
  return body_.get(table, key);
}

bool Transaction::erase(std::string_view table, std::string_view key) {
  return body_.erase(table, key);
}

void Transaction::scan(std::string_view table, std::string_view from, const EntryVisitor& visitor) const {
  body_.scan(table, from, visitor);
}

}  // namespace oncelog
