#pragma once

#include <fmt/format.h>

#include <filesystem>
#include <string>
#include <utility>

#include <oncelog/error.h>

#include "base/exported.h"

namespace oncelog::internal {

/// The one form of an Error about a file or a directory: its sentence begins with the path. `format` is fmt's, without
/// the path.
template <typename... Args>
[[nodiscard]] Error error_at(ErrorCode code, const std::filesystem::path& path, fmt::format_string<Args...> format,
                             Args&&... args) {
  return Error(code, path.string() + ": " + fmt::format(format, std::forward<Args>(args)...), path);
}

/// The Error for a failed system call on a path; ENOSPC, EDQUOT and EFBIG become ErrorCode::full, EACCES, EPERM and
/// EROFS no_permission, everything else io.
[[nodiscard]] Error system_error(int error_number, const char* what, const std::filesystem::path& path);

/// Throws Error::invalid_argument with this sentence.
[[noreturn]] ONCELOG_INTERNAL void refuse(const std::string& sentence);

}  // namespace oncelog::internal
