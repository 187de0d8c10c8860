#include "shared/view.h"

#include <fstream>

#include "parts.h"

using namespace oncelog;
using namespace oncelog::internal;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

/// Whether this process has a file of that name mapped.
bool mapped(const std::string& name) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find("/" + name) != std::string::npos) return true;
  }
  return false;
}

}  // namespace

TEST_CASE("a view is made once for each layout, and keeps what is mapped already") {
  Parts parts;
  parts.append("a");
  const auto first = parts.views->newest();
  CHECK(parts.views->newest() == first);
  parts.host.advance(10s);
  parts.open_bucket();
  const auto second = parts.views->newest();
  CHECK(second != first);
  CHECK(second->epoch > first->epoch);
  REQUIRE(second->buckets.size() == 2);
  CHECK(second->buckets[0].tables == first->buckets[0].tables);
  CHECK(second->generations == first->generations);
  CHECK(second->live_lanes == 3);
  CHECK(second->bucket_of_lane[1] == 1);
  CHECK(second->candidates(parts.probe("a").hash) == 1);
}

TEST_CASE("a view goes on when its files are unlinked") {
  Parts parts;
  parts.append("a");
  const auto view = parts.views->newest();
  Layout layout = parts.layout();
  drop_oldest(layout);
  parts.header().layout.publish(layout);
  parts.views->remove_strays(layout);
  CHECK_FALSE(std::filesystem::exists(parts.live_dir / index_name(1, 0)));
  std::uint64_t hints = 0;
  view->buckets[0].newest_table().each(parts.probe("a").hash, MessageHash::Of::message,
                                       [&](std::uint64_t) { ++hints; });
  CHECK(hints == 1);
  CHECK(parts.views->newest()->candidates(parts.probe("a").hash) == 0);  // Its lane is not live any more.
}

TEST_CASE("a file that is missing, cut short or of another store is an error that names it") {
  Parts parts;
  parts.append("a");
  const std::filesystem::path path = parts.live_dir / index_name(1, 0);
  SUBCASE("missing") {
    std::filesystem::remove(path);
  }
  SUBCASE("cut short") {
    std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);
  }
  SUBCASE("too long") {
    std::filesystem::resize_file(path, std::filesystem::file_size(path) + 1);
  }
  SUBCASE("without a stamp") {
    std::filesystem::resize_file(path, 0), std::filesystem::resize_file(path, 15'856);
  }
  SUBCASE("of another store") {
    Parts other;
    other.append("a");
    std::filesystem::copy_file(other.live_dir / index_name(1, 0), path,
                               std::filesystem::copy_options::overwrite_existing);
  }
  SUBCASE("another bucket's") {
    parts.views->make_index(7, 0, parts.layout().buckets[0].slots[0]);
    std::filesystem::rename(parts.live_dir / index_name(7, 0), path);
  }
  ViewCache fresh(*parts.live, parts.live_dir, parts.tables.dir.path());
  CHECK(error_code_of([&] { fresh.newest(); }) == ErrorCode::in_use);
  CHECK(error_text_of([&] { fresh.newest(); }).find(path.string()) != std::string::npos);
}

TEST_CASE("a layout that is not well formed is damage") {
  Parts parts;
  Layout layout = parts.layout();
  layout.bucket_count = 1000;
  parts.header().layout.publish(layout);
  CHECK(error_code_of([&] { parts.views->newest(); }) == ErrorCode::corrupt);
}

TEST_CASE("only filter and index files that the layout does not name are strays") {
  Parts parts;
  parts.append("a");
  parts.views->make_index(1, 1, 3000);
  parts.views->make_index(99, 0, 3000);
  parts.views->make_filter(99, 512);
  Layout layout = parts.layout();
  layout.spare_bucket_slots = 1470;
  parts.views->make_index(layout.next_bucket, 0, 1470);
  parts.views->remove_strays(layout);
  CHECK(files_in(parts.live_dir, "") == std::vector<std::string>{"filter-1", "index-1-0", "index-2-0", "live"});
}

TEST_CASE("a view that nobody holds any more is let go of by the background, not by the thread that held it last") {
  Parts parts;
  parts.append("a");
  auto held = parts.views->newest();
  const std::weak_ptr<const View> view = held;
  parts.open_bucket();
  parts.views->newest();
  parts.views->release_retired();
  CHECK_FALSE(view.expired());  // It is held.
  held.reset();
  CHECK_FALSE(view.expired());
  parts.views->release_retired();
  CHECK(view.expired());
}

TEST_CASE("a large file that only views nobody holds have mapped is unmapped by a thread of its own") {
  Parts parts;
  parts.append("a");
  Layout layout = parts.layout();
  const std::string name = filter_name(layout.next_generation);
  parts.views->make_filter(layout.next_generation, 600'000);
  layout.spare_generation_lines = 600'000;
  grow_filter(layout, parts.head());
  parts.header().layout.publish(layout);
  std::weak_ptr<const View> large = parts.views->newest();
  CHECK(mapped(name));
  layout.generations[0] = GenerationInfo{layout.next_generation++, 8, parts.head(), 1, 0};
  layout.generation_count = 1;
  parts.views->make_filter(layout.generations[0].number, 8);
  parts.header().layout.publish(layout);
  parts.views->newest();
  REQUIRE_FALSE(large.expired());
  wait_until([&] {
    parts.views->release_retired();
    return large.expired();
  });
  wait_until([&] { return !mapped(name); });
}

TEST_CASE("where there is no background, only so many earlier views are kept") {
  Parts parts;
  parts.append("a");
  const std::weak_ptr<const View> view = parts.views->newest();
  for (int i = 0; i < 40; ++i) {
    parts.header().layout.publish(parts.layout());
    parts.views->newest();
  }
  CHECK(view.expired());
}

TEST_CASE("a view that nobody holds is let go of after some newer ones, also where no background does it") {
  Parts parts;
  parts.append("a");
  const auto held = parts.views->newest();
  parts.header().layout.publish(parts.layout());
  const std::weak_ptr<const View> free = parts.views->newest();
  for (int newer = 0; newer < 6; ++newer) {
    parts.header().layout.publish(parts.layout());
    parts.views->newest();
  }
  CHECK(free.expired());
  CHECK(held->buckets.size() == 1);
}

TEST_CASE("what is set aside is no stray, and is deleted piece by piece") {
  Parts parts;
  std::uint64_t epoch = 0;
  const Layout layout = parts.header().layout.read(epoch);
  CHECK_FALSE(parts.views->has_set_aside());
  CHECK_FALSE(parts.views->remove_set_aside());
  std::filesystem::copy_file(parts.live_dir / "filter-1", parts.live_dir / "filter-8");
  std::filesystem::resize_file(parts.live_dir / "filter-8", std::uint64_t{40} << 20);
  set_aside(parts.live_dir / "filter-8");
  set_aside(parts.live_dir / "index-8-0");  // Which is not there.
  CHECK(parts.views->has_set_aside());
  parts.views->remove_strays(layout);
  const auto aside = parts.live_dir / "filter-8.former";
  CHECK(std::filesystem::file_size(aside) == std::uint64_t{40} << 20);
  CHECK(parts.views->remove_set_aside());
  CHECK(std::filesystem::file_size(aside) == std::uint64_t{24} << 20);
  while (parts.views->remove_set_aside()) {
  }
  CHECK_FALSE(std::filesystem::exists(aside));
  CHECK(files_in(parts.live_dir, "filter") == std::vector<std::string>{"filter-1"});
}
