#include <oncelog/c.h>
#include <oncelog/error.h>

#include <functional>
#include <stdexcept>
#include <string>

#include "support.h"

// Of the C interface what C cannot do: callbacks that throw.

using namespace oncelog;
using namespace oncelog::testing;

namespace {

struct Handles {
  TempDir dir;
  oncelog_store* store = nullptr;
  oncelog_scope* scope = nullptr;

  Handles() {
    REQUIRE(oncelog_open((dir / "store").c_str(), nullptr, &store, nullptr) == ONCELOG_OK);
    REQUIRE(oncelog_store_scope(store, "orders", 6, nullptr, &scope, nullptr) == ONCELOG_OK);
    oncelog_marked marked = {.size = sizeof marked, .lsn = 0, .verdict = 0, .redelivered = 0, .reserved = {}};
    REQUIRE(oncelog_mark(scope, "a", 1, nullptr, ONCELOG_ACK_DEFAULT, &marked, nullptr) == ONCELOG_OK);
  }
  Handles(const Handles&) = delete;
  Handles& operator=(const Handles&) = delete;
  ~Handles() {
    oncelog_scope_free(scope);
    oncelog_store_free(store);
  }
};

using Thrower = std::function<void()>;

int throw_of(void* user) {
  (*static_cast<const Thrower*>(user))();
  return 0;
}
int visit(const oncelog_record*, void* user) {
  return throw_of(user);
}
int work(oncelog_transaction*, void* user) {
  return throw_of(user);
}

/// What comes of an exception that leaves a callback, by its code and sentence.
void check_code(const Handles& handles, oncelog_code wanted, const std::string& sentence, const std::string& path,
                Thrower thrower) {
  const auto check = [&](oncelog_code code, oncelog_error* error) {
    CHECK(code == wanted);
    CHECK(oncelog_error_code(error) == wanted);
    CHECK(oncelog_error_sentence(error) == sentence);
    CHECK(oncelog_error_path(error) == path);
    oncelog_error_free(error);
  };
  oncelog_error* error = nullptr;
  const oncelog_code scanned = oncelog_scan(handles.store, nullptr, visit, &thrower, &error);
  check(scanned, error);
  error = nullptr;
  const oncelog_code transacted = oncelog_transact(handles.store, work, &thrower, &error);
  check(transacted, error);
  CHECK(oncelog_scan(handles.store, nullptr, visit, &thrower, nullptr) == wanted);
}

}  // namespace

TEST_CASE("each code of an Error is one of the C interface, by the same name, with its sentence and path") {
  const Handles handles;
  for (int code = 0; code <= static_cast<int>(ErrorCode::io); ++code) {
    const auto of_cpp = static_cast<ErrorCode>(code);
    CHECK(oncelog_code_name(code + 1) == to_string(of_cpp));
    check_code(handles, code + 1, "a sentence", "/a/path", [&] { throw Error(of_cpp, "a sentence", "/a/path"); });
  }
}

TEST_CASE("other exceptions have a code and their sentence, too") {
  const Handles handles;
  check_code(handles, ONCELOG_EXCEPTION, "no luck", "", [] { throw std::runtime_error("no luck"); });
  check_code(handles, ONCELOG_OUT_OF_MEMORY, "out of memory", "", [] { throw std::bad_alloc(); });
}
