#include "lmdb/pages.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <utility>

#include "base/error.h"
#include "lmdb/page_census.h"
#include "lmdb/page_format.h"
#include "lmdb/tree_walk.h"

namespace oncelog::internal::lmdb {

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

Pages::Pages(int file, std::filesystem::path path) : file_(file), path_(std::move(path)) {
  struct stat status {};
  if (::fstat(file_, &status) != 0) throw system_error(errno, "fstat", path_);
  file_bytes_ = status.st_size < 0 ? 0 : static_cast<std::uint64_t>(status.st_size);
  find_page_size();
}

/// Either of the two meta pages states it. Where the first one is damaged, the second one is at its place for one size
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

PageSet Pages::free_pages(const Meta& meta, const FaultVisitor& fault) const {
  if (!meta.usable()) {
    fault({meta.page, meta.fault});
    return PageSet(0);
  }
  PageSet free(meta.last_page + 1);
  PageSet visited(std::min(pages(), meta.last_page + 1));
  read_free_list(
      *this, meta,
      [&](PageNumber page) {
        if (page < 2 || !free.add(page)) fault({page, "it is in the free list twice, or cannot be free"});
      },
      fault, [&](PageNumber first, std::uint64_t count) { return visited.add(first, count); });
  return free;
}

bool Pages::lacks_only_free_pages(const Meta& meta) const {
  bool sound = meta.usable();
  if (!sound || pages() > meta.last_page) return sound;
  const PageSet free = free_pages(meta, [&](const Fault&) { sound = false; });
  for (PageNumber page = pages(); sound && page <= meta.last_page; ++page) sound = free.contains(page);
  return sound;
}

PageCensus Pages::census(const Meta& meta, const FaultVisitor& fault,
                         const std::function<void(std::uint64_t)>& step) const {
  return CensusTaker(*this, meta, fault, step).take();
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
