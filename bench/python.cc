/// The half of python.py that is in C++: marks the same ids in a new store, each alone and in batches, and prints the
/// nanoseconds an id.
///   bench_python FOLDER IDS BATCH

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include <oncelog/oncelog.h>

namespace {

template <typename Work>
double nanoseconds_each(std::size_t ids, Work&& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - begin;
  return took.count() / static_cast<double>(ids);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const auto count = std::strtoull(argv[2], nullptr, 10);
  const auto batch = std::strtoull(argv[3], nullptr, 10);
  const auto store = oncelog::Store::open(argv[1], {.expected_ids = 4 * count});
  const auto single = store.scope("single");
  const auto batches = store.scope("batches");

  std::vector<std::string> texts;
  for (std::size_t i = 0; i < count; ++i) texts.push_back(fmt::format("{:036}", i));
  const std::vector<std::string_view> ids(texts.begin(), texts.end());
  std::vector<oncelog::Marked> marked(batch);

  std::size_t fresh = 0;
  const double mark = nanoseconds_each(count, [&] {
    for (const auto id : ids) fresh += single.mark(id) == oncelog::Verdict::fresh;
  });
  const double mark_batch = nanoseconds_each(count, [&] {
    for (std::size_t i = 0; i + batch <= count; i += batch) {
      batches.mark(std::span(ids).subspan(i, batch), marked);
      for (const auto& one : marked) fresh += one == oncelog::Verdict::fresh;
    }
  });
  if (fresh != 2 * count) return 1;
  std::printf("%.1f %.1f\n", mark, mark_batch);
  return 0;
}
