#include "api/remote_opener.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <atomic>
#include <filesystem>
#include <string>

#include <oncelog/error.h>

namespace oncelog::internal {
namespace {

// A store with release when oncelog-remote is loaded, loads with acquire in remote_opener: what the opener needs was
// made before.
constinit std::atomic<RemoteOpener> provided = nullptr;

std::string remote_library() {
  return fmt::format("liboncelog-remote.so.{}", ONCELOG_VERSION_MAJOR);
}

[[noreturn]] void refuse_addresses(std::string_view reason) {
  throw Error(ErrorCode::unsupported,
              fmt::format("a store at an address needs the library oncelog-remote, {}", reason));
}

/// The file that this code is in.
std::filesystem::path this_library() {
  Dl_info info = {};
  if (::dladdr(reinterpret_cast<const void*>(&provide_remote_opener), &info) == 0 || info.dli_fname == nullptr)
    return {};
  return info.dli_fname;
}

/// Loads it, and leaves it loaded. Returns why it could not be.
std::string load(const std::filesystem::path& own) {
  std::error_code unknown;
  const std::string library = remote_library();
  const std::filesystem::path beside = own.parent_path() / library;
  if (std::filesystem::exists(beside, unknown) && ::dlopen(beside.c_str(), RTLD_NOW | RTLD_LOCAL) != nullptr) return {};
  if (::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL) != nullptr) return {};
  const char* const reason = ::dlerror();
  return reason == nullptr ? library : reason;
}

}  // namespace

void provide_remote_opener(RemoteOpener opener) noexcept {
  provided.store(opener, std::memory_order_release);
}

RemoteOpener remote_opener() {
  if (const RemoteOpener opener = provided.load(std::memory_order_acquire)) return opener;
  const std::filesystem::path own = this_library();
  // The shared object of oncelog-remote would bring a second copy of the core along.
  if (!own.filename().string().starts_with("liboncelog.so")) {
    refuse_addresses("all of which has to be linked where the program is linked to liboncelog.a");
  }
  const std::string failure = load(own);
  if (const RemoteOpener opener = provided.load(std::memory_order_acquire)) return opener;
  refuse_addresses(failure.empty() ? "but " + remote_library() + " belongs to another copy of liboncelog"
                                   : "which cannot be loaded: " + failure);
}

}  // namespace oncelog::internal
