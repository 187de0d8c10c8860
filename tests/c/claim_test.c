/* Of the C interface: claims, batches of claims, locks, transactions and tables. */
#include <string.h>
#include <unistd.h>

#include "check.h"

enum { kLease = 60000 };

static oncelog_claim* begin(const oncelog_scope* scope, const char* id, const oncelog_attributes* attributes) {
  oncelog_claim* claim = NULL;
  OK(oncelog_begin(scope, id, strlen(id), kLease, attributes, 0, &claim, &error));
  return claim;
}

static void a_claim_is_completed(const oncelog_scope* scope) {
  const oncelog_attributes given = {.size = sizeof given, .source_name = {TEXT("topic")}, .source_offset = 5};
  oncelog_claim* const claim = begin(scope, "c-1", &given);
  oncelog_owner owner = {.size = sizeof owner};
  CHECK(oncelog_claim_verdict(claim) == ONCELOG_FRESH && oncelog_claim_held(claim) == 1);
  CHECK(oncelog_claim_token(claim) > 0 && oncelog_claim_record(claim) == NULL && !oncelog_claim_owner(claim, &owner));
  oncelog_claim* const other = begin(scope, "c-1", NULL);
  CHECK(oncelog_claim_verdict(other) == ONCELOG_IN_PROGRESS && !oncelog_claim_held(other));
  CHECK(oncelog_claim_token(other) == 0 && oncelog_claim_owner(other, &owner) == 1);
  CHECK(owner.process == getpid() && owner.deadline_us > 0 && owner.size == sizeof owner);
  owner.size = 1;
  CHECK(oncelog_claim_owner(other, &owner) == 0 && oncelog_claim_owner(other, NULL) == 0);
  oncelog_claim_free(other);

  uint8_t held = 2;
  OK(oncelog_claim_renew(claim, kLease, &held, &error));
  CHECK(held == 1);
  OK(oncelog_claim_renew(claim, kLease, NULL, &error));
  FAILS(ONCELOG_INVALID_ARGUMENT, "lease", oncelog_claim_renew(claim, 0, &held, &error));
  const oncelog_attributes done = {.size = sizeof done, .result = {TEXT("done")}};
  uint8_t in_time = 2;
  uint64_t lsn = 0;
  OK(oncelog_claim_complete(claim, &done, ONCELOG_ACK_DISK, &in_time, &lsn, &error));
  CHECK(in_time == 1 && lsn > 0 && !oncelog_claim_held(claim));
  FAILS(ONCELOG_INVALID_ARGUMENT, "not held",
        oncelog_claim_complete(claim, NULL, ONCELOG_ACK_DEFAULT, NULL, NULL, &error));
  oncelog_claim_free(claim);

  oncelog_claim* const late = begin(scope, "c-1", &given);
  CHECK(oncelog_claim_verdict(late) == ONCELOG_DUPLICATE && oncelog_claim_redelivered(late) == 1);
  CHECK(same(oncelog_claim_record(late)->result, "done") && same(oncelog_claim_record(late)->source_name, "topic"));
  CHECK(oncelog_claim_record(late)->lsn == lsn);
  oncelog_claim_free(late);
}

static void a_claim_that_is_freed_frees_its_id(const oncelog_scope* scope) {
  uint8_t answer = 2;
  oncelog_claim* claim = begin(scope, "c-2", NULL);
  OK(oncelog_wait_until_free(scope, TEXT("c-2"), 1, &answer, &error));
  CHECK(answer == 0);
  oncelog_claim_free(claim);
  OK(oncelog_wait_until_free(scope, TEXT("c-2"), 1, &answer, &error));
  CHECK(answer == 1);
  claim = begin(scope, "c-2", NULL);
  CHECK(oncelog_claim_held(claim));
  oncelog_claim_abandon(claim);
  oncelog_claim_abandon(claim); /* Nothing happens. */
  CHECK(!oncelog_claim_held(claim));
  oncelog_claim_free(claim);

  claim = begin(scope, "c-2", NULL);
  OK(oncelog_release(scope, TEXT("c-2"), &answer, &error));
  CHECK(answer == 1);
  OK(oncelog_release(scope, TEXT("c-2"), &answer, &error));
  CHECK(answer == 0);
  OK(oncelog_release(scope, TEXT("c-2"), NULL, &error));
  OK(oncelog_claim_renew(claim, kLease, &answer, &error));
  CHECK(answer == 0);
  uint64_t lsn = 1;
  OK(oncelog_claim_complete(claim, NULL, ONCELOG_ACK_DEFAULT, &answer, &lsn, &error));
  CHECK(answer == 0 && lsn == 0);
  oncelog_claim_free(claim);
  oncelog_claim_free(NULL);
}

