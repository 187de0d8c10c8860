/* A consumer in C: begin, process, complete, and acknowledge what is on disk. Of a batch, all in one call.
 *
 *   c_consumer STORE */
#include <oncelog/c.h>
#include <stdio.h>
#include <string.h>

/* The one error of this program: a call that fails ends it. */
static oncelog_error* error = NULL;

static int failed(const char* what) {
  fprintf(stderr, "%s: %s: %s\n", what, oncelog_code_name(oncelog_error_code(error)), oncelog_error_sentence(error));
  oncelog_error_free(error);
  return 1;
}

/* Processes one message, with a result that its duplicates are answered with. */
static int consume(const oncelog_store* store, const oncelog_scope* orders, const char* id) {
  oncelog_claim* claim = NULL;
  oncelog_code code = oncelog_begin(orders, id, strlen(id), 30000, NULL, 0, &claim, &error);
  if (code != ONCELOG_OK) return failed("begin");
  if (oncelog_claim_verdict(claim) == ONCELOG_FRESH) {
    printf("processing %s\n", id);
    const char* const answer = "shipped";
    const oncelog_attributes attributes = {.size = sizeof attributes, .result = {answer, strlen(answer)}};
    uint8_t in_time = 0;
    code = oncelog_claim_complete(claim, &attributes, ONCELOG_ACK_DISK, &in_time, NULL, &error);
    if (code == ONCELOG_OK) printf("%s\n", in_time ? "acknowledging it" : "giving it back");
  } else {
    const oncelog_record* const record = oncelog_claim_record(claim);
    printf("%s is %s", id, oncelog_verdict_name(oncelog_claim_verdict(claim)));
    if (record != NULL) {
      printf(": %.*s", (int)record->result.size, record->result.data);
      code = oncelog_wait(store, record->lsn, &error);
    }
    printf("\n");
  }
  oncelog_claim_free(claim);
  return code == ONCELOG_OK ? 0 : failed("complete");
}

/* Effect and mark in one commit. */
static int pay(oncelog_transaction* transaction, void* user) {
  oncelog_marked marked = {.size = sizeof marked};
  oncelog_code code = oncelog_transaction_mark(transaction, user, "payment-1", 9, NULL, &marked, NULL);
  if (code == ONCELOG_OK && marked.verdict == ONCELOG_FRESH) {
    code = oncelog_transaction_put(transaction, "accounts", 8, "alice", 5, "30", 2, NULL);
  }
  return code == ONCELOG_OK ? 0 : 1;
}

static int consume_batch(const oncelog_scope* orders) {
  /* The ids lie one after the other, and end where `ends` says. */
  const uint64_t ends[] = {7, 15, 22};
  const oncelog_ids ids = {.size = sizeof ids, .count = 3, .data = "batch-1batch-22batch-1", .ends = ends};
  oncelog_verdict verdicts[3];
  if (oncelog_mark_batch(orders, &ids, NULL, ONCELOG_ACK_DEFAULT, verdicts, NULL, NULL, &error) != ONCELOG_OK) {
    return failed("mark");
  }
  printf("batch: %s, %s, %s\n", oncelog_verdict_name(verdicts[0]), oncelog_verdict_name(verdicts[1]),
         oncelog_verdict_name(verdicts[2]));
  return 0;
}

static int run(const oncelog_store* store, oncelog_scope* orders) {
  if (consume(store, orders, "order-1") != 0 || consume(store, orders, "order-1") != 0) return 1;
  if (consume_batch(orders) != 0) return 1;
  if (oncelog_transact(store, pay, orders, &error) != ONCELOG_OK) return failed("transact");
  const void* balance = NULL;
  size_t bytes = 0;
  if (oncelog_get(store, "accounts", 8, "alice", 5, &balance, &bytes, &error) != ONCELOG_OK) return failed("get");
  printf("alice has %.*s\n", (int)bytes, (const char*)balance);
  oncelog_free(balance);
  return 0;
}

int main(int argc, char** argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: c_consumer STORE\n");
    return 2;
  }
  const oncelog_options options = {.size = sizeof options, .retention_ms = 24 * 3600 * 1000};
  oncelog_store* store = NULL;
  if (oncelog_open(argv[1], &options, &store, &error) != ONCELOG_OK) return failed("open");
  oncelog_scope* orders = NULL;
  const oncelog_code code = oncelog_store_scope(store, "order-service", 13, NULL, &orders, &error);
  const int status = code == ONCELOG_OK ? run(store, orders) : failed("scope");
  oncelog_scope_free(orders);
  oncelog_store_free(store);
  return status;
}
