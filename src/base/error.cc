#include "base/error.h"

#include <cerrno>
#include <cstring>

#include <oncelog/event.h>
#include <oncelog/record.h>

namespace oncelog {

std::string_view to_string(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument:
      return "invalid_argument";
    case ErrorCode::not_found:
      return "not_found";
    case ErrorCode::not_a_store:
      return "not_a_store";
    case ErrorCode::newer_format:
      return "newer_format";
    case ErrorCode::options_mismatch:
      return "options_mismatch";
    case ErrorCode::live_dir_mismatch:
      return "live_dir_mismatch";
    case ErrorCode::in_use:
      return "in_use";
    case ErrorCode::no_permission:
      return "no_permission";
    case ErrorCode::unsupported:
      return "unsupported";
    case ErrorCode::read_only:
      return "read_only";
    case ErrorCode::full:
      return "full";
    case ErrorCode::too_many_readers:
      return "too_many_readers";
    case ErrorCode::corrupt:
      return "corrupt";
    case ErrorCode::forked:
      return "forked";
    case ErrorCode::io:
      return "io";
  }
  return "unknown";
}

std::string_view to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::fresh:
      return "fresh";
    case Verdict::duplicate:
      return "duplicate";
    case Verdict::in_progress:
      return "in_progress";
    case Verdict::conflict:
      return "conflict";
    case Verdict::too_old:
      return "too_old";
  }
  return "unknown";
}

std::string_view to_string(StoreEventKind kind) {
  switch (kind) {
    case StoreEventKind::bucket_dropped_early:
      return "bucket_dropped_early";
    case StoreEventKind::clock_fault:
      return "clock_fault";
    case StoreEventKind::flush_failed:
      return "flush_failed";
    case StoreEventKind::memory_damaged:
      return "memory_damaged";
    case StoreEventKind::server_forgot:
      return "server_forgot";
    case StoreEventKind::near_left_out:
      return "near_left_out";
    case StoreEventKind::near_in_use:
      return "near_in_use";
    case StoreEventKind::flush_recovered:
      return "flush_recovered";
  }
  return "unknown";
}

Error::Error(ErrorCode code, const std::string& sentence, std::filesystem::path path)
    : std::runtime_error(sentence), code_(code), path_(std::move(path)) {}

}  // namespace oncelog

namespace oncelog::internal {

Error system_error(int error_number, const char* what, const std::filesystem::path& path) {
  const char* reason = std::strerror(error_number);
  switch (error_number) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return error_at(ErrorCode::full, path, "no space for it ({}: {}); free some and try again", what, reason);
    case EACCES:
    case EPERM:
    case EROFS:
      return error_at(ErrorCode::no_permission, path, "{} is not permitted ({}); oncelog needs to read and write it",
                      what, reason);
    default:
      return error_at(ErrorCode::io, path, "{} failed: {}", what, reason);
  }
}

void refuse(const std::string& sentence) {
  throw Error(ErrorCode::invalid_argument, sentence);
}

}  // namespace oncelog::internal
