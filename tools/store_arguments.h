#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include <oncelog/options.h>
#include <oncelog/store.h>

namespace oncelog::tool {

/// What the command line says of the store, for every subcommand.
struct StoreArguments {
  std::filesystem::path directory;
  std::string scope = "default";
  Ack ack = Ack::host;

  // What is not given is left to the store.
  std::optional<std::chrono::milliseconds> retention = std::nullopt;
  std::optional<unsigned> buckets = std::nullopt;
  std::optional<std::uint64_t> expected_ids = std::nullopt;
  std::optional<std::chrono::milliseconds> flush_interval = std::nullopt;
  std::filesystem::path live_dir = {};
};

/// Opens the store, creating it where there is none. Errors: those of Store::open.
Store open_for_marks(const StoreArguments& arguments);

/// Opens the store to change what is in it: where there is none, there is nothing to change. Errors: those of
/// Store::open.
Store open_existing(const StoreArguments& arguments);

/// Opens the store to look at it: whatever others do with it goes on, and nothing is ever created. Errors: those of
/// Store::open.
Store open_for_reading(const StoreArguments& arguments);

}  // namespace oncelog::tool
