/* Of the C interface: scopes, one id and many. */
#include <stdlib.h>
#include <string.h>

#include "check.h"

static oncelog_verdict mark(const oncelog_scope* scope, const char* id) {
  oncelog_marked marked = {.size = sizeof marked};
  OK(oncelog_mark(scope, id, strlen(id), NULL, ONCELOG_ACK_DEFAULT, &marked, &error));
  return marked.verdict;
}

static int contains(const oncelog_scope* scope, const char* id) {
  uint8_t known = 2;
  OK(oncelog_contains(scope, id, strlen(id), &known, &error));
  return known;
}

static void an_id_is_fresh_once(const oncelog_scope* scope) {
  size_t size = 0;
  CHECK(strcmp(oncelog_scope_name(scope, &size), "orders") == 0 && size == 6);
  CHECK(oncelog_scope_name(scope, NULL) != NULL);
  CHECK(contains(scope, "once") == 0);
  CHECK(mark(scope, "once") == ONCELOG_FRESH);
  CHECK(mark(scope, "once") == ONCELOG_DUPLICATE);
  CHECK(contains(scope, "once") == 1);
  /* Ids are bytes. */
  oncelog_marked marked = {.size = sizeof marked};
  OK(oncelog_mark(scope, TEXT("a\0b"), NULL, ONCELOG_ACK_DISK, &marked, &error));
  CHECK(marked.verdict == ONCELOG_FRESH && marked.lsn != 0 && marked.redelivered == 0);
  OK(oncelog_mark(scope, TEXT("a\0c"), NULL, ONCELOG_ACK_HOST, &marked, &error));
  CHECK(marked.verdict == ONCELOG_FRESH);
}

static void a_record_has_what_was_given(const oncelog_scope* scope) {
  const oncelog_attributes attributes = {.size = sizeof attributes,
                                         .correlation = {TEXT("order-1")},
                                         .result = {TEXT("don\0e")},
                                         .source_name = {TEXT("topic")},
                                         .source_offset = 17,
                                         .fingerprint = oncelog_fingerprint(TEXT("payload")),
                                         .source_partition = 3};
  oncelog_marked marked = {.size = sizeof marked};
  OK(oncelog_mark(scope, TEXT("full"), &attributes, ONCELOG_ACK_DEFAULT, &marked, &error));
  CHECK(marked.verdict == ONCELOG_FRESH);
  const uint64_t lsn = marked.lsn;
  OK(oncelog_mark(scope, TEXT("full"), &attributes, ONCELOG_ACK_DEFAULT, &marked, &error));
  CHECK(marked.verdict == ONCELOG_DUPLICATE && marked.redelivered == 1 && marked.lsn == lsn);

  const oncelog_record* record = NULL;
  OK(oncelog_find(scope, TEXT("full"), &record, &error));
  CHECK(record->size == sizeof *record && same(record->scope, "orders") && same(record->id, "full"));
  CHECK(same(record->correlation, "order-1") && same(record->source_name, "topic"));
  CHECK(record->result.size == 5 && memcmp(record->result.data, "don\0e", 6) == 0); /* And a NUL behind. */
  CHECK(record->source_offset == 17 && record->source_partition == 3 && record->lsn == lsn && !record->forgotten);
  CHECK(record->fingerprint == attributes.fingerprint && record->processed_at_us > 0);
  oncelog_free(record);
  OK(oncelog_find(scope, TEXT("never"), &record, &error));
  CHECK(record == NULL);

  uint8_t known = 2;
  OK(oncelog_contains_correlated(scope, TEXT("full"), TEXT("order-1"), &known, &error));
  CHECK(known == 1);
  OK(oncelog_contains_correlated(scope, TEXT("full"), TEXT("order-2"), &known, &error));
  CHECK(known == 0);

  oncelog_attributes other = {.size = sizeof other, .fingerprint = attributes.fingerprint + 1};
  OK(oncelog_mark(scope, TEXT("full"), &other, ONCELOG_ACK_DEFAULT, &marked, &error));
  CHECK(marked.verdict == ONCELOG_CONFLICT);
  other.sent_at_us = 1;
  OK(oncelog_mark(scope, TEXT("ancient"), &other, ONCELOG_ACK_DEFAULT, &marked, &error));
  CHECK(marked.verdict == ONCELOG_TOO_OLD && marked.lsn == 0);
}