static void a_batch_is_completed(const oncelog_scope* scope) {
  const oncelog_ids ids = {.size = sizeof ids, .count = 4, .data = "k1k2k1k3", .width = 2};
  oncelog_claim_batch* batch = NULL;
  OK(oncelog_begin_batch(scope, &ids, kLease, &batch, &error));
  size_t count = 0;
  const oncelog_verdict* const verdicts = oncelog_claim_batch_verdicts(batch, &count);
  CHECK(count == 4 && verdicts[0] == ONCELOG_FRESH && verdicts[1] == ONCELOG_FRESH);
  CHECK(verdicts[2] == ONCELOG_DUPLICATE && verdicts[3] == ONCELOG_FRESH);
  oncelog_claim_batch_abandon_from(batch, 3);
  oncelog_claim_batch_verdicts(batch, &count);
  CHECK(count == 3);
  OK(oncelog_release(scope, TEXT("k2"), NULL, &error));
  size_t late = 9;
  uint64_t newest = 0;
  OK(oncelog_claim_batch_complete(batch, &late, &newest, &error));
  CHECK(late == 1 && newest > 0);
  FAILS(ONCELOG_INVALID_ARGUMENT, "not held", oncelog_claim_batch_complete(batch, NULL, NULL, &error));
  oncelog_claim_batch_free(batch);
  uint8_t known[4];
  OK(oncelog_contains_batch(scope, &ids, known, &error));
  CHECK(known[0] == 1 && known[1] == 0 && known[3] == 0);

  for (int freed = 0; freed < 2; ++freed) { /* Whether abandoned or freed: k2 is free again. */
    OK(oncelog_begin_batch(scope, &ids, kLease, &batch, &error));
    CHECK(oncelog_claim_batch_verdicts(batch, NULL)[1] == ONCELOG_FRESH);
    if (freed == 0) oncelog_claim_batch_abandon(batch);
    oncelog_claim_batch_free(batch);
  }
  uint8_t free_again = 0;
  OK(oncelog_wait_until_free(scope, TEXT("k2"), 0, &free_again, &error));
  CHECK(free_again == 1);
  oncelog_claim_batch_free(NULL);
}

static void a_lock_has_one_holder(const oncelog_store* store) {
  oncelog_lock* lock = NULL;
  oncelog_lock* other = NULL;
  oncelog_owner owner = {.size = sizeof owner};
  uint8_t held = 2;
  OK(oncelog_lock_acquire(store, TEXT("report"), kLease, 0, &lock, &error));
  CHECK(oncelog_lock_held(lock) == 1 && oncelog_lock_token(lock) > 0 && !oncelog_lock_owner(lock, &owner));
  OK(oncelog_lock_acquire(store, TEXT("report"), kLease, 1, &other, &error));
  CHECK(!oncelog_lock_held(other) && oncelog_lock_owner(other, &owner) == 1 && owner.process == getpid());
  oncelog_lock_free(other);
  OK(oncelog_lock_renew(lock, kLease, &held, &error));
  CHECK(held == 1);
  oncelog_lock_release(lock);
  CHECK(!oncelog_lock_held(lock));
  OK(oncelog_lock_renew(lock, kLease, &held, &error));
  CHECK(held == 0);
  oncelog_lock_free(lock);
  for (int i = 0; i < 2; ++i) { /* Freeing releases. */
    OK(oncelog_lock_acquire(store, TEXT("report"), kLease, 0, &lock, &error));
    CHECK(oncelog_lock_held(lock));
    oncelog_lock_free(lock);
  }
  oncelog_lock_free(NULL);
  FAILS(ONCELOG_INVALID_ARGUMENT, "", oncelog_lock_acquire(store, TEXT(""), kLease, 0, &lock, &error));
}

struct Work {
  const oncelog_scope* scope;
  oncelog_claim* claim;
  int returns;
  int fails;
};

static int count_entries(const void* key, size_t key_bytes, const void* value, size_t value_bytes, void* user) {
  int* const left = user;
  CHECK(key_bytes == 1 && ((const char*)key)[0] >= 'a' && (value != NULL || value_bytes == 0));
  return --*left == 0;
}

