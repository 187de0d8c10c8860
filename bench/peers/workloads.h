#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "meter.h"
#include "peer.h"
#include "plan.h"
#include "row.h"
#include "workload.h"

namespace oncelog::bench {

/// All work on one peer with one size of store, in a process of its own, so that memory and faults are its alone. Every
/// answer is compared with what it must be.
class Workloads {
 public:
  using Emit = std::function<void(const Row&)>;

  /// `directory` is empty, and this run's.
  Workloads(const Plan& plan, std::string name, Peer& peer, std::size_t ids, std::filesystem::path directory,
            Emit emit);

  void run();

 private:
  std::chrono::nanoseconds limit() const { return plan_.row_limit; }
  std::size_t queries() const { return std::min(plan_.queries, ids_.size()); }
  std::unique_ptr<Session> open_session() { return peer_.session(Sync::background); }

  void measure_machine();
  void load();
  void note_curve(std::size_t step, const Meter& before, const Meter& now);
  void check(Session& session);
  void check_singles(Session& session, std::string_view work, const Ids& ids, bool known);
  void check_batches(Session& session, std::string_view work, const Ids& ids, bool known);
  void emit_checks(std::string_view work, const Meter& meter, bool known);
  void consume(Session& session);
  void measure_sizes();
  void mark_by_threads();
  void mark_by_processes();
  void mark_durably(unsigned callers);
  void expire();
  void note_expiry(std::span<const std::string_view> oldest, double seconds);
  void crash();
  void reboot();
  std::size_t mark_and_die();
  Row timed_open();

  void emit(std::string_view work, Row row);
  void emit_note(std::string_view work, const std::string& note);

  const Plan& plan_;
  std::string name_;
  Peer& peer_;
  std::filesystem::path directory_;
  Emit emit_;
  Ids ids_;
  std::uint64_t memory_before_ = 0;
  std::size_t loaded_ = 0;  // The first ones of ids_ are marked.
  std::size_t others_ = 0;  // And these many others.
};

}  // namespace oncelog::bench
