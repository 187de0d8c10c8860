#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "recording.h"

// What of a recording a disk may have when the power fails.

namespace oncelog::testing {

inline constexpr std::size_t kSector = 512;

/// A file as it is on disk for certain, and what may be there besides.
class DiskFile {
 public:
  void write(std::size_t op, std::uint64_t offset, std::span<const std::byte> bytes) {
    if (cache_.size() < offset + bytes.size()) cache_.resize(offset + bytes.size());
    std::memcpy(cache_.data() + offset, bytes.data(), bytes.size());
    for (std::uint64_t sector = offset / kSector; sector * kSector < offset + bytes.size(); ++sector) {
      Version version{op, false, {}};
      const std::size_t end = std::min(cache_.size(), (sector + 1) * kSector);
      std::memcpy(version.bytes.data(), cache_.data() + sector * kSector, end - sector * kSector);
      pending_[sector].push_back(version);
    }
  }

  void resize(std::uint64_t size) {
    cache_.resize(std::max<std::size_t>(cache_.size(), size));  // A store never makes its file smaller.
  }

  void sync(std::size_t covers, bool one) {
    for (auto at = pending_.begin(); at != pending_.end();) {
      std::vector<Version>& versions = at->second;
      auto newest = versions.end();
      for (auto version = versions.begin(); version != versions.end(); ++version) {
        if (one ? version->op == covers : version->op < covers && !version->lost) newest = version;
      }
      if (newest != versions.end()) {
        put(durable_, at->first, newest->bytes);
        versions.erase(versions.begin(), newest + 1);
      }
      at = versions.empty() ? pending_.erase(at) : std::next(at);
    }
    // The size is part of what makes the data readable.
    if (!one) durable_.resize(std::max(durable_.size(), cache_.size()));
  }

  void lose(std::size_t covers, bool one) {
    for (auto& [sector, versions] : pending_) {
      for (Version& version : versions) version.lost |= one ? version.op == covers : version.op < covers;
    }
  }

  /// What the disk may have: each sector in one of its versions.
  std::vector<std::byte> image(std::mt19937_64& random, unsigned percent) const {
    std::vector<std::byte> bytes = durable_;
    for (const auto& [sector, versions] : pending_) {
      for (const Version& version : versions) {
        if (random() % 100 < percent) put(bytes, sector, version.bytes);
      }
    }
    if (random() % 4 == 0) bytes.resize(std::max(bytes.size(), cache_.size()));
    return bytes;
  }

 private:
  struct Version {
    std::size_t op;
    bool lost;  // The system has given up writing it.
    std::array<std::byte, kSector> bytes;
  };

  static void put(std::vector<std::byte>& file, std::uint64_t sector, const std::array<std::byte, kSector>& bytes) {
    if (file.size() < (sector + 1) * kSector) file.resize((sector + 1) * kSector);
    std::memcpy(file.data() + sector * kSector, bytes.data(), kSector);
  }

  std::vector<std::byte> durable_;
  std::vector<std::byte> cache_;  // As processes see it.
  std::map<std::uint64_t, std::vector<Version>> pending_;
};

/// The disk, moved forward through a recording.
class Disk {
 public:
  explicit Disk(const Recording& recording) : recording_(recording) {}

  void advance_to(std::size_t end) {
    for (; at_ < end; ++at_) {
      const Op& op = recording_.ops[at_];
      switch (op.kind) {
        case OpKind::create:
        case OpKind::rename:
        case OpKind::link:
        case OpKind::unlink:
          names_.push_back(at_);
          break;
        case OpKind::sync_names:
          for (const std::size_t name : names_) {
            if (name < op.covers && parent(recording_.ops[name]) == std::string_view(op.path)) {
              durable_names_ = std::max(durable_names_, name + 1);
            }
          }
          break;
        case OpKind::write:
          files_[op.file].write(at_, op.offset, std::span(recording_.data).subspan(op.data, op.bytes));
          break;
        case OpKind::resize:
          files_[op.file].resize(op.offset);
          break;
        case OpKind::sync_all:
        case OpKind::sync_one:
          files_[op.file].sync(op.covers, op.kind == OpKind::sync_one);
          break;
        case OpKind::lose_all:
        case OpKind::lose_one:
          files_[op.file].lose(op.covers, op.kind == OpKind::lose_one);
          break;
        default:
          break;
      }
    }
  }

  /// Makes in `root` what the disk may have.
  void make(const fs::path& root, std::mt19937_64& random) const {
    // Names come to the disk in their order.
    std::size_t names_end = durable_names_;
    for (const std::size_t name : names_) {
      if (name < durable_names_) continue;
      if (random() % 2 == 0) break;
      names_end = name + 1;
    }
    std::map<std::string, ino_t> paths;
    for (const std::size_t name : names_) {
      if (name >= names_end) break;
      const Op& op = recording_.ops[name];
      if (op.kind == OpKind::create) paths[op.path] = op.file;
      if (op.kind == OpKind::unlink) paths.erase(op.path);
      if (op.kind == OpKind::link && paths.contains(op.path)) paths[op.second] = paths[op.path];
      if (op.kind == OpKind::rename) rename(paths, op.path, op.second);
    }
    constexpr std::array<unsigned, 6> kPercents{0, 10, 50, 90, 99, 100};
    const unsigned percent = kPercents[random() % kPercents.size()];
    for (const auto& [path, file] : paths) {
      fs::create_directories((root / path).parent_path());
      const auto found = files_.find(file);
      const auto bytes = found == files_.end() ? std::vector<std::byte>() : found->second.image(random, percent);
      std::ofstream(root / path, std::ios::binary)
          .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    }
  }

 private:
  static std::string parent(const Op& op) {
    const fs::path path(op.kind == OpKind::rename || op.kind == OpKind::link ? op.second : op.path);
    const std::string text = path.parent_path().string();
    return text.empty() ? "." : text;
  }

  static void rename(std::map<std::string, ino_t>& paths, const std::string& from, const std::string& to) {
    std::map<std::string, ino_t> moved;
    for (auto at = paths.begin(); at != paths.end();) {
      const bool concerned = at->first == from || at->first.starts_with(from + "/");
      if (concerned) moved[to + at->first.substr(from.size())] = at->second;
      at = concerned ? paths.erase(at) : std::next(at);
    }
    for (const auto& [path, file] : moved) paths[path] = file;
  }

  const Recording& recording_;
  std::size_t at_ = 0;
  std::vector<std::size_t> names_;  // Ops that change names.
  std::size_t durable_names_ = 0;   // Those before this op are on disk.
  std::map<ino_t, DiskFile> files_;
};

}  // namespace oncelog::testing
