#include "shared/writer_gate.h"

#include "base/error.h"

namespace oncelog::internal {

thread_local constinit const WriterGate* WriterGate::innermost_ = nullptr;

WriterGate::WriterGate(SharedHeader& live, const std::filesystem::path& path)
    : live_(live), path_(path), outer_(innermost_) {
  try {
    const LockLimit limit(nested_limit());
    live.writer_gate.lock();
  } catch (const LockTimeout&) {
    throw timeout(path);
  } catch (const Error& error) {
    throw error_at(error.code(), path, "{}", error.what());
  }
  innermost_ = this;
}

WriterGate::~WriterGate() {
  innermost_ = outer_;
  live_.writer_gate.unlock();
}

std::chrono::microseconds WriterGate::nested_limit() {
  // Relaxed: a setting.
  return innermost_ == nullptr ? LockLimit::kNone : nested_patience.load(std::memory_order_relaxed);
}

LockTimeout WriterGate::timeout(const std::filesystem::path& path) {
  if (innermost_ == nullptr) {
    return {fmt::format("{}: another thread or process is writing to the store, or was stopped while it was",
                        path.string()),
            path};
  }
  return {
      fmt::format("{}: another thread or process kept a transaction of {} waiting for this store; where transactions "
                  "of several stores are nested, begin them in the same order everywhere",
                  path.string(), innermost_->path_.string()),
      path};
}

}  // namespace oncelog::internal
