/* Of the C interface: stores, their options, hooks and errors; structs of other versions; topics. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

static oncelog_verdict mark(const oncelog_scope* scope, const char* id, const oncelog_attributes* attributes) {
  oncelog_marked marked = {.size = sizeof marked};
  OK(oncelog_mark(scope, id, strlen(id), attributes, ONCELOG_ACK_DEFAULT, &marked, &error));
  return marked.verdict;
}

static void names_are_those_of_cpp(void) {
  CHECK(strcmp(oncelog_version(), ONCELOG_VERSION) == 0);
  CHECK(strcmp(oncelog_code_name(ONCELOG_OK), "ok") == 0);
  CHECK(strcmp(oncelog_code_name(ONCELOG_INVALID_ARGUMENT), "invalid_argument") == 0);
  CHECK(strcmp(oncelog_code_name(ONCELOG_IO), "io") == 0);
  CHECK(strcmp(oncelog_code_name(ONCELOG_OUT_OF_MEMORY), "out_of_memory") == 0);
  CHECK(strcmp(oncelog_code_name(ONCELOG_EXCEPTION), "exception") == 0);
  CHECK(strcmp(oncelog_code_name(ONCELOG_ROLLED_BACK), "rolled_back") == 0);
  CHECK(strcmp(oncelog_code_name(-1), "unknown") == 0 && strcmp(oncelog_code_name(16), "unknown") == 0);
  CHECK(strcmp(oncelog_verdict_name(ONCELOG_FRESH), "fresh") == 0);
  CHECK(strcmp(oncelog_verdict_name(ONCELOG_TOO_OLD), "too_old") == 0);
  CHECK(strcmp(oncelog_verdict_name(5), "unknown") == 0);
  CHECK(strcmp(oncelog_event_kind_name(ONCELOG_BUCKET_DROPPED_EARLY), "bucket_dropped_early") == 0);
  CHECK(strcmp(oncelog_event_kind_name(ONCELOG_NEAR_IN_USE), "near_in_use") == 0);
  CHECK(strcmp(oncelog_event_kind_name(8), "unknown") == 0);
  CHECK(oncelog_error_code(NULL) == ONCELOG_OK && oncelog_error_sentence(NULL)[0] == '\0');
  CHECK(oncelog_error_path(NULL)[0] == '\0');
  oncelog_error_free(NULL);
  oncelog_free(NULL);
  oncelog_store_free(NULL);
}

static int count_records(const oncelog_record* record, void* user) {
  int* const left = user;
  CHECK(record->size == sizeof *record && record->id.size == 3 && record->id.data[3] == '\0');
  return --*left == 0;
}

static int count_claims(const oncelog_claim_info* claim, void* user) {
  int* const seen = user;
  CHECK(claim->size == sizeof *claim && claim->process == getpid() && claim->owner_alive == 1 && claim->token > 0);
  CHECK(same(claim->scope, "kept") ? claim->orphans == ONCELOG_KEEP && same(claim->id, "s-9") : same(claim->id, "l"));
  return ++*seen == 0;
}

static void a_store_is_looked_into(const oncelog_store* store, const oncelog_scope* scope) {
  const oncelog_attributes joined = {.size = sizeof joined, .correlation = {TEXT("order-1")}};
  CHECK(mark(scope, "s-1", &joined) == ONCELOG_FRESH && mark(scope, "s-2", &joined) == ONCELOG_FRESH);
  oncelog_marked third = {.size = sizeof third};
  OK(oncelog_mark(scope, TEXT("s-3"), NULL, ONCELOG_ACK_HOST, &third, &error));
  OK(oncelog_wait(store, third.lsn, &error));
  uint64_t durable = 0;
  OK(oncelog_durable(store, &durable, &error));
  CHECK(durable > third.lsn);
  OK(oncelog_sync(store, &error));
  FAILS(ONCELOG_INVALID_ARGUMENT, "", oncelog_wait(store, durable + 4096, &error));

  int left = 100;
  OK(oncelog_scan(store, NULL, count_records, &left, &error));
  CHECK(left == 97);
  left = 2;
  OK(oncelog_scan(store, NULL, count_records, &left, &error));
  CHECK(left == 0);
  left = 100;
  oncelog_scan_range range = {.size = sizeof range, .scope = {TEXT("another")}};
  OK(oncelog_scan(store, &range, count_records, &left, &error));
  CHECK(left == 100);
  range = (oncelog_scan_range){.size = sizeof range, .since_us = 1};
  OK(oncelog_scan(store, &range, count_records, &left, &error));
  CHECK(left == 97);
  range.until_us = 2;
  OK(oncelog_scan(store, &range, count_records, &left, &error));
  CHECK(left == 97);
  OK(oncelog_correlated(store, TEXT("order-1"), count_records, &left, &error));
  CHECK(left == 95);
  left = 1;
  OK(oncelog_correlated(store, TEXT("order-1"), count_records, &left, &error));
  CHECK(left == 0);

  const char* figures = NULL;
  size_t bytes = 0;
  OK(oncelog_metrics(store, ONCELOG_HOST_AND_PROCESS, &figures, &bytes, &error));
  CHECK(strlen(figures) == bytes && strstr(figures, "oncelog_process_") != NULL);
  oncelog_free(figures);
  OK(oncelog_metrics(store, ONCELOG_HOST, &figures, NULL, &error));
  CHECK(strstr(figures, "oncelog_process_") == NULL);
  oncelog_free(figures);
  FAILS(ONCELOG_INVALID_ARGUMENT, "figures", oncelog_metrics(store, 2, &figures, NULL, &error));

  int64_t since = 0;
  uint64_t buckets = 9;
  OK(oncelog_known_since(store, &since, &error));
  CHECK(since > 0);
  OK(oncelog_expire(store, &buckets, NULL, &error));
  CHECK(buckets == 0);
}

static void claims_are_listed(const oncelog_store* store) {
  const oncelog_scope_options keep = {.size = sizeof keep, .orphans = ONCELOG_KEEP};
  oncelog_scope* scope = NULL;
  oncelog_claim* claim = NULL;
  oncelog_lock* lock = NULL;
  OK(oncelog_store_scope(store, TEXT("kept"), &keep, &scope, &error));
  OK(oncelog_begin(scope, TEXT("s-9"), 60000, NULL, 0, &claim, &error));
  OK(oncelog_lock_acquire(store, TEXT("l"), 60000, 0, &lock, &error));
  int seen = 0;
  OK(oncelog_claims(store, count_claims, &seen, &error));
  CHECK(seen == 2);
  seen = -1;
  OK(oncelog_claims(store, count_claims, &seen, &error));
  CHECK(seen == 0);
  oncelog_claim_free(claim);
  oncelog_lock_free(lock);
  oncelog_scope_free(scope);

  const oncelog_text* names = NULL;
  size_t count = 0;
  OK(oncelog_store_scopes(store, &names, &count, &error));
  CHECK(count == 2 && same(names[0], "orders") && same(names[1], "kept") && names[0].data[6] == '\0');
  oncelog_free(names);
  const oncelog_scope_options wrong = {.size = sizeof wrong, .orphans = 3};
  FAILS(ONCELOG_INVALID_ARGUMENT, "orphan policy", oncelog_store_scope(store, TEXT("a"), &wrong, &scope, &error));
}

static void a_store_is_copied(const oncelog_store* store) {
  uint64_t problems = 9;
  OK(oncelog_verify(store, 1, NULL, NULL, &problems, &error));
  CHECK(problems == 0);
  uint64_t below = 0;
  uint64_t bytes = 0;
  OK(oncelog_backup(store, path_of("backup"), &below, &bytes, &error));
  CHECK(below > 0 && bytes > 0);
  FAILS(ONCELOG_INVALID_ARGUMENT, "backup", oncelog_backup(store, path_of("backup"), NULL, NULL, &error));
  uint64_t restored = 0;
  OK(oncelog_restore(path_of("backup"), path_of("restored"), 0, &restored, NULL, &error));
  CHECK(restored == below);
}

/* Another byte in the file, in place of the text's first one. */
static void damage(const char* path, const char* text) {
  static char bytes[1 << 20];
  FILE* const file = fopen(path, "r+");
  CHECK(file != NULL);
  const size_t size = fread(bytes, 1, sizeof bytes, file);
  size_t at = 0;
  while (at < size && memcmp(bytes + at, text, strlen(text)) != 0) ++at;
  CHECK(at < size && fseek(file, (long)at, SEEK_SET) == 0 && fputc('!', file) == '!' && fclose(file) == 0);
}

