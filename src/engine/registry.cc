#include "engine/registry.h"

#include <pthread.h>
#include <sys/stat.h>

#include <condition_variable>
#include <map>
#include <mutex>
#include <utility>

#include "base/error.h"
#include "base/fork_generation.h"
#include "base/shared_memory.h"
#include "engine/local_engine.h"
#include "shared/argument_checks.h"
#include "shared/directory.h"

namespace oncelog::internal {
namespace {

/// The mutex is held for moments, never while a store is opened or closed: neither fork() nor the opening of one
/// directory waits for that of another.
struct Registry {
  using Key = std::pair<dev_t, ino_t>;

  /// Of one process. A child of fork() makes one of its own: the parent's engines are not its own, and the parent's
  /// threads may be waiting for that condition.
  struct Process {
    std::uint64_t generation = 0;
    /// An entry without an engine: a thread is opening or closing it, and others wait until it has.
    std::map<Key, std::weak_ptr<LocalEngine>> engines;
    std::condition_variable changed;
    /// The parent's. Never touched; kept so that a leak checker finds it.
    Process* inherited = nullptr;
  };

  std::mutex mutex;
  Process* process = new Process;  // Never destroyed.

  Process& mine() {
    if (process->generation != fork_generation()) {
      process = new Process{.generation = fork_generation(), .engines = {}, .changed = {}, .inherited = process};
    }
    return *process;
  }
};

/// Never destroyed: engines may outlive static objects.
Registry& registry() {
  static auto* const instance = [] {
    auto* created = new Registry;
    // The mutex is held over a fork, so that the child finds the map whole.
    pthread_atfork([] { registry().mutex.lock(); }, [] { registry().mutex.unlock(); },
                   [] { registry().mutex.unlock(); });
    return created;
  }();
  return *instance;
}

void remove_entry(Registry::Key key) {
  Registry& all = registry();
  const std::lock_guard guard(all.mutex);
  all.mine().engines.erase(key);
  all.mine().changed.notify_all();
}

/// The entry of an engine that is being opened; removes it unless that is done.
class Reservation {
 public:
  explicit Reservation(Registry::Key key) : key_(key) {}
  Reservation(const Reservation&) = delete;
  Reservation& operator=(const Reservation&) = delete;
  ~Reservation() {
    if (!done_) remove_entry(key_);
  }

  void fill(const std::shared_ptr<LocalEngine>& engine) {
    Registry& all = registry();
    const std::lock_guard guard(all.mutex);
    all.mine().engines[key_] = engine;
    all.mine().changed.notify_all();
    done_ = true;
  }

 private:
  Registry::Key key_;
  bool done_ = false;
};

/// The engine of that directory. Null when there is none: then the entry is reserved for the caller.
std::shared_ptr<LocalEngine> engine_or_reservation(Registry::Key key) {
  Registry& all = registry();
  std::unique_lock lock(all.mutex);
  for (;;) {
    Registry::Process& mine = all.mine();
    const auto [at, reserved] = mine.engines.try_emplace(key);
    if (reserved) return nullptr;
    if (auto engine = at->second.lock()) return engine;
    mine.changed.wait(lock);
  }
}

void close_engine(Registry::Key key, LocalEngine* engine) {
  if (engine->store().forked()) return;  // All of it is the parent's; leaked here.
  const std::shared_ptr<EventDispatch> events = engine->store().event_dispatch();
  delete engine;
  remove_entry(key);
  if (events) events->close();  // Its hook may be opening the store again.
}

Registry::Key key_of(const std::filesystem::path& directory) {
  struct stat status {};
  if (::stat(directory.c_str(), &status) != 0) throw system_error(errno, "stat", directory);
  return {status.st_dev, status.st_ino};
}

}  // namespace

std::shared_ptr<LocalEngine> open_engine(const std::filesystem::path& directory, const Options& options,
                                         const Host& host) {
  std::error_code failed;
  if (!std::filesystem::is_directory(directory, failed)) {
    check_option_ranges(options);
    check_directory(directory, options);  // Makes it.
  }
  const Registry::Key key = key_of(directory);
  if (auto engine = engine_or_reservation(key)) {
    check_option_ranges(options);
    engine->store().check_options(options);
    engine->store().change_settings(options);
    return engine;
  }
  // Closed after the reservation ends, if the store does not open: the hook may be opening it again.
  std::shared_ptr<EventDispatch> events;
  Reservation reservation(key);
  if (options.on_event && !options.read_only) events = std::make_shared<EventDispatch>(options.on_event);
  std::shared_ptr<LocalEngine> engine(new LocalEngine(directory, options, host, events),
                                      [key](LocalEngine* last) { close_engine(key, last); });
  reservation.fill(engine);
  return engine;
}

std::shared_ptr<LocalEngine> engine_of(const std::filesystem::path& directory) {
  const Registry::Key key = key_of(directory);
  Registry& all = registry();
  // Before the lock, and so released after it: the last handle of an engine must not be destroyed under the mutex.
  std::shared_ptr<LocalEngine> engine;
  const std::lock_guard lock(all.mutex);
  const auto at = all.mine().engines.find(key);
  if (at != all.mine().engines.end()) engine = at->second.lock();
  return engine;
}

}  // namespace oncelog::internal
