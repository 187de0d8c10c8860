#pragma once

#include <functional>
#include <span>
#include <string_view>

#include <oncelog/record.h>
#include <oncelog/scan.h>

#include "base/message_hash.h"
#include "engine/accept.h"
#include "engine/engine.h"

namespace oncelog::internal {

/// Store::import of a store on disk: each record is decided on as a mark is, and accepted with the time when it was
/// processed beside its own, which is the log's. So the log's times never go back, and a bucket outlives all that is in
/// it. `scope_of` is the engine's. Any thread; some hundred nanoseconds a record.
Imported import_records(OpenedStore& store, Acceptor& acceptor, std::span<const Record> records,
                        const std::function<ScopeKey(std::string_view)>& scope_of);

}  // namespace oncelog::internal
