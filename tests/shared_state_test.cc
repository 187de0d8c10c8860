#include "shared/shared_state.h"

#include <atomic>
#include <cstring>
#include <fstream>
#include <thread>

#include "shared/store_lock.h"
#include "shared/writer_gate.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::internal;
using namespace oncelog::testing;

namespace {

const Uuid kBoot{1};
const Uuid kStoreFileId{2};

struct TestState {
  TestState() : path(dir / "live") {
    SharedState live = SharedState::create(path, {.boot_id = kBoot,
                                                  .store_file_id = kStoreFileId,
                                                  .clock_offset_us = 5,
                                                  .start = Lsn{800},
                                                  .planned_ids = 1024,
                                                  .ring_bytes = SharedState::kMinRingBytes,
                                                  .max_claims = 100,
                                                  .known_since_us = 7});
    Layout layout;
    layout.generation_count = 1;
    layout.generations[0].lines = 512;
    live.header().layout.publish(layout);
    live.header().ready.store(1, std::memory_order_release);
  }

  std::optional<SharedState> open() const { return SharedState::open(path, kBoot, kStoreFileId); }

  TempDir dir;
  std::filesystem::path path;
};

}  // namespace

TEST_CASE("the shared memory is found again as it was made") {
  const TestState test;
  const auto live = test.open();
  REQUIRE(live);
  CHECK(live->header().clock.offset_us == 5);
  CHECK(live->header().planned_ids == 1024);
  CHECK(live->header().max_claims == 100);
  CHECK(live->header().known_since_us == 7);
  CHECK(live->header().marks.head == 800);
  CHECK(live->header().marks.flushed == 800);
  CHECK(live->header().marks.writing == 800);
  CHECK(live->ring().bytes() == SharedState::kMinRingBytes);
  CHECK(live->ring().holds(Lsn{800}));
  CHECK_FALSE(live->ring().holds(Lsn{792}));
  CHECK_FALSE(live->header().mutex.lock());
  live->header().mutex.unlock();
}

TEST_CASE("the errors of a lock that is damaged or held for too long name its file") {
  const TestState test;
  const auto live = test.open();
  REQUIRE(live);
  const auto error_of = [](const auto& lock) -> std::optional<Error> {
    try {
      lock();
    } catch (const LockTimeout& timeout) {
      CHECK(timeout.code() == ErrorCode::in_use);
      return timeout;
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::corrupt);
      return error;
    }
    return std::nullopt;
  };
  const auto names = [](const std::optional<Error>& error, const std::filesystem::path& path) {
    return error && error->path() == path && std::string(error->what()).find(path.string() + ": ") == 0;
  };
  const auto lock = [&] { const StoreLock held(*live); };
  {
    const StoreLock held(*live);
    std::thread([&] {
      const LockLimit limit(std::chrono::microseconds{1});
      CHECK(names(error_of(lock), test.path));
    }).join();
  }
  CHECK_FALSE(error_of(lock));
  const auto damage = [](RobustMutex& mutex) { std::memset(static_cast<void*>(&mutex), 0xFF, sizeof mutex); };
  damage(live->header().mutex);
  CHECK(names(error_of(lock), test.path));
  damage(live->header().writer_gate);
  CHECK(names(error_of([&] { const WriterGate gate(live->header(), test.dir.path()); }), test.dir.path()));
}

TEST_CASE("shared memory that is renamed is named by its new path") {
  const TestState test;
  auto live = test.open();
  REQUIRE(live);
  CHECK(live->path() == test.path);
  const auto renamed = test.dir / "renamed";
  live->rename(renamed);
  CHECK(live->path() == renamed);
  CHECK(SharedState::open(renamed, kBoot, kStoreFileId));
  CHECK_FALSE(test.open());
  CHECK(error_code_of([&] { live->rename(test.dir / "missing" / "live"); }) == ErrorCode::io);
  CHECK(live->path() == renamed);
}

TEST_CASE("shared memory of another boot or another store is not believed") {
  const TestState test;
  CHECK_FALSE(SharedState::open(test.path, Uuid{9}, kStoreFileId));
  CHECK_FALSE(SharedState::open(test.path, kBoot, Uuid{9}));
  CHECK_FALSE(SharedState::open(test.dir / "missing", kBoot, kStoreFileId));
  CHECK(test.open());
}