static int show_problem(const oncelog_problem* problem, void* user) {
  CHECK(problem->size == sizeof *problem && strcmp(problem->kind, "record") == 0);
  CHECK(problem->where[0] != 0 && problem->sentence[0] != 0 && problem->meaning[0] != 0 && problem->remedy[0] != 0);
  return ++*(int*)user;
}

static void problems_are_shown(void) {
  oncelog_store* store = open_store("damaged");
  oncelog_scope* scope = scope_of(store, "orders");
  const char* const ids[] = {"damaged-1", "whole", "damaged-2"};
  for (size_t i = 0; i < 3; ++i) CHECK(mark(scope, ids[i], NULL) == ONCELOG_FRESH);
  oncelog_scope_free(scope);
  oncelog_store_free(store);
  damage(path_of("damaged/data.mdb"), "damaged-1");
  damage(path_of("damaged/data.mdb"), "damaged-2");
  store = open_store("damaged");
  int shown = 0;
  uint64_t problems = 0;
  OK(oncelog_verify(store, 0, show_problem, &shown, &problems, &error));
  CHECK(problems == 2 && shown == 1); /* The visitor ends the visits. */
  int left = 9;
  FAILS(ONCELOG_CORRUPT, "", oncelog_scan(store, NULL, count_records, &left, &error));
  oncelog_store_free(store);
}

