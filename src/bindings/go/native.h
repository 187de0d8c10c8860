// What Go calls in place of the C interface. cgo forbids C to be given memory of Go that holds pointers to memory of
// Go, so no struct of the C interface that has pointers is made in Go: these functions take flat buffers and numbers,
// make the structs on C's side, and return what there is to return by value.
#ifndef ONCELOG_GO_NATIVE_H
#define ONCELOG_GO_NATIVE_H

#include <pthread.h>
#include <stdlib.h>

#include <oncelog/c.h>

// What a call answers. Which of the last fields mean something depends on the call.
typedef struct {
  oncelog_error* error;  // Null where it has succeeded.
  void* handle;
  uint64_t number;
  size_t count;
  uint8_t verdict;
  uint8_t flag;
} native_answer;

// Attributes without pointers: where each text ends in one buffer that holds them all, one after the other.
typedef struct {
  uint64_t correlation_end;
  uint64_t result_end;
  uint64_t source_end;
  uint64_t source_offset;
  uint64_t fingerprint;
  int64_t sent_at_us;
  uint64_t source_partition;
} native_attributes;

static inline oncelog_attributes native_widen(const char* texts, uint64_t begin, const native_attributes* flat) {
  const oncelog_attributes wide = {.size = sizeof wide,
                                   .correlation = {texts + begin, flat->correlation_end - begin},
                                   .result = {texts + flat->correlation_end, flat->result_end - flat->correlation_end},
                                   .source_name = {texts + flat->result_end, flat->source_end - flat->result_end},
                                   .source_offset = flat->source_offset,
                                   .fingerprint = flat->fingerprint,
                                   .sent_at_us = flat->sent_at_us,
                                   .source_partition = (uint32_t)flat->source_partition};
  return wide;
}

// An empty Go slice has no address, which is the empty text of the C interface only with the length 0.
static inline const char* native_texts(const void* texts) {
  return texts == NULL ? "" : (const char*)texts;
}

static inline oncelog_ids native_ids(size_t count, const void* data, const uint64_t* ends) {
  const oncelog_ids ids = {.size = sizeof ids, .count = count, .data = native_texts(data), .ends = ends};
  return ids;
}

// --- The store.

// The callbacks, which are written in Go. `user` is a number by which Go finds what it is about, and must be one there:
// Go's stack may hold no pointer that is none.
void oncelogGoDecision(oncelog_decision* decision, uintptr_t user);
void oncelogGoEvent(oncelog_event_kind kind, char* sentence, uintptr_t user);
void oncelogGoFreeHooks(uintptr_t user);
int oncelogGoRecord(oncelog_record* record, uintptr_t user);
int oncelogGoTransaction(oncelog_transaction* transaction, uintptr_t user);
int oncelogGoEntry(void* key, size_t key_bytes, void* value, size_t value_bytes, uintptr_t user);

static inline void native_on_decision(const oncelog_decision* decision, void* user) {
  oncelogGoDecision((oncelog_decision*)decision, (uintptr_t)user);
}

static inline void native_on_event(oncelog_event_kind kind, const char* sentence, void* user) {
  oncelogGoEvent(kind, (char*)sentence, (uintptr_t)user);
}

static inline void native_free_hooks(void* user) {
  oncelogGoFreeHooks((uintptr_t)user);
}

static inline int native_on_record(const oncelog_record* record, void* user) {
  return oncelogGoRecord((oncelog_record*)record, (uintptr_t)user);
}

static inline int native_on_transaction(oncelog_transaction* transaction, void* user) {
  return oncelogGoTransaction(transaction, (uintptr_t)user);
}

static inline int native_on_entry(const void* key, size_t key_bytes, const void* value, size_t value_bytes,
                                  void* user) {
  return oncelogGoEntry((void*)key, key_bytes, (void*)value, value_bytes, (uintptr_t)user);
}