static int work(oncelog_transaction* transaction, void* user) {
  const struct Work* const todo = user;
  const void* value = NULL;
  size_t bytes = 1;
  uint8_t answer = 2;
  oncelog_marked marked = {.size = sizeof marked};
  OK(oncelog_transaction_mark(transaction, todo->scope, TEXT("t-1"), NULL, &marked, &error));
  CHECK(marked.verdict == ONCELOG_FRESH && marked.lsn == 0);
  OK(oncelog_transaction_complete(transaction, todo->claim, NULL, &answer, &error));
  CHECK(answer == 1);
  OK(oncelog_transaction_put(transaction, TEXT("t"), TEXT("a"), TEXT("1"), &error));
  OK(oncelog_transaction_put(transaction, TEXT("t"), TEXT("b"), NULL, 0, &error));
  OK(oncelog_transaction_put(transaction, TEXT("t"), TEXT("c"), TEXT("3"), &error));
  OK(oncelog_transaction_get(transaction, TEXT("t"), TEXT("a"), &value, &bytes, &error));
  CHECK(bytes == 1 && *(const char*)value == '1');
  OK(oncelog_transaction_get(transaction, TEXT("t"), TEXT("b"), &value, &bytes, &error));
  CHECK(bytes == 0 && value != NULL);
  OK(oncelog_transaction_get(transaction, TEXT("t"), TEXT("z"), &value, &bytes, &error));
  CHECK(bytes == 0 && value == NULL);
  OK(oncelog_transaction_erase(transaction, TEXT("t"), TEXT("c"), &answer, &error));
  CHECK(answer == 1);
  OK(oncelog_transaction_erase(transaction, TEXT("t"), TEXT("c"), NULL, &error));
  int left = 100;
  OK(oncelog_transaction_scan(transaction, TEXT("t"), NULL, 0, count_entries, &left, &error));
  CHECK(left == 98);
  CHECK(oncelog_transaction_connection(transaction) == NULL);
  if (todo->fails) {
    FAILS(ONCELOG_INVALID_ARGUMENT, "", oncelog_transaction_put(transaction, TEXT(""), TEXT("a"), NULL, 0, &error));
    FAILS(ONCELOG_INVALID_ARGUMENT, "key is a null",
          oncelog_transaction_put(transaction, TEXT("t"), NULL, 1, NULL, 0, &error));
  }
  return todo->returns;
}

static void a_transaction_is_there_or_not(const oncelog_store* store, const oncelog_scope* scope) {
  struct Work todo = {scope, begin(scope, "t-2", NULL), 7, 0};
  const void* value = NULL;
  size_t bytes = 0;
  uint8_t known = 2;
  FAILS(ONCELOG_ROLLED_BACK, "returned 7", oncelog_transact(store, work, &todo, &error));
  oncelog_claim_free(todo.claim); /* The rollback has freed its id. */
  todo = (struct Work){scope, begin(scope, "t-2", NULL), 0, 1};
  CHECK(oncelog_claim_held(todo.claim));
  FAILS(ONCELOG_INVALID_ARGUMENT, "", oncelog_transact(store, work, &todo, &error)); /* Although it returned 0. */
  oncelog_claim_free(todo.claim);
  OK(oncelog_get(store, TEXT("t"), TEXT("a"), &value, &bytes, &error));
  CHECK(value == NULL);
  OK(oncelog_contains(scope, TEXT("t-1"), &known, &error));
  CHECK(known == 0);

  todo = (struct Work){scope, begin(scope, "t-2", NULL), 0, 0};
  OK(oncelog_transact(store, work, &todo, &error));
  oncelog_claim_free(todo.claim);
  OK(oncelog_get(store, TEXT("t"), TEXT("a"), &value, &bytes, &error));
  CHECK(bytes == 1 && strcmp(value, "1") == 0);
  oncelog_free(value);
  OK(oncelog_get(store, TEXT("t"), TEXT("b"), &value, &bytes, &error));
  CHECK(bytes == 0 && value != NULL);
  oncelog_free(value);
  OK(oncelog_contains(scope, TEXT("t-2"), &known, &error));
  CHECK(known == 1);
  int left = 1; /* The visitor ends the visits after one. */
  OK(oncelog_scan_table(store, TEXT("t"), NULL, 0, count_entries, &left, &error));
  CHECK(left == 0);
  left = 100;
  OK(oncelog_scan_table(store, TEXT("t"), TEXT("b"), count_entries, &left, &error));
  CHECK(left == 99);
}

int main(void) {
  new_directory();
  oncelog_store* const store = open_store("store");
  oncelog_scope* const scope = scope_of(store, "orders");
  a_claim_is_completed(scope);
  a_claim_that_is_freed_frees_its_id(scope);
  a_batch_is_completed(scope);
  a_lock_has_one_holder(store);
  a_transaction_is_there_or_not(store, scope);
  oncelog_claim* const last = begin(scope, "last", NULL);
  oncelog_scope_free(scope);
  oncelog_store_free(store);
  OK(oncelog_claim_complete(last, NULL, ONCELOG_ACK_DISK, NULL, NULL, &error)); /* It keeps the store open. */
  oncelog_claim_free(last);
  remove_directory();
  return 0;
}
