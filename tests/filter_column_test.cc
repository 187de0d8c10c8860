#include "window/filter_column.h"

#include <atomic>
#include <string>
#include <vector>

#include "base/crew.h"
#include "support.h"

using namespace oncelog::internal;
using namespace oncelog::testing;

namespace {

MessageHash hash_of(std::uint64_t id) {
  return {11, std::to_string(id)};
}

/// The words of the lines, from the file of a generation.
std::vector<std::uint64_t> words_of(const std::filesystem::path& path, std::uint64_t lines) {
  std::vector<std::uint64_t> words(lines * FilterGeneration::kWordsPerLine);
  MappedFile::read(path, kFileHeaderBytes, std::as_writable_bytes(std::span(words)));
  return words;
}

}  // namespace

TEST_CASE("columns that are spread over the lines are what adding the ids to a generation makes of them") {
  constexpr std::uint64_t kLines = 777;
  const TempDir dir;
  FilterGeneration filter(MappedFile::create(dir / "filter", FilterGeneration::file_bytes(kLines)), kLines);
  std::vector<std::uint64_t> spread(kLines * FilterGeneration::kWordsPerLine);
  for (const unsigned lane : {0U, 7U, 15U}) {
    const auto column = FilterColumn::empty(lane, kLines);
    REQUIRE(column);
    for (std::uint64_t id = lane; id < 30'000; id += 16) {
      filter.add(hash_of(id), lane);
      column->add(hash_of(id));
    }
    // Some lines at a time, as they are written.
    for (std::uint64_t line = 0; line < kLines; line += 100) {
      const std::uint64_t count = std::min<std::uint64_t>(100, kLines - line);
      column->spread(line, std::span(spread).subspan(line * FilterGeneration::kWordsPerLine,
                                                     count * FilterGeneration::kWordsPerLine));
    }
  }
  CHECK(spread == words_of(dir / "filter", kLines));
}

TEST_CASE("ids that several threads add to a column, or to a generation, are all there") {
  constexpr std::uint64_t kLines = 100;
  constexpr std::uint64_t kIds = 3'000;
  const TempDir dir;
  FilterGeneration filter(MappedFile::create(dir / "filter", FilterGeneration::file_bytes(kLines)), kLines);
  FilterGeneration expected(MappedFile::create(dir / "expected", FilterGeneration::file_bytes(kLines)), kLines);
  for (std::uint64_t id = 0; id < kIds; ++id) expected.add(hash_of(id), 3);
  const auto column = FilterColumn::empty(3, kLines);
  REQUIRE(column);
  std::atomic<std::uint64_t> next{0};
  run_in_crew(4, "the test", [&] {
    for (std::uint64_t id = next++; id < kIds; id = next++) {
      column->add(hash_of(id));
      filter.set(hash_of(id), 3);
    }
  });
  std::vector<std::uint64_t> spread(kLines * FilterGeneration::kWordsPerLine);
  column->spread(0, spread);
  CHECK(spread == words_of(dir / "expected", kLines));
  CHECK(words_of(dir / "filter", kLines) == words_of(dir / "expected", kLines));
  CHECK(filter.count(3) == 0);
  filter.count_ids(3, kIds);
  CHECK(filter.count(3) == kIds);
}