typedef struct {
  int64_t retention_ms;
  int64_t flush_interval_ms;
  int64_t timeout_ms;
  int64_t near_staleness_ms;
  uint64_t max_bytes;
  uint64_t expected_ids;
  uint64_t ring_bytes;
  uint64_t map_bytes;
  uint32_t buckets;
  uint32_t max_claims;
  uint32_t max_readers;
  uint32_t connections;
  uint8_t ack;
  uint8_t never_create;
  uint8_t read_only;
  uint8_t allow_foreign_owner;
  uint8_t allow_network_filesystem;
  uint8_t on_decision;
  uint8_t on_event;
} native_options;

// The strings are C's. `user` is 0 where there are no hooks.
static inline native_answer native_open(const char* place, native_options flat, const char* live_dir,
                                        const char* near_directory, uintptr_t user) {
  const oncelog_options options = {.size = sizeof options,
                                   .retention_ms = flat.retention_ms,
                                   .buckets = flat.buckets,
                                   .ack = flat.ack,
                                   .never_create = flat.never_create,
                                   .read_only = flat.read_only,
                                   .allow_foreign_owner = flat.allow_foreign_owner,
                                   .allow_network_filesystem = flat.allow_network_filesystem,
                                   .on_decision = flat.on_decision ? native_on_decision : NULL,
                                   .on_event = flat.on_event ? native_on_event : NULL,
                                   .user = (void*)user,
                                   .free_user = user != 0 ? native_free_hooks : NULL,
                                   .max_bytes = flat.max_bytes,
                                   .live_dir = live_dir,
                                   .expected_ids = flat.expected_ids,
                                   .flush_interval_ms = flat.flush_interval_ms,
                                   .ring_bytes = flat.ring_bytes,
                                   .map_bytes = flat.map_bytes,
                                   .max_claims = flat.max_claims,
                                   .max_readers = flat.max_readers,
                                   .timeout_ms = flat.timeout_ms,
                                   .connections = flat.connections,
                                   .near_directory = near_directory,
                                   .near_staleness_ms = flat.near_staleness_ms};
  native_answer answer = {0};
  oncelog_open(place, &options, (oncelog_store**)&answer.handle, &answer.error);
  return answer;
}

static inline native_answer native_scope(const oncelog_store* store, _GoString_ name, oncelog_orphan_policy orphans) {
  const oncelog_scope_options options = {.size = sizeof options, .orphans = orphans};
  native_answer answer = {0};
  oncelog_store_scope(store, _GoStringPtr(name), _GoStringLen(name), &options, (oncelog_scope**)&answer.handle,
                      &answer.error);
  return answer;
}

static inline native_answer native_scopes(const oncelog_store* store) {
  native_answer answer = {0};
  oncelog_store_scopes(store, (const oncelog_text**)&answer.handle, &answer.count, &answer.error);
  return answer;
}

static inline native_answer native_durable(const oncelog_store* store) {
  native_answer answer = {0};
  oncelog_durable(store, &answer.number, &answer.error);
  return answer;
}

static inline native_answer native_wait(const oncelog_store* store, uint64_t lsn) {
  native_answer answer = {0};
  oncelog_wait(store, lsn, &answer.error);
  return answer;
}

static inline native_answer native_sync(const oncelog_store* store) {
  native_answer answer = {0};
  oncelog_sync(store, &answer.error);
  return answer;
}

static inline native_answer native_known_since(const oncelog_store* store) {
  native_answer answer = {0};
  int64_t since = 0;
  oncelog_known_since(store, &since, &answer.error);
  answer.number = (uint64_t)since;
  return answer;
}

static inline native_answer native_metrics(const oncelog_store* store, int32_t of) {
  native_answer answer = {0};
  oncelog_metrics(store, of, (const char**)&answer.handle, &answer.count, &answer.error);
  return answer;
}

// `range` has no texts but the scope.
static inline native_answer native_scan(const oncelog_store* store, _GoString_ scope, int64_t since_us,
                                        int64_t until_us, uintptr_t user) {
  const oncelog_scan_range range = {.size = sizeof range,
                                    .scope = {_GoStringPtr(scope), _GoStringLen(scope)},
                                    .since_us = since_us,
                                    .until_us = until_us};
  native_answer answer = {0};
  oncelog_scan(store, &range, native_on_record, (void*)user, &answer.error);
  return answer;
}

