#include "import.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <vector>

#include <fmt/format.h>

#include <oncelog/error.h>

#include "line_reader.h"
#include "ndjson.h"
#include "output.h"
#include "progress.h"
#include "stop_signal.h"

namespace oncelog::tool {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kRecordsPerCall = 1024;
constexpr std::size_t kBytesPerCall = std::size_t{4} << 20;
constexpr std::uint64_t kRecordsPerCheckpoint = 65'536;

/// How much of an input is on the store's disk. The file is replaced as a whole, once that is so.
class Checkpoint {
 public:
  explicit Checkpoint(fs::path file) : file_(std::move(file)) {
    if (file_.empty() || !fs::exists(file_)) return;
    std::ifstream in(file_);
    if (!(in >> lines_ >> bytes_)) {
      throw Error(ErrorCode::invalid_argument, fmt::format("{}: is no checkpoint of an import", file_.string()), file_);
    }
  }

  bool wanted() const { return !file_.empty(); }
  std::uint64_t lines() const { return lines_; }
  std::uint64_t bytes() const { return bytes_; }

  void write(std::uint64_t lines, std::uint64_t bytes) {
    const fs::path fresh = file_.string() + ".new";
    const std::string text = fmt::format("{} {}\n", lines, bytes);
    const int descriptor = ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (descriptor < 0) fail_on(fresh, "open");
    const bool written =
        ::write(descriptor, text.data(), text.size()) == static_cast<ssize_t>(text.size()) && ::fsync(descriptor) == 0;
    const int error = errno;
    ::close(descriptor);
    errno = error;
    if (!written) fail_on(fresh, "write");
    if (::rename(fresh.c_str(), file_.c_str()) != 0) fail_on(file_, "rename");
  }

 private:
  fs::path file_;
  std::uint64_t lines_ = 0;
  std::uint64_t bytes_ = 0;
};

/// The descriptor of the input, at the place where the checkpoint says that it goes on.
int open_input(const ImportOptions& options, const Checkpoint& checkpoint) {
  if (options.input.empty()) {
    if (!checkpoint.wanted()) return STDIN_FILENO;
    throw Error(ErrorCode::invalid_argument, "--checkpoint is for --input FILE: standard input cannot be gone on with");
  }
  const int descriptor = ::open(options.input.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail_on(options.input, "open");
  if (checkpoint.bytes() == 0) return descriptor;
  char end = 0;
  const auto place = static_cast<off_t>(checkpoint.bytes());
  if (::pread(descriptor, &end, 1, place - 1) != 1 || end != '\n') {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{}: no line ends after {} bytes, where the checkpoint is: it is of another file",
                            options.input.string(), checkpoint.bytes()),
                options.input);
  }
  if (::lseek(descriptor, place, SEEK_SET) < 0) fail_on(options.input, "lseek");
  return descriptor;
}

class Importer {
 public:
  Importer(const ImportOptions& options, const Store& store, Checkpoint& checkpoint)
      : options_(options),
        store_(store),
        checkpoint_(checkpoint),
        lines_(checkpoint.lines()),
        bytes_(checkpoint.bytes()),
        settled_(lines_),
        progress_("read", options.progress) {}

  void take(std::string_view line) {
    try {
      records_.push_back(parse_record(line));
    } catch (const Error& error) {
      pass_on();
      throw Error(error.code(), fmt::format("line {}: {}; those before it are imported", lines_ + 1, error.what()));
    }
    if (options_.scope) records_.back().scope = *options_.scope;
    pending_ += line.size();
    ++lines_;
    bytes_ += line.size();
    if (records_.size() == kRecordsPerCall || pending_ >= kBytesPerCall) pass_on();
  }

  void pass_on() {
    const Imported some = store_.import(records_);
    counts_.imported += some.imported;
    counts_.known += some.known;
    counts_.claimed += some.claimed;
    counts_.expired += some.expired;
    counts_.redated += some.redated;
    records_.clear();
    pending_ = 0;
    progress_.at(lines_);
    if (lines_ - settled_ >= kRecordsPerCheckpoint) settle();
  }

  /// Has all of it on disk. What is claimed must be read again: the checkpoint stays before the first such.
  void settle() {
    store_.sync();
    settled_ = lines_;
    if (checkpoint_.wanted() && counts_.claimed == 0) checkpoint_.write(lines_, bytes_);
  }

  void end() const { progress_.end(lines_); }
  const Imported& counts() const { return counts_; }

 private:
  const ImportOptions& options_;
  const Store& store_;
  Checkpoint& checkpoint_;
  std::vector<Record> records_;
  std::size_t pending_ = 0;
  std::uint64_t lines_;
  std::uint64_t bytes_;
  std::uint64_t settled_;
  Imported counts_;
  Progress progress_;
};

}  // namespace

int run_import(const ImportOptions& options) {
  Output output = standard_output();
  Checkpoint checkpoint(options.checkpoint);
  const int input = open_input(options, checkpoint);
  const Store store = open_for_marks(options.store);
  StopSignal stop;
  LineReader reader(input, options.input.empty() ? "standard input" : options.input.string(), stop);
  Importer importer(options, store, checkpoint);
  std::vector<std::string_view> lines;
  while (reader.next(lines)) {
    for (const std::string_view line : lines) importer.take(line);
  }
  importer.pass_on();
  importer.settle();
  importer.end();
  const Imported& counts = importer.counts();
  output.write(fmt::format("imported {}, known {}, claimed {}, expired {}, redated {}\n", counts.imported, counts.known,
                           counts.claimed, counts.expired, counts.redated));
  if (stop.received() != 0) return 128 + stop.received();
  return counts.claimed == 0 ? 0 : 1;
}

}  // namespace oncelog::tool
