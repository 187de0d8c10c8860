#include "lmdb/pages.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <random>

#include "file_bytes.h"
#include "lmdb/handles.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
namespace lmdb = oncelog::internal::lmdb;
using lmdb::Pages;

namespace {

/// A file opened for reading.
class File {
 public:
  explicit File(const std::filesystem::path& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    REQUIRE(fd_ >= 0);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() { ::close(fd_); }
  int fd() const { return fd_; }

 private:
  int fd_;
};

struct Env {
  explicit Env(const std::filesystem::path& dir)
      : env(dir, MDB_NOTLS | MDB_NORDAHEAD, std::uint64_t{256} << 20, 16, 8) {}

  /// Random puts and deletions in a table of numbers and one of texts; mirrored in `numbers` and `texts`.
  void churn(std::mt19937_64& random, unsigned transactions) {
    for (unsigned t = 0; t < transactions; ++t) {
      lmdb::WriteTxn txn(env);
      const MDB_dbi by_number = txn.open_table("numbers", MDB_CREATE | MDB_INTEGERKEY);
      const MDB_dbi by_text = txn.open_table("texts", MDB_CREATE);
      for (unsigned i = 0; i < 40; ++i) {
        const std::uint64_t key = random() % 2000;
        const std::string text(1 + key % 300, static_cast<char>('a' + key % 26));
        const std::string value(random() % 8 == 0 ? random() % 40'000 : random() % 900, 'v');
        if (random() % 3 == 0) {
          txn.del(by_number, lmdb::to_val(key));
          numbers.erase(key);
          txn.del(by_text, lmdb::to_val(lmdb::to_bytes(text)));
          texts.erase(text);
        } else {
          txn.put(by_number, lmdb::to_val(key), lmdb::to_bytes(value));
          numbers[key] = value;
          txn.put(by_text, lmdb::to_val(lmdb::to_bytes(text)), lmdb::to_bytes(value));
          texts[text] = value;
        }
      }
      txn.commit();
    }
  }

  lmdb::Env env;
  std::map<std::uint64_t, std::string> numbers;
  std::map<std::string, std::string> texts;
};

std::string faults_of(const Pages& pages, const lmdb::Meta& meta, lmdb::PageCensus* out = nullptr) {
  std::string all;
  const auto census =
      pages.census(meta, [&](const lmdb::Fault& f) { all += std::to_string(f.page) + ": " + f.what + "\n"; });
  if (out != nullptr) *out = census;
  if (census.lost != 0) all += std::to_string(census.lost) + " lost\n";
  return all;
}

/// The table's entries, as the pages have them.
std::map<std::string, std::string> entries_of(const Pages& pages, const lmdb::Meta& meta, std::string_view table) {
  std::map<std::string, std::string> entries;
  const auto none = [](const lmdb::Fault& fault) { FAIL(fault.what); };
  const auto tree = pages.table(meta, table, none);
  REQUIRE(tree);
  pages.each(
      *tree,
      [&](const lmdb::TreeEntry& entry) {
        std::string value(entry.bytes, '\0');
        // In two pieces, the way long values are read.
        const auto bytes = std::as_writable_bytes(std::span(value));
        const std::size_t half = value.size() / 2;
        REQUIRE(pages.read(entry, 0, bytes.first(half), none));
        REQUIRE(pages.read(entry, half, bytes.subspan(half), none));
        entries[std::string(entry.text())] = value;
        return true;
      },
      none);
  return entries;
}

void put_contents(const std::filesystem::path& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

}  // namespace

TEST_CASE("a file that LMDB wrote is sound after every commit, and has the entries that LMDB says") {
  const auto seed = test_seed();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  const TempDir dir;
  Env lmdb(dir.path());
  for (unsigned round = 0; round < 60; ++round) {
    lmdb.churn(random, 1 + static_cast<unsigned>(random() % 5));
    int fd = -1;
    REQUIRE(mdb_env_get_fd(lmdb.env.get(), &fd) == MDB_SUCCESS);
    const Pages pages(fd, dir / "data.mdb");
    const auto meta = pages.newest();
    REQUIRE(meta);
    lmdb::PageCensus census;
    CHECK(faults_of(pages, *meta, &census) == "");
    CHECK(census.used + census.free + 2 == census.pages);
    CHECK(pages.lacks_only_free_pages(*meta));
    // The commit before it is whole as well: that is what LMDB falls back on.
    const auto before = pages.meta(1 - static_cast<unsigned>(meta->page));
    REQUIRE(before.usable());
    CHECK(before.transaction + 1 == meta->transaction);
    CHECK(faults_of(pages, before) == "");
  }
  int fd = -1;
  REQUIRE(mdb_env_get_fd(lmdb.env.get(), &fd) == MDB_SUCCESS);
  const Pages pages(fd, dir / "data.mdb");
  const auto meta = *pages.newest();
  CHECK(entries_of(pages, meta, "texts") == lmdb.texts);
  std::map<std::string, std::string> numbers;
  for (const auto& [key, value] : lmdb.numbers) numbers[std::string(reinterpret_cast<const char*>(&key), 8)] = value;
  CHECK(entries_of(pages, meta, "numbers") == numbers);

  SUBCASE("and a walk that begins at a key leaves out what is below it") {
    const std::uint64_t from = 777;
    std::vector<std::uint64_t> keys;
    pages.each(
        *pages.table(meta, "numbers", {}),
        [&](const lmdb::TreeEntry& entry) {
          keys.push_back(*entry.number());
          return true;
        },
        [](const lmdb::Fault& fault) { FAIL(fault.what); }, from);
    std::vector<std::uint64_t> wanted;
    for (const auto& [key, value] : lmdb.numbers) {
      if (key >= from) wanted.push_back(key);
    }
    CHECK(keys == wanted);
  }
}

TEST_CASE("a file that ends before its last used page is sound while only free pages are missing") {
  const TempDir dir;
  {
    // One transaction that puts a large value and erases it again: its pages are counted and never written.
    lmdb::Env env(dir.path(), MDB_NOTLS, std::uint64_t{64} << 20, 16, 8);
    for (char round = 'a'; round < 'k'; ++round) {  // Leaves free pages, for what the last transaction has to write.
      lmdb::WriteTxn txn(env);
      const MDB_dbi table = txn.open_table("t", MDB_CREATE);
      for (const char* key : {"1", "2", "3", "4", "5", "6", "7", "8"}) {
        txn.put(table, lmdb::to_val(lmdb::to_bytes(key)), lmdb::to_bytes(std::string(1500, round)));
      }
      txn.commit();
    }
    lmdb::WriteTxn txn(env);
    const MDB_dbi table = txn.open_table("t", 0);
    const std::string large(1 << 20, 'x');
    txn.put(table, lmdb::to_val(lmdb::to_bytes("large")), lmdb::to_bytes(large));
    txn.del(table, lmdb::to_val(lmdb::to_bytes("large")));
    txn.commit();
  }
  const auto path = dir / "data.mdb";
  {
    const File file(path);
    const Pages pages(file.fd(), path);
    const auto meta = *pages.newest();
    REQUIRE(pages.pages() + 200 < meta.last_page);
    CHECK(pages.lacks_only_free_pages(meta));
    lmdb::PageCensus census;
    CHECK(faults_of(pages, meta, &census) == "");
    CHECK(census.missing == meta.last_page + 1 - pages.pages());
  }
  // Pages that are used are missing as well.
  std::filesystem::resize_file(path, std::uint64_t{4} * 4096);
  const File file(path);
  const Pages pages(file.fd(), path);
  const auto meta = *pages.newest();
  CHECK_FALSE(pages.lacks_only_free_pages(meta));
  CHECK(faults_of(pages, meta).find("beyond the end of the file") != std::string::npos);
}

namespace {

/// A sound data.mdb, and what its pages say of it when it is damaged.
class DamagedFile {
 public:
  DamagedFile() {
    std::mt19937_64 random(7);
    {
      Env lmdb(dir_.path());
      lmdb.churn(random, 15);
      numbers = lmdb.numbers;
    }
    sound = contents_of(path());
    REQUIRE(faults_with(sound) == "");
  }

