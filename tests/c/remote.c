/* A store at an address, through the C interface: prints what each call answers, for c_remote_test.sh.
 *
 *   c_remote ADDRESS */
#include <oncelog/c.h>
#include <stdio.h>
#include <string.h>

static oncelog_error* error = NULL;

static int failed(const char* call, oncelog_code code) {
  printf("%s: %s: %s\n", call, oncelog_code_name(code), oncelog_error_sentence(error));
  oncelog_error_free(error);
  return 1;
}

static int effect_and_mark(oncelog_transaction* transaction, void* user) {
  oncelog_marked marked = {.size = sizeof marked};
  if (oncelog_transaction_mark(transaction, user, "t-1", 3, NULL, &marked, &error) != ONCELOG_OK) return 1;
  printf("in a transaction: %s, %s connection\n", oncelog_verdict_name(marked.verdict),
         oncelog_transaction_connection(transaction) != NULL ? "with a" : "without a");
  return 0;
}

static int use(oncelog_store* store, oncelog_scope* scope) {
  const oncelog_ids ids = {.size = sizeof ids, .count = 3, .data = "aabbaa", .width = 2};
  oncelog_verdict verdicts[3];
  oncelog_code code = oncelog_mark_batch(scope, &ids, NULL, ONCELOG_ACK_DISK, verdicts, NULL, NULL, &error);
  if (code != ONCELOG_OK) return failed("mark", code);
  for (int i = 0; i < 3; ++i) printf("%.2s: %s\n", (const char*)ids.data + 2 * i, oncelog_verdict_name(verdicts[i]));
  oncelog_claim* claim = NULL;
  uint8_t in_time = 0;
  code = oncelog_begin(scope, "c-1", 3, 60000, NULL, 0, &claim, &error);
  if (code != ONCELOG_OK) return failed("begin", code);
  printf("c-1: %s\n", oncelog_verdict_name(oncelog_claim_verdict(claim)));
  if (oncelog_claim_held(claim))
    code = oncelog_claim_complete(claim, NULL, ONCELOG_ACK_DEFAULT, &in_time, NULL, &error);
  oncelog_claim_free(claim);
  if (code != ONCELOG_OK) return failed("complete", code);
  printf("completed: %s\n", in_time ? "yes" : "no");
  code = oncelog_transact(store, effect_and_mark, scope, &error);
  return code == ONCELOG_OK ? 0 : failed("transact", code);
}

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const oncelog_options options = {.size = sizeof options, .retention_ms = 3600000, .timeout_ms = 2000};
  oncelog_store* store = NULL;
  oncelog_scope* scope = NULL;
  oncelog_code code = oncelog_open(argv[1], &options, &store, &error);
  if (code != ONCELOG_OK) return failed("open", code);
  code = oncelog_store_scope(store, "orders", 6, NULL, &scope, &error);
  const int status = code == ONCELOG_OK ? use(store, scope) : failed("scope", code);
  oncelog_scope_free(scope);
  oncelog_store_free(store);
  return status;
}
