#pragma once

#include <algorithm>
#include <array>
#include <string_view>

#include <oncelog/remote.h>
#include <oncelog/store.h>

#include "base/exported.h"

/// How the core opens stores at an address without being linked to oncelog-remote: that library, when it is loaded,
/// provides its opener. Any thread.
namespace oncelog::internal {

inline constexpr std::array<std::string_view, 2> kPostgresqlSchemes{"postgresql://", "postgres://"};
inline constexpr std::array<std::string_view, 3> kRedisSchemes{"redis://", "redis+unix://", "redis+cluster://"};

template <std::size_t count>
bool begins_with(std::string_view text, const std::array<std::string_view, count>& schemes) noexcept {
  return std::ranges::any_of(schemes, [&](std::string_view scheme) { return text.starts_with(scheme); });
}

inline bool is_remote_address(std::string_view text) noexcept {
  return begins_with(text, kPostgresqlSchemes) || begins_with(text, kRedisSchemes);
}

/// remote::open.
using RemoteOpener = Store (*)(std::string_view address, const remote::Options& options);

/// For oncelog-remote: from now on this opens stores at addresses.
ONCELOG_INTERNAL void provide_remote_opener(RemoteOpener opener) noexcept;

/// What oncelog-remote has provided. Where it is not loaded yet, loads liboncelog-remote of this major version: from
/// beside this library, or as the dynamic linker finds it. Errors: unsupported where it is absent.
RemoteOpener remote_opener();

}  // namespace oncelog::internal
