/* Of the C interface: functions that are run once, and claims that are kept alive. */
#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

struct Work {
  const char* result;
  int returns;
  int runs;
};

static int work(oncelog_once_run* run, void* user) {
  struct Work* const todo = user;
  ++todo->runs;
  if (todo->result == NULL) return todo->returns;
  OK(oncelog_once_set_result(run, TEXT("set before"), &error));
  OK(oncelog_once_set_result(run, todo->result, strlen(todo->result), &error));
  return todo->returns;
}

/* The caller frees it. */
static const oncelog_once_result* once(const oncelog_scope* scope, const char* id, struct Work* todo) {
  const oncelog_once_result* result = NULL;
  OK(oncelog_once(scope, id, strlen(id), NULL, work, todo, &result, &error));
  CHECK(result->size == sizeof *result && result->result.data[result->result.size] == '\0');
  return result;
}

static void work_is_done_once(const oncelog_scope* scope) {
  struct Work todo = {"page 7", 0, 0};
  const oncelog_once_result* const first = once(scope, "o-1", &todo);
  CHECK(first->verdict == ONCELOG_FRESH && first->ran == 1 && first->lsn > 0 && same(first->result, "page 7"));
  todo.result = "page 8";
  const oncelog_once_result* const again = once(scope, "o-1", &todo);
  CHECK(again->verdict == ONCELOG_DUPLICATE && again->ran == 0 && again->lsn == first->lsn);
  CHECK(same(again->result, "page 7") && todo.runs == 1);
  oncelog_free(first);
  oncelog_free(again);

  todo.result = NULL;
  const oncelog_once_result* const empty = once(scope, "o-2", &todo);
  CHECK(empty->verdict == ONCELOG_FRESH && empty->result.size == 0);
  oncelog_free(empty);
}

static void work_that_fails_frees_the_id(const oncelog_scope* scope) {
  struct Work todo = {"half a page", -5, 0};
  const oncelog_once_result* result = NULL;
  CHECK(oncelog_once(scope, TEXT("o-3"), NULL, work, &todo, &result, &error) == ONCELOG_WORK_FAILED);
  CHECK(result == NULL && oncelog_error_code(error) == ONCELOG_WORK_FAILED && oncelog_error_returned(error) == -5);
  CHECK(strstr(oncelog_error_sentence(error), "returned -5") != NULL);
  CHECK(strcmp(oncelog_code_name(ONCELOG_WORK_FAILED), "work_failed") == 0);
  oncelog_error_free(error);
  error = NULL;
  todo.returns = 0;
  result = once(scope, "o-3", &todo);
  CHECK(result->ran == 1 && todo.runs == 2 && same(result->result, "half a page"));
  oncelog_free(result);
}

/* The function has its own answer to what the call that runs it says. */
static int lose_the_id(oncelog_once_run* run, void* user) {
  OK(oncelog_once_set_result(run, TEXT("dropped"), &error));
  OK(oncelog_release(user, TEXT("o-4"), NULL, &error));
  return 0;
}

static int ask_for_the_same(oncelog_once_run* run, void* user) {
  const oncelog_once_result* result = NULL;
  FAILS(ONCELOG_INVALID_ARGUMENT, "within its own function",
        oncelog_once(user, TEXT("o-4"), NULL, work, NULL, &result, &error));
  FAILS(ONCELOG_INVALID_ARGUMENT, "result is a null", oncelog_once_set_result(run, NULL, 1, &error));
  return 0;
}

static void a_result_without_its_id_is_dropped(const oncelog_scope* scope) {
  const oncelog_once_result* result = NULL;
  OK(oncelog_once(scope, TEXT("o-4"), NULL, lose_the_id, (void*)scope, &result, &error));
  CHECK(result->verdict == ONCELOG_IN_PROGRESS && result->ran == 1 && result->lsn == 0 && result->result.size == 0);
  oncelog_free(result);
  OK(oncelog_once(scope, TEXT("o-4"), NULL, ask_for_the_same, (void*)scope, &result, &error));
  CHECK(result->verdict == ONCELOG_FRESH);
  oncelog_free(result);
}

static int see_deadline(const oncelog_claim_info* claim, void* user) {
  *(int64_t*)user = claim->deadline_us / 1000;
  return 0;
}

/* Of the newest claim in the store, without asking for its id, which could take it over. */
static int64_t deadline_ms(const oncelog_store* store) {
  int64_t deadline = 0;
  OK(oncelog_claims(store, see_deadline, &deadline, &error));
  CHECK(deadline > 0);
  return deadline;
}

