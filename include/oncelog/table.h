#pragma once

#include <cstddef>
#include <functional>
#include <string_view>

namespace oncelog {

inline constexpr std::size_t kMaxTableBytes = 63;  ///< Of a user table's name, from 1; no NUL in it.
inline constexpr std::size_t kMaxKeyBytes = 447;   ///< Of a key in it, from 1.

/// Receives each entry of a scan, and returns false to end it. The views are valid during the call.
using EntryVisitor = std::function<bool(std::string_view key, std::string_view value)>;

}  // namespace oncelog
