#include "maintenance/table_check.h"

#include <fmt/format.h>

#include <algorithm>

#include <oncelog/record.h>

#include "base/error.h"
#include "shared/leases.h"
#include "shared/settings.h"

namespace oncelog::internal {
namespace {

constexpr std::int64_t kClockSlackUs = 60'000'000;

}  // namespace

TableCheck::TableCheck(const lmdb::Pages& pages, const lmdb::Meta& meta, std::int64_t now_us, Problems& problems,
                       StoreFacts& facts)
    : pages_(pages), now_us_(now_us), problems_(problems), facts_(facts), fault_([&problems](const lmdb::Fault& found) {
        problems.add(found);
      }) {
  pages.tables(
      meta, [this](std::string_view name, const lmdb::TreeInfo& tree) { tables_.emplace(name, tree); }, fault_);
}

void TableCheck::check() {
  if (problems_.none() && !tables_.contains("meta") && !tables_.contains("log")) {
    throw error_at(ErrorCode::not_a_store, pages_.path(), "its LMDB file says nothing of an oncelog store");
  }
  check_names();
  check_flags();
  if (const auto table = tables_.find("meta"); table != tables_.end()) check_meta(table->second);
  if (!facts_.identity) {
    problems_.add(ProblemKind::identity, "table meta", "the store's identity record is missing or damaged",
                  "the store does not open, and no record's checksum can be compared", kRestoreOrRepair);
  }
  if (const auto table = tables_.find("scopes"); table != tables_.end()) check_scopes(table->second);
}

void TableCheck::check_names() const {
  for (const char* name : {"meta", "log", "buckets", "scopes"}) {
    if (tables_.contains(name)) continue;
    problems_.add(ProblemKind::page, "data.mdb", fmt::format("there is no table \"{}\"", name),
                  "the store does not open", kRestoreOrRepair);
  }
}

void TableCheck::check_flags() const {
  for (const auto& [name, tree] : tables_) {
    const bool by_number = name == "log" || name == "buckets" || name == "sealed";
    const bool ours = by_number || name == "meta" || name == "scopes" || name == "user";
    if (!ours || tree.integer_key() == by_number) continue;
    problems_.add(ProblemKind::page, "data.mdb", fmt::format("table \"{}\" has the flags {:#x}", name, tree.flags),
                  "its entries are not found", kRestoreOrRepair);
  }
}

void TableCheck::check_meta(const lmdb::TreeInfo& table) {
  pages_.each(
      table,
      [this](const lmdb::TreeEntry& entry) {
        check_meta_entry(entry);
        return true;
      },
      fault_);
  if (!meta_intact(pages_, table)) {
    problems_.add(ProblemKind::identity, "table meta", "the checksum over the store's identity and numbers is wrong",
                  "the store does not open: with another retention, say, ids would be fresh too early",
                  kRestoreOrRepair);
  }
}

void TableCheck::check_meta_entry(const lmdb::TreeEntry& entry) {
  const auto is = [&](Catalog::Number which) { return entry.text() == Catalog::key_of(which); };
  if (entry.text() == Catalog::kIdentityKey) {
    facts_.identity = stored_identity(entry.value, pages_.path());
  } else if (is(Catalog::Number::token_epoch)) {
    check_token_epoch(entry);
  } else if (is(Catalog::Number::known_since_us)) {
    check_known_since(entry);
  } else if (std::ranges::any_of(Settings::kNumbers, is)) {
    number(entry);  // One that cannot be is read as the default.
  } else if (entry.text() == kGapsKey) {
    facts_.gaps = stored_gaps(pages_, entry, fault_);
  }
}

/// The entry's value; nothing, and a problem, when it is no number.
std::optional<std::uint64_t> TableCheck::number(const lmdb::TreeEntry& entry) const {
  if (const auto number = stored_number(entry.value)) return number;
  problems_.add(ProblemKind::number, page_name(entry.page),
                fmt::format("\"{}\" has {} bytes instead of 8", entry.text(), entry.bytes),
                "the store does not open, or takes no claims", kRestoreOrRepair);
  return std::nullopt;
}

void TableCheck::check_token_epoch(const lmdb::TreeEntry& entry) const {
  const auto epoch = number(entry);
  if (!epoch || *epoch <= LeaseTable::kMaxEpoch) return;
  problems_.add(ProblemKind::number, page_name(entry.page),
                fmt::format("the epoch of fencing tokens is {}, of 24 bits at most", *epoch),
                "tokens are not larger than earlier ones: what they fence may be written by an old owner",
                kRestoreOrRepair);
}

void TableCheck::check_known_since(const lmdb::TreeEntry& entry) {
  const auto since = number(entry);
  if (!since) return;
  facts_.set_known_since(*since);
  if (facts_.known_since_us <= now_us_ + kClockSlackUs) return;
  problems_.add(ProblemKind::number, page_name(entry.page),
                "known_since lies in the future; a clock was ahead, or the number is damaged",
                "until then unknown messages that say when they were sent are too_old instead of fresh", kRepair);
}

void TableCheck::check_scopes(const lmdb::TreeInfo& table) {
  facts_.scope_count = table.entries;
  constexpr std::uint64_t kLeastEntryBytes = 8;
  const std::uint64_t most = std::min(facts_.scope_count, pages_.file_bytes() / kLeastEntryBytes);
  lmdb::PageSet numbers(most + 1);  // A set of small numbers, here.
  pages_.each(
      table,
      [&](const lmdb::TreeEntry& entry) {
        const auto number = ScopeRow::number_in(entry.value, entry.text());
        if (!number || !numbers.add(*number) || entry.key.size() > kMaxScopeBytes) {
          problems_.add(ProblemKind::scope, page_name(entry.page),
                        "a scope's name or number is damaged, or the number is another one's",
                        "ids of that scope are fresh, or another scope's", kRestoreOrRepair);
        }
        return true;
      },
      fault_);
}

}  // namespace oncelog::internal