static inline native_answer native_correlated(const oncelog_store* store, _GoString_ correlation, uintptr_t user) {
  native_answer answer = {0};
  oncelog_correlated(store, _GoStringPtr(correlation), _GoStringLen(correlation), native_on_record, (void*)user,
                     &answer.error);
  return answer;
}

static inline native_answer native_lock(const oncelog_store* store, _GoString_ name, int64_t lease_ms,
                                        int64_t patience_ms) {
  native_answer answer = {0};
  oncelog_lock_acquire(store, _GoStringPtr(name), _GoStringLen(name), lease_ms, patience_ms,
                       (oncelog_lock**)&answer.handle, &answer.error);
  return answer;
}

static inline native_answer native_lock_renew(oncelog_lock* lock, int64_t lease_ms) {
  native_answer answer = {0};
  oncelog_lock_renew(lock, lease_ms, &answer.flag, &answer.error);
  return answer;
}

// Who holds it, in a struct without pointers; its size is 0 where nobody is known to.
static inline oncelog_owner native_lock_owner(const oncelog_lock* lock) {
  oncelog_owner owner = {.size = sizeof owner};
  if (!oncelog_lock_owner(lock, &owner)) owner.size = 0;
  return owner;
}

static inline oncelog_owner native_claim_owner(const oncelog_claim* claim) {
  oncelog_owner owner = {.size = sizeof owner};
  if (!oncelog_claim_owner(claim, &owner)) owner.size = 0;
  return owner;
}

// --- The scope: one id.

static inline native_answer native_contains(const oncelog_scope* scope, _GoString_ id) {
  native_answer answer = {0};
  oncelog_contains(scope, _GoStringPtr(id), _GoStringLen(id), &answer.flag, &answer.error);
  return answer;
}

static inline native_answer native_contains_correlated(const oncelog_scope* scope, _GoString_ id,
                                                       _GoString_ correlation) {
  native_answer answer = {0};
  oncelog_contains_correlated(scope, _GoStringPtr(id), _GoStringLen(id), _GoStringPtr(correlation),
                              _GoStringLen(correlation), &answer.flag, &answer.error);
  return answer;
}

static inline native_answer native_find(const oncelog_scope* scope, _GoString_ id) {
  native_answer answer = {0};
  oncelog_find(scope, _GoStringPtr(id), _GoStringLen(id), (const oncelog_record**)&answer.handle, &answer.error);
  return answer;
}

// `attributes` is null where there are none.
static inline native_answer native_mark(const oncelog_scope* scope, _GoString_ id, const void* texts,
                                        const native_attributes* attributes, oncelog_ack ack) {
  native_answer answer = {0};
  oncelog_attributes wide;
  if (attributes != NULL) wide = native_widen(native_texts(texts), 0, attributes);
  oncelog_marked marked = {.size = sizeof marked};
  oncelog_mark(scope, _GoStringPtr(id), _GoStringLen(id), attributes != NULL ? &wide : NULL, ack, &marked,
               &answer.error);
  answer.verdict = marked.verdict;
  answer.flag = marked.redelivered;
  answer.number = marked.lsn;
  return answer;
}

static inline native_answer native_begin(const oncelog_scope* scope, _GoString_ id, int64_t lease_ms, const void* texts,
                                         const native_attributes* attributes) {
  native_answer answer = {0};
  oncelog_attributes wide;
  if (attributes != NULL) wide = native_widen(native_texts(texts), 0, attributes);
  oncelog_claim* claim = NULL;
  oncelog_begin(scope, _GoStringPtr(id), _GoStringLen(id), lease_ms, attributes != NULL ? &wide : NULL, 0, &claim,
                &answer.error);
  if (claim == NULL) return answer;
  answer.handle = claim;
  answer.verdict = oncelog_claim_verdict(claim);
  answer.flag = oncelog_claim_redelivered(claim) != 0;
  answer.number = oncelog_claim_token(claim);
  return answer;
}

static inline native_answer native_wait_until_free(const oncelog_scope* scope, _GoString_ id, int64_t patience_ms) {
  native_answer answer = {0};
  oncelog_wait_until_free(scope, _GoStringPtr(id), _GoStringLen(id), patience_ms, &answer.flag, &answer.error);
  return answer;
}

