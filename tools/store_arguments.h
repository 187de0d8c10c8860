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
  std::optional<std::uint64_t> ring_bytes = std::nullopt;
  std::optional<std::uint64_t> max_claims = std::nullopt;
  std::optional<std::uint64_t> max_bytes = std::nullopt;
  std::optional<std::uint64_t> map_bytes = std::nullopt;
  std::optional<unsigned> max_readers = std::nullopt;
  std::filesystem::path live_dir = {};
  bool allow_foreign_owner = false;
  bool allow_network_filesystem = false;
};

/// Continues as the store's owner, for good, in user and groups, when this is root, the store is another user's, and
/// allow_foreign_owner is not given. A store can crash a process that reads it, and its owner may not be able to write
/// to what root makes in it: without root's rights a command is as safe as it is for the owner. What has to be opened
/// with those rights (outputs) is opened before. Error: no_permission.
void act_as_owner(const StoreArguments& arguments);

// Each of these acts as the owner, except those for commands that need their own rights for more than the store.

/// Opens the store, creating it where there is none. Errors: those of Store::open.
Store open_for_marks(const StoreArguments& arguments);

/// The same as this user. Errors: those of Store::open.
Store open_as_this_user(const StoreArguments& arguments);

/// Opens the store to change what is in it: where there is none, there is nothing to change. Errors: those of
/// Store::open.
Store open_existing(const StoreArguments& arguments);

/// The same as this user. Errors: those of Store::open.
Store open_existing_as_this_user(const StoreArguments& arguments);

/// Opens the store to look at it: others may keep using it, and nothing is ever created. Errors: those of Store::open.
Store open_for_reading(const StoreArguments& arguments);

}  // namespace oncelog::tool
