#include "export.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <vector>

#include <fmt/format.h>

#include <oncelog/error.h>

#include "ndjson.h"
#include "output.h"
#include "progress.h"
#include "remote_store.h"

namespace oncelog::tool {
namespace {

constexpr std::size_t kBytesPerWrite = std::size_t{64} << 10;
constexpr std::size_t kIdsPerLookup = 256;

/// The last whole line of a file. What follows it, of a write that was cut short, is removed.
std::string last_line_of(const std::filesystem::path& file) {
  const int descriptor = ::open(file.c_str(), O_RDWR | O_CLOEXEC);
  if (descriptor < 0) {
    if (errno == ENOENT) return {};
    fail_on(file, "open");
  }
  const auto close = [](const int* open) { ::close(*open); };
  const std::unique_ptr<const int, decltype(close)> closing(&descriptor, close);
  off_t begin = ::lseek(descriptor, 0, SEEK_END);
  if (begin < 0) fail_on(file, "lseek");
  std::string tail;
  while (begin > 0 && std::ranges::count(tail, '\n') < 2) {
    const auto step = static_cast<std::size_t>(std::min<off_t>(begin, off_t{64} << 10));
    std::string some(step, '\0');
    begin -= static_cast<off_t>(step);
    if (::pread(descriptor, some.data(), step, begin) != static_cast<ssize_t>(step)) fail_on(file, "read");
    tail.insert(0, some);
  }
  const std::size_t end = tail.rfind('\n');
  const off_t whole = begin + static_cast<off_t>(end == std::string::npos ? 0 : end + 1);
  if (::ftruncate(descriptor, whole) != 0) fail_on(file, "ftruncate");
  if (end == std::string::npos) return {};
  const std::size_t before = end == 0 ? std::string::npos : tail.rfind('\n', end - 1);
  return tail.substr(before == std::string::npos ? 0 : before + 1,
                     end - (before == std::string::npos ? 0 : before + 1));
}

/// Lines on their way out.
class Lines {
 public:
  Lines(const std::filesystem::path& file, bool progress)
      : output_(file.empty() ? std::make_unique<Output>(STDOUT_FILENO, "standard output")
                             : std::make_unique<Output>(file)),
        progress_("exported", progress) {}

  void add(const Record& record) {
    append_record(text_, record);
    progress_.at(++count_);
    if (text_.size() >= kBytesPerWrite) write();
  }
  void end() {
    write();
    output_->sync();
    progress_.end(count_);
  }

 private:
  void write() {
    output_->write(text_);
    text_.clear();
  }

  std::unique_ptr<Output> output_;
  Progress progress_;
  std::string text_;
  std::uint64_t count_ = 0;
};

/// Passes on those of the records that are the newest word on their ids: an id that was forgotten since has none.
class Newest {
 public:
  Newest(const Store& store, Lines& lines) : store_(store), lines_(lines) {}

  void add(const Record& record) {
    if (record.forgotten) return;
    if (!some_.empty() && (some_.front().scope != record.scope || some_.size() == kIdsPerLookup)) flush();
    some_.push_back(record);
  }
  void flush() {
    if (some_.empty()) return;
    std::vector<std::string_view> ids;
    for (const Record& record : some_) ids.emplace_back(record.id);
    std::vector<std::optional<Record>> newest(ids.size());
    store_.scope(some_.front().scope).find(ids, newest);
    for (std::size_t i = 0; i < some_.size(); ++i) {
      if (newest[i] && newest[i]->lsn == some_[i].lsn) lines_.add(some_[i]);
    }
    some_.clear();
  }

 private:
  const Store& store_;
  Lines& lines_;
  std::vector<Record> some_;  // Of one scope.
};

void export_store(const ExportOptions& options, Lsn done, Lines& lines) {
  const Store store = open_for_reading(options.store);
  Newest newest(store, lines);
  store.scan({options.scope, options.since, options.until}, [&](const Record& record) {
    if (record.lsn > done) newest.add(record);
    return true;
  });
  newest.flush();
}

void export_legacy(const ExportOptions& options, Lines& lines) {
  const auto add = [&](const Record& record) {
    if (options.since && record.processed_at < *options.since) return;
    if (options.until && record.processed_at >= *options.until) return;
    if (!options.keys && options.scope && record.scope != *options.scope) return;
    lines.add(record);
  };
  const LegacyCounts counts = options.table ? visit_table(*options.table, add) : visit_keys(*options.keys, add);
  if (counts.without_time == 0) return;
  fmt::print(stderr, "oncelog: {} {} left out: {}\n", counts.without_time, options.table ? "rows" : "keys",
             options.table ? "they have a null or an empty id" : "they never expire, so that nobody knows their time");
}

}  // namespace

int run_export(const ExportOptions& options) {
  Lsn done;
  const bool legacy = options.table || options.keys;
  if (!options.output.empty()) {
    if (const std::string last = last_line_of(options.output); !last.empty()) {
      // On a server, a record may appear later than one with a higher LSN.
      if (legacy || is_shared(options.store)) {
        throw Error(ErrorCode::invalid_argument,
                    fmt::format("{}: is there, and only the export of a store on disk can go on; remove the file",
                                options.output.string()));
      }
      done = parse_record(last).lsn;
    }
  }
  Lines lines(options.output, options.progress);
  if (legacy) {
    export_legacy(options, lines);
  } else {
    export_store(options, done, lines);
  }
  lines.end();
  return 0;
}

}  // namespace oncelog::tool