static inline native_answer native_forget(const oncelog_scope* scope, _GoString_ id, oncelog_ack ack) {
  native_answer answer = {0};
  oncelog_forget(scope, _GoStringPtr(id), _GoStringLen(id), ack, &answer.flag, &answer.error);
  return answer;
}

static inline native_answer native_release(const oncelog_scope* scope, _GoString_ id) {
  native_answer answer = {0};
  oncelog_release(scope, _GoStringPtr(id), _GoStringLen(id), &answer.flag, &answer.error);
  return answer;
}

// --- The scope: many ids.

static inline native_answer native_contains_batch(const oncelog_scope* scope, size_t count, const void* data,
                                                  const uint64_t* ends, uint8_t* known) {
  const oncelog_ids ids = native_ids(count, data, ends);
  native_answer answer = {0};
  oncelog_contains_batch(scope, &ids, known, &answer.error);
  return answer;
}

static inline native_answer native_find_batch(const oncelog_scope* scope, size_t count, const void* data,
                                              const uint64_t* ends) {
  const oncelog_ids ids = native_ids(count, data, ends);
  native_answer answer = {0};
  const oncelog_record* const* records = NULL;
  oncelog_find_batch(scope, &ids, &records, &answer.error);
  answer.handle = (void*)records;
  return answer;
}

// `attributes` is null, or has one for each id. The flag is 1 where there was no memory to widen them in.
static inline native_answer native_mark_batch(const oncelog_scope* scope, size_t count, const void* data,
                                              const uint64_t* ends, const void* texts,
                                              const native_attributes* attributes, oncelog_ack ack,
                                              oncelog_verdict* verdicts, uint64_t* lsns, uint8_t* redelivered) {
  const oncelog_ids ids = native_ids(count, data, ends);
  native_answer answer = {0};
  oncelog_attributes* wide = NULL;
  if (attributes != NULL && count != 0) {
    wide = (oncelog_attributes*)calloc(count, sizeof *wide);
    answer.flag = wide == NULL;
    if (wide == NULL) return answer;
    uint64_t begin = 0;
    for (size_t i = 0; i < count; i++) {
      wide[i] = native_widen(native_texts(texts), begin, &attributes[i]);
      begin = attributes[i].source_end;
    }
  }
  oncelog_mark_batch(scope, &ids, wide, ack, verdicts, lsns, redelivered, &answer.error);
  free(wide);
  return answer;
}

static inline native_answer native_begin_batch(const oncelog_scope* scope, size_t count, const void* data,
                                               const uint64_t* ends, int64_t lease_ms) {
  const oncelog_ids ids = native_ids(count, data, ends);
  native_answer answer = {0};
  oncelog_begin_batch(scope, &ids, lease_ms, (oncelog_claim_batch**)&answer.handle, &answer.error);
  return answer;
}

// --- Claims.

// The verdict is 1 while the claim is held afterwards, which it may be where this has failed.
static inline native_answer native_complete(oncelog_claim* claim, const void* texts,
                                            const native_attributes* attributes, oncelog_ack ack) {
  native_answer answer = {0};
  oncelog_attributes wide;
  if (attributes != NULL) wide = native_widen(native_texts(texts), 0, attributes);
  oncelog_claim_complete(claim, attributes != NULL ? &wide : NULL, ack, &answer.flag, &answer.number, &answer.error);
  answer.verdict = oncelog_claim_held(claim) != 0;
  return answer;
}

static inline native_answer native_claim_renew(oncelog_claim* claim, int64_t lease_ms) {
  native_answer answer = {0};
  oncelog_claim_renew(claim, lease_ms, &answer.flag, &answer.error);
  return answer;
}

static inline native_answer native_claim_keep_alive(oncelog_claim* claim, int64_t most_ms) {
  native_answer answer = {0};
  oncelog_claim_keep_alive(claim, most_ms, &answer.flag, &answer.error);
  return answer;
}