struct Heard {
  int decisions;
  int freed;
  oncelog_store* store; /* Freed by the hook, unless null. */
};

static void on_decision(const oncelog_decision* decision, void* user) {
  struct Heard* const heard = user;
  ++heard->decisions;
  CHECK(decision->size == sizeof *decision && same(decision->scope, "orders") && same(decision->id, "h-1"));
  CHECK((decision->first_seen_us != 0) == (decision->verdict == ONCELOG_DUPLICATE));
  oncelog_store_free(heard->store);
  heard->store = NULL;
}

static void on_event(oncelog_event_kind kind, const char* sentence, void* user) {
  (void)kind;
  (void)sentence;
  (void)user;
}

static void free_user(void* user) {
  ++((struct Heard*)user)->freed;
}

static void hooks_hear_what_happens(void) {
  struct Heard heard = {0, 0, NULL};
  oncelog_options options = {.size = sizeof options,
                             .on_decision = on_decision,
                             .on_event = on_event,
                             .user = &heard,
                             .free_user = free_user,
                             .live_dir = path_of("heard")};
  oncelog_store* store = NULL;
  OK(oncelog_open(path_of("heard"), &options, &store, &error));
  oncelog_scope* const scope = scope_of(store, "orders");
  FAILS(ONCELOG_OPTIONS_MISMATCH, "", oncelog_open(path_of("heard"), &options, &store, &error));
  CHECK(heard.freed == 1); /* What the call that failed was given. */
  heard.store = store;
  CHECK(mark(scope, "h-1", NULL) == ONCELOG_FRESH && mark(scope, "h-1", NULL) == ONCELOG_DUPLICATE);
  CHECK(heard.decisions == 2 && heard.store == NULL && heard.freed == 1);
  oncelog_scope_free(scope);
  CHECK(heard.freed == 2);
  /* No hooks: nothing keeps it. */
  options.on_decision = NULL;
  options.on_event = NULL;
  OK(oncelog_open(path_of("heard"), &options, &store, &error));
  CHECK(heard.freed == 3);
  oncelog_store_free(store);
  FAILS(ONCELOG_INVALID_ARGUMENT, "null", oncelog_open(NULL, &options, &store, &error));
  CHECK(heard.freed == 4);
}

