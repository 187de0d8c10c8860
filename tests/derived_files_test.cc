#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "file_bytes.h"
#include "marked_store.h"
#include "shared/shared_state.h"
#include "store_files.h"
#include "support.h"
#include "window/index.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

std::string read_at(const std::filesystem::path& path, std::uint64_t at, std::size_t size) {
  std::ifstream file(path, std::ios::binary);
  file.seekg(static_cast<std::streamoff>(at));
  std::string bytes(size, '\0');
  file.read(bytes.data(), static_cast<std::streamsize>(size));
  REQUIRE(file.good());
  return bytes;
}

}  // namespace

TEST_CASE("truncated and foreign derived files are made anew while nobody has the store open, and nothing is lost") {
  const TempDir dir;
  make_marked_store(dir / "store");
  make_marked_store(dir / "other");
  const auto names = [&] {
    std::vector<std::string> all;
    for (const auto& file : derived_files(dir / "store")) all.push_back(file.filename());
    return all;
  }();
  REQUIRE(names.size() >= 4);
  for (const std::string& name : names) {
    CAPTURE(name);
    const auto file = dir / "store" / name;
    const auto ruin = [&](const std::function<void()>& how) {
      if (!std::filesystem::exists(file)) return;  // The rebuilt store has fewer.
      how();
      expect_whole(dir / "store");
    };
    for (const std::uintmax_t size : {0U, 1U, 100U, 4095U, 4096U, 5000U, 10'000U}) {
      ruin([&] { std::filesystem::resize_file(file, std::min(size, std::filesystem::file_size(file))); });
    }
    ruin([&] { std::filesystem::resize_file(file, std::filesystem::file_size(file) - 1); });
    ruin([&] { std::filesystem::resize_file(file, std::filesystem::file_size(file) + 4096); });
    ruin([&] { overwrite(file, 0, std::string(4096, 'x')); });
    ruin([&] {
      if (std::filesystem::exists(dir / "other" / name)) copy_over(dir / "other" / name, file);
    });
    ruin([&] {
      std::filesystem::remove(file);
      std::filesystem::create_directory(file / "");
      std::filesystem::remove(file);
    });
  }
  for (const auto& file : derived_files(dir / "other")) copy_over(file, dir / "store" / file.filename());
  expect_whole(dir / "store");
  expect_whole(dir / "other");
}

TEST_CASE("a truncated, foreign or missing live file is in_use while another process has the store open") {
  const TempDir dir;
  make_marked_store(dir / "store");
  make_marked_store(dir / "other");
  const auto live = dir / "store" / "live";
  const auto refused = [&](const std::string& named) {
    CHECK(error_code_naming(named, [&] { Store::open(dir / "store", {.expected_ids = 1}); }) == ErrorCode::in_use);
  };
  while_open_elsewhere(dir / "store", {.expected_ids = 1}, [&] {
    // Moved aside, not cut: who has a file mapped that is cut short is beyond help.
    for (const char* name : {"live", "filter-", "index-"}) {
      const auto file = derived_files(dir / "store", name).front();
      CAPTURE(file);
      std::filesystem::rename(file, dir / "aside");
      refused(file.filename());
      const auto foreign = derived_files(dir / "other", name).front();
      std::filesystem::copy_file(foreign, file);
      refused(file.filename());
      std::filesystem::resize_file(file, 1'000);
      refused(file.filename());
      std::filesystem::rename(dir / "aside", file);
    }
    CHECK(Store::open(dir / "store", {.expected_ids = 1}).scope("orders").contains(marked_id(0)));
  });
  expect_whole(dir / "store");
}

TEST_CASE(
    "a live file with flipped bits in its header never crashes who opens it, and nothing that was flushed is lost") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  const TempDir dir;
  make_marked_store(dir / "store");
  copy_store(dir / "store", dir / "sound");
  for (std::uint64_t i = 0; i < scaled(300, 40); ++i) {
    CAPTURE(i);
    const auto live = dir / "store" / "live";
    // The header without the mutex, whose bytes are the C library's.
    std::uint64_t at = 0;
    do {
      at = random() % sizeof(internal::SharedHeader);
    } while (at >= offsetof(internal::SharedHeader, mutex) && at < offsetof(internal::SharedHeader, marks));
    std::string byte = read_at(live, at, 1);
    byte[0] = static_cast<char>(byte[0] ^ (1 << random() % 8));
    overwrite(live, at, byte);
    CAPTURE(at);
    const int end = wait_for(spawn([&] {
      try {
        const Store store = Store::open(dir / "store", {.expected_ids = 1});
        const Scope scope = store.scope("orders");
        int known = 0;
        for (int id = 0; id < kMarkedIds; ++id) known += scope.contains(marked_id(id));
        scope.mark("another");
        return known == kMarkedIds ? 0 : 1;
      } catch (const Error& error) {
        return 2;
      }
    }));
    CHECK(end >= 0);  // No signal. An Error is allowed, and so is a wrong answer: memory is trusted while it is in use.
    remove_derived(dir / "store");
    expect_whole(dir / "store");
    for (const auto& entry : std::filesystem::directory_iterator(dir / "store")) std::filesystem::remove(entry);
    // In place, so that data.mdb is the same file as far as its derived files can tell.
    copy_store(dir / "sound", dir / "store");
    expect_whole(dir / "store");
  }
}

TEST_CASE("an index full of hints to nonsense never makes a fresh id a duplicate, and never crashes") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  const TempDir dir;
  make_marked_store(dir / "store");
  int wrong = 0;
  for (std::uint64_t i = 0; i < scaled(10, 2); ++i) {
    for (const auto& file : derived_files(dir / "store", "index-")) {
      const std::uint64_t slots = (std::filesystem::file_size(file) - internal::kFileHeaderBytes) / 8;
      for (std::uint64_t slot = 0; slot < slots; ++slot) {
        if (random() % 4 != 0) continue;
        std::string bytes = read_at(file, internal::kFileHeaderBytes + slot * 8, 8);
        std::uint64_t word = 0;
        std::memcpy(&word, bytes.data(), 8);
        if (word == 0) continue;
        // Keeps the tag, so that the hint is followed: to a place near or far, aligned to nothing.
        const std::uint64_t offset = random() % 2 == 0 ? random() : random() % (kMarkedIds * 8);
        word = (word >> 40 << 40) | (offset & ((std::uint64_t{1} << 40) - 1));
        std::memcpy(bytes.data(), &word, 8);
        overwrite(file, internal::kFileHeaderBytes + slot * 8, bytes);
      }
    }
    // The filter says yes to everything, so that every look-up follows what the index says.
    for (const auto& file : derived_files(dir / "store", "filter-")) {
      overwrite(file, internal::kFileHeaderBytes,
                std::string(std::filesystem::file_size(file) - internal::kFileHeaderBytes, '\xff'));
    }
    const int end = wait_for(spawn([&] {
      const Scope scope = Store::open(dir / "store", {.expected_ids = 1}).scope("orders");
      int bad = 0;
      for (int id = 0; id < kMarkedIds; ++id) {
        if (const auto record = scope.find(marked_id(id)); record && record->id != marked_id(id)) ++bad;
        const std::string fresh = "fresh " + std::to_string(i) + " " + std::to_string(id);
        bad += scope.contains(fresh);
        bad += scope.mark(fresh) != Verdict::fresh;
      }
      return std::min(bad, 50);
    }));
    CHECK(end == 0);
    wrong += end;
    remove_derived(dir / "store");
    expect_whole(dir / "store");
  }
  CHECK(wrong == 0);
}
