#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <oncelog/record.h>

namespace oncelog::internal::remote {

/// What the near tier remembers of an id: the server's record, and how it came to know of it. It is the result of a
/// record in a local store, which checksums it:
///
///    0  u64  generation of the scope that was known before the server was asked; see Pulse
///    8  i64  the server's processed_at, in microseconds since 1970
///   16  u64  the server's LSN; its three lowest bits are the flags
///
/// and with kAttributes:
///
///   24  u64  fingerprint
///   32  u64  source's offset
///   40  u32  source's partition
///   44  u16  bytes of the source's name
///   46  u16  bytes of the correlation
///   48       source's name, correlation, result
///
/// In the host's byte order: it never leaves the host. kNearFormat names it.
struct NearEntry {
  // Flags.
  static constexpr std::uint64_t kWhole = 1;       // All of the record is known; otherwise its time and LSN alone.
  static constexpr std::uint64_t kOnDisk = 2;      // The server has said that it is on its disk.
  static constexpr std::uint64_t kAttributes = 4;  // The record has some.
  static constexpr std::uint64_t kAllFlags = kWhole | kOnDisk | kAttributes;

  std::uint64_t generation = 0;
  Time processed_at{};
  Lsn lsn;
  std::uint64_t flags = 0;

  bool whole() const { return (flags & kWhole) != 0; }
  bool on_disk() const { return (flags & kOnDisk) != 0; }
  /// Whether it says all that `other` says.
  bool covers(const NearEntry& other) const {
    return generation == other.generation && lsn == other.lsn && (flags | other.flags) == flags;
  }
};

/// Results beyond this are not remembered: their duplicates are asked for at the server.
inline constexpr std::size_t kMostNearResultBytes = std::size_t{64} << 10;

inline constexpr std::string_view kNearFormat = "1";

/// The bytes of an entry, whose flag kAttributes is set where it is needed.
std::string pack(NearEntry entry, const Attributes& attributes);

/// Nothing for bytes that are no entry.
std::optional<NearEntry> unpack(std::string_view bytes);

/// The record of which unpack() has read the entry, without scope and id; its attributes only where the entry is whole.
/// False for bytes that are none.
bool unpack(std::string_view bytes, const NearEntry& entry, Record& out);

}  // namespace oncelog::internal::remote
