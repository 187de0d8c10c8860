#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <oncelog/error.h>

namespace oncelog::internal::lmdb {

/// Reads the file format of LMDB 0.9 without LMDB, which follows every number in a page unchecked: here no byte is
/// trusted. Each page number, offset, size and flag is compared with the file and with its page before it is used, and
/// what contradicts the format is reported as a Fault, never followed and never a crash. Reads by pread, a page at a
/// time; holds one page for each level of the tree that it walks (at most kMaxDepth), and one or two bits for each page
/// of the file.
///
/// What is read must not change meanwhile: the caller has the file for itself, or holds LMDB's write lock, or a read
/// transaction of the meta page that it walks from.
///
/// Thread safety: as a file offset is never used, any number of objects may read one descriptor; one object is used by
/// one thread at a time.

using PageNumber = std::uint64_t;
inline constexpr PageNumber kNoPage = ~PageNumber{0};

/// What is wrong in the file, and where.
struct Fault {
  PageNumber page = 0;
  std::string what;
};
using FaultVisitor = std::function<void(const Fault&)>;

/// One B-tree, as its parent describes it: LMDB's MDB_db.
struct TreeInfo {
  static constexpr std::uint16_t kIntegerKey = 0x08;

  std::uint32_t pad = 0;
  std::uint16_t flags = 0;
  std::uint16_t depth = 0;
  std::uint64_t branch_pages = 0;
  std::uint64_t leaf_pages = 0;
  std::uint64_t overflow_pages = 0;
  std::uint64_t entries = 0;
  PageNumber root = kNoPage;

  bool integer_key() const { return (flags & kIntegerKey) != 0; }
};
static_assert(sizeof(TreeInfo) == 48);

/// One of the two pages at the beginning of the file, each of which describes one commit.
struct Meta {
  PageNumber page = 0;
  std::uint64_t transaction = 0;
  std::uint64_t map_bytes = 0;
  PageNumber last_page = 0;
  TreeInfo free;
  TreeInfo main;
  std::string fault;  // Why it cannot be used; empty when it can.

  bool usable() const { return fault.empty(); }
};

/// A set of pages, one bit each.
class PageSet {
 public:
  explicit PageSet(PageNumber pages) : pages_(pages), words_((pages + 63) / 64) {}

  bool contains(PageNumber page) const { return page < pages_ && (words_[page / 64] >> (page % 64) & 1) != 0; }
  /// False when one of them is in it, or beyond its end; those before that one are added.
  bool add(PageNumber first, std::uint64_t count = 1);
  std::uint64_t size() const;

 private:
  PageNumber pages_;
  std::vector<std::uint64_t> words_;
};

/// An entry of a tree. Its key, and its value unless that lies in overflow pages, are valid while it is visited.
struct TreeEntry {
  std::span<const std::byte> key;
  std::uint64_t bytes = 0;           // Of the value.
  std::span<const std::byte> value;  // Empty when it is in overflow pages.
  PageNumber overflow = kNoPage;     // The first of those.
  bool is_tree = false;              // The value is a TreeInfo.
  PageNumber page = 0;               // Where the entry is,
  std::size_t index = 0;             // and which it is there.

  /// The key as a 64-bit number; nothing when it has another size.
  std::optional<std::uint64_t> number() const {
    std::uint64_t value_of = 0;
    if (key.size() != sizeof value_of) return std::nullopt;
    std::memcpy(&value_of, key.data(), sizeof value_of);
    return value_of;
  }
  std::string_view text() const { return {reinterpret_cast<const char*>(key.data()), key.size()}; }
};

/// What a walk over all pages that belong to a commit has found.
struct PageCensus {
  std::uint64_t pages = 0;      // From the first to the last used one, those beyond the end of the file included.
  std::uint64_t used = 0;       // Reached from the meta page, once.
  std::uint64_t free = 0;       // In the free list.
  std::uint64_t lost = 0;       // Neither: space that is never used again.
  std::uint64_t missing = 0;    // Beyond the end of the file; all free, unless a fault says otherwise.
  std::uint64_t faults = 0;     // Reported.
  std::uint64_t entries = 0;    // Of all tables.
  std::uint64_t overflows = 0;  // Runs of overflow pages.
  PageSet used_pages{0};        // Those counted in `used`, and the meta pages,
  PageSet free_pages{0};        // and in `free`.
};

class Pages {
 public:
  static constexpr unsigned kMaxDepth = 32;  // LMDB's own limit.
  static constexpr std::size_t kMinPageBytes = 512;
  static constexpr std::size_t kMaxPageBytes = 32768;
  static constexpr std::size_t kHeaderBytes = 16;  // Of every page.
  // A sound file ends at most so many pages before its last used one: a transaction cannot have freed more again.
  static constexpr std::uint64_t kMostMissing = std::uint64_t{1} << 24;

