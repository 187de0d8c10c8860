#pragma once

#include "store_arguments.h"

namespace oncelog::tool {

struct StatOptions {
  enum class Form { text, json, prometheus };

  StoreArguments store;
  Form form = Form::text;
};

/// Prints the store's metrics and what all processes have counted: for a person, as one JSON object, or as text for
/// Prometheus. Leaves out what Metrics has of its own process, which is this command. Returns the exit code. Errors:
/// oncelog::Error, ClosedOutput.
int run_stat(const StatOptions& options);

}  // namespace oncelog::tool