static inline native_answer native_complete_batch(oncelog_claim_batch* batch) {
  native_answer answer = {0};
  oncelog_claim_batch_complete(batch, &answer.count, &answer.number, &answer.error);
  return answer;
}

// --- Transactions and tables.

static inline uintptr_t native_thread(void) {
  return (uintptr_t)pthread_self();
}

static inline native_answer native_transact(const oncelog_store* store, uintptr_t user) {
  native_answer answer = {0};
  oncelog_transact(store, native_on_transaction, (void*)user, &answer.error);
  return answer;
}

static inline native_answer native_transaction_mark(oncelog_transaction* transaction, const oncelog_scope* scope,
                                                    _GoString_ id, const void* texts,
                                                    const native_attributes* attributes) {
  native_answer answer = {0};
  oncelog_attributes wide;
  if (attributes != NULL) wide = native_widen(native_texts(texts), 0, attributes);
  oncelog_marked marked = {.size = sizeof marked};
  oncelog_transaction_mark(transaction, scope, _GoStringPtr(id), _GoStringLen(id), attributes != NULL ? &wide : NULL,
                           &marked, &answer.error);
  answer.verdict = marked.verdict;
  answer.flag = marked.redelivered;
  answer.number = marked.lsn;
  return answer;
}

// The verdict is 1 while the claim is held by its handle afterwards.
static inline native_answer native_transaction_complete(oncelog_transaction* transaction, oncelog_claim* claim,
                                                        const void* texts, const native_attributes* attributes) {
  native_answer answer = {0};
  oncelog_attributes wide;
  if (attributes != NULL) wide = native_widen(native_texts(texts), 0, attributes);
  oncelog_transaction_complete(transaction, claim, attributes != NULL ? &wide : NULL, &answer.flag, &answer.error);
  answer.verdict = oncelog_claim_held(claim) != 0;
  return answer;
}

static inline native_answer native_transaction_put(oncelog_transaction* transaction, _GoString_ table, _GoString_ key,
                                                   const void* value, size_t value_bytes) {
  native_answer answer = {0};
  oncelog_transaction_put(transaction, _GoStringPtr(table), _GoStringLen(table), _GoStringPtr(key), _GoStringLen(key),
                          value, value_bytes, &answer.error);
  return answer;
}

// The handle is the value, which belongs to the transaction.
static inline native_answer native_transaction_get(oncelog_transaction* transaction, _GoString_ table, _GoString_ key) {
  native_answer answer = {0};
  oncelog_transaction_get(transaction, _GoStringPtr(table), _GoStringLen(table), _GoStringPtr(key), _GoStringLen(key),
                          (const void**)&answer.handle, &answer.count, &answer.error);
  return answer;
}

static inline native_answer native_transaction_erase(oncelog_transaction* transaction, _GoString_ table,
                                                     _GoString_ key) {
  native_answer answer = {0};
  oncelog_transaction_erase(transaction, _GoStringPtr(table), _GoStringLen(table), _GoStringPtr(key), _GoStringLen(key),
                            &answer.flag, &answer.error);
  return answer;
}

static inline native_answer native_transaction_scan(oncelog_transaction* transaction, _GoString_ table, _GoString_ from,
                                                    uintptr_t user) {
  native_answer answer = {0};
  oncelog_transaction_scan(transaction, _GoStringPtr(table), _GoStringLen(table), _GoStringPtr(from),
                           _GoStringLen(from), native_on_entry, (void*)user, &answer.error);
  return answer;
}

static inline native_answer native_get(const oncelog_store* store, _GoString_ table, _GoString_ key) {
  native_answer answer = {0};
  oncelog_get(store, _GoStringPtr(table), _GoStringLen(table), _GoStringPtr(key), _GoStringLen(key),
              (const void**)&answer.handle, &answer.count, &answer.error);
  return answer;
}

static inline native_answer native_scan_table(const oncelog_store* store, _GoString_ table, _GoString_ from,
                                              uintptr_t user) {
  native_answer answer = {0};
  oncelog_scan_table(store, _GoStringPtr(table), _GoStringLen(table), _GoStringPtr(from), _GoStringLen(from),
                     native_on_entry, (void*)user, &answer.error);
  return answer;
}

#endif