static void options_are_those_of_cpp(void) {
  oncelog_store* store = NULL;
  oncelog_options options = {.size = sizeof options,
                             .retention_ms = 5000,
                             .buckets = 3,
                             .ack = ONCELOG_ACK_DISK,
                             .max_bytes = 1 << 20,
                             .live_dir = path_of("options"),
                             .expected_ids = 1000,
                             .flush_interval_ms = 3600000,
                             .ring_bytes = 65536,
                             .map_bytes = 1 << 28,
                             .max_claims = 1,
                             .max_readers = 8};
  const char* const path = path_of("options");
  OK(oncelog_open(path, &options, &store, &error));
  oncelog_scope* const scope = scope_of(store, "orders");
  oncelog_marked marked = {.size = sizeof marked};
  uint64_t durable = 0;
  OK(oncelog_mark(scope, TEXT("o-1"), NULL, ONCELOG_ACK_DEFAULT, &marked, &error)); /* Which is the disk. */
  OK(oncelog_durable(store, &durable, &error));
  CHECK(durable > marked.lsn);
  oncelog_claim* claim = NULL;
  oncelog_claim* second = NULL;
  OK(oncelog_begin(scope, TEXT("o-2"), 60000, NULL, 0, &claim, &error));
  FAILS(ONCELOG_FULL, "max_claims", oncelog_begin(scope, TEXT("o-3"), 60000, NULL, 0, &second, &error));
  OK(oncelog_claim_complete(claim, NULL, ONCELOG_ACK_DEFAULT, NULL, &marked.lsn, &error));
  OK(oncelog_durable(store, &durable, &error));
  CHECK(durable > marked.lsn);
  oncelog_claim_free(claim);
  const char* figures = NULL;
  OK(oncelog_metrics(store, ONCELOG_HOST, &figures, NULL, &error));
  CHECK(strstr(figures, "oncelog_max_bytes 1048576") != NULL || strstr(figures, "1048576") != NULL);
  oncelog_free(figures);
  oncelog_scope_free(scope);

  oncelog_store* other = NULL;
  options.buckets = 4;
  FAILS(ONCELOG_OPTIONS_MISMATCH, "buckets", oncelog_open(path, &options, &other, &error));
  options.buckets = 99;
  FAILS(ONCELOG_INVALID_ARGUMENT, "buckets", oncelog_open(path, &options, &other, &error));
  options = (oncelog_options){.size = sizeof options, .max_bytes = ONCELOG_NO_CAP};
  OK(oncelog_open(path, &options, &other, &error));
  oncelog_store_free(other);
  oncelog_store_free(store);
}

