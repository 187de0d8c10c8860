#include "background/sealer.h"

#include <cstring>
#include <fstream>
#include <functional>
#include <set>

#include "sealed.h"
#include "shared/sealed_files.h"

using namespace oncelog;
using namespace oncelog::internal;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

void flip(const std::filesystem::path& path, std::uint64_t offset) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(static_cast<std::streamoff>(offset));
  const int byte = file.get();
  file.seekp(static_cast<std::streamoff>(offset));
  file.put(static_cast<char>(byte ^ 0x10));
}

std::filesystem::path sealed_file(const Sealed& store, std::string_view prefix) {
  const auto names = files_in(store.tables.dir.path(), prefix);
  REQUIRE(names.size() == 1);
  return store.tables.dir / names[0];
}

/// Where the shared memory lies: a case runs once for each.
bool in_store_directory() {
  bool own = false;
  SUBCASE("with the shared memory elsewhere") {}
  SUBCASE("with the shared memory in the store's directory") {
    own = true;
  }
  return own;
}

}  // namespace

TEST_CASE("a bucket that is closed, flushed and healed is sealed, and used where it lies after a reboot") {
  Sealed store(in_store_directory());
  fill_two(store);
  store.seal();
  REQUIRE(store.notes().size() == 1);
  CHECK(store.files().size() == 2);
  CHECK_FALSE(store.sealer->due());
  const std::uint64_t slots = store.bucket(0).slots[0];
  for (int boot = 0; boot < 2; ++boot) {
    store.reboot();
    CHECK(store.damage.empty());
    CHECK(store.bucket(0).sealed_end == store.layout().buckets[1].first_lsn);
    CHECK(store.bucket(0).slots[0] == slots);
    check_two(store);
  }
  // The next process of this boot takes it as it is.
  store.open();
  CHECK(store.bucket(0).sealed_end == store.layout().buckets[1].first_lsn);
  check_two(store);
  store.restart();
  CHECK_FALSE(store.sealer->due());
}

TEST_CASE("a sealed table takes the place of the one beside it, and not of one elsewhere") {
  Sealed own(true);
  fill_two(own);
  const auto before = own.views->newest();
  own.seal();
  own.tick_all();
  CHECK(own.bucket(0).sealed_end == own.layout().buckets[1].first_lsn);
  own.views->remove_strays(own.layout());
  CHECK(files_in(own.live_dir, "index-1-").empty());
  CHECK(own.views->newest()->buckets[0].tables != before->buckets[0].tables);
  check_two(own);
  Sealed elsewhere;
  fill_two(elsewhere);
  elsewhere.seal();
  CHECK(elsewhere.bucket(0).sealed_end == Lsn{});
}

TEST_CASE("records of a sealed bucket are not read after a reboot") {
  Sealed store;
  fill_two(store);
  store.seal();
  // Without the bit that finds it in the column: only a record that is read sets it again.
  const std::string id = "17";
  store.reboot([&] {
    SealedNote note = store.notes()[0].second;
    const auto path = sealed_file(store, "sealed-column-");
    const std::uint64_t line = store.probe(id).hash.line(note.lines);
    std::vector<char> bytes(std::filesystem::file_size(path));
    std::ifstream(path, std::ios::binary).read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(4096 + line * 4), 4, '\0');
    std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    const auto all = std::as_bytes(std::span(bytes));
    SealedChecksum sum(all.first(4096));
    sum.add(all.subspan(4096));
    note.column_checksum = sum.value();
    lmdb::WriteTxn txn(store.tables.env);
    store.tables.catalog->put_sealed(txn, 1, note);
    txn.commit();
  });
  CHECK(store.damage.empty());
  CHECK(store.unfiltered(17, 18) == 1);
}