enum { kBrief_ms = 600 };

/* The deadline is an estimate. A renewal, after a third of the lease, moves it by as much. */
static void await_renewal(const oncelog_store* store) {
  const int64_t before = deadline_ms(store);
  while (deadline_ms(store) < before + kBrief_ms / 6) {
  }
}

static int64_t lease_left_ms(const oncelog_store* store) {
  struct timespec now;
  CHECK(clock_gettime(CLOCK_REALTIME, &now) == 0);
  return deadline_ms(store) - (int64_t)now.tv_sec * 1000;
}

struct Asked {
  const oncelog_store* store;
  int64_t least_ms, most_ms;
};

static int look_at_the_lease(oncelog_once_run* run, void* user) {
  (void)run;
  const struct Asked* const asked = user;
  const int64_t left = lease_left_ms(asked->store);
  CHECK(left > asked->least_ms && left < asked->most_ms);
  return 0;
}

static void options_are_those_of_cpp(const oncelog_store* store, const oncelog_scope* scope) {
  const oncelog_attributes attributes = {.size = sizeof attributes, .fingerprint = 7, .correlation = {TEXT("c")}};
  oncelog_once_options options = {
      .size = sizeof options, .lease_ms = 7200000, .max_runtime_ms = 86400000, .attributes = &attributes};
  struct Asked asked = {store, 7000000, 7202000};
  const oncelog_once_result* result = NULL;
  OK(oncelog_once(scope, TEXT("o-5"), &options, look_at_the_lease, &asked, &result, &error));
  oncelog_free(result);
  const oncelog_record* record = NULL;
  OK(oncelog_find(scope, TEXT("o-5"), &record, &error));
  CHECK(record->fingerprint == 7 && same(record->correlation, "c"));
  oncelog_free(record);
  const oncelog_attributes other = {.size = sizeof other, .fingerprint = 8};
  options = (oncelog_once_options){.size = sizeof options, .attributes = &other};
  OK(oncelog_once(scope, TEXT("o-5"), &options, work, NULL, &result, &error));
  CHECK(result->verdict == ONCELOG_CONFLICT && result->ran == 0 && result->lsn > 0);
  oncelog_free(result);

  oncelog_claim* claim = NULL;
  OK(oncelog_begin(scope, TEXT("o-6"), 60000, NULL, 0, &claim, &error));
  options = (oncelog_once_options){.size = sizeof options, .patience_ms = -1};
  OK(oncelog_once(scope, TEXT("o-6"), &options, work, NULL, &result, &error));
  CHECK(result->verdict == ONCELOG_IN_PROGRESS && result->ran == 0);
  oncelog_free(result);
  oncelog_claim_free(claim);
}

static void wrong_arguments_are_refused(const oncelog_scope* scope) {
  struct Work todo = {NULL, 0, 0};
  const oncelog_once_result* result = NULL;
  const oncelog_attributes with_result = {.size = sizeof with_result, .result = {TEXT("r")}};
  FAILS(ONCELOG_INVALID_ARGUMENT, "work is a null", oncelog_once(scope, TEXT("w"), NULL, NULL, NULL, &result, &error));
  FAILS(ONCELOG_INVALID_ARGUMENT, "result is a null", oncelog_once(scope, TEXT("w"), NULL, work, &todo, NULL, &error));
  FAILS(ONCELOG_INVALID_ARGUMENT, "run is a null", oncelog_once_set_result(NULL, NULL, 0, &error));
  const oncelog_once_options wrong[] = {
      {.size = 1},
      {.size = sizeof wrong[0], .lease_ms = -1},
      {.size = sizeof wrong[0], .max_runtime_ms = -1},
      {.size = sizeof wrong[0], .patience_ms = -2},
      {.size = sizeof wrong[0], .no_keep_alive = 2},
      {.size = sizeof wrong[0], .reserved = {1}},
      {.size = sizeof wrong[0], .attributes = &with_result},
  };
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; ++i) {
    FAILS(ONCELOG_INVALID_ARGUMENT, "", oncelog_once(scope, TEXT("w"), &wrong[i], work, &todo, &result, &error));
  }
  CHECK(todo.runs == 0 && result == NULL && oncelog_error_returned(NULL) == 0);
}

static int wait_until_free(oncelog_once_run* run, void* user) {
  (void)run;
  uint8_t unclaimed = 0;
  OK(oncelog_wait_until_free(user, TEXT("o-7"), 600000, &unclaimed, &error));
  CHECK(unclaimed == 1);
  return 0;
}

