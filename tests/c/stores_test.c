/* Of the C interface: records that are imported, stores that are repaired, and stores in memory. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "check.h"

enum { kDay_ms = 24 * 3600 * 1000 };

static const int64_t kDay_us = (int64_t)kDay_ms * 1000;

static uint8_t contains(const oncelog_scope* scope, const char* id) {
  uint8_t known = 2;
  OK(oncelog_contains(scope, id, strlen(id), &known, &error));
  return known;
}

static oncelog_verdict mark(const oncelog_scope* scope, const char* id) {
  oncelog_marked marked = {.size = sizeof marked};
  OK(oncelog_mark(scope, id, strlen(id), NULL, ONCELOG_ACK_DEFAULT, &marked, &error));
  return marked.verdict;
}

static void on_decision(const oncelog_decision* decision, void* user) {
  (void)decision;
  ++*(int*)user;
}

static void free_user(void* user) {
  *(int*)user += 100;
}

static void a_store_in_memory_has_a_clock_of_its_own(void) {
  oncelog_clock* clock = NULL;
  oncelog_store* store = NULL;
  int decisions = 0;
  const oncelog_options options = {.size = sizeof options,
                                   .retention_ms = kDay_ms,
                                   .on_decision = on_decision,
                                   .user = &decisions,
                                   .free_user = free_user};
  OK(oncelog_clock_new(kDay_us, &clock, &error));
  CHECK(oncelog_clock_now(clock) == kDay_us);
  OK(oncelog_open_in_memory(&options, clock, &store, &error));
  oncelog_scope* const scope = scope_of(store, "orders");
  CHECK(mark(scope, "m-1") == ONCELOG_FRESH && mark(scope, "m-1") == ONCELOG_DUPLICATE);
  oncelog_clock_advance(clock, kDay_us - 1);
  CHECK(contains(scope, "m-1") == 1);
  oncelog_clock_advance(clock, 1);
  CHECK(contains(scope, "m-1") == 0 && oncelog_clock_now(clock) == 2 * kDay_us);
  oncelog_clock_free(clock); /* The store keeps it. */
  CHECK(mark(scope, "m-1") == ONCELOG_FRESH && decisions == 3);
  oncelog_scope_free(scope);
  oncelog_store_free(store);
  CHECK(decisions == 103);
}

static void each_store_in_memory_is_a_new_one(void) {
  oncelog_store* store = NULL;
  for (int i = 0; i < 2; ++i) {
    OK(oncelog_open_in_memory(NULL, NULL, &store, &error));
    oncelog_scope* const scope = scope_of(store, "orders");
    CHECK(mark(scope, "m-1") == ONCELOG_FRESH);
    oncelog_scope_free(scope);
    oncelog_store_free(store);
  }
  oncelog_clock* clock = NULL;
  OK(oncelog_clock_new(0, &clock, &error));
  CHECK(oncelog_clock_now(clock) > 45 * 365 * kDay_us);
  oncelog_clock_free(clock);
  oncelog_clock_free(NULL);
  const oncelog_options wrong[] = {{.size = sizeof wrong[0], .timeout_ms = 1},
                                   {.size = sizeof wrong[0], .buckets = 99}};
  for (int i = 0; i < 2; ++i)
    FAILS(ONCELOG_INVALID_ARGUMENT, "", oncelog_open_in_memory(&wrong[i], NULL, &store, &error));
  FAILS(ONCELOG_INVALID_ARGUMENT, "store is a null", oncelog_open_in_memory(NULL, NULL, NULL, &error));
  FAILS(ONCELOG_INVALID_ARGUMENT, "clock is a null", oncelog_clock_new(0, NULL, &error));
}

static void records_are_imported(const oncelog_store* store) {
  int64_t now = 0;
  oncelog_scope* const scope = scope_of(store, "orders");
  oncelog_claim* claim = NULL;
  CHECK(mark(scope, "i-1") == ONCELOG_FRESH);
  OK(oncelog_begin(scope, TEXT("i-2"), 60000, NULL, 0, &claim, &error));
  const oncelog_record* record = NULL;
  OK(oncelog_find(scope, TEXT("i-1"), &record, &error));
  now = record->processed_at_us;
  oncelog_free(record);
  const char* const ids[] = {"i-1", "i-2", "i-3", "i-4", "i-5"};
  const int64_t ages[] = {1000, 1000, 3600 * 1000000LL, 2 * kDay_us, -kDay_us};
  struct Newer { /* Of a later version of the header, with which the array is walked. */
    oncelog_record known;
    uint64_t later;
  } records[5];
  memset(records, 0, sizeof records);
  for (int i = 0; i < 5; ++i) {
    records[i].known = (oncelog_record){.size = sizeof records[0],
                                        .scope = {TEXT("orders")},
                                        .id = {ids[i], 3},
                                        .correlation = {TEXT("order 3")},
                                        .result = {TEXT("done")},
                                        .source_name = {TEXT("topic")},
                                        .source_offset = 9,
                                        .fingerprint = 7,
                                        .processed_at_us = now - ages[i],
                                        .source_partition = 4};
  }
  oncelog_imported imported = {.size = sizeof imported};
  OK(oncelog_import(store, &records[0].known, 5, &imported, &error));
  CHECK(imported.imported == 2 && imported.known == 1 && imported.claimed == 1 && imported.expired == 1);
  CHECK(imported.redated == 1);
  OK(oncelog_find(scope, TEXT("i-3"), &record, &error));
  CHECK(record->processed_at_us == now - ages[2] && same(record->correlation, "order 3") && record->fingerprint == 7);
  CHECK(same(record->result, "done") && same(record->source_name, "topic") && record->source_offset == 9);
  CHECK(record->source_partition == 4);
  OK(oncelog_import(store, record, 1, NULL, &error)); /* As a visitor gets it. */
  oncelog_free(record);
  OK(oncelog_import(store, NULL, 0, &imported, &error));
  CHECK(imported.imported == 0 && imported.known == 0);

  records[1].known.size -= 8;
  FAILS(ONCELOG_INVALID_ARGUMENT, "sizes", oncelog_import(store, &records[0].known, 2, NULL, &error));
  records[0].later = 1;
  FAILS(ONCELOG_UNSUPPORTED, "oncelog_record", oncelog_import(store, &records[0].known, 1, NULL, &error));
  records[0].later = 0;
  records[0].known.forgotten = 1;
  FAILS(ONCELOG_INVALID_ARGUMENT, "forgotten", oncelog_import(store, &records[0].known, 1, NULL, &error));
  records[0].known.size = 0;
  FAILS(ONCELOG_INVALID_ARGUMENT, "size", oncelog_import(store, &records[0].known, 1, NULL, &error));
  FAILS(ONCELOG_INVALID_ARGUMENT, "records is a null", oncelog_import(store, NULL, 1, NULL, &error));
  oncelog_claim_free(claim);
  oncelog_scope_free(scope);
}

