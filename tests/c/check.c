#include "check.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

oncelog_error* error = NULL;

static char directory[64];

void check(int holds, const char* condition, const char* file, int line) {
  if (holds) return;
  fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, condition);
  exit(1);
}

void succeeds(oncelog_code code, const char* call, const char* file, int line) {
  if (code == ONCELOG_OK && error == NULL) return;
  fprintf(stderr, "%s:%d: %s: %s: %s\n", file, line, call, oncelog_code_name(code), oncelog_error_sentence(error));
  exit(1);
}

void fails(oncelog_code wanted, const char* part, oncelog_code code, const char* call, const char* file, int line) {
  const char* const sentence = oncelog_error_sentence(error);
  if (code != wanted || oncelog_error_code(error) != wanted || strstr(sentence, part) == NULL) {
    fprintf(stderr, "%s:%d: %s: %s (%s): %s; wanted: %s, with \"%s\"\n", file, line, call, oncelog_code_name(code),
            oncelog_code_name(oncelog_error_code(error)), sentence, oncelog_code_name(wanted), part);
    exit(1);
  }
  oncelog_error_free(error);
  error = NULL;
}

int same(oncelog_text text, const char* wanted) {
  return text.size == strlen(wanted) && memcmp(text.data, wanted, text.size) == 0;
}

const char* new_directory(void) {
  const char* const base = getenv("TMPDIR");
  snprintf(directory, sizeof directory, "%.40s/oncelog-c-XXXXXX", base != NULL ? base : "/tmp");
  CHECK(mkdtemp(directory) != NULL);
  return directory;
}

const char* path_of(const char* name) {
  static char paths[16][128];
  static unsigned next = 0;
  char* const path = paths[next++ % 16];
  snprintf(path, sizeof paths[0], "%s/%s", directory, name);
  return path;
}

static int remove_entry(const char* path, const struct stat* status, int type, struct FTW* place) {
  (void)status;
  (void)type;
  (void)place;
  return remove(path);
}

void remove_directory(void) {
  CHECK(nftw(directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS) == 0);
}

oncelog_store* open_store(const char* name) {
  oncelog_options options = {.size = sizeof options, .live_dir = path_of(name)};
  oncelog_store* store = NULL;
  OK(oncelog_open(path_of(name), &options, &store, &error));
  return store;
}

oncelog_scope* scope_of(const oncelog_store* store, const char* name) {
  oncelog_scope* scope = NULL;
  OK(oncelog_store_scope(store, name, strlen(name), NULL, &scope, &error));
  return scope;
}