TEST_CASE("a stamp with any byte changed is not believed, but its copy is, and mends it") {
  const TestState test;
  const auto file = MappedFile::open(test.path, 1);
  const std::size_t copy = file->size() - sizeof(FileStamp);
  for (std::size_t byte = 0; byte < sizeof(FileStamp); ++byte) {
    CAPTURE(byte);
    file->data()[byte] ^= std::byte{0x40};
    CHECK(test.open());
    file->data()[copy + byte] ^= std::byte{0x40};
    CHECK_FALSE(test.open());
    CHECK_FALSE(SharedState::open_damaged(test.path, kBoot, kStoreFileId));
    file->data()[byte] ^= std::byte{0x40};
    REQUIRE(test.open());
    test.open()->mend();
    CHECK(std::memcmp(file->data(), file->data() + copy, sizeof(FileStamp)) == 0);
    file->data()[byte] ^= std::byte{0x40};
    test.open()->mend();
    CHECK(std::memcmp(file->data(), file->data() + copy, sizeof(FileStamp)) == 0);
  }
}

TEST_CASE("a file whose header is damaged is opened by its stamp alone, and not by one of another boot or store") {
  const TestState test;
  const auto file = MappedFile::open(test.path, 1);
  std::memset(file->data(), 0xFF, SharedState::kHeaderBytes);
  CHECK_FALSE(test.open());
  CHECK_FALSE(SharedState::open_damaged(test.path, Uuid{9}, kStoreFileId));
  CHECK_FALSE(SharedState::open_damaged(test.path, kBoot, Uuid{9}));
  CHECK_FALSE(SharedState::open_damaged(test.dir / "missing", kBoot, kStoreFileId));
  const auto live = SharedState::open_damaged(test.path, kBoot, kStoreFileId);
  REQUIRE(live);
  CHECK(live->ring().bytes() == SharedState::kMinRingBytes);
}

TEST_CASE("a sealed stamp that lies about the file's size or its kind is not believed") {
  const TestState test;
  const auto opened_after = [&](auto change) {
    const auto file = MappedFile::open(test.path, 1);
    std::byte* const copy = file->data() + (file->size() - sizeof(FileStamp));
    const FileStamp sound = load_stamp(file->data());
    FileStamp stamp = sound;
    change(stamp);
    stamp.seal();
    store_stamp(file->data(), stamp);
    store_stamp(copy, stamp);
    const bool opened = test.open().has_value();
    store_stamp(file->data(), sound);
    store_stamp(copy, sound);
    return opened;
  };
  CHECK(opened_after([](FileStamp&) {}));
  CHECK_FALSE(opened_after([](FileStamp& stamp) { stamp.kind = FileKind::index; }));
  CHECK_FALSE(opened_after([](FileStamp& stamp) { stamp.format = FileStamp::kFormat + 1; }));
  CHECK_FALSE(opened_after([](FileStamp& stamp) { stamp.part = 99; }));
  CHECK_FALSE(opened_after([](FileStamp& stamp) { stamp.part = 0; }));
  CHECK_FALSE(opened_after([](FileStamp& stamp) { stamp.part = std::uint64_t{1} << 40; }));
  CHECK_FALSE(opened_after([](FileStamp& stamp) { stamp.extent *= 2; }));
  CHECK_FALSE(opened_after([](FileStamp& stamp) { stamp.extent -= 8; }));
  CHECK_FALSE(opened_after([](FileStamp& stamp) { stamp.extent = std::uint64_t{1} << 62; }));
  CHECK_FALSE(opened_after([](FileStamp& stamp) { stamp.file_bytes += 4096; }));
}

TEST_CASE("a file cut short or made longer is not believed") {
  const TestState test;
  const auto size = std::filesystem::file_size(test.path);
  for (const auto wrong : {std::uintmax_t{0}, std::uintmax_t{100}, size - 1, size + 1}) {
    std::filesystem::resize_file(test.path, wrong);
    CHECK_FALSE(test.open());
  }
}

