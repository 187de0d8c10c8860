#include "machine.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <ctime>
#include <fstream>
#include <random>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "meter.h"
#include "workload.h"

namespace oncelog::bench {
namespace {

std::string processor() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

std::string memory() {
  const auto bytes = static_cast<double>(::sysconf(_SC_PHYS_PAGES)) * static_cast<double>(::sysconf(_SC_PAGE_SIZE));
  return fmt::format("{:.1f} GiB", bytes / (1 << 30));
}

std::string kernel() {
  utsname names{};
  return ::uname(&names) == 0 ? fmt::format("{} {}", names.sysname, names.release) : "unknown";
}

std::string file_system(const std::filesystem::path& directory) {
  struct statfs found {};
  if (::statfs(directory.c_str(), &found) != 0) return "unknown";
  constexpr std::array kNames{std::pair{0xEF53UL, "ext4"}, std::pair{0x58465342UL, "XFS"},
                              std::pair{0x9123683EUL, "Btrfs"}, std::pair{0x01021994UL, "tmpfs"},
                              std::pair{0x794C7630UL, "overlayfs"}};
  const auto type = static_cast<unsigned long>(found.f_type);
  for (const auto& [magic, name] : kNames) {
    if (magic == type) return name;
  }
  return fmt::format("type {:x}", type);
}

/// The median time of writing a page and waiting for the disk.
double fsync_us(const std::filesystem::path& directory) {
  const ScratchDir scratch(directory);
  const int fd = ::open((scratch.path() / "file").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) throw std::system_error(errno, std::generic_category(), scratch.path());
  const std::array<char, 4096> page{};
  std::vector<double> times;
  for (int i = 0; i < 51; ++i) {
    const Clock::time_point begin = Clock::now();
    const bool written = ::write(fd, page.data(), page.size()) == static_cast<ssize_t>(page.size()) && ::fsync(fd) == 0;
    if (!written) throw std::system_error(errno, std::generic_category(), scratch.path());
    times.push_back(std::chrono::duration<double, std::micro>(Clock::now() - begin).count());
  }
  ::close(fd);
  std::ranges::nth_element(times, times.begin() + 25);
  return times[25];
}

/// What it takes to read the clock, as a latency: all above some ten nanoseconds is taken by the machine.
Latencies clock_only() {
  Latencies seen;
  const Clock::time_point begin = Clock::now();
  Clock::time_point last = begin;
  while (last - begin < std::chrono::milliseconds{500}) {
    const Clock::time_point now = Clock::now();
    seen.record(static_cast<std::uint64_t>((now - last).count()));
    last = now;
  }
  return seen;
}

}  // namespace

Facts machine_facts(const std::filesystem::path& directory) {
  const Latencies alone = clock_only();
  return {{"processor", processor()},
          {"processors", std::to_string(std::thread::hardware_concurrency())},
          {"memory", memory()},
          {"kernel", kernel()},
          {"file system", file_system(directory)},
          {"fsync of a page", fmt::format("{:.0f} us", fsync_us(directory))},
          {"a loop that only reads the clock",
           fmt::format("{:.0f} ns (p50), {:.0f} ns (p99.99), {:.2f} ms at most", alone.quantile_ns(0.5),
                       alone.quantile_ns(0.9999), static_cast<double>(alone.max_ns()) / 1e6)}};
}

double random_read_ns() {
  struct alignas(64) Line {
    std::size_t next;
  };
  constexpr std::size_t kLines = (std::size_t{256} << 20) / sizeof(Line);
  constexpr std::size_t kReads = std::size_t{1} << 18;
  std::vector<Line> lines(kLines);
  for (std::size_t i = 0; i < kLines; ++i) lines[i].next = i;
  // Sattolo's shuffle: one cycle through all lines.
  std::mt19937_64 random(11);
  for (std::size_t i = kLines - 1; i > 0; --i) std::swap(lines[i].next, lines[random() % i].next);
  std::size_t at = 0;
  const Clock::time_point begin = Clock::now();
  for (std::size_t i = 0; i < kReads; ++i) at = lines[at].next;
  const auto time = Clock::now() - begin;
  if (at == kLines) throw std::logic_error("the walk has left its lines");  // So that it is not left out.
  return static_cast<double>(time.count()) / static_cast<double>(kReads);
}

std::string load_average() {
  std::array<double, 3> loads{};
  if (::getloadavg(loads.data(), 3) != 3) return "unknown";
  return fmt::format("{:.1f}", loads[0]);
}

std::string today() {
  return fmt::format("{:%Y-%m-%d}", fmt::gmtime(std::time(nullptr)));
}

}  // namespace oncelog::bench
