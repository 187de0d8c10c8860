/// The half of python.py that is in C++: marks the same ids in a new store, each alone and in batches, and prints the
/// nanoseconds an id: the median over pieces of BATCH ids, so that other programs' turns on the processor do not count.
///   bench_python FOLDER IDS BATCH

#include <algorithm>
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

/// Of `work(piece)` for each piece of `size` ids.
template <typename Work>
double median_each(std::span<const std::string_view> ids, std::size_t size, Work&& work) {
  std::vector<double> each;
  for (std::size_t i = 0; i + size <= ids.size(); i += size) {
    const auto begin = std::chrono::steady_clock::now();
    work(ids.subspan(i, size));
    const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - begin;
    each.push_back(took.count() / static_cast<double>(size));
  }
  std::sort(each.begin(), each.end());
  return each[each.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const auto count = std::strtoull(argv[2], nullptr, 10);
  const auto batch = std::strtoull(argv[3], nullptr, 10);
  if (batch == 0 || count == 0 || count % batch != 0) return 2;
  const auto store = oncelog::Store::open(argv[1], {.expected_ids = 4 * count});
  const auto single = store.scope("single");
  const auto batches = store.scope("batches");

  std::vector<std::string> texts;
  for (std::size_t i = 0; i < count; ++i) texts.push_back(fmt::format("{:036}", i));
  const std::vector<std::string_view> ids(texts.begin(), texts.end());
  std::vector<oncelog::Marked> marked(batch);

  std::size_t fresh = 0;
  const double mark = median_each(ids, batch, [&](std::span<const std::string_view> piece) {
    for (const auto id : piece) fresh += single.mark(id) == oncelog::Verdict::fresh;
  });
  const double mark_batch = median_each(ids, batch, [&](std::span<const std::string_view> piece) {
    batches.mark(piece, marked);
    for (const auto& one : marked) fresh += one == oncelog::Verdict::fresh;
  });
  if (fresh != 2 * count) return 1;
  std::printf("%.1f %.1f\n", mark, mark_batch);
  return 0;
}