TEST_CASE("shared memory that was not finished, or whose watermarks contradict each other, is not believed") {
  const TestState test;
  const auto live = test.open();
  REQUIRE(live);
  SharedHeader& header = live->header();
  const auto opened_with = [&](auto& field, auto value) {
    const auto sound = field.load();
    field.store(value);
    const bool opened = test.open().has_value();
    field.store(sound);
    return opened;
  };
  CHECK_FALSE(opened_with(header.ready, 0U));
  CHECK_FALSE(opened_with(header.ready, 2U));
  CHECK_FALSE(opened_with(header.marks.head, 792U));
  CHECK_FALSE(opened_with(header.marks.head, 801U));
  CHECK_FALSE(opened_with(header.marks.head, 808U));  // Beyond what was being written.
  CHECK_FALSE(opened_with(header.marks.flushed, 808U));
  CHECK_FALSE(opened_with(header.marks.flushed, 799U));
  CHECK_FALSE(opened_with(header.marks.writing, 792U));
  CHECK(opened_with(header.marks.writing, 900U));
  CHECK_FALSE(opened_with(header.marks.writing, 801U + SharedState::kMinRingBytes));  // Over what is not flushed.
  CHECK(opened_with(header.marks.last_time_us, kMaxTimeUs));
  CHECK_FALSE(opened_with(header.marks.last_time_us, kMaxTimeUs + 1));
  CHECK_FALSE(opened_with(header.marks.last_time_us, std::int64_t{-1}));
  for (std::int64_t far_us : {kMaxTimeUs + 1, -kMaxTimeUs - 1}) {
    CHECK_FALSE(opened_with(header.clock.offset_us, far_us));
    CHECK_FALSE(opened_with(header.clock.apart_since_us, far_us));
    CHECK_FALSE(opened_with(header.clock.least_apart_us, far_us));
  }
  for (std::uint64_t* settled : {&header.ring_start, &header.planned_ids}) {
    *settled -= 8;
    CHECK_FALSE(test.open());
    *settled += 8;
  }
  header.max_claims += 1;
  CHECK_FALSE(test.open());
  header.max_claims -= 1;
  CHECK(test.open());
  std::uint64_t epoch = 0;
  const Layout layout = header.layout.read(epoch);
  auto* const cell = reinterpret_cast<std::byte*>(&header.layout);
  for (std::size_t at = 0; at < sizeof(LayoutCell); ++at) {
    cell[at] ^= std::byte{1};
    if (const auto reopened = test.open()) {  // What is believed is what was published.
      const Layout believed = reopened->header().layout.read(epoch);
      REQUIRE(std::memcmp(&layout, &believed, sizeof layout) == 0);
    }
    cell[at] ^= std::byte{1};
  }
  header.layout.publish(Layout{});  // Without a filter generation.
  CHECK_FALSE(test.open());
}

TEST_CASE("the stamps of a life's files differ by all that tells them apart") {
  const TestState test;
  const auto live = test.open();
  REQUIRE(live);
  const FileStamp one = live->stamp_for(FileKind::index, 1, 0, 100, 4896);
  CHECK(one.sealed());
  CHECK(one == live->stamp_for(FileKind::index, 1, 0, 100, 4896));
  CHECK(one != live->stamp_for(FileKind::filter, 1, 0, 100, 4896));
  CHECK(one != live->stamp_for(FileKind::index, 2, 0, 100, 4896));
  CHECK(one != live->stamp_for(FileKind::index, 1, 1, 100, 4896));
  CHECK(one != live->stamp_for(FileKind::index, 1, 0, 101, 4896));
  const TestState other;  // Same boot, same store file, another life.
  CHECK(one != other.open()->stamp_for(FileKind::index, 1, 0, 100, 4896));
}

TEST_CASE("shared memory that others mark in at full speed is believed") {
  const TestState test;
  const auto live = test.open();
  REQUIRE(live);
  std::atomic<bool> over{false};
  std::thread producer([&] {
    Watermarks& marks = live->header().marks;
    constexpr std::uint64_t kStep = 8'192;
    for (std::uint64_t head = 800; !over.load(); head += kStep) {
      if (head + kStep - marks.flushed.load() > SharedState::kMinRingBytes) marks.flushed.store(head);
      marks.writing.store(head + kStep, std::memory_order_release);
      marks.head.store(head + kStep, std::memory_order_release);
    }
  });
  std::uint64_t refused = 0;
  for (std::uint64_t i = 0; i < scaled(20'000, 2'000); ++i) refused += !test.open();
  over.store(true);
  producer.join();
  CHECK(refused == 0);
}