  std::filesystem::path path() const { return dir_ / "data.mdb"; }

  std::string faults_with(const std::string& bytes) const {
    put_contents(path(), bytes);
    const File file(path());
    const Pages pages(file.fd(), path());
    const auto meta = pages.newest();
    if (!meta) return std::string("no usable meta page");
    std::string faults = faults_of(pages, *meta);
    for (unsigned which : {0U, 1U}) {
      if (const auto other = pages.meta(which); !other.usable()) faults += "meta " + other.fault;
    }
    return faults;
  }

  std::string with_page_zeroed(std::size_t page) const {
    std::string bytes = sound;
    std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(page * 4096), 4096, '\0');
    return bytes;
  }

  std::string sound;
  std::map<std::uint64_t, std::string> numbers;  // The entries of the table of that name.

 private:
  TempDir dir_;
};

/// Reads all that both meta pages lead to, whatever it is.
void read_all(const Pages& pages) {
  const auto ignore = [](const lmdb::Fault&) {};
  for (unsigned which : {0U, 1U}) {
    const auto meta = pages.meta(which);
    if (!meta.usable()) continue;
    pages.lacks_only_free_pages(meta);
    pages.tables(
        meta,
        [&](std::string_view, const lmdb::TreeInfo& tree) {
          pages.each(
              tree,
              [&](const lmdb::TreeEntry& entry) {
                std::vector<std::byte> value(std::min<std::uint64_t>(entry.bytes, 70'000));
                pages.read(entry, 0, value, ignore);
                return true;
              },
              ignore);
        },
        ignore);
  }
}

}  // namespace

TEST_CASE("pages that are counted and are not in the file are one fault, however many they are") {
  DamagedFile file;
  constexpr std::size_t kLastPage = 136;  // Where it is in a meta page.
  for (const std::size_t meta : {0U, 4096U}) file.sound[meta + kLastPage + 2] = '\x40';
  const std::string faults = file.faults_with(file.sound);
  CAPTURE(faults);
  CHECK(std::ranges::count(faults, '\n') == 2);  // And how many are neither used nor free.
  CHECK(faults.find("and the next 419") != std::string::npos);
}

TEST_CASE("a zeroed page is noticed, unless it is free or within a long value") {
  const DamagedFile damaged;
  std::size_t pages = 0;
  std::size_t unnoticed = 0;
  for (; pages * 4096 < damaged.sound.size(); ++pages) {
    unnoticed += damaged.faults_with(damaged.with_page_zeroed(pages)).empty();
  }
  CHECK(unnoticed < pages);
  CHECK(unnoticed * 10 < pages * 9);
}

TEST_CASE("bytes overwritten anywhere are found, and followed nowhere") {
  const DamagedFile damaged;
  const auto seed = test_seed();
  CAPTURE(seed);
  std::mt19937_64 dice(seed);
  std::size_t noticed = 0;
  for (std::uint64_t i = 0; i < scaled(500, 100); ++i) {
    std::string bytes = damaged.sound;
    // Mostly in headers and the places that point to others.
    const std::size_t page = dice() % (bytes.size() / 4096);
    for (unsigned n = 0; n <= dice() % 3; ++n) {
      const std::size_t at = page * 4096 + (dice() % 2 == 0 ? dice() % 64 : dice() % 4096);
      bytes[at] =
          static_cast<char>(dice() % 3 == 0 ? dice() : static_cast<unsigned char>(bytes[at]) ^ 1U << dice() % 8);
    }
    if (dice() % 10 == 0) bytes.resize(dice() % bytes.size());
    noticed += !damaged.faults_with(bytes).empty();
    const File file(damaged.path());
    const Pages pages(file.fd(), damaged.path());
    read_all(pages);
    pages.each_on_page(page, [](const lmdb::TreeEntry&) {});
  }
  CHECK(noticed > 0);
}

TEST_CASE("a leaf that is lost is one fault, and all entries of the others are read") {
  const DamagedFile damaged;
  lmdb::PageNumber leaf = 0;
  std::map<lmdb::PageNumber, std::size_t> entries_on;
  {
    const File file(damaged.path());
    const Pages pages(file.fd(), damaged.path());
    pages.each(*pages.table(*pages.newest(), "numbers", {}),
               [&](const lmdb::TreeEntry& entry) {
                 if (*entry.number() >= 1000 && leaf == 0) leaf = entry.page;
                 ++entries_on[entry.page];
                 return true;
               },
               {});
  }
  REQUIRE(leaf != 0);
  put_contents(damaged.path(), damaged.with_page_zeroed(leaf));
  const File file(damaged.path());
  const Pages pages(file.fd(), damaged.path());
  std::size_t found = 0;
  std::size_t faults = 0;
  const auto count_fault = [&](const lmdb::Fault& fault) {
    ++faults;
    CHECK(fault.page == leaf);
  };
  pages.each(
      *pages.table(*pages.newest(), "numbers", count_fault),
      [&](const lmdb::TreeEntry& entry) {
        std::string value(entry.bytes, '\0');
        REQUIRE(pages.read(entry, 0, std::as_writable_bytes(std::span(value)), count_fault));
        CHECK(damaged.numbers.at(*entry.number()) == value);
        ++found;
        return true;
      },
      count_fault);
  CHECK(faults == 1);
  CHECK(found == damaged.numbers.size() - entries_on[leaf]);
}
