#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "stop_signal.h"

namespace oncelog::tool {

/// Some ids, and each one as a person gave it: an argument, or a line without its newline.
struct IdBatch {
  std::span<const std::string_view> ids;
  std::span<const std::string_view> shown;
};

/// Hands over the ids that a command was given: the arguments in one batch or, where there are none or one "-", the
/// lines of standard input, a batch for each read. A line's id is what `filter` takes a whole line for. Ends early,
/// between batches, when the stop was asked for. Errors: io, and what the consumer throws.
void for_each_id_batch(std::span<const std::string> arguments, const StopSignal& stop,
                       const std::function<void(const IdBatch&)>& consumer);

}  // namespace oncelog::tool
