#pragma once

#include <oncelog/c.h>
#include <stddef.h>

/* What the tests in C share. A check that fails prints where and ends the program. */

#define CHECK(condition) check((condition) != 0, #condition, __FILE__, __LINE__)
/* The call succeeds, and stores no error. */
#define OK(call) succeeds((call), #call, __FILE__, __LINE__)
/* The call returns that code, and stores an error with it whose sentence contains the text. */
#define FAILS(code, part, call) fails((code), (part), (call), #call, __FILE__, __LINE__)
/* An id, a name or another text that is a literal: where it is, and its length. */
#define TEXT(literal) (literal), (sizeof(literal) - 1)

/* What every call of the tests passes as its error. */
extern oncelog_error* error;

void check(int holds, const char* condition, const char* file, int line);
void succeeds(oncelog_code code, const char* call, const char* file, int line);
void fails(oncelog_code wanted, const char* part, oncelog_code code, const char* call, const char* file, int line);
/* Whether the bytes are that text. */
int same(oncelog_text text, const char* wanted);

/* A new directory of the test's, removed at its end, with what is in it. */
const char* new_directory(void);
/* A path in it. Valid until 16 more were asked for. */
const char* path_of(const char* name);
void remove_directory(void);

oncelog_store* open_store(const char* name);
oncelog_scope* scope_of(const oncelog_store* store, const char* name);
