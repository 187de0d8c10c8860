#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <set>
#include <utility>

namespace oncelog::internal {

/// Lets threads that work on numbered pieces side by side do a part of that in the order of the numbers, which count
/// from 0. Thread-safe.
class InOrder {
 public:
  /// While one of these lives its piece is not done. There is one for each number, or give_up() is called.
  class Piece {
   public:
    Piece(InOrder& order, std::uint64_t number) : order_(order), number_(number) {
      Numbers one{number};
      entry_ = one.extract(one.begin());  // Now: the destructor must not run out of memory.
    }
    Piece(const Piece&) = delete;
    Piece& operator=(const Piece&) = delete;
    ~Piece() { order_.done(std::move(entry_)); }

    /// Until all pieces before this one are done, or given up; false when given up.
    [[nodiscard]] bool wait_for_turn() {
      std::unique_lock lock(order_.mutex_);
      order_.changed_.wait(lock, [&] { return order_.given_up_ || order_.next_ == number_; });
      return !order_.given_up_;
    }

   private:
    InOrder& order_;
    std::uint64_t number_;
    std::set<std::uint64_t>::node_type entry_;
  };

  /// Nobody waits any more: a piece will never be done.
  void give_up() {
    const std::lock_guard guard(mutex_);
    given_up_ = true;
    changed_.notify_all();
  }

 private:
  using Numbers = std::set<std::uint64_t>;

  void done(Numbers::node_type entry) {
    const std::lock_guard guard(mutex_);
    done_.insert(std::move(entry));
    while (done_.erase(next_) != 0) ++next_;
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t next_ = 0;
  Numbers done_;  // Those after next_.
  bool given_up_ = false;
};

}  // namespace oncelog::internal
