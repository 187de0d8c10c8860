#include "base/side_thread.h"

#include <exception>

#include "base/quiet_thread.h"

namespace oncelog::internal {

SideThread::~SideThread() {
  if (thread_.joinable()) thread_.join();
}

void SideThread::run(const char* name, const std::function<void()>& work) {
  if (thread_.joinable()) thread_.join();  // It has ended.
  busy_.store(true, std::memory_order_relaxed);
  try {
    thread_ = start_quiet_thread(name, [this, work] {
      work();
      busy_.store(false, std::memory_order_release);  // Pairs with the acquire in idle.
    });
  } catch (const std::exception&) {
    work();
    busy_.store(false, std::memory_order_relaxed);
  }
}

}  // namespace oncelog::internal
