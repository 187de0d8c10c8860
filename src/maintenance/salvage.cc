#include "maintenance/salvage.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <set>
#include <utility>

#include "log/intact_record.h"
#include "log/log.h"
#include "shared/settings.h"

namespace oncelog::internal {
namespace {

constexpr std::uint32_t kOrphanRank = 2;
constexpr std::uint64_t kMaxValueBytes = std::uint64_t{1} << 30;

const auto kIgnore = [](const lmdb::Fault&) {};

}  // namespace

Salvage::Salvage(const lmdb::Pages& pages, Problems& problems) : pages_(pages), problems_(problems) {
  for (const unsigned which : {0U, 1U}) {
    lmdb::Meta meta = pages.meta(which);
    if (meta.usable()) {
      commits_.push_back(std::move(meta));
    } else {
      log_damaged_ = true;
      problems_.add(ProblemKind::meta, page_name(which), meta.fault, "if it was the newer one, the last commit is lost",
                    "ids that were processed in the last second before the damage may be fresh");
    }
  }
  if (commits_.size() == 2 && commits_[1].transaction > commits_[0].transaction) std::swap(commits_[0], commits_[1]);
}

void Salvage::report(const lmdb::Fault& fault, const char* lost) {
  problems_.add(ProblemKind::page, page_name(fault.page), fault.what, lost,
                "what could be found elsewhere was saved; for the rest restore a backup");
}

std::optional<lmdb::TreeInfo> Salvage::table(std::size_t commit, std::string_view name,
                                             const lmdb::FaultVisitor& fault) const {
  return pages_.table(commits_[commit], name, fault);
}

void Salvage::add_block(const lmdb::TreeEntry& entry, std::uint32_t rank) {
  const auto key = entry.number();
  if (!key || *key == 0 || *key % kRecordUnit != 0 || entry.bytes < round_to_unit(kRecordHeaderBytes)) return;
  constexpr std::uint64_t kMostBytes =
      std::max<std::uint64_t>(kMaxRecordBytes, Log::kBlockPages * std::uint64_t{lmdb::Pages::kMaxPageBytes});
  if (entry.bytes > kMostBytes || entry.page > std::numeric_limits<std::uint32_t>::max()) return;
  blocks_.push_back({*key, static_cast<std::uint32_t>(entry.page), rank << 16 | static_cast<std::uint32_t>(entry.index),
                     static_cast<std::uint32_t>(entry.bytes)});
}

void Salvage::add_blocks(std::size_t commit, const lmdb::FaultVisitor& fault) {
  const auto tree = table(commit, "log", fault);
  if (!tree) {
    if (commit == 0) log_damaged_ = true;
    return;
  }
  pages_.each(
      *tree,
      [&](const lmdb::TreeEntry& entry) {
        add_block(entry, static_cast<std::uint32_t>(commit));
        return true;
      },
      fault);
}

/// Leaves that hold blocks, and that neither a table nor the free list names.
void Salvage::add_orphans() {
  bool free_list_known = true;
  pages_.free_pages(commits_[0], [&](const lmdb::Fault&) { free_list_known = false; });
  if (!free_list_known) {
    problems_.add(ProblemKind::page, "data.mdb", "the free list is damaged as well",
                  "pages that nothing leads to are not searched for records: they may be of transactions that never "
                  "committed",
                  "restore a backup for what is missing");
    return;
  }
  const lmdb::PageCensus census = pages_.census(commits_[0], kIgnore);
  for (lmdb::PageNumber page = 2; page < std::min(pages_.pages(), census.pages); ++page) {
    if (census.used_pages.contains(page) || census.free_pages.contains(page)) continue;
    pages_.each_on_page(page, [&](const lmdb::TreeEntry& entry) { add_block(entry, kOrphanRank); });
  }
}

/// Whether a record proves the key of the checksums right, or there is no record that could.
bool Salvage::fits(const StoreIdentity& identity) {
  constexpr std::size_t kMostTries = 256;
  std::size_t tries = 0;
  const std::size_t step = std::max<std::size_t>(1, blocks_.size() / kMostTries);
  std::vector<std::byte> bytes;
  for (std::size_t i = 0; i < blocks_.size(); i += step) {
    bool found = false;
    pages_.entry_at(blocks_[i].page, blocks_[i].index(), [&](const lmdb::TreeEntry& entry) {
      bytes.resize(static_cast<std::size_t>(entry.bytes));
      if (!pages_.read(entry, 0, bytes, kIgnore)) return;
      const Lsn lsn{blocks_[i].lsn};
      found = next_intact(bytes, 0, lsn, identity.hash_seed) < bytes.size();
    });
    if (found) return true;
    ++tries;
  }
  return tries == 0;
}

std::optional<StoreIdentity> Salvage::identity() {
  if (!std::exchange(blocks_known_, true)) {
    const lmdb::FaultVisitor note = [&](const lmdb::Fault& fault) {
      log_damaged_ = true;
      report(fault, "records that lay on or below the page may be lost");
    };
    for (std::size_t commit = 0; commit < commits_.size(); ++commit) {
      // The same pages in both are reported once.
      add_blocks(commit, commit == 0 ? note : lmdb::FaultVisitor(kIgnore));
    }
    if (log_damaged_) add_orphans();
    std::ranges::sort(blocks_, {}, [](const Block& block) { return std::pair(block.lsn, block.rank()); });
  }

  std::optional<StoreIdentity> found;
  const auto consider = [&](const lmdb::TreeEntry& entry) {
    if (found || entry.text() != Catalog::kIdentityKey) return true;
    const auto identity = stored_identity(entry.value, pages_.path());
    if (identity && fits(*identity)) found = identity;
    return true;
  };
  // An intact one of the commit before is taken rather than a damaged one of the last.
  for (const bool damaged : {false, true}) {
    for (std::size_t commit = 0; commit < commits_.size(); ++commit) {
      const auto tree = table(commit, "meta", kIgnore);
      if (tree && meta_intact(pages_, *tree) != damaged) pages_.each(*tree, consider, kIgnore);
    }
  }
  if (found) return found;
  // Each change of its table leaves a copy, and a key that fits the records proves itself wherever it lies.
  for (lmdb::PageNumber page = 2; !found && page < pages_.pages(); ++page) pages_.each_on_page(page, consider);
  return found;
}

Salvage::Numbers Salvage::numbers() {
  Numbers numbers;
  for (std::size_t commit = 0; commit < commits_.size(); ++commit) {
    bool damaged = false;
    const auto fault = [&](const lmdb::Fault& at) {
      damaged = true;
      numbers.doubtful = true;
      if (commit == 0) report(at, "the epoch of fencing tokens and known_since may be those of an earlier moment");
    };
    const auto tree = table(commit, "meta", fault);
    if (tree) {
      if (!meta_intact(pages_, *tree))
        fault({tree->root, "the checksum over the store's identity and numbers is wrong"});
      pages_.each(
          *tree,
          [&](const lmdb::TreeEntry& entry) {
            const auto number = stored_number(entry.value);
            for (const auto which : Settings::kNumbers) {
              if (number && entry.text() == Catalog::key_of(which)) numbers.settings.emplace(which, *number);
            }
            if (entry.text() == Catalog::key_of(Catalog::Number::token_epoch) && number) {
              numbers.token_epoch = std::max(numbers.token_epoch.value_or(0), *number);
            } else if (entry.text() == Catalog::key_of(Catalog::Number::known_since_us) && number) {
              numbers.known_since_us = std::max(numbers.known_since_us.value_or(0), *number);
            } else if (entry.text() == Catalog::kLiveDirKey && numbers.live_dir.empty()) {
              numbers.live_dir.assign(reinterpret_cast<const char*>(entry.value.data()), entry.value.size());
            } else if (entry.text() == kGapsKey && numbers.gaps.empty()) {
              numbers.gaps = stored_gaps(pages_, entry, fault);
            }
            return true;
          },
          fault);
      // A sound table without the number says that there is none yet.
      if (!damaged && !numbers.token_epoch) numbers.token_epoch = 0;
      if (!damaged && !numbers.known_since_us) numbers.known_since_us = 0;
    }
    if (tree && !damaged) break;
  }
  return numbers;
}

std::map<std::string, std::uint32_t> Salvage::scopes() {
  std::map<std::string, std::uint32_t> scopes;
  std::set<std::uint32_t> taken;
  for (std::size_t commit = 0; commit < commits_.size(); ++commit) {
    bool damaged = false;
    const auto fault = [&](const lmdb::Fault& at) {
      damaged = true;
      if (commit == 0) report(at, "names of scopes may be lost");
    };
    if (const auto tree = table(commit, "scopes", fault)) {
      pages_.each(
          *tree,
          [&](const lmdb::TreeEntry& entry) {
            const auto number = ScopeRow::number_in(entry.value, entry.text());
            const bool named = !entry.key.empty() && entry.key.size() <= kMaxScopeBytes;
            if (number && named && !taken.contains(*number) && scopes.emplace(entry.text(), *number).second) {
              taken.insert(*number);
            } else if (commit == 0) {
              problems_.add(ProblemKind::scope, page_name(entry.page),
                            "a scope's name or number is damaged, or the number is another one's", "its name is lost",
                            "its ids are saved under the name lost-scope-N");
            }
            return true;
          },
          fault);
      if (!damaged) break;
    }
  }
  return scopes;
}

void Salvage::user_entries(const std::function<void(std::string_view, std::span<const std::byte>, bool)>& visit) {
  std::vector<std::byte> value;
  for (std::size_t commit = 0; commit < commits_.size(); ++commit) {
    bool damaged = false;
    const auto fault = [&](const lmdb::Fault& at) {
      damaged = true;
      if (commit == 0) report(at, "entries of user tables may be lost, or be those of the commit before");
    };
    const auto tree = table(commit, "user", fault);
    if (tree) {
      pages_.each(
          *tree,
          [&](const lmdb::TreeEntry& entry) {
            if (entry.bytes > kMaxValueBytes || entry.bytes > pages_.file_bytes()) {
              fault({entry.page, fmt::format("a value has {} bytes", entry.bytes)});
              return true;
            }
            value.resize(static_cast<std::size_t>(entry.bytes));
            if (pages_.read(entry, 0, value, fault)) visit(entry.text(), value, commit != 0);
            return true;
          },
          fault);
    }
    if (!damaged) return;  // Also when there is no such table: stores of the first format have none.
  }
}

/// The block's bytes; nothing when they cannot be read.
std::optional<std::vector<std::byte>> Salvage::read(const Block& block) {
  std::vector<std::byte> bytes;
  bool read = false;
  pages_.entry_at(block.page, block.index(), [&](const lmdb::TreeEntry& entry) {
    bytes.resize(static_cast<std::size_t>(entry.bytes));
    read = entry.bytes == block.bytes && pages_.read(entry, 0, bytes, [&](const lmdb::Fault& fault) {
      if (block.rank() == 0) report(fault, "the records of a block are lost");
    });
  });
  return read ? std::optional(std::move(bytes)) : std::nullopt;
}

void Salvage::log(std::uint64_t hash_seed, const std::function<void(Lsn, std::span<const std::byte>)>& visit) {
  Lsn done;  // What is below was handed out.
  for (const Block& block : blocks_) {
    if (block.lsn + block.bytes <= done.value) continue;
    const auto bytes = read(block);
    if (!bytes) {
      if (block.rank() == 0) log_damaged_ = true;
      continue;
    }
    const Lsn from = std::max(done, Lsn{block.lsn});
    const auto rest = std::span(*bytes).subspan(static_cast<std::size_t>(from.value - block.lsn));
    std::size_t begin = 0;  // Of a run of whole records, in `rest`,
    std::size_t end = 0;    // and where it ends so far.
    const auto hand_out = [&] {
      if (end == begin) return;
      visit(Lsn{from.value + begin}, rest.subspan(begin, end - begin));
      done = Lsn{from.value + end};
    };
    for_each_record(
        rest, from, hash_seed, [&](const RecordView& record, const MessageHash&, Lsn) { end += record.header.bytes(); },
        [&](Lsn at, std::span<const std::byte> damaged) {
          hand_out();
          const std::size_t bytes_lost = next_intact(damaged, kRecordUnit, at, hash_seed);
          if (block.rank() == 0) {
            log_damaged_ = true;
            problems_.add(ProblemKind::record, lsn_name(at),
                          fmt::format("the {} bytes from there on are no whole record", bytes_lost), "its id is fresh",
                          "restore a backup, where that matters");
          }
          begin = end += bytes_lost;
          return bytes_lost;
        });
    hand_out();
  }
}

}  // namespace oncelog::internal