static void what_cannot_be_opened_says_why(void) {
  oncelog_store* store = NULL;
  oncelog_options options = {.size = sizeof options, .never_create = 1};
  CHECK(oncelog_open(path_of("absent"), &options, &store, &error) == ONCELOG_NOT_FOUND);
  CHECK(strcmp(oncelog_error_path(error), path_of("absent")) == 0);
  FAILS(ONCELOG_NOT_FOUND, "absent", oncelog_error_code(error));
  CHECK(mkdir(path_of("other"), 0700) == 0);
  FILE* const file = fopen(path_of("other/letter"), "w");
  CHECK(file != NULL && fclose(file) == 0);
  FAILS(ONCELOG_NOT_A_STORE, "other", oncelog_open(path_of("other"), NULL, &store, &error));
  FAILS(ONCELOG_INVALID_ARGUMENT, "store is a null", oncelog_open(path_of("other"), NULL, NULL, &error));
  options = (oncelog_options){.size = sizeof options, .read_only = 2};
  FAILS(ONCELOG_INVALID_ARGUMENT, "flag", oncelog_open(path_of("other"), &options, &store, &error));
  options = (oncelog_options){.size = sizeof options, .reserved2 = 1};
  FAILS(ONCELOG_INVALID_ARGUMENT, "reserved", oncelog_open(path_of("other"), &options, &store, &error));
  options = (oncelog_options){.size = sizeof options, .timeout_ms = 1};
  FAILS(ONCELOG_INVALID_ARGUMENT, "timeout_ms", oncelog_open(path_of("other"), &options, &store, &error));
  options = (oncelog_options){.size = sizeof options, .buckets = 8};
  FAILS(ONCELOG_INVALID_ARGUMENT, "buckets", oncelog_open("redis://127.0.0.1:1", &options, &store, &error));
  options = (oncelog_options){.size = sizeof options, .near_staleness_ms = -2};
  FAILS(ONCELOG_INVALID_ARGUMENT, "near_staleness", oncelog_open("redis://127.0.0.1:1", &options, &store, &error));

  options = (oncelog_options){.size = sizeof options, .read_only = 1, .live_dir = path_of("restored")};
  OK(oncelog_open(path_of("restored"), &options, &store, &error));
  oncelog_scope* const scope = scope_of(store, "orders");
  oncelog_marked marked = {.size = sizeof marked};
  FAILS(ONCELOG_READ_ONLY, "", oncelog_mark(scope, TEXT("s-7"), NULL, 0, &marked, &error));
  oncelog_scope_free(scope);
  oncelog_store_free(store);
}

/* Callers of other versions of the header. */
static void structs_of_other_versions_are_understood(const oncelog_scope* scope) {
  struct Newer {
    oncelog_attributes known;
    uint64_t later;
  } newer = {.known = {.size = sizeof newer, .result = {TEXT("r")}}};
  CHECK(mark(scope, "v-1", &newer.known) == ONCELOG_FRESH);
  newer.later = 1;
  oncelog_marked marked = {.size = sizeof marked};
  FAILS(ONCELOG_UNSUPPORTED, "oncelog_attributes", oncelog_mark(scope, TEXT("v-2"), &newer.known, 0, &marked, &error));
  /* An older one had no more than the first field: what lies behind is not read. */
  oncelog_attributes older = {.size = offsetof(oncelog_attributes, result), .correlation = {TEXT("c")}, .reserved = 7};
  CHECK(mark(scope, "v-2", &older) == ONCELOG_FRESH);
  const size_t wrong[] = {0, 1, 8, sizeof older + 1, 1 << 20};
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; ++i) {
    older.size = wrong[i];
    FAILS(ONCELOG_INVALID_ARGUMENT, "size", oncelog_mark(scope, TEXT("v-3"), &older, 0, &marked, &error));
  }

  struct NewerMarked {
    oncelog_marked known;
    uint64_t later;
  } answer = {.known = {.size = sizeof answer}, .later = 9};
  OK(oncelog_mark(scope, TEXT("v-1"), NULL, 0, &answer.known, &error));
  CHECK(answer.known.verdict == ONCELOG_DUPLICATE && answer.known.size == sizeof answer && answer.later == 0);
  oncelog_marked part = {.size = offsetof(oncelog_marked, verdict), .verdict = 77};
  OK(oncelog_mark(scope, TEXT("v-1"), NULL, 0, &part, &error));
  CHECK(part.lsn == answer.known.lsn && part.verdict == 77);
  part.size = 0;
  FAILS(ONCELOG_INVALID_ARGUMENT, "size", oncelog_mark(scope, TEXT("v-4"), NULL, 0, &part, &error));
  uint8_t known = 2; /* Refused before anything happened. */
  OK(oncelog_contains(scope, TEXT("v-4"), &known, &error));
  CHECK(known == 0);

  /* An array of theirs is walked by their size. */
  struct Newer each[2] = {{.known = {.size = sizeof each[0], .result = {TEXT("one")}}},
                          {.known = {.size = sizeof each[0], .result = {TEXT("two")}}}};
  const oncelog_ids ids = {.size = sizeof ids, .count = 2, .data = "v5v6", .width = 2};
  OK(oncelog_mark_batch(scope, &ids, &each[0].known, 0, NULL, NULL, NULL, &error));
  const oncelog_record* const* records = NULL;
  OK(oncelog_find_batch(scope, &ids, &records, &error));
  CHECK(same(records[0]->result, "one") && same(records[1]->result, "two"));
  oncelog_free(records);
  each[1].known.size -= 8;
  FAILS(ONCELOG_INVALID_ARGUMENT, "sizes",
        oncelog_mark_batch(scope, &ids, &each[0].known, 0, NULL, NULL, NULL, &error));
}

