#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace oncelog::bench {

/// What is to be known of the machine with every figure: names and values, in the order to print them.
using Facts = std::vector<std::pair<std::string, std::string>>;

/// Processor, memory, kernel, file system and fsync of `directory`, and what a loop that only reads the clock sees of
/// other tenants. Takes a second.
Facts machine_facts(const std::filesystem::path& directory);

/// Nanoseconds that a random read of memory takes at this moment: the best measure of what other tenants leave. Takes a
/// second, and 256 MiB meanwhile.
double random_read_ns();

/// The load averages of this moment.
std::string load_average();

/// Today, UTC: 2026-01-02.
std::string today();

}  // namespace oncelog::bench
