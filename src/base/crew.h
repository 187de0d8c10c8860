#pragma once

#include <functional>

namespace oncelog::internal {

/// Has so many threads, the calling one among them, run work() at the same time; returns when all have returned. The
/// others get none of the application's signals. Where the system starts fewer, fewer do it: work() takes its share
/// from what is left for all. Throws what one of them threw first; the others run to their end before. `name` says what
/// it is for.
void run_in_crew(unsigned threads, const char* name, const std::function<void()>& work);

}  // namespace oncelog::internal