static void an_id_is_forgotten(const oncelog_scope* scope) {
  uint8_t known = 2;
  CHECK(mark(scope, "forget") == ONCELOG_FRESH);
  OK(oncelog_forget(scope, TEXT("forget"), ONCELOG_ACK_DEFAULT, &known, &error));
  CHECK(known == 1);
  OK(oncelog_forget(scope, TEXT("forget"), ONCELOG_ACK_HOST, &known, &error));
  CHECK(known == 0);
  OK(oncelog_forget(scope, TEXT("forget"), ONCELOG_ACK_HOST, NULL, &error));
  CHECK(mark(scope, "forget") == ONCELOG_FRESH);
}

/* The three forms of a batch's ids answer alike. */
static void a_batch_is_one_call(const oncelog_scope* scope) {
  const void* const pointers[] = {"b-1", "b-22", "b-1"};
  const size_t lengths[] = {3, 4, 3};
  const uint64_t ends[] = {3, 7, 10};
  const oncelog_ids forms[] = {
      {.size = sizeof(oncelog_ids), .count = 3, .pointers = pointers, .lengths = lengths},
      {.size = sizeof(oncelog_ids), .count = 3, .data = "b-1b-22b-1", .ends = ends},
      {.size = sizeof(oncelog_ids), .count = 3, .data = "b-1\0\0b-22\0b-1\0\0", .width = 5, .padded = 1},
  };
  for (size_t form = 0; form < 3; ++form) {
    oncelog_verdict verdicts[3];
    uint64_t lsns[3];
    uint8_t redelivered[3];
    uint8_t known[3];
    OK(oncelog_contains_batch(scope, &forms[form], known, &error));
    CHECK(known[0] == (form != 0) && known[1] == (form != 0) && known[2] == (form != 0));
    OK(oncelog_mark_batch(scope, &forms[form], NULL, ONCELOG_ACK_DISK, verdicts, lsns, redelivered, &error));
    CHECK(verdicts[0] == (form == 0 ? ONCELOG_FRESH : ONCELOG_DUPLICATE) && verdicts[1] == verdicts[0]);
    CHECK(verdicts[2] == ONCELOG_DUPLICATE && lsns[2] == lsns[0] && lsns[1] > lsns[0] && !redelivered[2]);
    OK(oncelog_mark_batch(scope, &forms[form], NULL, ONCELOG_ACK_DEFAULT, NULL, NULL, NULL, &error));
    const oncelog_record* const* records = NULL;
    OK(oncelog_find_batch(scope, &forms[form], &records, &error));
    CHECK(same(records[0]->id, "b-1") && same(records[1]->id, "b-22") && same(records[2]->id, "b-1"));
    CHECK(records[1]->lsn == lsns[1] && records[1]->id.data[4] == '\0');
    oncelog_free(records);
  }
  /* Of one width, NULs count unless they are said to pad. */
  const oncelog_ids wide = {.size = sizeof wide, .count = 2, .data = "b-1\0b-1\0", .width = 4};
  uint8_t known[2];
  OK(oncelog_contains_batch(scope, &wide, known, &error));
  CHECK(known[0] == 0 && known[1] == 0);
  const oncelog_record* const* records = NULL;
  OK(oncelog_find_batch(scope, &wide, &records, &error));
  CHECK(records[0] == NULL && records[1] == NULL);
  oncelog_free(records);
  const oncelog_ids none = {.size = sizeof none};
  OK(oncelog_contains_batch(scope, &none, NULL, &error));
  OK(oncelog_mark_batch(scope, &none, NULL, ONCELOG_ACK_DEFAULT, NULL, NULL, NULL, &error));
  OK(oncelog_find_batch(scope, &none, &records, &error));
  oncelog_free(records);
}

