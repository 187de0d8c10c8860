#include "log/intact_record.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "support.h"

using namespace oncelog;
using namespace oncelog::internal;

namespace {

constexpr std::uint64_t kSeed = 99;
constexpr Lsn kBegin{4096};

/// A block of records of these ids, which begins at kBegin.
struct Block {
  std::vector<std::byte> bytes;
  std::vector<Lsn> lsns;

  explicit Block(const std::vector<std::string>& ids) {
    for (const std::string& id : ids) {
      constexpr std::uint32_t kScope = 3;
      const Lsn lsn{kBegin.value + bytes.size()};
      RecordBuffer buffer;
      const MessageHash hash(MessageHash::scope_seed(kSeed, kScope), id);
      const RecordDraft draft{.scope = kScope, .id = id, .digest = hash.digest()};
      const auto record = std::as_bytes(encode_record(buffer, draft, lsn, 1));
      bytes.insert(bytes.end(), record.begin(), record.end());
      lsns.push_back(lsn);
    }
  }

  void damage(std::size_t record) { bytes[lsns[record].value - kBegin.value + kRecordHeaderBytes] ^= std::byte{1}; }
};

[[noreturn]] void throw_damaged(Lsn lsn, std::span<const std::byte>) {
  throw std::runtime_error(std::to_string(lsn.value));
}

}  // namespace

TEST_CASE("each record of a block is visited with its hash and its LSN") {
  const Block block({"a", "an id that is longer", "c"});
  std::vector<std::string> ids;
  std::vector<Lsn> lsns;
  const bool whole = for_each_record(
      block.bytes, kBegin, kSeed,
      [&](const RecordView& record, const MessageHash& hash, Lsn lsn) {
        ids.emplace_back(record.id);
        lsns.push_back(lsn);
        CHECK(hash == hash_of(record, kSeed));
      },
      throw_damaged);
  CHECK(whole);
  CHECK(ids == std::vector<std::string>{"a", "an id that is longer", "c"});
  CHECK(lsns == block.lsns);
}

TEST_CASE("a visitor that returns false stops the walk") {
  const Block block({"a", "b", "c"});
  std::string ids;
  const auto until_b = [&](const RecordView& record, const MessageHash&, Lsn) {
    ids += record.id;
    return record.id != "b";
  };
  CHECK_FALSE(for_each_record(block.bytes, kBegin, kSeed, until_b, throw_damaged));
  CHECK(ids == "ab");
}

TEST_CASE("a damaged record is given to the second visitor, which throws, ends the walk, or says how much to skip") {
  Block block({"a", "b", "c"});
  block.damage(1);
  std::string ids;
  const auto visit = [&](const RecordView& record, const MessageHash&, Lsn) { ids += record.id; };

  CHECK_THROWS_WITH(for_each_record(block.bytes, kBegin, kSeed, visit, throw_damaged),
                    std::to_string(block.lsns[1].value).c_str());
  CHECK(ids == "a");

  ids.clear();
  Lsn damaged;
  CHECK_FALSE(
      for_each_record(block.bytes, kBegin, kSeed, visit, [&](Lsn at, std::span<const std::byte>) { damaged = at; }));
  CHECK(ids == "a");
  CHECK(damaged == block.lsns[1]);

  ids.clear();
  CHECK(for_each_record(block.bytes, kBegin, kSeed, visit, [&](Lsn at, std::span<const std::byte> rest) {
    CHECK(at == block.lsns[1]);
    CHECK(rest.data() == block.bytes.data() + (at.value - kBegin.value));
    CHECK(rest.data() + rest.size() == block.bytes.data() + block.bytes.size());
    return next_intact(rest, kRecordUnit, at, kSeed);
  }));
  CHECK(ids == "ac");
}

TEST_CASE("damage up to the end of a block, and a record that is cut short, end the walk") {
  Block block({"a", "b"});
  block.damage(1);
  const auto visit = [](const RecordView& record, const MessageHash&, Lsn) { CHECK(record.id == "a"); };
  const auto skip = [](Lsn at, std::span<const std::byte> rest) {
    const std::size_t bytes = next_intact(rest, kRecordUnit, at, kSeed);
    CHECK(bytes == rest.size());
    return bytes;
  };
  CHECK(for_each_record(block.bytes, kBegin, kSeed, visit, skip));

  const Block whole({"a", "b"});
  const auto cut = std::span(whole.bytes).first(whole.bytes.size() - kRecordUnit);
  CHECK(for_each_record(cut, kBegin, kSeed, visit, skip));
}

TEST_CASE("records at another LSN, or under another seed, are damaged") {
  const Block block({"a"});
  const auto never = [](const RecordView&, const MessageHash&, Lsn) { FAIL("it is no record there"); };
  CHECK_THROWS(for_each_record(block.bytes, Lsn{kBegin.value + 8}, kSeed, never, throw_damaged));
  CHECK_THROWS(for_each_record(block.bytes, kBegin, kSeed + 1, never, throw_damaged));
}
