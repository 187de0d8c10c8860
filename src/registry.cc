#include "registry.h"

#include <pthread.h>
#include <sys/stat.h>

#include <condition_variable>
#include <map>
#include <mutex>
#include <utility>

#include "engine.h"
#include "fork_generation.h"
#include "shared_memory.h"

namespace oncelog::internal {
namespace {

struct Registry {
  using Key = std::pair<dev_t, ino_t>;
  struct Entry {
    std::uint64_t generation = 0;
    std::weak_ptr<Engine> engine;
  };

  std::mutex mutex;
  std::condition_variable closed;
  std::map<Key, Entry> engines;
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

void close_engine(Registry::Key key, Engine* engine) {
  if (engine->forked()) return;  // All of it is the parent's; leaked here.
  delete engine;
  Registry& all = registry();
  const std::lock_guard guard(all.mutex);
  all.engines.erase(key);
  all.closed.notify_all();
}

Registry::Key key_of(const std::filesystem::path& directory) {
  struct stat status {};
  if (::stat(directory.c_str(), &status) != 0) throw system_error(errno, "stat", directory);
  return {status.st_dev, status.st_ino};
}

}  // namespace

std::shared_ptr<Engine> open_engine(const std::filesystem::path& directory, const Options& options, const Host& host) {
  Registry& all = registry();
  // Before the lock, and so gone after it: the last handle of an engine must not go under the registry's mutex.
  std::shared_ptr<Engine> engine;
  std::unique_lock lock(all.mutex);
  std::error_code failed;
  if (std::filesystem::is_directory(directory, failed)) {
    const Registry::Key key = key_of(directory);
    for (auto at = all.engines.find(key); at != all.engines.end(); at = all.engines.find(key)) {
      if (at->second.generation != fork_generation()) {
        all.engines.erase(at);
      } else if ((engine = at->second.engine.lock())) {
        engine->check_options(options);
        return engine;
      } else {
        all.closed.wait(lock);
      }
    }
  }
  auto opened = std::make_unique<Engine>(directory, options, host);  // Makes the directory.
  const Registry::Key key = key_of(directory);
  engine = std::shared_ptr<Engine>(opened.release(), [key](Engine* last) { close_engine(key, last); });
  all.engines[key] = {fork_generation(), engine};
  return engine;
}

std::shared_ptr<Engine> engine_of(const std::filesystem::path& directory) {
  Registry& all = registry();
  // Before the lock, and so released after it, as in open_engine.
  std::shared_ptr<Engine> engine;
  const std::lock_guard lock(all.mutex);
  const auto at = all.engines.find(key_of(directory));
  if (at != all.engines.end() && at->second.generation == fork_generation()) engine = at->second.engine.lock();
  return engine;
}

}  // namespace oncelog::internal
