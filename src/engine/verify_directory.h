#pragma once

#include <filesystem>

#include <oncelog/verify.h>

namespace oncelog::internal {

/// Verifies the store of a directory, open or not, in this process or in others; see oncelog::verify.
VerifyReport verify_directory(const std::filesystem::path& directory, const VerifyOptions& options,
                              const VerifyProgressHook& progress);

}  // namespace oncelog::internal
