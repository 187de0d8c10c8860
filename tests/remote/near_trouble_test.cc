#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "asking.h"
#include "file_limit.h"
#include "memory_backend.h"
#include "remote/near.h"
#include "store_files.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;
using internal::remote::Near;
using internal::remote::NearEvent;
using internal::remote::NearStore;

namespace {

constexpr std::string_view kScope = "orders";

/// Replaces a text wherever it is in the directory's files by another of its length.
std::size_t replace_in_files(const std::filesystem::path& directory, const std::string& from, const std::string& to) {
  std::size_t replaced = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
    if (!entry.is_regular_file()) continue;
    std::ifstream in(entry.path(), std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(in), {}};
    std::fstream out(entry.path(), std::ios::binary | std::ios::in | std::ios::out);
    for (std::size_t at = bytes.find(from); at != std::string::npos; at = bytes.find(from, at + 1), ++replaced) {
      out.seekp(static_cast<std::streamoff>(at));
      out << to;
    }
  }
  return replaced;
}

}  // namespace

TEST_CASE("a damaged record is the server's to answer, and the tier is left out with an event") {
  const TempDir directory;
  const FakeHost host;
  const auto server = std::make_shared<MemoryBackend>();
  std::vector<NearEvent> events;
  const auto open = [&] {
    return std::make_unique<Near>(
        server,
        internal::remote::NearSettings{directory / "near", 1min, 5s,
                                       [&](const NearEvent& event) { events.push_back(event); }},
        host);
  };
  auto near = open();
  mark_one(*near, kScope, "a", {.result = "this is the answer"});
  mark_one(*near, kScope, "b");
  near.reset();
  REQUIRE(replace_in_files(directory.path(), "this is the answer", "this is no  answer") > 0);
  near = open();
  CHECK(mark_one(*near, kScope, "b").marked == Verdict::duplicate);
  CHECK(events.empty());
  const auto answer = mark_one(*near, kScope, "a");
  CHECK(shown(answer) == shown(mark_one(*server, kScope, "a")));
  REQUIRE(events.size() == 1);
  CHECK_FALSE(events[0].in_use);
  CHECK(events[0].sentence.find("is damaged; the near tier is left out until the shared store is opened again") !=
        std::string::npos);
  CHECK(mark_one(*near, kScope, "c").marked == Verdict::fresh);
  CHECK(mark_one(*near, kScope, "c").marked == Verdict::duplicate);
  CHECK(events.size() == 1);
}

TEST_CASE("a directory whose files are no longer a store is left out") {
  const TempDir directory;
  const FakeHost host;
  const auto server = std::make_shared<MemoryBackend>();
  { const Near near(server, {directory / "near", 1min, 5s, {}}, host); }
  std::filesystem::resize_file(directory / "near" / "data.mdb", 5000);
  std::ofstream(directory / "near" / "data.mdb", std::ios::binary) << std::string(5000, 'x');
  std::vector<NearEvent> events;
  Near near(server, {directory / "near", 1min, 5s, [&](const NearEvent& event) { events.push_back(event); }}, host);
  CHECK(events.size() == 1);
  CHECK(mark_one(near, kScope, "a").marked == Verdict::fresh);
  CHECK(mark_one(near, kScope, "a").marked == Verdict::duplicate);
}

TEST_CASE("a full disk leaves the tier out, and it is in use again when there is room") {
  const TempDir directory;
  FakeHost host;
  const auto server = std::make_shared<MemoryBackend>();
  std::vector<NearEvent> events;
  Near near(server, {directory / "near", 1min, 5s, [&](const NearEvent& event) { events.push_back(event); }}, host);
  const std::string result(60'000, 'r');
  std::uint64_t next = 0;
  std::uint64_t wrong = 0;
  const auto mark_another = [&] {
    const std::string id = "id-" + std::to_string(next++);
    wrong += mark_one(near, kScope, id, {.result = result}).marked != Verdict::fresh;
    wrong += mark_one(near, kScope, id).record->result != result;
  };
  mark_another();
  {
    const FileLimit full(std::filesystem::file_size(directory / "near" / "data.mdb"));
    wait_until([&] {
      mark_another();
      return !events.empty();
    });
    CHECK_FALSE(events[0].in_use);
    CHECK(events[0].sentence.find("; the near tier is left out as long as that lasts") != std::string::npos);
    for (int i = 0; i < 10; ++i) {
      host.advance(NearStore::kPause);
      mark_another();
    }
    CHECK(events.size() == 1);
    // The tier cannot remove it, and does not answer from it either.
    CHECK(find_one(near, kScope, "id-0"));
    CHECK(near.forget(kScope, "id-0", Ack::host, new_attempt()));
    host.advance(NearStore::kPause);
    CHECK_FALSE(find_one(near, kScope, "id-0"));
  }
  wait_until([&] {
    host.advance(NearStore::kPause);
    mark_another();
    return events.size() > 1;
  });
  REQUIRE(events.size() == 2);
  CHECK(events[1].in_use);
  CHECK(wrong == 0);
  const std::uint64_t before = server->calls();
  CHECK(mark_one(near, kScope, "id-" + std::to_string(next - 1)).marked == Verdict::duplicate);
  CHECK(server->calls() == before);
}
