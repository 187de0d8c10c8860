/// What most files of the command include of others, parsed once for all of them, as src/base/precompiled.h is for the
/// library. Every file names what it uses all the same.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <oncelog/oncelog.h>
