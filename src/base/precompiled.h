/// What most files include of others, parsed once for all of them, which is a third of the time to build. Every file
/// names what it uses all the same: clang-tidy (tools/check tidy-quick) reads each of src without this one.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>