static void a_child_is_refused(oncelog_store* store, oncelog_scope* scope) {
  fflush(NULL);
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    uint8_t known;
    FAILS(ONCELOG_FORKED, "", oncelog_contains(scope, TEXT("s-1"), &known, &error));
    FAILS(ONCELOG_FORKED, "", oncelog_sync(store, &error));
    oncelog_scope_free(scope);
    oncelog_store_free(store);
    _exit(0);
  }
  int status = 1;
  CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void* mark_all(void* argument) {
  oncelog_scope* const scope = argument;
  size_t fresh = 0;
  for (int i = 0; i < 1000; ++i) {
    char id[16];
    const int bytes = snprintf(id, sizeof id, "p-%d", i);
    oncelog_marked marked = {.size = sizeof marked};
    if (oncelog_mark(scope, id, (size_t)bytes, NULL, 0, &marked, NULL) != ONCELOG_OK) return NULL;
    fresh += marked.verdict == ONCELOG_FRESH;
  }
  return (char*)scope + fresh;
}

static void threads_share_a_scope(oncelog_scope* scope) {
  pthread_t threads[4];
  size_t fresh = 0;
  for (int i = 0; i < 4; ++i) CHECK(pthread_create(&threads[i], NULL, mark_all, scope) == 0);
  for (int i = 0; i < 4; ++i) {
    void* result = NULL;
    CHECK(pthread_join(threads[i], &result) == 0 && result != NULL);
    fresh += (size_t)((char*)result - (char*)scope);
  }
  CHECK(fresh == 1000);
}

static void topics_are_those_of_cpp(void) {
  CHECK(oncelog_topic_matches(TEXT("a.*"), TEXT("a.b")) == 1);
  CHECK(oncelog_topic_matches(TEXT("a.*"), TEXT("b.a")) == 0);
  CHECK(oncelog_topic_matches(NULL, 0, NULL, 0) == 1);
  const char* key = NULL;
  size_t bytes = 0;
  OK(oncelog_topic_overlaps(TEXT("a.*"), TEXT("#.b"), &key, &bytes, &error));
  CHECK(bytes == 3 && strcmp(key, "a.b") == 0);
  oncelog_free(key);
  OK(oncelog_topic_overlaps(TEXT("a"), TEXT("b"), &key, NULL, &error));
  CHECK(key == NULL);
  char longer[256];
  memset(longer, 'a', sizeof longer);
  FAILS(ONCELOG_INVALID_ARGUMENT, "255", oncelog_topic_overlaps(longer, sizeof longer, TEXT("a"), &key, NULL, &error));
}

int main(void) {
  names_are_those_of_cpp();
  topics_are_those_of_cpp();
  new_directory();
  oncelog_store* const store = open_store("store");
  oncelog_scope* const scope = scope_of(store, "orders");
  a_store_is_looked_into(store, scope);
  claims_are_listed(store);
  a_store_is_copied(store);
  problems_are_shown();
  hooks_hear_what_happens();
  options_are_those_of_cpp();
  what_cannot_be_opened_says_why();
  structs_of_other_versions_are_understood(scope);
  a_child_is_refused(store, scope);
  threads_share_a_scope(scope);
  oncelog_scope_free(scope);
  oncelog_store_free(store);
  remove_directory();
  return 0;
}
