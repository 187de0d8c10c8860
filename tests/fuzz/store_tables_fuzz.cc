#include <array>
#include <string>
#include <vector>

#include "fuzz.h"
#include "lmdb/handles.h"
#include "sample_store.h"

using namespace oncelog;
using oncelog::fuzzing::Input;
using oncelog::fuzzing::require;
using oncelog::fuzzing::SampleStore;
namespace lmdb = oncelog::internal::lmdb;

namespace {

struct Entry {
  std::string key;
  std::string value;
};

void check(int code, const char* what) {
  if (code != MDB_SUCCESS) std::fprintf(stderr, "%s: %s\n", what, mdb_strerror(code));
  require(code == MDB_SUCCESS, "LMDB does what is asked");
}

std::string_view to_text(const MDB_val& value) {
  return {static_cast<const char*>(value.mv_data), value.mv_size};
}
MDB_val to_val(std::string& text) {
  return {text.size(), text.data()};
}

/// Changes one entry of one of the store's own tables as the input says, through LMDB.
void change(MDB_txn* txn, Input& input) {
  constexpr std::array<const char*, 4> kTables{"log", "buckets", "scopes", "meta"};
  MDB_dbi table{};
  check(mdb_dbi_open(txn, kTables[input.up_to(kTables.size() - 1)], 0, &table), "mdb_dbi_open");
  std::vector<Entry> entries;
  MDB_cursor* cursor = nullptr;
  check(mdb_cursor_open(txn, table, &cursor), "mdb_cursor_open");
  MDB_val key{};
  MDB_val value{};
  for (int code = mdb_cursor_get(cursor, &key, &value, MDB_FIRST); code == MDB_SUCCESS;
       code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
    entries.push_back({std::string(to_text(key)), std::string(to_text(value))});
  }
  mdb_cursor_close(cursor);
  if (entries.empty()) return;

  Entry entry = entries[input.up_to(entries.size() - 1)];
  key = to_val(entry.key);
  const auto what = input.number<std::uint8_t>();
  switch (what % 5) {
    case 0:
      check(mdb_del(txn, table, &key, nullptr), "mdb_del");
      return;
    case 1:
      entry.value.resize(input.up_to(entry.value.size() + 64), '\0');
      break;
    case 2: {
      // Under another key, where the tables' keys are numbers.
      if (entry.key.size() != 8) return;
      std::uint64_t number = 0;
      std::memcpy(&number, entry.key.data(), 8);
      number += static_cast<std::uint64_t>(input.number<std::int64_t>());
      std::memcpy(entry.key.data(), &number, 8);
      break;
    }
    default:
      for (unsigned i = 0; i <= what / 5 % 3U && !entry.value.empty(); ++i) {
        const std::size_t at = input.up_to(entry.value.size() - 1);
        const std::string_view bytes = input.text(1 + input.number<std::uint8_t>() % 8);
        for (std::size_t b = 0; b < bytes.size() && at + b < entry.value.size(); ++b) {
          entry.value[at + b] = static_cast<char>(entry.value[at + b] ^ bytes[b]);
        }
      }
  }
  key = to_val(entry.key);
  value = to_val(entry.value);
  const int code = mdb_put(txn, table, &key, &value, 0);
  require(code == MDB_SUCCESS || code == MDB_BAD_VALSIZE, "LMDB takes the entry");
}

}  // namespace

/// A data.mdb that LMDB reads without a complaint, but whose tables hold what no store writes: lengths, numbers and
/// records that contradict each other. Opened after a reboot, when all of it is read.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const SampleStore sample;
  Input input(data, size);
  SampleStore::Files files = sample.files();
  if (input.number<std::uint8_t>() % 4 != 0) {
    std::erase_if(files, [](const auto& file) { return !file.first.ends_with(".mdb"); });
  }
  sample.put(files);
  {
    const lmdb::Env env(sample.dir(), MDB_NOTLS, std::uint64_t{64} << 20, 16, 8);
    lmdb::WriteTxn txn(env);
    for (unsigned changes = 0; changes < 8 && !input.empty(); ++changes) change(txn.get(), input);
    txn.commit();
  }
  VerifyReport report;
  const bool verified = fuzzing::allowed([&] { report = verify(sample.dir()); });
  const bool opened = fuzzing::allowed([&] { fuzzing::ask_everything(sample.open()); });
  require(opened || !verified || !report.sound() || size != 0, "a store that is sound can be opened");
  return 0;
}
