#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "stop_signal.h"
#include "store_arguments.h"

namespace oncelog::tool {

/// Some ids, and each one as a person gave it: an argument, or a line without its newline.
struct IdBatch {
  std::span<const std::string_view> ids;
  std::span<const std::string_view> shown;
};

/// Where a command finds ids.
struct IdArguments {
  std::vector<std::string> ids;  ///< The arguments; none, or one "-", for those in the lines of standard input.
  char line_end = '\n';          ///< Of those lines, and of the answers.
};

/// Hands over the ids that a command was given: the arguments in one batch, or the lines of standard input, a batch for
/// each read. The id of a line, and of an argument, is what `filter` takes a whole line for. But an empty one, which a
/// variable without a value or a message without an id leaves, has none: of the arguments nothing is handed over then,
/// of the lines those before it. Ends early, between batches, when the stop was asked for. Errors: invalid_argument
/// for an empty id, io, and what the consumer throws.
void for_each_id_batch(const IdArguments& arguments, const StopSignal& stop,
                       const std::function<void(const IdBatch&)>& consumer);

/// A command that does one thing to each id of a scope.
struct IdsOptions {
  StoreArguments store;
  IdArguments ids;
};

/// How it answers for an id: "DONE ID" where it was done, else "OTHERWISE ID".
struct IdWords {
  std::string_view done;
  std::string_view otherwise;
};

/// Runs such a command on a store that is there: act(scope, id) for each id, then settle(store) for each batch, before
/// it is answered. Returns the exit code: 0 when it was done to every id, 1 when not, 128 + N after signal N. Errors:
/// oncelog::Error, ClosedOutput.
int act_on_ids(const IdsOptions& options, const IdWords& words,
               const std::function<bool(const Scope&, std::string_view)>& act,
               const std::function<void(const Store&)>& settle);

}  // namespace oncelog::tool