  /// `file` stays the caller's, and open. Throws Error::io when its size cannot be read.
  Pages(int file, std::filesystem::path path);

  const std::filesystem::path& path() const { return path_; }
  std::size_t page_bytes() const { return page_bytes_; }
  /// Whole pages in the file.
  PageNumber pages() const { return file_bytes_ / page_bytes_; }
  std::uint64_t file_bytes() const { return file_bytes_; }

  /// Reads a meta page; what is wrong with it is in its `fault`.
  Meta meta(unsigned which) const;
  /// The usable one of the newer commit, which is the one that LMDB takes; nothing when neither is usable.
  std::optional<Meta> newest() const;

  /// The pages in the free list of a commit, those beyond the file's end included.
  PageSet free_pages(const Meta& meta, const FaultVisitor& fault) const;

  /// Whether every page from the file's end to the last used one is free in this commit: then the file is sound, and
  /// only has to be extended. Costs the reading of the free list.
  bool lacks_only_free_pages(const Meta& meta) const;

  /// Visits every page that belongs to a commit and reports all that contradicts the format. Of overflow runs only the
  /// first page is read. `step(pages done)` is called now and then, and may throw to end it.
  PageCensus census(const Meta& meta, const FaultVisitor& fault,
                    const std::function<void(std::uint64_t)>& step = {}) const;

  /// The tree of a named table; nothing when there is none, or it cannot be found.
  std::optional<TreeInfo> table(const Meta& meta, std::string_view name, const FaultVisitor& fault) const;
  /// Calls visit for each of them.
  void tables(const Meta& meta, const std::function<void(std::string_view, const TreeInfo&)>& visit,
              const FaultVisitor& fault) const;

  /// Visits the entries of a tree in order, until the visitor returns false. Reports what is damaged and continues
  /// after it; an entry of a page that is damaged elsewhere is visited as well. `from`: keys below it, as a number, are
  /// left out, with the pages that hold only such.
  void each(const TreeInfo& tree, const std::function<bool(const TreeEntry&)>& visit, const FaultVisitor& fault,
            std::optional<std::uint64_t> from = std::nullopt) const;

  /// Reads a page by itself and visits the entries on it when it looks like a leaf. Nothing is known of such a page:
  /// it may be one of a commit long past.
  void each_on_page(PageNumber page, const std::function<void(const TreeEntry&)>& visit) const;
  /// Visits one entry again, by its page and index, if it is still there.
  void entry_at(PageNumber page, std::size_t index, const std::function<void(const TreeEntry&)>& visit) const;

  /// Copies part of an entry's value; false, and a fault, when its pages are damaged or cannot be read.
  bool read(const TreeEntry& entry, std::uint64_t offset, std::span<std::byte> out, const FaultVisitor& fault) const;

 private:
  friend class TreeWalk;

  std::optional<std::string> read_at(std::uint64_t offset, std::span<std::byte> out) const;
  std::optional<std::string> read_page(PageNumber page, std::span<std::byte> out) const;
  void find_page_size();

  int file_;
  std::filesystem::path path_;
  std::uint64_t file_bytes_ = 0;
  std::size_t page_bytes_ = 4096;
};

}  // namespace oncelog::internal::lmdb
