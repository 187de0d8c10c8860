#include <sys/mman.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "fuzz.h"
#include "lmdb/handles.h"
#include "lmdb/pages.h"
#include "patches.h"

namespace lmdb = oncelog::internal::lmdb;
using oncelog::fuzzing::Input;
using oncelog::fuzzing::require;

namespace {

/// A data.mdb with all that LMDB writes for a store: trees of two levels by number and by text, overflow runs, a free
/// list, an empty table.
std::vector<std::byte> make_file() {
  std::string dir = (std::filesystem::temp_directory_path() / "oncelog-fuzz-XXXXXX").string();
  require(::mkdtemp(dir.data()) != nullptr, "a directory can be made");
  {
    const lmdb::Env env(dir, MDB_NOTLS | MDB_NORDAHEAD, std::uint64_t{16} << 20, 16, 8);
    for (unsigned round = 0; round < 3; ++round) {
      lmdb::WriteTxn txn(env);
      const MDB_dbi numbers = txn.open_table("log", MDB_CREATE | MDB_INTEGERKEY);
      const MDB_dbi texts = txn.open_table("texts", MDB_CREATE);
      txn.open_table("empty", MDB_CREATE);
      for (std::uint64_t i = 0; i < 60; ++i) {
        const std::string value(i % 20 == round ? 9'000 : 150, 'v');
        txn.put(numbers, lmdb::to_val(i), lmdb::to_bytes(value));
        if (i % 2 == 0) txn.put(texts, lmdb::to_val(lmdb::to_bytes(std::string(1 + i, 'k'))), lmdb::to_bytes("text"));
      }
      txn.commit();
    }
  }
  std::ifstream file(std::filesystem::path(dir) / "data.mdb", std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  std::filesystem::remove_all(dir);
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

/// Walks all that there is, as far as it goes; returns how many faults were reported.
std::size_t walk(const lmdb::Pages& pages, const lmdb::Meta& meta) {
  std::size_t faults = 0;
  const auto count = [&](const lmdb::Fault& fault) {
    require(!fault.what.empty(), "a fault says what is wrong");
    ++faults;
  };
  const lmdb::PageSet free = pages.free_pages(meta, count);
  faults = 0;  // The census reports them again.
  const lmdb::PageCensus census = pages.census(meta, count);
  require(census.faults == faults, "the census counts its faults");
  require(census.used <= pages.pages(), "no page is counted twice");
  require(faults != 0 || census.used + census.free + census.lost + 2 == census.pages,
          "each page but the meta pages is counted once");
  require(faults != 0 || free.size() >= census.free, "the free list is the same each time");
  pages.lacks_only_free_pages(meta);
  std::uint64_t entries = 0;
  pages.tables(
      meta,
      [&](std::string_view name, const lmdb::TreeInfo& tree) {
        static_cast<void>(name);
        pages.each(
            tree,
            [&](const lmdb::TreeEntry& entry) {
              std::vector<std::byte> value(std::min<std::uint64_t>(entry.bytes, 64 << 10));
              pages.read(entry, entry.bytes - value.size(), value, count);
              return ++entries < 100'000;
            },
            count);
      },
      count);
  return faults;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::vector<std::byte> sound = make_file();
  static const int memory = ::memfd_create("data.mdb", MFD_CLOEXEC);
  require(memory >= 0, "a file in memory can be made");
  std::vector<std::byte> file = sound;
  Input input(data, size);
  oncelog::fuzzing::patch(input, file);
  require(::ftruncate(memory, 0) == 0 && ::pwrite(memory, file.data(), file.size(), 0) == std::ssize(file),
          "a file in memory can be written");

  const lmdb::Pages pages(memory, "data.mdb");
  for (unsigned which = 0; which < 2; ++which) {
    const lmdb::Meta meta = pages.meta(which);
    if (meta.usable()) walk(pages, meta);
  }
  if (const auto newest = pages.newest()) {
    const std::size_t faults = walk(pages, *newest);
    require(faults == 0 || file != sound, "a sound file has no fault");
  } else {
    require(file != sound, "a sound file has a meta page that can be used");
  }
  for (lmdb::PageNumber page = 0; page < pages.pages(); ++page) {
    pages.each_on_page(page, [](const lmdb::TreeEntry& entry) {
      require(entry.value.size() <= lmdb::Pages::kMaxPageBytes, "an entry lies on its page");
    });
  }
  return 0;
}
