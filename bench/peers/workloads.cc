#include "workloads.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <latch>
#include <sstream>
#include <stdexcept>

#include "child.h"
#include "draw.h"
#include "files.h"
#include "machine.h"
#include "process.h"
#include "share.h"

namespace oncelog::bench {
namespace {

constexpr std::size_t kSteps = 20;          // Points of the curve.
constexpr std::size_t kTimePasses = 64;     // How often time passes in a step, in a large store.
constexpr std::size_t kIdsAPass = 3'000;    // And at most after these many ids.
constexpr std::size_t kSinglesEach = 5;     // One of so many ids of the load is marked by itself.
constexpr double kLoadTime = 0.99;          // The share of the retention that the load takes.
constexpr std::size_t kRecent = 100'000;    // Of these the newest duplicates are.
constexpr std::size_t kDuplicateEach = 20;  // A consumer's: 5%.
constexpr std::size_t kMostExpired = 1'000'000;
constexpr std::size_t kMostCrashed = 100'000;
constexpr std::size_t kSpotChecks = 1'000;
constexpr std::size_t kLeastMarks = 20'000;  // While a tenth expires, and after that.
constexpr std::size_t kLook = 256;           // Marks between two looks whether it has.

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

std::uint64_t difference(std::uint64_t a, std::uint64_t b) {
  return a > b ? a - b : b - a;
}

std::uint64_t number_of(Numbers numbers, std::uint64_t group = 0) {
  return static_cast<std::uint64_t>(numbers) + (group << 32);
}

}  // namespace

Workloads::Workloads(const Plan& plan, std::string name, Peer& peer, std::size_t ids, std::filesystem::path directory,
                     Emit emit)
    : plan_(plan),
      name_(std::move(name)),
      peer_(peer),
      directory_(std::move(directory)),
      emit_(std::move(emit)),
      ids_(number_of(Numbers::load), ids) {}

void Workloads::run() {
  memory_before_ = peer_.served() ? 0 : memory_of_self();
  peer_.open(directory_, ids_.size());
  load();
  {
    const auto session = open_session();
    check(*session);
    measure_sizes();
    consume(*session);
    measure_machine();
  }
  mark_by_threads();
  mark_by_processes();
  for (const unsigned callers : {1U, 4U, 16U, 64U}) mark_durably(callers);
  expire();
  crash();
  reboot();
}

void Workloads::emit(std::string_view work, Row row) {
  row.peer = name_;
  row.work = work;
  row.ids = ids_.size();
  row.held = loaded_ + others_;
  emit_(row);
}

void Workloads::emit_note(std::string_view work, const std::string& note) {
  Row row;
  row.note = note;
  emit(work, row);
}

/// In the middle of a run.
void Workloads::measure_machine() {
  Row row;
  row.operations = 1;
  row.value = random_read_ns();
  emit("machine", row);
}

/// Loads the store in steps, a fifth of the ids one by one, the others in batches, so that both are measured at every
/// size up to that of the store.
void Workloads::load() {
  const auto session = open_session();
  Meter singles(std::chrono::nanoseconds{0});
  Meter batches(plan_.load_limit);
  const std::size_t passes = std::clamp<std::size_t>(ids_.size() / kSteps / kIdsAPass, 1, kTimePasses);
  for (std::size_t step = 0; step < kSteps && !batches.over(); ++step) {
    const Meter before = singles;
    singles.allow(2 * limit() / kSteps);  // A slow peer is measured at all sizes as well.
    for (std::size_t pass = 0; pass < passes; ++pass) {
      const std::size_t part = step * passes + pass;
      const std::size_t end = ids_.size() * (part + 1) / (kSteps * passes);
      const std::size_t begin = loaded_;
      loaded_ +=
          singles.singles((end - begin) / kSinglesEach, [&](std::size_t i) { return session->mark(ids_[begin + i]); });
      loaded_ += batches.batches(ids_, loaded_, end, peer_.batch(), [&](auto some) { return session->mark(some); });
      peer_.pass_time(kLoadTime / static_cast<double>(kSteps * passes));
      if (batches.over()) break;
    }
    note_curve(step, before, singles);
  }
  for (const auto& [work, meter] : {std::pair{"mark", &singles}, {"mark_batches", &batches}}) {
    Row row = meter->row();
    row.fresh = meter->yes();
    row.duplicate = row.wrong = meter->operations() - meter->yes();
    if (loaded_ < ids_.size()) row.note = fmt::format("the store holds {} ids, as its load took too long", loaded_);
    emit(work, row);
  }
}

void Workloads::note_curve(std::size_t step, const Meter& before, const Meter& now) {
  Row row;
  row.operations = now.operations() - before.operations();
  row.value = now.ns_since(before);
  if (row.operations == 0 || row.value == 0) return;
  row.note = fmt::format("step {}", step);
  emit(kCurve, row);
}

void Workloads::check(Session& session) {
  {
    const Ids fresh(number_of(Numbers::fresh), queries());
    check_singles(session, "check_fresh", fresh, false);
    check_batches(session, "check_fresh_batches", fresh, false);
  }
  {
    const Ids known = ids_.at(draw_evenly(loaded_, queries()));
    check_singles(session, "check_known", known, true);
    check_batches(session, "check_known_batches", known, true);
  }
  check_singles(session, "check_zipf", ids_.at(draw_by_age(loaded_, queries())), true);
  check_singles(session, "check_recent", ids_.at(draw_recent(loaded_, queries(), kRecent)), true);
}

void Workloads::check_singles(Session& session, std::string_view work, const Ids& ids, bool known) {
  Meter meter(limit());
  meter.singles(ids.size(), [&](std::size_t i) { return session.check(ids[i]); });
  emit_checks(work, meter, known);
}

void Workloads::check_batches(Session& session, std::string_view work, const Ids& ids, bool known) {
  Meter meter(limit());
  meter.batches(ids, 0, ids.size(), peer_.batch(), [&](auto some) { return session.check(some); });
  emit_checks(work, meter, known);
}

void Workloads::emit_checks(std::string_view work, const Meter& meter, bool known) {
  Row row = meter.row();
  row.duplicate = meter.yes();
  row.fresh = meter.operations() - meter.yes();
  row.wrong = known ? row.fresh : row.duplicate;
  emit(work, row);
}

/// Marks what a consumer gets: new ids, and every twentieth is one that was marked before.
void Workloads::consume(Session& session) {
  const std::size_t count = queries();
  const Ids fresh(number_of(Numbers::consumer), count);
  const Ids known = ids_.at(draw_by_age(loaded_, count / kDuplicateEach + 1));
  Meter meter(limit());
  const std::size_t done = meter.singles(count, [&](std::size_t i) {
    return session.mark(i % kDuplicateEach == 0 ? known[i / kDuplicateEach] : fresh[i]);
  });
  const std::size_t duplicates = (done + kDuplicateEach - 1) / kDuplicateEach;
  Row row = meter.row();
  row.fresh = meter.yes();
  row.duplicate = done - meter.yes();
  row.wrong = difference(row.duplicate, duplicates);
  others_ += meter.yes();
  emit("consumer", row);
}

void Workloads::measure_sizes() {
  const std::uint64_t memory = peer_.memory_bytes();
  for (const auto& [work, bytes] :
       {std::pair{"disk", disk_bytes(directory_)}, {"memory", memory - std::min(memory, memory_before_)}}) {
    Row row;
    row.operations = loaded_ + others_;
    row.value = static_cast<double>(bytes) / static_cast<double>(row.operations);
    if (bytes == 0) row.note = "none";
    emit(work, row);
  }
}

namespace {

/// The row of two workers; a mark's cost is the time of the slower one for the marks of both.
Row row_of_two(const WorkShare::Done& one, const WorkShare::Done& other, std::size_t meant) {
  Row row;
  row.operations = one.operations + other.operations;
  row.value = std::max(one.seconds, other.seconds) * 1e9 / static_cast<double>(row.operations);
  row.fresh = one.fresh + other.fresh;
  row.duplicate = row.operations - row.fresh;
  row.wrong = difference(row.fresh, WorkShare::expected_fresh(one, other));
  row.limited = row.operations < 2 * meant;
  return row;
}

}  // namespace

void Workloads::mark_by_threads() {
  const std::size_t count = queries() / 2;
  std::latch ready(2);
  const std::unique_ptr<Session> sessions[2] = {open_session(), open_session()};
  const auto work = [&](unsigned who) {
    const WorkShare share(Numbers::threads, who, count);
    ready.arrive_and_wait();
    return share.run(*sessions[who], limit());
  };
  auto other = std::async(std::launch::async, work, 1U);
  const WorkShare::Done one = work(0);
  const Row row = row_of_two(one, other.get(), count);
  others_ += row.fresh;
  emit("threads", row);
}

void Workloads::mark_by_processes() {
  if (!peer_.shared()) return emit_note("processes", "one process only");
  const std::size_t count = queries() / 2;
  const std::vector<std::string> arguments{"--worker=" + name_, fmt::format("--ids={}", ids_.size()),
                                           "--directory=" + directory_.string()};
  Child first(arguments);
  Child second(arguments);
  Child* const workers[] = {&first, &second};
  for (unsigned who = 0; who < 2; ++who) {
    workers[who]->write_line(fmt::format("share {} {} {}", who, count, plan_.row_limit.count()));
    if (workers[who]->read_line() != "ready") throw std::runtime_error("a worker has failed");
  }
  for (Child* const worker : workers) worker->write_line("go");
  WorkShare::Done done[2];
  for (unsigned who = 0; who < 2; ++who) {
    std::istringstream answer(workers[who]->read_line().value_or(""));
    if (!(answer >> done[who].operations >> done[who].fresh >> done[who].seconds) || workers[who]->wait() != 0) {
      throw std::runtime_error("a worker has failed");
    }
  }
  const Row row = row_of_two(done[0], done[1], count);
  others_ += row.fresh;
  emit("processes", row);
}

void Workloads::mark_durably(unsigned callers) {
  const std::string work = fmt::format("durable_{}", callers);
  if (!peer_.can_sync_each()) return emit_note(work, "no such mark");
  const std::size_t each = std::max<std::size_t>(1, std::min(plan_.durable, queries()) / callers);
  const Ids ids(number_of(Numbers::durable, callers), each * callers);
  struct Done {
    std::size_t operations = 0;
    std::size_t fresh = 0;
    Latencies latencies;
  };
  std::latch ready(callers + 1);
  std::vector<std::unique_ptr<Session>> sessions;
  for (unsigned caller = 0; caller < callers; ++caller) sessions.push_back(peer_.session(Sync::each));
  const auto call = [&](unsigned caller) {
    Done done;
    ready.arrive_and_wait();
    Clock::time_point last = Clock::now();
    const Clock::time_point end = last + limit();
    for (; done.operations < each && last < end; ++done.operations) {
      done.fresh += sessions[caller]->mark(ids[caller * each + done.operations]);
      const Clock::time_point now = Clock::now();
      done.latencies.record(static_cast<std::uint64_t>((now - last).count()));
      last = now;
    }
    return done;
  };
  std::vector<std::future<Done>> running;
  for (unsigned caller = 0; caller < callers; ++caller) running.push_back(std::async(std::launch::async, call, caller));
  ready.arrive_and_wait();
  const Clock::time_point begin = Clock::now();
  Done all;
  for (std::future<Done>& one : running) {
    const Done done = one.get();
    all.operations += done.operations;
    all.fresh += done.fresh;
    all.latencies.add(done.latencies);
  }
  Row row;
  row.value = seconds_since(begin) * 1e9 / static_cast<double>(all.operations);
  row.operations = all.operations;
  row.fresh = all.fresh;
  row.duplicate = row.wrong = all.operations - all.fresh;
  row.limited = all.operations < each * callers;
  Meter::put_latencies(row, all.latencies);
  others_ += all.fresh;
  emit(work, row);
}

/// A tenth expires in a thread of its own while this one marks. Where that is quick, marks follow it, so that there are
/// enough to say something.
void Workloads::expire() {
  std::vector<std::string_view> oldest;
  for (std::size_t i = 0; i < std::min(loaded_ / 10, kMostExpired); ++i) oldest.push_back(ids_[i]);
  const Ids fresh(number_of(Numbers::expiry), queries());
  const auto session = open_session();
  std::atomic<bool> expired{false};
  auto expiry = std::async(std::launch::async, [&] {
    const Clock::time_point begin = Clock::now();
    peer_.expire(oldest);
    const double seconds = seconds_since(begin);
    expired.store(true, std::memory_order_relaxed);  // Only ends a loop; the future carries what was done.
    return seconds;
  });
  Meter meter(plan_.load_limit);
  const auto enough = [&](std::size_t marks) {
    return expired.load(std::memory_order_relaxed) && (marks >= kLeastMarks || meter.spent() >= limit());
  };
  std::size_t at = 0;
  do {
    const std::size_t first = at;
    const std::size_t some = std::min(kLook, fresh.size() - first);
    at += meter.singles(some, [&](std::size_t i) { return session->mark(fresh[first + i]); });
  } while (at < fresh.size() && !meter.over() && !enough(at));
  const double seconds = expiry.get();
  Row row = meter.row();
  row.fresh = meter.yes();
  row.duplicate = row.wrong = meter.operations() - meter.yes();
  others_ += row.fresh;
  emit("expiry_marks", row);
  note_expiry(oldest, seconds);
}

void Workloads::note_expiry(std::span<const std::string_view> oldest, double seconds) {
  const auto session = open_session();
  const std::size_t looks = std::min(kSpotChecks, oldest.size());
  Row row;
  row.operations = oldest.size();
  row.value = seconds * 1e9 / static_cast<double>(oldest.size());
  for (std::size_t i = 0; i < looks; ++i) {
    const bool old_known = session->check(oldest[i * (oldest.size() - 1) / looks]);
    const bool new_known = session->check(ids_[loaded_ - 1 - i * (loaded_ / 2) / looks]);
    row.duplicate += old_known + new_known;
    row.fresh += !old_known + !new_known;
    row.wrong += old_known + !new_known;
  }
  emit("expiry", row);
}

/// A process marks and is killed; what it had open is opened again.
void Workloads::crash() {
  if (!peer_.lasting()) return emit_note("open_crash", "nothing is left");
  if (!peer_.served()) peer_.close();
  const std::size_t marked = mark_and_die();
  if (peer_.served()) peer_.kill();
  Row row = timed_open();
  const auto session = open_session();
  const Ids ids(number_of(Numbers::crash), marked);
  std::size_t known = 0;
  for (std::size_t i = 0; i < marked; ++i) known += session->check(ids[i]);
  row.fresh += marked - known;
  row.duplicate += known;
  if (peer_.survives_kill()) row.wrong += marked - known;
  if (known < marked) row.note = fmt::format("{} of the last {} marks are lost", marked - known, marked);
  others_ += known;
  emit("open_crash", row);
}

std::size_t Workloads::mark_and_die() {
  Child worker({"--worker=" + name_, fmt::format("--ids={}", ids_.size()), "--directory=" + directory_.string()});
  worker.write_line(fmt::format("crash {} {}", std::min(queries(), kMostCrashed), plan_.row_limit.count()));
  std::size_t marked = 0;
  std::istringstream answer(worker.read_line().value_or(""));
  if (!(answer >> marked) || worker.wait() != 128 + 9) throw std::runtime_error("the worker did not die as it should");
  return marked;
}

/// Closed in the ordinary way, what the kernel has cached of its files is dropped, and it is opened again.
void Workloads::reboot() {
  if (!peer_.lasting()) return emit_note("open_reboot", "nothing is left");
  peer_.close();
  drop_cached(directory_);
  peer_.reboot();
  emit("open_reboot", timed_open());
  peer_.close();
}

/// Until the first two answers: an old id, and one that never was.
Row Workloads::timed_open() {
  const Ids never(number_of(Numbers::fresh), 1);
  Row row;
  row.operations = 1;
  const Clock::time_point begin = Clock::now();
  peer_.open(directory_, ids_.size());
  const auto session = open_session();
  const bool old_known = session->check(ids_[loaded_ / 2]);
  const bool never_known = session->check(never[0]);
  row.value = seconds_since(begin) * 1e3;
  row.duplicate = old_known;
  row.fresh = !never_known;
  row.wrong = !old_known + never_known;
  return row;
}

}  // namespace oncelog::bench
