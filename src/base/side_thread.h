#pragma once

#include <atomic>
#include <functional>
#include <thread>

namespace oncelog::internal {

/// A thread for one piece of work at a time that must not hold up the thread that has it done. It ends with the work.
/// For one thread; the destructor waits for what is under way.
class SideThread {
 public:
  SideThread() = default;
  SideThread(const SideThread&) = delete;
  SideThread& operator=(const SideThread&) = delete;
  ~SideThread();

  /// Whether nothing is under way. Acquire: pairs with the release when the work has ended.
  bool idle() const { return !busy_.load(std::memory_order_acquire); }
  /// Begins work(), which must not throw; nothing may be under way. Where the system starts no thread, the caller does
  /// it.
  void run(const char* name, const std::function<void()>& work);

 private:
  std::thread thread_;
  std::atomic<bool> busy_{false};
};

}  // namespace oncelog::internal
