#include "line_reader.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include <oncelog/error.h>

namespace oncelog::tool {

LineReader::LineReader(int descriptor, std::string name, const StopSignal& stop, const LineFormat& format)
    : descriptor_(descriptor),
      name_(std::move(name)),
      stop_(stop),
      end_of_line_(format.end),
      buffer_(std::make_unique_for_overwrite<char[]>(kReadBytes + kPadding)) {
  if (format.csv_delimiter) records_.emplace(*format.csv_delimiter);
}

bool LineReader::next(std::vector<std::string_view>& lines) {
  lines.clear();
  while (!ended_) {
    make_room();
    if (!wait()) return false;
    const std::size_t count = read_some();
    if (count == 0 && !ended_) continue;
    end_ += count;
    if (ended_ && begin_ != end_ && buffer_[end_ - 1] != end_of_line_) buffer_[end_++] = end_of_line_;
    split(lines);
    open_quotes_ = ended_ && begin_ != end_;
    if (open_quotes_) lines.emplace_back(buffer_.get() + begin_, end_ - begin_);
    if (!lines.empty()) return true;
  }
  return false;
}

bool LineReader::wait() {
  pollfd events[] = {{stop_.descriptor(), POLLIN, 0}, {descriptor_, POLLIN, 0}};
  while (::poll(events, 2, -1) < 0) {
    if (errno != EINTR) throw Error(ErrorCode::io, "cannot wait for " + name_ + ": " + std::strerror(errno));
  }
  return events[0].revents == 0;
}

std::size_t LineReader::read_some() {
  const ssize_t count = ::read(descriptor_, buffer_.get() + end_, capacity_ - end_);
  if (count > 0) return static_cast<std::size_t>(count);
  if (count < 0 && (errno == EINTR || errno == EAGAIN)) return 0;
  if (count < 0) throw Error(ErrorCode::io, "cannot read " + name_ + ": " + std::strerror(errno));
  ended_ = true;
  return 0;
}

void LineReader::make_room() {
  if (begin_ != 0) {
    std::memmove(buffer_.get(), buffer_.get() + begin_, end_ - begin_);
    scanned_ -= begin_;
    end_ -= begin_;
    begin_ = 0;
  }
  // One byte is kept for the end of a last line without one.
  if (capacity_ - end_ > 1) return;
  auto larger = std::make_unique_for_overwrite<char[]>(2 * capacity_ + kPadding);
  std::memcpy(larger.get(), buffer_.get(), end_);
  buffer_ = std::move(larger);
  capacity_ *= 2;
}

void LineReader::split(std::vector<std::string_view>& lines) {
  const char* const base = buffer_.get();
  while (const std::size_t size = line_end({base + scanned_, end_ - scanned_})) {
    scanned_ += size;
    lines.emplace_back(base + begin_, scanned_ - begin_);
    begin_ = scanned_;
  }
  scanned_ = end_;
}

/// How many of the bytes, which follow those that were looked at, still belong to the line in progress; 0 when it does
/// not end in them.
std::size_t LineReader::line_end(std::string_view bytes) {
  const std::size_t end = records_ ? records_->end(bytes) : bytes.find(end_of_line_) + 1;
  return end == std::string_view::npos ? 0 : end;
}

}  // namespace oncelog::tool