TEST_CASE("what does not match its note is made from the log, reported once, and sealed again") {
  Sealed store;
  fill_two(store);
  store.seal();
  const auto table = sealed_file(store, "sealed-index-");
  const auto column = sealed_file(store, "sealed-column-");
  bool damaged = true;
  std::function<void()> damage;
  SUBCASE("a slot") {
    damage = [&] { flip(table, std::filesystem::file_size(table) - 5); };
  }
  SUBCASE("the counts") {
    damage = [&] { flip(table, 136); };
  }
  SUBCASE("a stamp") {
    damage = [&] { flip(table, 60); };
  }
  SUBCASE("the column") {
    damage = [&] { flip(column, 5'000); };
  }
  SUBCASE("a table that was cut short") {
    damage = [&] { std::filesystem::resize_file(table, 10'000); };
  }
  SUBCASE("a column that is empty") {
    damage = [&] { std::filesystem::resize_file(column, 0); };
  }
  SUBCASE("a column of zeros") {
    damage = [&] {
      const auto size = std::filesystem::file_size(column);
      std::filesystem::resize_file(column, 0);
      std::filesystem::resize_file(column, size);
    };
  }
  SUBCASE("a folder in its place") {
    damage = [&] {
      std::filesystem::remove(table);
      std::filesystem::create_directory(table);
    };
  }
  SUBCASE("what somebody has removed, which is no damage") {
    damaged = false;
    damage = [&] { std::filesystem::remove(column); };
  }
  store.reboot(damage);
  CHECK(store.damage.empty() == !damaged);
  CAPTURE(store.damage);
  if (damaged) CHECK(store.damage.find("sealed-") != std::string::npos);
  CHECK(store.bucket(0).sealed_end == Lsn{});
  CHECK(store.notes().empty());
  check_two(store);
  store.reboot();
  CHECK(store.damage.empty());
  if (std::filesystem::is_directory(table)) std::filesystem::remove(table);
  store.restart();
  store.seal();
  CHECK(store.notes().size() == 1);
  CHECK(store.files().size() == 2);
  store.reboot();
  CHECK(store.damage.empty());
  CHECK(store.bucket(0).sealed_end == store.layout().buckets[1].first_lsn);
  check_two(store);
}

TEST_CASE("a note that is damaged, or of a copied store, is none, and goes") {
  Sealed store;
  fill_two(store);
  store.seal();
  SUBCASE("damaged") {
    SealedNote note = store.notes()[0].second;
    lmdb::WriteTxn txn(store.tables.env);
    const MDB_dbi table = txn.open_table("sealed", MDB_INTEGERKEY);
    note.end += 8;
    const std::uint64_t bucket = 1;
    txn.put(table, lmdb::to_val(bucket), std::as_bytes(std::span(&note, 1)));
    txn.commit();
  }
  SUBCASE("of another data.mdb") {
    store.store_file_id = random_uuid();
  }
  CHECK(store.notes().empty());
  store.reboot();
  CHECK(store.damage.empty());
  CHECK(store.bucket(0).sealed_end == Lsn{});
  check_two(store);
  store.restart();
  store.seal();
  REQUIRE(store.notes().size() == 1);
  CHECK(store.notes()[0].second.end == store.layout().buckets[1].first_lsn.value);
  CHECK(store.files().size() == 2);
}

TEST_CASE("files and note of a bucket go with it, the note first") {
  Sealed store(in_store_directory());
  fill_two(store);
  store.seal();
  REQUIRE(store.files().size() == 2);
  store.host.advance(75s);
  store.tick_all();
  REQUIRE(store.layout().buckets[0].number == 2);
  CHECK(store.files().size() == 2);
  CHECK(store.sealer->due());
  store.seal();
  CHECK(store.notes().empty());
  CHECK(store.files().empty());
}

TEST_CASE("the current bucket is sealed up to where it is when it is quiet, and goes on after a reboot") {
  Sealed store;
  store.fill(0, kMany);
  CHECK_FALSE(store.sealer->due());
  store.come_to_rest();
  store.seal();
  REQUIRE(store.notes().size() == 1);
  const Lsn sealed{store.notes()[0].second.end};
  CHECK(sealed == store.head());
  store.append_all(kMany, kMany + 300);
  store.flush();
  store.come_to_rest();
  CHECK_FALSE(store.sealer->due());  // So few are not worth it.
  store.reboot();
  CHECK(store.damage.empty());
  CHECK(store.bucket(0).sealed_end == Lsn{});
  CHECK(store.missing(0, kMany + 300) == 0);
  CHECK(store.unfiltered(0, kMany + 300) == 0);
  CHECK(store.views->newest()->buckets[0].records() == static_cast<std::uint64_t>(kMany + 300));
  store.append_all(kMany + 300, kMany + 600);
  store.flush();
  store.reboot();
  CHECK(store.missing(0, kMany + 600) == 0);
  CHECK(store.unfiltered(0, kMany + 600) == 0);
  SUBCASE("as a whole once it is closed") {
    store.next_bucket();
    store.append_all(kMany + 600, kMany + 610);
    store.flush();
    store.restart();
    store.seal();
    REQUIRE(store.notes().size() == 1);
    CHECK(store.notes()[0].second.end == store.layout().buckets[1].first_lsn.value);
    CHECK(store.files().size() == 2);
    store.reboot();
    CHECK(store.missing(0, kMany + 600) == 0);
  }
}

TEST_CASE("what was sealed of a bucket is no reason to forget what came after it") {
  Sealed store;
  store.fill(0, kMany);
  store.come_to_rest();
  store.seal();
  REQUIRE(store.notes().size() == 1);
  store.append_all(kMany, kMany + 100);
  store.flush();
  store.next_bucket();
  store.append_all(kMany + 100, kMany + 110);
  store.flush();
  // The bucket was closed, and the machine stopped before it was sealed again.
  store.reboot();
  CHECK(store.bucket(0).sealed_end == Lsn{});
  CHECK(store.missing(0, kMany + 100) == 0);
  CHECK(store.unfiltered(0, kMany + 100) == 0);
  CHECK(store.missing(kMany + 100, kMany + 110, 1) == 0);
}

TEST_CASE("what is not in the log yet is not noted") {
  Sealed store;
  store.fill(0, kMany);
  store.come_to_rest();
  REQUIRE(store.sealer->step());
  store.append_all(kMany, kMany + 10);
  store.seal();
  CHECK(store.notes().empty());
  CHECK_FALSE(store.sealer->due());
  store.flush();
  CHECK(store.sealer->due());
  store.seal();
  REQUIRE(store.notes().size() == 1);
  CHECK(store.notes()[0].second.end < store.head().value);
}

TEST_CASE("a chain whose entry has moved on while its bucket was sealed is found after a reboot") {
  Sealed store;
  store.fill(0, kMany);
  const Attributes chained{.correlation = "chain"};
  const Lsn first = store.append("first", 0, &chained, Lsn{});
  store.flush();
  store.come_to_rest();
  REQUIRE(store.sealer->step());
  const Lsn second = store.append("second", 0, &chained, first);
  store.seal();
  store.flush();
  store.seal();
  REQUIRE(store.notes().size() == 1);
  REQUIRE(store.notes()[0].second.end == second.value);
  store.reboot();
  const MessageHash chain(MessageHash::scope_seed(store.identity.hash_seed, MessageHash::kCorrelationScope), "chain");
  std::set<std::uint64_t> found;
  store.views->newest()->buckets[0].newest_table().each(chain, MessageHash::Of::correlation,
                                                        [&](std::uint64_t offset) { found.insert(offset); });
  CHECK(found.contains((second.value - store.bucket(0).first_lsn.value) / kRecordUnit));
}

TEST_CASE("a column is taken again when the generation is replaced by one of another size, and the table is kept") {
  Sealed store;
  fill_two(store);
  store.seal();
  const auto table = sealed_file(store, "sealed-index-");
  const auto written = std::filesystem::last_write_time(table);
  const std::uint64_t lines = store.notes()[0].second.lines;
  store.fill(kMany + 10, 4 * kMany);
  REQUIRE(store.layout().generation_count == 1);
  REQUIRE(store.layout().generations[0].lines != lines);
  store.seal();
  REQUIRE(store.notes()[0].first == 1);
  CHECK(store.notes()[0].second.lines == store.layout().generations[0].lines);
  CHECK(std::filesystem::last_write_time(store.tables.dir / files_in(store.tables.dir.path(), "sealed-index-1-")[0]) ==
        written);
  store.reboot();
  CHECK(store.damage.empty());
  CHECK(store.missing(0, kMany) == 0);
  CHECK(store.unfiltered(0, kMany) == 0);
  CHECK(store.missing(kMany + 10, 4 * kMany, 1) == 0);
  CHECK(store.unfiltered(kMany + 10, 4 * kMany, 1) == 0);
}

TEST_CASE("sealing does not wait for a generation that is built") {
  Sealed store;
  fill_two(store);
  Layout layout = store.layout();
  store.views->begin_filter(layout.next_generation, 40'000);
  begin_generation(layout, 40'000);
  store.header().layout.publish(layout);
  store.seal();
  REQUIRE(store.notes().size() == 1);
  store.reboot();
  CHECK(store.bucket(0).sealed_end == store.layout().buckets[1].first_lsn);
  check_two(store);
}

TEST_CASE("columns of another length than most are made from the log") {
  Sealed store;
  fill_two(store);
  store.seal();
  const auto notes_before = store.notes();
  store.fill(kMany + 10, 4 * kMany);
  store.come_to_rest();
  store.seal();
  REQUIRE(store.notes().size() == 2);
  store.reboot([&] {
    // As if the machine had stopped between the two.
    lmdb::WriteTxn txn(store.tables.env);
    SealedNote older = notes_before[0].second;
    store.tables.catalog->put_sealed(txn, 1, older);
    txn.commit();
  });
  CHECK(store.damage.empty());
  CHECK(store.layout().generation_count == 1);
  CHECK(store.missing(0, kMany) == 0);
  CHECK(store.unfiltered(0, kMany) == 0);
  CHECK(store.unfiltered(kMany + 10, 4 * kMany, 1) == 0);
}

TEST_CASE("a sealed table that is not what its note says takes no other's place, and is sealed anew") {
  Sealed store(true);
  fill_two(store);
  store.reboot();  // Now the bucket's table has the size that one made from the log has.
  store.restart();
  store.seal();
  const auto notes_before = store.notes();
  REQUIRE(notes_before.size() == 1);
  store.fill(kMany + 10, 4 * kMany);
  store.come_to_rest();
  store.seal();
  store.reboot([&] {
    // As if the machine had stopped between the two, so that the first bucket is made from the log ...
    lmdb::WriteTxn txn(store.tables.env);
    store.tables.catalog->put_sealed(txn, 1, notes_before[0].second);
    txn.commit();
    // ... and nobody has read its sealed table, which is damaged.
    const SealedFile table = SealedFile::index_of(1, notes_before[0].second);
    const auto file = MappedFile::open(store.live_dir / table.name, table.bytes);
    REQUIRE(file);
    std::memset(file->data() + kFileHeaderBytes, 0, 64 * 1024);
  });
  store.restart();
  REQUIRE(store.bucket(0).slots[0] == notes_before[0].second.slots);
  store.seal();
  store.tick_all();
  CHECK(store.missing(0, kMany) == 0);
  store.reboot();
  CHECK(store.damage.empty());
  CHECK(store.missing(0, kMany) == 0);
}

TEST_CASE("one process at a time seals a store, and small buckets are not worth it") {
  Sealed store;
  SUBCASE("small") {
    store.fill(0, 5'000);
    store.next_bucket();
    store.append_all(5'000, 5'010);
    store.flush();
    CHECK_FALSE(store.sealer->due());
  }
  SUBCASE("two at once") {
    fill_two(store);
    Sealer other(store.tables.env, *store.tables.log, *store.tables.catalog, *store.live, *store.views, *store.clock,
                 {store.tables.dir.path(), store.live_dir, store.store_file_id});
    REQUIRE(store.sealer->step());
    REQUIRE(other.due());
    CHECK_FALSE(other.step());
    CHECK_FALSE(other.due());  // For a while.
    store.seal();
    store.host.advance(10s);
    CHECK(other.due());  // As far as it knows.
    CHECK_FALSE(other.step());
    CHECK_FALSE(other.due());
    CHECK(store.notes().size() == 1);
  }
}

TEST_CASE("a bucket that is dropped while it is sealed leaves nothing") {
  Sealed store;
  fill_two(store);
  REQUIRE(store.sealer->step());
  REQUIRE(store.sealer->step());
  store.host.advance(75s);
  store.tick_all();
  REQUIRE(store.layout().buckets[0].number == 2);
  store.seal();
  CHECK(store.notes().empty());
  CHECK(store.files().empty());
}