static int count_problems(const oncelog_problem* problem, void* user) {
  int* const left = user;
  CHECK(problem->size == sizeof *problem && problem->sentence[0] != '\0' && problem->remedy != NULL);
  return --*left == 0;
}

/* The ends of all pages but the two that say what the store is: there LMDB keeps what is short. */
static void damage(const char* path) {
  const int file = open(path, O_RDWR);
  CHECK(file >= 0);
  const off_t end = lseek(file, 0, SEEK_END);
  for (off_t at = 3 * 4096 - 200; at < end; at += 4096) CHECK(pwrite(file, "damaged!", 8, at) == 8);
  CHECK(close(file) == 0);
}

static void a_damaged_store_is_repaired(void) {
  oncelog_store* store = open_store("damaged");
  oncelog_scope* scope = scope_of(store, "orders");
  for (char i = 'a'; i <= 'z'; ++i) {
    const char id[] = {i, '\0'};
    CHECK(mark(scope, id) == ONCELOG_FRESH);
  }
  FAILS(ONCELOG_IN_USE, "", oncelog_repair(path_of("damaged"), path_of("repaired"), NULL, NULL, NULL, NULL, &error));
  FAILS(ONCELOG_IN_USE, "", oncelog_rebuild_hints(path_of("damaged"), NULL, &error));
  oncelog_scope_free(scope);
  oncelog_store_free(store);
  const oncelog_repair_options options = {.size = sizeof options, .live_dir = path_of("damaged")};
  OK(oncelog_rebuild_hints(path_of("damaged"), &options, &error));
  oncelog_repair_report report = {.size = sizeof report};
  int left = 1000;
  OK(oncelog_repair(path_of("damaged"), path_of("whole"), &options, count_problems, &left, &report, &error));
  CHECK(report.records == 26 && report.scopes == 1 && report.entries == 0 && report.end > 26 * 8);
  CHECK(report.problems == 0 && left == 1000);

  store = open_store("whole");
  scope = scope_of(store, "orders");
  int64_t since = 0;
  OK(oncelog_known_since(store, &since, &error));
  CHECK(contains(scope, "a") == 1 && contains(scope, "z") == 1 && since >= report.known_since_us);
  oncelog_scope_free(scope);
  oncelog_store_free(store);

  damage(path_of("damaged/data.mdb"));
  CHECK(unlink(path_of("damaged/live")) == 0); /* The ring would have the records still. */
  OK(oncelog_repair(path_of("damaged"), path_of("saved"), NULL, count_problems, &left, &report, &error));
  CHECK(report.problems > 0 && left == 1000 - (int)report.problems);
  left = 1; /* The visitor wants no more. */
  OK(oncelog_repair(path_of("damaged"), path_of("saved again"), NULL, count_problems, &left, NULL, &error));
  CHECK(left == 0);

  const oncelog_repair_options wrong[] = {
      {.size = 1}, {.size = sizeof wrong[0], .reserved = {1}}, {.size = sizeof wrong[0], .allow_foreign_owner = 2}};
  for (int i = 0; i < 3; ++i) {
    FAILS(ONCELOG_INVALID_ARGUMENT, "",
          oncelog_repair(path_of("damaged"), path_of("new"), &wrong[i], NULL, NULL, NULL, &error));
  }
  FAILS(ONCELOG_NOT_FOUND, "", oncelog_rebuild_hints(path_of("absent"), NULL, &error));
}

int main(void) {
  new_directory();
  a_store_in_memory_has_a_clock_of_its_own();
  each_store_in_memory_is_a_new_one();
  oncelog_store* const store = open_store("store");
  records_are_imported(store);
  oncelog_store_free(store);
  a_damaged_store_is_repaired();
  remove_directory();
  return 0;
}
