#include "lmdb/pages.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <utility>

#include "base/error.h"
#include "base/shared_memory.h"

namespace oncelog::internal::lmdb {
namespace {

constexpr std::uint32_t kMagic = 0xBEEFC0DE;
constexpr std::uint32_t kVersion = 1;
constexpr std::uint64_t kMaxKeyBytes = 511;

/// Flags of a page, and of an entry on one.
enum : std::uint16_t { kBranch = 0x01, kLeaf = 0x02, kOverflow = 0x04, kMeta = 0x08 };
enum : std::uint16_t { kBigData = 0x01, kSubData = 0x02, kDupData = 0x04 };

constexpr std::size_t kNodeHeaderBytes = 8;
constexpr std::uint16_t kNoSubDirectory = 0x4000;

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

std::uint64_t overflow_pages(std::uint64_t bytes, std::size_t page_bytes) {
  return (Pages::kHeaderBytes - 1 + bytes) / page_bytes + 1;
}

/// LMDB's order of keys: by number in trees of integer keys, else by bytes.
int compare(std::span<const std::byte> a, std::span<const std::byte> b, bool integer) {
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

TreeEntry to_entry(const Node& node, PageNumber page, std::size_t index) {
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
std::string fault_of(const Node& node) {
  if ((node.flags & ~(kBigData | kSubData)) != 0 || node.flags == (kBigData | kSubData)) {
    return fmt::format("an entry has the flags {:#x}", node.flags);
  }
  if ((node.flags & kSubData) != 0 && node.low_word != sizeof(TreeInfo)) {
    return fmt::format("the description of a table has {} bytes", node.low_word);
  }
  if (node.key.empty()) return "an entry has no key";
  return {};
}

std::string fault_of(const TreeInfo& tree, PageNumber last_page) {
  const bool empty = tree.root == kNoPage;
  if (!empty && (tree.root < 2 || tree.root > last_page)) return fmt::format("its root is page {}", tree.root);
  if (empty != (tree.depth == 0) || tree.depth > Pages::kMaxDepth) return fmt::format("its depth is {}", tree.depth);
  // LMDB's other kinds of tables, for whose entries it looks elsewhere in the page.
  if ((tree.flags & ~TreeInfo::kIntegerKey) != 0) return fmt::format("its flags are {:#x}", tree.flags);
  return {};
}

}  // namespace

bool PageSet::add(PageNumber first, std::uint64_t count) {
  for (std::uint64_t i = 0; i < count; ++i) {
    const PageNumber page = first + i;
    if (page >= pages_ || contains(page)) return false;
    words_[page / 64] |= std::uint64_t{1} << (page % 64);
  }
  return true;
}

std::uint64_t PageSet::size() const {
  std::uint64_t size = 0;
  for (const std::uint64_t word : words_) size += static_cast<unsigned>(std::popcount(word));
  return size;
}

/// A walk over one tree, depth first and in the order of its keys.
class TreeWalk {
 public:
  using Key = std::optional<std::span<const std::byte>>;

  const Pages& pages;
  const TreeInfo& tree;
  const FaultVisitor& fault;
  /// Returns false when one of the pages was visited before, or is not in the file. So no walk goes round in circles.
  std::function<bool(PageNumber, std::uint64_t)> claim;
  std::function<bool(const TreeEntry&)> visit;  // False ends the walk.
  std::optional<std::uint64_t> from = std::nullopt;
  bool check_overflows = false;  // Reads the first page of each overflow run.
  bool is_free_list = false;

  std::uint64_t branch_pages = 0;
  std::uint64_t leaf_pages = 0;
  std::uint64_t overflow_page_count = 0;
  std::uint64_t overflow_runs = 0;
  std::uint64_t entries = 0;

  void run() {
    if (tree.root != kNoPage) descend(tree.root, 1, std::nullopt, std::nullopt);
  }

 private:
  /// The page and all below it, whose keys are at or above `low` and below `high`. False ends the walk.
  bool descend(PageNumber number, unsigned level, Key low, Key high) {
    if (!claim(number, 1)) {
      fault({number, number >= pages.pages() ? "it is used by a tree, and beyond the end of the file"
                                             : "it is used twice, or used and free"});
      return true;
    }
    std::vector<std::byte> bytes(pages.page_bytes());
    if (const auto error = pages.read_page(number, bytes)) {
      fault({number, *error});
      return true;
    }
    const TreePage page(bytes);
    if (std::string what = page.fault(number); !what.empty()) {
      fault({number, std::move(what)});
      return true;
    }
    if (level > Pages::kMaxDepth || page.is_branch() == (level == tree.depth)) {
      fault({number, fmt::format("it is a {} at level {} of a tree of depth {}", page.is_branch() ? "branch" : "leaf",
                                 level, tree.depth)});
      if (level > Pages::kMaxDepth) return true;
    }
    // LMDB asserts that, but in the free list, which it changes while it commits.
    if (page.is_branch() && page.count() < 2 && !is_free_list) fault({number, "it is a branch with one entry"});
    ++(page.is_branch() ? branch_pages : leaf_pages);
    check_keys(page, number, low, high);
    return page.is_branch() ? visit_branch(page, number, level, low, high) : visit_leaf(page, number);
  }

  /// Reports entries that are out of order, overlap, or lie beside the page.
  void check_keys(const TreePage& page, PageNumber number, Key low, Key high) const {
    Key last;
    std::size_t room = 0;
    for (std::size_t i = 0; i < page.count(); ++i) {
      const auto node = page.node(i);
      if (!node) {
        fault({number, fmt::format("its entry {} does not lie on it", i)});
        continue;
      }
      room += node->room;
      if (page.is_branch() && i == 0) continue;  // The first key of a branch is never looked at.
      const bool ordered = (!last || compare(*last, node->key, tree.integer_key()) < 0) &&
                           (!low || compare(*low, node->key, tree.integer_key()) <= 0) &&
                           (!high || compare(node->key, *high, tree.integer_key()) < 0);
      if (!ordered) fault({number, fmt::format("the key of its entry {} is out of order", i)});
      if (tree.integer_key() && node->key.size() != sizeof(std::uint64_t)) {
        fault({number, fmt::format("the key of its entry {} has {} bytes instead of 8", i, node->key.size())});
      }
      last = node->key;
    }
    if (room != page.room()) fault({number, fmt::format("its entries take {} bytes, not {}", room, page.room())});
  }

  bool visit_branch(const TreePage& page, PageNumber number, unsigned level, Key low, Key high) {
    for (std::size_t i = 0; i < page.count(); ++i) {
      const auto node = page.node(i);
      if (!node) continue;
      const auto next = i + 1 < page.count() ? page.node(i + 1) : std::nullopt;
      const Key end = next ? Key(next->key) : i + 1 < page.count() ? Key() : high;
      if (from && end && end->size() == sizeof *from && load<std::uint64_t>(*end, 0) <= *from) continue;
      const Key begin = i == 0 ? low : Key(node->key);
      if (node->child() < 2) {
        fault({number, fmt::format("its entry {} names page {}", i, node->child())});
        continue;
      }
      if (!descend(node->child(), level + 1, begin, end)) return false;
    }
    return true;
  }

  bool visit_leaf(const TreePage& page, PageNumber number) {
    for (std::size_t i = 0; i < page.count(); ++i) {
      const auto node = page.node(i);
      if (!node) continue;
      if (std::string what = fault_of(*node); !what.empty()) {
        fault({number, std::move(what)});
        continue;
      }
      const TreeEntry entry = to_entry(*node, number, i);
      if (from && entry.number().value_or(*from) < *from) continue;
      ++entries;
      if (entry.overflow != kNoPage && !check_run(entry)) continue;
      if (visit && !visit(entry)) return false;
    }
    return true;
  }

  bool check_run(const TreeEntry& entry) {
    ++overflow_runs;
    if (!check_overflows) return true;  // Checked by who reads it.
    const std::uint64_t needed = overflow_pages(entry.bytes, pages.page_bytes());
    std::array<std::byte, Pages::kHeaderBytes> bytes;
    std::uint64_t count = needed;
    if (entry.overflow < pages.pages()) {
      if (const auto error = pages.read_at(entry.overflow * pages.page_bytes(), bytes)) {
        fault({entry.overflow, *error});
        return false;
      }
      const auto header = load<PageHeader>(bytes, 0);
      // A value that was replaced by a shorter one keeps its run.
      if (header.number != entry.overflow || header.flags != kOverflow || header.run_pages() < needed) {
        fault({entry.overflow,
               fmt::format("it is not the first of {} overflow pages, as page {} says", needed, entry.page)});
        return false;
      }
      count = header.run_pages();
    }
    if (entry.overflow < 2 || entry.overflow >= pages.pages() || count > pages.pages() - entry.overflow) {
      fault({entry.page, fmt::format("a value of {} bytes lies in {} pages from page {}, beyond the end of the file",
                                     entry.bytes, count, entry.overflow)});
      return false;
    }
    overflow_page_count += count;
    if (!claim(entry.overflow, count)) {
      fault({entry.overflow,
             fmt::format("one of the {} overflow pages from here is used twice, or used and free", count)});
      return false;
    }
    return true;
  }
};

Pages::Pages(int file, std::filesystem::path path) : file_(file), path_(std::move(path)) {
  struct stat status {};
  if (::fstat(file_, &status) != 0) throw system_error(errno, "fstat", path_);
  file_bytes_ = status.st_size < 0 ? 0 : static_cast<std::uint64_t>(status.st_size);
  find_page_size();
}

/// Any of the two meta pages tells it; where the first one is damaged, the second one is at its place for one size
/// only.
void Pages::find_page_size() {
  const auto size_at = [&](std::uint64_t offset) -> std::size_t {
    std::array<std::byte, kHeaderBytes + sizeof(StoredMeta)> bytes;
    if (read_at(offset, bytes)) return 0;
    const auto stored = load<StoredMeta>(bytes, kHeaderBytes);
    const std::size_t size = stored.free.pad;
    const bool possible = std::has_single_bit(size) && size >= kMinPageBytes && size <= kMaxPageBytes;
    return stored.magic == kMagic && possible ? size : 0;
  };
  const std::size_t first = size_at(0);
  if (first != 0 && size_at(first) == first) {
    page_bytes_ = first;
    return;
  }
  for (std::size_t size = kMinPageBytes; size <= kMaxPageBytes; size *= 2) {
    if (size_at(size) == size) {
      page_bytes_ = size;
      return;
    }
  }
  if (first != 0) page_bytes_ = first;
}

std::optional<std::string> Pages::read_at(std::uint64_t offset, std::span<std::byte> out) const {
  if (offset > file_bytes_ || out.size() > file_bytes_ - offset) return "it is beyond the end of the file";
  while (!out.empty()) {
    const ssize_t got = ::pread(file_, out.data(), out.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fmt::format("it cannot be read: {}", std::generic_category().message(errno));
    if (got == 0) return "it is beyond the end of the file";
    out = out.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
  return std::nullopt;
}

std::optional<std::string> Pages::read_page(PageNumber page, std::span<std::byte> out) const {
  if (page >= pages()) return "it is beyond the end of the file";
  return read_at(page * page_bytes_, out);
}

Meta Pages::meta(unsigned which) const {
  Meta meta;
  meta.page = which;
  std::array<std::byte, kHeaderBytes + sizeof(StoredMeta)> bytes;
  if (const auto error = read_at(which * page_bytes_, bytes)) {
    meta.fault = *error;
    return meta;
  }
  const auto header = load<PageHeader>(bytes, 0);
  const auto stored = load<StoredMeta>(bytes, kHeaderBytes);
  meta.transaction = stored.transaction;
  meta.map_bytes = stored.map_bytes;
  meta.last_page = stored.last_page;
  meta.free = stored.free;
  // Beside the table's flags LMDB keeps those of the environment there.
  meta.free.flags &= static_cast<std::uint16_t>(~kNoSubDirectory);
  meta.main = stored.main;
  if (header.number != which || header.flags != kMeta || stored.magic != kMagic) {
    meta.fault = "it is no meta page of LMDB's";
  } else if (stored.version != kVersion) {
    meta.fault = fmt::format("it has version {} of LMDB's format, not {}", stored.version, kVersion);
  } else if (stored.free.pad != page_bytes_) {
    meta.fault = fmt::format("it says that pages have {} bytes, not {}", stored.free.pad, page_bytes_);
  } else if (stored.last_page < 1 || stored.last_page >= pages() + kMostMissing) {
    meta.fault = fmt::format("it says that the last page is {}, but the file has {}", stored.last_page, pages());
  } else if (stored.transaction != 0 && stored.transaction % 2 != which) {
    meta.fault = fmt::format("it is of transaction {}, which writes the other one", stored.transaction);
  } else if (meta.free.flags != TreeInfo::kIntegerKey || stored.main.flags != 0) {
    meta.fault = fmt::format("its tables' flags are {:#x} and {:#x}", stored.free.flags, stored.main.flags);
  } else if (std::string free = fault_of(meta.free, stored.last_page); !free.empty()) {
    meta.fault = "the free list is damaged: " + free;
  } else if (std::string main = fault_of(stored.main, stored.last_page); !main.empty()) {
    meta.fault = "the table of tables is damaged: " + main;
  }
  return meta;
}

std::optional<Meta> Pages::newest() const {
  Meta first = meta(0);
  Meta second = meta(1);
  if (!first.usable() && !second.usable()) return std::nullopt;
  const bool take_second = second.usable() && (!first.usable() || second.transaction > first.transaction);
  return take_second ? std::move(second) : std::move(first);
}

/// Visits the pages in the free list. An entry is a list of page numbers behind its length, its key the transaction
/// that freed them.
void Pages::free_records(const Meta& meta, const std::function<void(PageNumber)>& visit, const FaultVisitor& fault,
                         const std::function<bool(PageNumber, std::uint64_t)>& claim, std::uint64_t* entries,
                         std::uint64_t* overflows) const {
  constexpr std::size_t kNumbersAtOnce = 512;
  TreeWalk walk{*this, meta.free, fault, claim, [&](const TreeEntry& entry) {
                  std::uint64_t length = 0;
                  const auto words = [](auto& numbers) { return std::as_writable_bytes(std::span(numbers)); };
                  std::array<std::uint64_t, 1> first{};
                  if (entry.bytes < sizeof length || !read(entry, 0, words(first), fault)) {
                    if (entry.bytes < sizeof length) fault({entry.page, "an entry of the free list has no length"});
                    return true;
                  }
                  length = first[0];
                  if (length > entry.bytes / sizeof length - 1) {
                    fault({entry.page, fmt::format("an entry of the free list has room for {} pages, not for {}",
                                                   entry.bytes / sizeof length - 1, length)});
                    return true;
                  }
                  // The first is 1; LMDB asserts that when it next commits.
                  const std::uint64_t freed_by = entry.number().value_or(0);
                  if (freed_by == 0 || freed_by > meta.transaction) {
                    fault({entry.page, fmt::format("an entry of the free list is of transaction {}, of 1 to {}",
                                                   freed_by, meta.transaction)});
                  }
                  PageNumber above = kNoPage;  // LMDB relies on their order.
                  std::array<PageNumber, kNumbersAtOnce> numbers;
                  for (std::uint64_t done = 0; done < length;) {
                    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(length - done, numbers.size()));
                    const auto some = std::span(numbers).first(count);
                    if (!read(entry, (1 + done) * sizeof length, std::as_writable_bytes(some), fault)) return true;
                    for (const PageNumber page : some) {
                      if (page >= above) fault({entry.page, "an entry of the free list is not in order"});
                      above = page;
                      visit(page);
                    }
                    done += count;
                  }
                  return true;
                }};
  walk.check_overflows = true;
  walk.is_free_list = true;
  walk.run();
  if (walk.entries != meta.free.entries) {
    fault(
        {meta.page, fmt::format("it says that the free list has {} entries, not {}", meta.free.entries, walk.entries)});
  }
  if (entries != nullptr) *entries += walk.entries;
  if (overflows != nullptr) *overflows += walk.overflow_runs;
}

PageSet Pages::free_pages(const Meta& meta, const FaultVisitor& fault) const {
  if (!meta.usable()) {
    fault({meta.page, meta.fault});
    return PageSet(0);
  }
  PageSet free(meta.last_page + 1);
  PageSet visited(std::min(pages(), meta.last_page + 1));
  free_records(
      meta,
      [&](PageNumber page) {
        if (page < 2 || !free.add(page)) fault({page, "it is in the free list twice, or cannot be free"});
      },
      fault, [&](PageNumber first, std::uint64_t count) { return visited.add(first, count); }, nullptr, nullptr);
  return free;
}

bool Pages::lacks_only_free_pages(const Meta& meta) const {
  bool sound = meta.usable();
  if (!sound || pages() > meta.last_page) return sound;
  const PageSet free = free_pages(meta, [&](const Fault&) { sound = false; });
  for (PageNumber page = pages(); sound && page <= meta.last_page; ++page) sound = free.contains(page);
  return sound;
}

PageCensus Pages::census(const Meta& meta, const FaultVisitor& report,
                         const std::function<void(std::uint64_t)>& step) const {
  constexpr std::uint64_t kPagesPerStep = 4096;
  PageCensus census;
  const FaultVisitor fault = [&](const Fault& found) {
    ++census.faults;
    report(found);
  };
  census.pages = meta.last_page + 1;
  if (!meta.usable()) {
    fault({meta.page, meta.fault});
    return census;
  }
  PageSet free(census.pages);
  PageSet used(std::min(pages(), census.pages));
  used.add(0, std::min<std::uint64_t>(2, pages()));
  std::uint64_t done = 0;
  const auto claim = [&](PageNumber first, std::uint64_t count) {
    if (step && done / kPagesPerStep != (done + count) / kPagesPerStep) step(done + count);
    done += count;
    return used.add(first, count);
  };
  free_records(
      meta,
      [&](PageNumber page) {
        if (page < 2 || page > meta.last_page) {
          fault({page, "it is in the free list, and cannot be free"});
        } else if (!free.add(page)) {
          fault({page, "it is in the free list twice"});
        }
      },
      fault, claim, &census.entries, &census.overflows);

  const auto walk_tree = [&](const TreeInfo& tree, const std::string& name, PageNumber described_on,
                             const std::function<bool(const TreeEntry&)>& visit) {
    if (std::string what = fault_of(tree, meta.last_page); !what.empty()) {
      fault({described_on, fmt::format("{} is damaged: {}", name, what)});
      return;
    }
    TreeWalk walk{*this, tree, fault, claim, visit};
    walk.check_overflows = true;
    walk.run();
    census.entries += walk.entries;
    census.overflows += walk.overflow_runs;
    if (walk.branch_pages != tree.branch_pages || walk.leaf_pages != tree.leaf_pages ||
        walk.overflow_page_count != tree.overflow_pages || walk.entries != tree.entries) {
      fault({described_on, fmt::format("{} has {} entries in {} + {} + {} pages, not {} in {} + {} + {}", name,
                                       walk.entries, walk.branch_pages, walk.leaf_pages, walk.overflow_page_count,
                                       tree.entries, tree.branch_pages, tree.leaf_pages, tree.overflow_pages)});
    }
  };
  walk_tree(meta.main, "the table of tables", meta.page, [&](const TreeEntry& entry) {
    if (!entry.is_tree) {
      fault({entry.page, fmt::format("the table of tables has an entry \"{}\" that is no table", entry.text())});
      return true;
    }
    walk_tree(load<TreeInfo>(entry.value, 0), fmt::format("table \"{}\"", entry.text()), entry.page,
              [&](const TreeEntry& inner) {
                if (inner.is_tree) fault({inner.page, "it has a table inside a table"});
                return true;
              });
    return true;
  });

  for (PageNumber page = 2; page < census.pages; ++page) {
    const bool is_used = used.contains(page);
    const bool is_free = free.contains(page);
    census.used += is_used;
    census.free += is_free;
    census.lost += !is_used && !is_free;
    if (is_used && is_free) fault({page, "it is used and in the free list"});
    if (page >= pages()) {
      ++census.missing;
      if (!is_free) fault({page, "it is beyond the end of the file, and not free"});
    }
  }
  census.used_pages = std::move(used);
  census.free_pages = std::move(free);
  return census;
}

void Pages::tables(const Meta& meta, const std::function<void(std::string_view, const TreeInfo&)>& visit,
                   const FaultVisitor& fault) const {
  each(
      meta.main,
      [&](const TreeEntry& entry) {
        if (!entry.is_tree) return true;
        const auto tree = load<TreeInfo>(entry.value, 0);
        if (std::string what = fault_of(tree, meta.last_page); what.empty()) {
          visit(entry.text(), tree);
        } else {
          fault({entry.page, fmt::format("table \"{}\" is damaged: {}", entry.text(), what)});
        }
        return true;
      },
      fault);
}

std::optional<TreeInfo> Pages::table(const Meta& meta, std::string_view name, const FaultVisitor& fault) const {
  std::optional<TreeInfo> found;
  tables(
      meta,
      [&](std::string_view table, const TreeInfo& tree) {
        if (table == name) found = tree;
      },
      fault);
  return found;
}

void Pages::each(const TreeInfo& tree, const std::function<bool(const TreeEntry&)>& visit, const FaultVisitor& fault,
                 std::optional<std::uint64_t> from) const {
  PageSet visited(pages());
  TreeWalk walk{*this, tree, fault, [&](PageNumber first, std::uint64_t count) { return visited.add(first, count); },
                visit, from};
  walk.run();
}

void Pages::each_on_page(PageNumber page, const std::function<void(const TreeEntry&)>& visit) const {
  std::vector<std::byte> bytes(page_bytes_);
  if (read_page(page, bytes)) return;
  const TreePage leaf(bytes);
  if (!leaf.fault(page).empty() || leaf.is_branch()) return;
  for (std::size_t i = 0; i < leaf.count(); ++i) {
    const auto node = leaf.node(i);
    if (node && fault_of(*node).empty()) visit(to_entry(*node, page, i));
  }
}

void Pages::entry_at(PageNumber page, std::size_t index, const std::function<void(const TreeEntry&)>& visit) const {
  each_on_page(page, [&](const TreeEntry& entry) {
    if (entry.index == index) visit(entry);
  });
}

bool Pages::read(const TreeEntry& entry, std::uint64_t offset, std::span<std::byte> out,
                 const FaultVisitor& fault) const {
  if (offset > entry.bytes || out.size() > entry.bytes - offset) return false;
  if (entry.overflow == kNoPage) {
    if (!out.empty()) std::memcpy(out.data(), entry.value.data() + offset, out.size());
    return true;
  }
  const std::uint64_t needed = overflow_pages(entry.bytes, page_bytes_);
  std::array<std::byte, kHeaderBytes> bytes;
  if (entry.overflow < 2 || entry.overflow >= pages() || needed > pages() - entry.overflow) {
    fault({entry.page, fmt::format("a value of {} bytes lies from page {} on, beyond the end of the file", entry.bytes,
                                   entry.overflow)});
    return false;
  }
  std::optional<std::string> error = read_at(entry.overflow * page_bytes_, bytes);
  if (!error) {
    const auto header = load<PageHeader>(bytes, 0);
    if (header.number != entry.overflow || header.flags != kOverflow || header.run_pages() < needed) {
      error = fmt::format("it is not the first of {} overflow pages, as page {} says", needed, entry.page);
    }
  }
  if (!error) error = read_at(entry.overflow * page_bytes_ + kHeaderBytes + offset, out);
  if (error) fault({entry.overflow, *error});
  return !error;
}

}  // namespace oncelog::internal::lmdb
