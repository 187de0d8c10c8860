#pragma once

/// @file
/// The one exception of the library.

#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>

#include <oncelog/version.h>

namespace oncelog {

/// What went wrong, for a caller that wants to act on it. The sentence is in Error::what().
enum class ErrorCode {
  invalid_argument,   ///< An argument or option is outside its documented range, or a call is not possible here.
  not_found,          ///< There is no store at this path, and the options forbid creating one.
  not_a_store,        ///< The path holds something that is not an oncelog store.
  newer_format,       ///< The store was written by a later format version.
  options_mismatch,   ///< An option contradicts what the store was created with, or this process's first handle.
  live_dir_mismatch,  ///< The store is open with another live_dir.
  in_use,             ///< Something else uses the store in a way that excludes this: the sentence says what. A file of
                      ///< an open store was deleted or replaced; this process has it open by a second copy of the
                      ///< library; an earlier version has it open; or a transaction waits for another store's lock.
  no_permission,      ///< The directory or a file in it cannot be written, or has a foreign owner.
  unsupported,        ///< A file system or a pid namespace on which the promises cannot be kept.
  read_only,          ///< A write was asked of a store opened with Options::read_only.
  full,               ///< The disk, the LMDB map or a structure's limit is full. Nothing accepted is lost.
  too_many_readers,   ///< More threads read at once than Options::max_readers.
  corrupt,            ///< Stored bytes contradict their checksum or their format.
  forked,             ///< A store was used in a child of the process that opened it.
  io,                 ///< Any other failure of the operating system or of LMDB.
};

/// The code's name as it appears in messages, such as "options_mismatch".
ONCELOG_API std::string_view to_string(ErrorCode code);

/// The one exception of this library, for what a caller cannot expect in ordinary work. what() is one sentence that
/// names the path concerned and, where there is one, the way out.
class ONCELOG_API Error : public std::runtime_error {
 public:
  /// For the library, and for tests of its users.
  Error(ErrorCode code, const std::string& sentence, std::filesystem::path path = {});

  /// What went wrong.
  ErrorCode code() const noexcept { return code_; }
  /// The file or directory concerned; empty when there is none.
  const std::filesystem::path& path() const noexcept { return path_; }

 private:
  ErrorCode code_;
  std::filesystem::path path_;
};

}  // namespace oncelog
