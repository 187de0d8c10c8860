#pragma once

#include <cstddef>
#include <exception>
#include <string>
#include <string_view>

#include <oncelog/c.h>

struct oncelog_error {
  oncelog_code code;
  std::string sentence;
  std::string path;
  int returned = 0;  // By the caller's function.
};

/// What every function of the C interface does around its work: no exception leaves it, and arguments are checked
/// before anything happens. Any thread.
namespace oncelog::internal::c {

/// What a function of the caller's has returned that is not zero: it ends the call that ran the function.
class FunctionFailed : public std::exception {
 public:
  FunctionFailed(oncelog_code code, int returned);
  const char* what() const noexcept override { return sentence_.c_str(); }
  oncelog_code code() const noexcept { return code_; }
  int returned() const noexcept { return returned_; }

 private:
  oncelog_code code_;  // ONCELOG_ROLLED_BACK or ONCELOG_WORK_FAILED.
  int returned_;
  std::string sentence_;
};

/// The code for the exception that is being handled, and its error in `error` unless that is null. What is no
/// std::exception ends the process, as it would leave a function that is noexcept.
oncelog_code failed(oncelog_error** error) noexcept;

/// Does the work and returns ONCELOG_OK, or the code of what it threw.
template <typename Work>
oncelog_code call(oncelog_error** error, Work&& work) noexcept {
  try {
    work();
    return ONCELOG_OK;
  } catch (const std::exception&) {
    return failed(error);
  }
}

/// Throws Error::invalid_argument when a pointer that is no option is null.
void need(const void* pointer, const char* name);

/// Bytes that the caller has given. Throws Error::invalid_argument for a null pointer to some.
std::string_view text(const void* data, std::size_t size, const char* name);
inline std::string_view text(const oncelog_text& given, const char* name) {
  return text(given.data, given.size, name);
}

/// An output that may be null.
template <typename T, typename Value>
void give(T* out, Value value) noexcept {
  if (out != nullptr) *out = static_cast<T>(value);
}

}  // namespace oncelog::internal::c