static void each_id_of_a_batch_has_its_attributes(const oncelog_scope* scope) {
  const oncelog_ids ids = {.size = sizeof ids, .count = 2, .data = "x1x2", .width = 2};
  const oncelog_attributes attributes[] = {{.size = sizeof attributes[0], .result = {TEXT("one")}},
                                           {.size = sizeof attributes[0], .result = {TEXT("two")}}};
  OK(oncelog_mark_batch(scope, &ids, attributes, ONCELOG_ACK_DEFAULT, NULL, NULL, NULL, &error));
  const oncelog_record* const* records = NULL;
  OK(oncelog_find_batch(scope, &ids, &records, &error));
  CHECK(same(records[0]->result, "one") && same(records[1]->result, "two"));
  oncelog_free(records);
}

static void wrong_arguments_are_refused(const oncelog_scope* scope) {
  uint8_t known;
  oncelog_marked marked = {.size = sizeof marked};
  const oncelog_record* const* records = NULL;
  FAILS(ONCELOG_INVALID_ARGUMENT, "scope is a null", oncelog_contains(NULL, TEXT("a"), &known, &error));
  FAILS(ONCELOG_INVALID_ARGUMENT, "known is a null", oncelog_contains(scope, TEXT("a"), NULL, &error));
  FAILS(ONCELOG_INVALID_ARGUMENT, "id is a null", oncelog_contains(scope, NULL, 3, &known, &error));
  FAILS(ONCELOG_INVALID_ARGUMENT, "id", oncelog_contains(scope, NULL, 0, &known, &error));
  FAILS(ONCELOG_INVALID_ARGUMENT, "ack is none", oncelog_mark(scope, TEXT("a"), NULL, 3, &marked, &error));
  FAILS(ONCELOG_INVALID_ARGUMENT, "ack is none", oncelog_forget(scope, TEXT("a"), 9, NULL, &error));
  oncelog_attributes attributes = {.size = sizeof attributes, .reserved = 1};
  FAILS(ONCELOG_INVALID_ARGUMENT, "reserved", oncelog_mark(scope, TEXT("a"), &attributes, 0, &marked, &error));
  oncelog_ids ids = {.size = sizeof ids, .count = 2};
  FAILS(ONCELOG_INVALID_ARGUMENT, "ids.data", oncelog_contains_batch(scope, &ids, &known, &error));
  FAILS(ONCELOG_INVALID_ARGUMENT, "ids is a null", oncelog_contains_batch(scope, NULL, &known, &error));
  const uint64_t ends[] = {2, 1};
  ids.data = "ab";
  ids.ends = ends;
  FAILS(ONCELOG_INVALID_ARGUMENT, "ids.ends[1] is 1", oncelog_find_batch(scope, &ids, &records, &error));
  ids.ends = NULL;
  FAILS(ONCELOG_INVALID_ARGUMENT, "id", oncelog_contains_batch(scope, &ids, &known, &error)); /* Of no width. */
  const void* const pointers[] = {"a", NULL};
  const size_t lengths[] = {1, 1};
  ids.pointers = pointers;
  FAILS(ONCELOG_INVALID_ARGUMENT, "ids.lengths", oncelog_contains_batch(scope, &ids, &known, &error));
  ids.lengths = lengths;
  FAILS(ONCELOG_INVALID_ARGUMENT, "an id is a null", oncelog_contains_batch(scope, &ids, &known, &error));
  CHECK(contains(scope, "a") == 0);
  /* Without an error, the code alone. */
  CHECK(oncelog_contains(scope, NULL, 3, &known, NULL) == ONCELOG_INVALID_ARGUMENT);
}

int main(void) {
  new_directory();
  oncelog_store* const store = open_store("store");
  oncelog_scope* const scope = scope_of(store, "orders");
  oncelog_store_free(store); /* The scope keeps it open. */
  an_id_is_fresh_once(scope);
  a_record_has_what_was_given(scope);
  an_id_is_forgotten(scope);
  a_batch_is_one_call(scope);
  each_id_of_a_batch_has_its_attributes(scope);
  wrong_arguments_are_refused(scope);
  oncelog_scope_free(scope);
  oncelog_scope_free(NULL);
  remove_directory();
  return 0;
}
