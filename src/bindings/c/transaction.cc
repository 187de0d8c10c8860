#include <oncelog/transaction.h>

#include <exception>
#include <optional>
#include <string_view>

#include "bindings/c/handles.h"
#include "engine/engine.h"

using namespace oncelog::internal::c;

struct oncelog_transaction {
  oncelog::Transaction& transaction;
  std::exception_ptr failure;  // Of the first call that failed.
};

namespace {

/// A call with a transaction, whose failure ends that.
template <typename Work>
oncelog_code call_within(oncelog_transaction* transaction, oncelog_error** error, Work&& work) noexcept {
  return call(error, [&] {
    need(transaction, "transaction");
    try {
      work(transaction->transaction);
    } catch (const std::exception&) {
      if (!transaction->failure) transaction->failure = std::current_exception();
      throw;
    }
  });
}

/// A visitor as C++ has it.
oncelog::EntryVisitor visitor_of(oncelog_entry_visitor visitor, void* user) {
  return [visitor, user](std::string_view key, std::string_view value) {
    return visitor(key.data(), key.size(), value.data(), value.size(), user) == 0;
  };
}

}  // namespace

oncelog_code oncelog_transact(const oncelog_store* store, oncelog_work work, void* user, oncelog_error** error) {
  return call(error, [&] {
    need(store, "store");
    need(reinterpret_cast<const void*>(work), "work");
    store->store.transact([&](oncelog::Transaction& running) {
      oncelog_transaction transaction{running, nullptr};
      const int returned = work(&transaction, user);
      if (transaction.failure) std::rethrow_exception(transaction.failure);
      if (returned != 0) throw FunctionFailed(ONCELOG_ROLLED_BACK, returned);
    });
  });
}

oncelog_code oncelog_transaction_mark(oncelog_transaction* transaction, const oncelog_scope* scope, const void* id,
                                      size_t id_bytes, const oncelog_attributes* attributes, oncelog_marked* marked,
                                      oncelog_error** error) {
  return call_within(transaction, error, [&](oncelog::Transaction& within) {
    need(scope, "scope");
    need(marked, "marked");
    const Output out(marked, "oncelog_marked");
    out.fill(marked_of(within.mark(scope->scope, text(id, id_bytes, "id"), attributes_of(attributes))));
  });
}

oncelog_code oncelog_transaction_complete(oncelog_transaction* transaction, oncelog_claim* claim,
                                          const oncelog_attributes* attributes, uint8_t* owned, oncelog_error** error) {
  return call_within(transaction, error, [&](oncelog::Transaction& within) {
    need(claim, "claim");
    need(owned, "owned");
    *owned = within.complete(claim->claim, attributes_of(attributes)) ? 1 : 0;
  });
}

oncelog_code oncelog_transaction_put(oncelog_transaction* transaction, const void* table, size_t table_bytes,
                                     const void* key, size_t key_bytes, const void* value, size_t value_bytes,
                                     oncelog_error** error) {
  return call_within(transaction, error, [&](oncelog::Transaction& within) {
    within.put(text(table, table_bytes, "table"), text(key, key_bytes, "key"), text(value, value_bytes, "value"));
  });
}

oncelog_code oncelog_transaction_get(oncelog_transaction* transaction, const void* table, size_t table_bytes,
                                     const void* key, size_t key_bytes, const void** value, size_t* value_bytes,
                                     oncelog_error** error) {
  return call_within(transaction, error, [&](oncelog::Transaction& within) {
    need(value, "value");
    need(value_bytes, "value_bytes");
    const auto found = within.get(text(table, table_bytes, "table"), text(key, key_bytes, "key"));
    // An empty value is there, and so not null.
    *value = !found ? nullptr : found->empty() ? "" : found->data();
    *value_bytes = found ? found->size() : 0;
  });
}

oncelog_code oncelog_transaction_erase(oncelog_transaction* transaction, const void* table, size_t table_bytes,
                                       const void* key, size_t key_bytes, uint8_t* was_there, oncelog_error** error) {
  return call_within(transaction, error, [&](oncelog::Transaction& within) {
    give(was_there, within.erase(text(table, table_bytes, "table"), text(key, key_bytes, "key")) ? 1 : 0);
  });
}

oncelog_code oncelog_transaction_scan(oncelog_transaction* transaction, const void* table, size_t table_bytes,
                                      const void* from, size_t from_bytes, oncelog_entry_visitor visitor, void* user,
                                      oncelog_error** error) {
  return call_within(transaction, error, [&](oncelog::Transaction& within) {
    need(reinterpret_cast<const void*>(visitor), "visitor");
    within.scan(text(table, table_bytes, "table"), text(from, from_bytes, "from"), visitor_of(visitor, user));
  });
}

void* oncelog_transaction_connection(oncelog_transaction* transaction) {
  return oncelog::internal::TransactionBody::of(transaction->transaction).connection();
}

oncelog_code oncelog_get(const oncelog_store* store, const void* table, size_t table_bytes, const void* key,
                         size_t key_bytes, const void** value, size_t* value_bytes, oncelog_error** error) {
  return call(error, [&] {
    need(store, "store");
    need(value, "value");
    need(value_bytes, "value_bytes");
    const auto found = store->store.get(text(table, table_bytes, "table"), text(key, key_bytes, "key"));
    *value = found ? block_of(*found) : nullptr;
    *value_bytes = found ? found->size() : 0;
  });
}

oncelog_code oncelog_scan_table(const oncelog_store* store, const void* table, size_t table_bytes, const void* from,
                                size_t from_bytes, oncelog_entry_visitor visitor, void* user, oncelog_error** error) {
  return call(error, [&] {
    need(store, "store");
    need(reinterpret_cast<const void*>(visitor), "visitor");
    store->store.scan_table(text(table, table_bytes, "table"), text(from, from_bytes, "from"),
                            visitor_of(visitor, user));
  });
}
