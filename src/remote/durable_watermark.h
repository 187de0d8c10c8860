#pragma once

#include <atomic>
#include <cstdint>

#include <oncelog/record.h>

namespace oncelog::internal::remote {

/// Up to which LSN all that this process was told of is on the server's disk.
///
/// A server draws an LSN before it commits what that numbers, so an answer may have a lower LSN than one that came
/// earlier, and than a flush or a synced commit that was to cover both. So whoever is about to raise the watermark
/// first says to where, and an answer that finds itself below that has been promised already: its caller has it flushed
/// before anyone is told of it.
///
/// Thread-safe. All of it is sequentially consistent: that a call which found nothing promised was committed before the
/// flush which then was, rests on one order of both. It is two additions in a round trip to a server.
class DurableWatermark {
  /// How many unsynced calls there have been. Ended ones are counted first, so that an equal count of begun ones says
  /// that none was under way.
  struct Calls {
    explicit Calls(const DurableWatermark& of) : ended(of.ended_.load()), begun(of.begun_.load()) {}
    bool none_under_way() const { return ended == begun; }

    const std::uint64_t ended;
    const std::uint64_t begun;
  };

 public:
  /// All below this is on disk.
  Lsn get() const { return Lsn{durable_.load()}; }
  /// The newest that this process was told of.
  Lsn newest() const { return Lsn{newest_.load()}; }
  void note(Lsn lsn) { raise(newest_, lsn.value); }

  /// A call whose answer does not wait for the disk, as long as it exists.
  class Unsynced {
   public:
    explicit Unsynced(DurableWatermark& of) : of_(of) { of_.begun_.fetch_add(1); }
    Unsynced(const Unsynced&) = delete;
    Unsynced& operator=(const Unsynced&) = delete;
    ~Unsynced() { of_.ended_.fetch_add(1); }
    /// Whether what was answered has been promised to be on disk. Asked after the answer.
    bool promised(Lsn lsn) const { return lsn.value < of_.promised_.load(); }

   private:
    DurableWatermark& of_;
  };

  /// A flush: made before the server is asked, and done() when it has answered.
  class Flush {
   public:
    explicit Flush(DurableWatermark& of) : of_(of), calls_(of), end_(of.newest_.load() + kNext) {
      raise(of_.promised_, end_);
    }
    void done() const {
      raise(of_.durable_, end_);
      if (calls_.none_under_way()) raise(of_.flushed_, calls_.begun);
    }

   private:
    DurableWatermark& of_;
    const Calls calls_;
    const std::uint64_t end_;
  };

  /// A call that waits for the disk, and so for all that was committed before it where the server has one log.
  class Synced {
   public:
    Synced(DurableWatermark& of, bool one_log) : of_(of), calls_(of), one_log_(one_log) {}
    /// Raises the watermark over what was answered, up to `lsn`; not where there were unsynced calls that it may not
    /// have waited for, whose LSNs may be lower: then the next flush raises it.
    void done(Lsn lsn) const {
      raise(of_.promised_, lsn.value + kNext);
      const bool covered = one_log_ ? calls_.none_under_way() : of_.flushed_.load() == calls_.begun;
      if (covered && of_.begun_.load() == calls_.begun) raise(of_.durable_, lsn.value + kNext);
    }

   private:
    DurableWatermark& of_;
    const Calls calls_;
    const bool one_log_;
  };

 private:
  static constexpr std::uint64_t kNext = 8;  // LSNs are multiples of it.

  static void raise(std::atomic<std::uint64_t>& mark, std::uint64_t value) {
    std::uint64_t known = mark.load();
    while (known < value && !mark.compare_exchange_weak(known, value)) {
    }
  }

  std::atomic<std::uint64_t> newest_{0};
  std::atomic<std::uint64_t> promised_{0};
  std::atomic<std::uint64_t> durable_{0};
  std::atomic<std::uint64_t> begun_{0};  // Unsynced calls.
  std::atomic<std::uint64_t> ended_{0};
  std::atomic<std::uint64_t> flushed_{0};  // That many of them have been flushed.
};

}  // namespace oncelog::internal::remote