static int wait_until_renewed(oncelog_once_run* run, void* user) {
  (void)run;
  await_renewal(user);
  return 0;
}

static void a_claim_is_kept_alive(const oncelog_store* store, const oncelog_scope* scope) {
  oncelog_once_options brief = {.size = sizeof brief, .lease_ms = kBrief_ms, .no_keep_alive = 1};
  const oncelog_once_result* result = NULL;
  OK(oncelog_once(scope, TEXT("o-7"), &brief, wait_until_free, (void*)scope, &result, &error));
  CHECK(result->verdict == ONCELOG_FRESH); /* Nobody has taken the id meanwhile. */
  oncelog_free(result);
  brief.no_keep_alive = 0;
  OK(oncelog_once(scope, TEXT("o-10"), &brief, wait_until_renewed, (void*)store, &result, &error));
  oncelog_free(result);

  oncelog_claim* claim = NULL;
  uint8_t answer = 2;
  OK(oncelog_begin(scope, TEXT("o-8"), kBrief_ms, NULL, 0, &claim, &error));
  OK(oncelog_claim_keep_alive(claim, 3600000, &answer, &error));
  CHECK(answer == 1);
  await_renewal(store);
  OK(oncelog_claim_keep_alive(claim, 1, NULL, &error)); /* And for no longer than that. */
  OK(oncelog_wait_until_free(scope, TEXT("o-8"), 600000, &answer, &error));
  CHECK(answer == 1);
  FAILS(ONCELOG_INVALID_ARGUMENT, "", oncelog_claim_keep_alive(claim, 0, NULL, &error));
  oncelog_claim_abandon(claim);
  OK(oncelog_claim_keep_alive(claim, 1000, &answer, &error));
  CHECK(answer == 0);
  oncelog_claim_free(claim);
}

enum { kThreads = 4, kShared = 100 };

struct Shared {
  const oncelog_scope* scope;
  struct Work todo[kShared]; /* Each is used by the thread that runs its id. */
};

static void* run_all(void* argument) {
  struct Shared* const shared = argument;
  for (int i = 0; i < kShared; ++i) {
    const char id[] = {'p', (char)(i + 1)};
    const oncelog_once_result* result = NULL;
    if (oncelog_once(shared->scope, id, sizeof id, NULL, work, &shared->todo[i], &result, NULL) != ONCELOG_OK) {
      return NULL;
    }
    oncelog_free(result);
  }
  return argument;
}

static void threads_run_each_id_once(const oncelog_scope* scope) {
  pthread_t threads[kThreads];
  struct Shared shared = {.scope = scope};
  for (int i = 0; i < kThreads; ++i) CHECK(pthread_create(&threads[i], NULL, run_all, &shared) == 0);
  for (int i = 0; i < kThreads; ++i) {
    void* result = NULL;
    CHECK(pthread_join(threads[i], &result) == 0 && result != NULL);
  }
  for (int i = 0; i < kShared; ++i) CHECK(shared.todo[i].runs == 1);
}

/* The claim stays the parent's, and so does the result. */
static int fork_within(oncelog_once_run* run, void* user) {
  (void)run;
  pid_t* const child = user;
  *child = fork();
  CHECK(*child >= 0);
  return 0;
}

static void a_child_marks_nothing(const oncelog_scope* scope) {
  pid_t child = -1;
  const oncelog_once_result* result = NULL;
  const oncelog_code code = oncelog_once(scope, TEXT("o-9"), NULL, fork_within, &child, &result, NULL);
  if (child == 0) _exit(code == ONCELOG_FORKED && result == NULL ? 0 : 1);
  int status = 1;
  CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  CHECK(code == ONCELOG_OK && result->verdict == ONCELOG_FRESH);
  oncelog_free(result);
}

int main(void) {
  new_directory();
  oncelog_store* const store = open_store("store");
  oncelog_scope* const scope = scope_of(store, "orders");
  work_is_done_once(scope);
  work_that_fails_frees_the_id(scope);
  a_result_without_its_id_is_dropped(scope);
  options_are_those_of_cpp(store, scope);
  wrong_arguments_are_refused(scope);
  a_claim_is_kept_alive(store, scope);
  threads_run_each_id_once(scope);
  a_child_marks_nothing(scope);
  oncelog_scope_free(scope);
  oncelog_store_free(store);
  remove_directory();
  return 0;
}
