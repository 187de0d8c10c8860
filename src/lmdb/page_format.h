#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>

#include "lmdb/pages.h"

namespace oncelog::internal::lmdb {

/// The bytes of LMDB 0.9's pages, for what reads them without LMDB: where a page keeps its header and its entries, and
/// what they must not say. Nothing here reads a file.

inline constexpr std::uint32_t kMagic = 0xBEEFC0DE;
inline constexpr std::uint32_t kVersion = 1;
inline constexpr std::uint64_t kMaxKeyBytes = 511;

/// Flags of a page, and of an entry on one.
enum : std::uint16_t { kBranch = 0x01, kLeaf = 0x02, kOverflow = 0x04, kMeta = 0x08 };
enum : std::uint16_t { kBigData = 0x01, kSubData = 0x02, kDupData = 0x04 };

inline constexpr std::size_t kNodeHeaderBytes = 8;
inline constexpr std::uint16_t kNoSubDirectory = 0x4000;

/// What a meta page holds behind its header.
struct StoredMeta {
  std::uint32_t magic;
  std::uint32_t version;
  std::uint64_t address;
  std::uint64_t map_bytes;
  TreeInfo free;
  TreeInfo main;
  std::uint64_t last_page;
  std::uint64_t transaction;
};
static_assert(sizeof(StoredMeta) == 136);

struct PageHeader {
  std::uint64_t number;
  std::uint16_t pad;
  std::uint16_t flags;
  std::uint16_t lower;  // In an overflow page these two are its run's length in pages.
  std::uint16_t upper;

  std::uint32_t run_pages() const { return std::uint32_t{upper} << 16 | lower; }
};
static_assert(sizeof(PageHeader) == Pages::kHeaderBytes);

template <typename T>
T load(std::span<const std::byte> bytes, std::size_t at) {
  T value;
  std::memcpy(static_cast<void*>(&value), bytes.data() + at, sizeof value);
  return value;
}

inline std::uint64_t overflow_pages(std::uint64_t bytes, std::size_t page_bytes) {
  return (Pages::kHeaderBytes - 1 + bytes) / page_bytes + 1;
}

/// LMDB's order of keys: by number in trees of integer keys, else by bytes.
inline int compare(std::span<const std::byte> a, std::span<const std::byte> b, bool integer) {
  if (integer && a.size() == 8 && b.size() == 8) {
    const auto x = load<std::uint64_t>(a, 0);
    const auto y = load<std::uint64_t>(b, 0);
    return x < y ? -1 : static_cast<int>(x > y);
  }
  const std::size_t common = std::min(a.size(), b.size());
  const int order = common == 0 ? 0 : std::memcmp(a.data(), b.data(), common);
  if (order != 0) return order;
  return a.size() < b.size() ? -1 : static_cast<int>(a.size() > b.size());
}

/// One entry of a branch or a leaf, its lengths checked against the page.
struct Node {
  std::span<const std::byte> key;
  std::uint32_t low_word = 0;  // A leaf's: bytes of the value. A branch's: the lower half of the page number.
  std::uint16_t flags = 0;     // A branch's: the upper part of the page number.
  std::span<const std::byte> value;
  std::size_t room = 0;  // What it takes on the page.

  PageNumber child() const { return PageNumber{flags} << 32 | low_word; }
};

/// A branch or leaf page in memory.
class TreePage {
 public:
  explicit TreePage(std::span<const std::byte> bytes) : bytes_(bytes), header_(load<PageHeader>(bytes, 0)) {}

  /// What is wrong with its header; empty when nothing is. Before anything else is asked.
  std::string fault(PageNumber number) const {
    if (header_.number != number) return fmt::format("it says that it is page {}", header_.number);
    if (header_.flags != kBranch && header_.flags != kLeaf) {
      return fmt::format("it is no page of a tree (its flags are {:#x})", header_.flags);
    }
    if (header_.lower < Pages::kHeaderBytes || header_.lower % 2 != 0 || header_.upper < header_.lower ||
        header_.upper > bytes_.size()) {
      return fmt::format("its bounds, {} and {}, are not those of a page", header_.lower, header_.upper);
    }
    if (count() == 0) return "it has no entries";
    return {};
  }

  bool is_branch() const { return header_.flags == kBranch; }
  std::size_t count() const { return (header_.lower - Pages::kHeaderBytes) / 2; }
  std::size_t room() const { return bytes_.size() - header_.upper; }

  /// The i-th entry; nothing when it does not lie on the page.
  std::optional<Node> node(std::size_t i) const {
    const std::size_t at = load<std::uint16_t>(bytes_, Pages::kHeaderBytes + 2 * i);
    if (at < header_.upper || at % 2 != 0 || at + kNodeHeaderBytes > bytes_.size()) return std::nullopt;
    Node node;
    node.low_word = load<std::uint16_t>(bytes_, at) | std::uint32_t{load<std::uint16_t>(bytes_, at + 2)} << 16;
    node.flags = load<std::uint16_t>(bytes_, at + 4);
    const std::size_t key_bytes = load<std::uint16_t>(bytes_, at + 6);
    std::uint64_t value_bytes = 0;
    if (!is_branch()) value_bytes = (node.flags & kBigData) != 0 ? sizeof(PageNumber) : node.low_word;
    const std::uint64_t room = kNodeHeaderBytes + key_bytes + value_bytes;
    if (key_bytes > kMaxKeyBytes || room > bytes_.size() - at) return std::nullopt;
    node.key = bytes_.subspan(at + kNodeHeaderBytes, key_bytes);
    node.value = bytes_.subspan(at + kNodeHeaderBytes + key_bytes, value_bytes);
    node.room = (room + 1) / 2 * 2;
    return node;
  }

 private:
  std::span<const std::byte> bytes_;
  PageHeader header_;
};

inline TreeEntry to_entry(const Node& node, PageNumber page, std::size_t index) {
  TreeEntry entry;
  entry.key = node.key;
  entry.bytes = node.low_word;
  entry.is_tree = (node.flags & kSubData) != 0;
  entry.page = page;
  entry.index = index;
  if ((node.flags & kBigData) != 0) {
    entry.overflow = load<PageNumber>(node.value, 0);
  } else {
    entry.value = node.value;
  }
  return entry;
}

/// What is wrong with an entry of a leaf of ours by itself; empty when nothing is.
inline std::string fault_of(const Node& node) {
  if ((node.flags & ~(kBigData | kSubData)) != 0 || node.flags == (kBigData | kSubData)) {
    return fmt::format("an entry has the flags {:#x}", node.flags);
  }
  if ((node.flags & kSubData) != 0 && node.low_word != sizeof(TreeInfo)) {
    return fmt::format("the description of a table has {} bytes", node.low_word);
  }
  if (node.key.empty()) return "an entry has no key";
  return {};
}

inline std::string fault_of(const TreeInfo& tree, PageNumber last_page) {
  const bool empty = tree.root == kNoPage;
  if (!empty && (tree.root < 2 || tree.root > last_page)) return fmt::format("its root is page {}", tree.root);
  if (empty != (tree.depth == 0) || tree.depth > Pages::kMaxDepth) return fmt::format("its depth is {}", tree.depth);
  // LMDB's other kinds of tables, for whose entries it looks elsewhere in the page.
  if ((tree.flags & ~TreeInfo::kIntegerKey) != 0) return fmt::format("its flags are {:#x}", tree.flags);
  return {};
}

}  // namespace oncelog::internal::lmdb
