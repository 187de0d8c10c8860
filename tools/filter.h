#pragma once

#include <cstdint>
#include <filesystem>

#include "id_extractor.h"
#include "line_reader.h"
#include "store_arguments.h"

namespace oncelog::tool {

/// What becomes of a line without an id.
enum class OnError : std::uint8_t {
  pass,  ///< It is passed on, as nothing says that it was seen.
  drop,
  fail,  ///< The lines before it are handled, and the run ends with an error.
};

struct FilterOptions {
  StoreArguments store;
  IdSource id = WholeLine{};
  LineFormat lines = {};
  OnError on_error = OnError::pass;
  std::filesystem::path duplicates = {};  ///< Where duplicates are appended; nowhere when empty.
  bool quiet = false;
};

/// Standard input to standard output, only the first line of each id, in order. Ids are claimed, their lines written,
/// and then marked, some hundred at a time: whatever ends the run, at any moment, no line is lost, and those that a
/// later run passes again are at most the ones written since the last marks. Of filters that run at once, one passes a
/// line: an id that another has claimed is waited for, holding nothing.
///
/// Returns the exit code: 0, or 128 + N after signal N, with all that was read in whole lines before it written and
/// marked, up to one that another filter has in hand. Errors: oncelog::Error, ClosedOutput.
int run_filter(const FilterOptions& options);

}  // namespace oncelog::tool
