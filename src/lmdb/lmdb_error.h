#pragma once

#include <filesystem>

#include <oncelog/error.h>

namespace oncelog::internal::lmdb {

/// The Error for a code of LMDB's, which `call` has returned. MAP_FULL and ENOSPC become ErrorCode::full, READERS_FULL
/// too_many_readers, damage corrupt, the rest io.
Error make_error(int code, const char* call, const std::filesystem::path& path);

}  // namespace oncelog::internal::lmdb
