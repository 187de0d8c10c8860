#include "bindings/c/call.h"

#include <fmt/format.h>

#include <cstddef>
#include <new>

#include <oncelog/error.h>

#include "base/error.h"

namespace oncelog::internal::c {
namespace {

// ErrorCode's values are those of the codes, from 1 on.
constexpr oncelog_code code_of(ErrorCode code) {
  return static_cast<oncelog_code>(code) + 1;
}
static_assert(code_of(ErrorCode::invalid_argument) == ONCELOG_INVALID_ARGUMENT);
static_assert(code_of(ErrorCode::not_found) == ONCELOG_NOT_FOUND);
static_assert(code_of(ErrorCode::not_a_store) == ONCELOG_NOT_A_STORE);
static_assert(code_of(ErrorCode::newer_format) == ONCELOG_NEWER_FORMAT);
static_assert(code_of(ErrorCode::options_mismatch) == ONCELOG_OPTIONS_MISMATCH);
static_assert(code_of(ErrorCode::live_dir_mismatch) == ONCELOG_LIVE_DIR_MISMATCH);
static_assert(code_of(ErrorCode::in_use) == ONCELOG_IN_USE);
static_assert(code_of(ErrorCode::no_permission) == ONCELOG_NO_PERMISSION);
static_assert(code_of(ErrorCode::unsupported) == ONCELOG_UNSUPPORTED);
static_assert(code_of(ErrorCode::read_only) == ONCELOG_READ_ONLY);
static_assert(code_of(ErrorCode::full) == ONCELOG_FULL);
static_assert(code_of(ErrorCode::too_many_readers) == ONCELOG_TOO_MANY_READERS);
static_assert(code_of(ErrorCode::corrupt) == ONCELOG_CORRUPT);
static_assert(code_of(ErrorCode::forked) == ONCELOG_FORKED);
static_assert(code_of(ErrorCode::io) == ONCELOG_IO);

// For want of memory for another one. Never destroyed, as static objects of the caller's may fail late; its sentence is
// within the string.
oncelog_error* out_of_memory() {
  alignas(oncelog_error) static std::byte place[sizeof(oncelog_error)];
  static auto* const error = new (place) oncelog_error{ONCELOG_OUT_OF_MEMORY, "out of memory", {}, 0};
  return error;
}

oncelog_code store_error(oncelog_error** error, oncelog_code code, const char* sentence, const char* path = "",
                         int returned = 0) noexcept {
  if (error == nullptr) return code;
  try {
    *error = new oncelog_error{code, sentence, path, returned};
  } catch (const std::bad_alloc&) {
    *error = out_of_memory();
    return ONCELOG_OUT_OF_MEMORY;
  }
  return code;
}

}  // namespace

FunctionFailed::FunctionFailed(oncelog_code code, int returned)
    : code_(code),
      returned_(returned),
      sentence_(fmt::format("{}: the function of the {} has returned {}",
                            code == ONCELOG_ROLLED_BACK ? "nothing is committed" : "the id is free again",
                            code == ONCELOG_ROLLED_BACK ? "transaction" : "caller", returned)) {}

oncelog_code failed(oncelog_error** error) noexcept {
  try {
    throw;
  } catch (const Error& thrown) {
    return store_error(error, code_of(thrown.code()), thrown.what(), thrown.path().c_str());
  } catch (const FunctionFailed& thrown) {
    return store_error(error, thrown.code(), thrown.what(), "", thrown.returned());
  } catch (const std::bad_alloc&) {
    give(error, out_of_memory());
    return ONCELOG_OUT_OF_MEMORY;
  } catch (const std::exception& thrown) {
    return store_error(error, ONCELOG_EXCEPTION, thrown.what());
  }
}

void need(const void* pointer, const char* name) {
  if (pointer == nullptr) refuse(fmt::format("{} is a null pointer", name));
}

std::string_view text(const void* data, std::size_t size, const char* name) {
  if (size == 0) return {};
  need(data, name);
  return {static_cast<const char*>(data), size};
}

}  // namespace oncelog::internal::c

using oncelog::internal::c::out_of_memory;

const char* oncelog_code_name(oncelog_code code) {
  switch (code) {
    case ONCELOG_OK:
      return "ok";
    case ONCELOG_OUT_OF_MEMORY:
      return "out_of_memory";
    case ONCELOG_EXCEPTION:
      return "exception";
    case ONCELOG_ROLLED_BACK:
      return "rolled_back";
    case ONCELOG_WORK_FAILED:
      return "work_failed";
    default:
      if (code < ONCELOG_OK || code > ONCELOG_IO) return "unknown";
      return to_string(static_cast<oncelog::ErrorCode>(code - 1)).data();  // All of a literal.
  }
}

oncelog_code oncelog_error_code(const oncelog_error* error) {
  return error == nullptr ? ONCELOG_OK : error->code;
}

const char* oncelog_error_sentence(const oncelog_error* error) {
  return error == nullptr ? "" : error->sentence.c_str();
}

const char* oncelog_error_path(const oncelog_error* error) {
  return error == nullptr ? "" : error->path.c_str();
}

int oncelog_error_returned(const oncelog_error* error) {
  return error == nullptr ? 0 : error->returned;
}

void oncelog_error_free(oncelog_error* error) {
  if (error != out_of_memory()) delete error;
}

const char* oncelog_version(void) {
  return ONCELOG_VERSION;
}
