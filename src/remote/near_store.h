#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <oncelog/error.h>
#include <oncelog/record.h>
#include <oncelog/scope.h>

#include "base/host.h"
#include "engine/engine.h"
#include "remote/near_entry.h"

namespace oncelog::internal {

class LocalEngine;

namespace remote {

/// The near tier is left out, or is in use again.
struct NearEvent {
  bool in_use;
  std::string sentence;
};
/// Called on the thread that has noticed it, which holds no lock.
using NearHook = std::function<void(const NearEvent&)>;

/// What is remembered of one id.
struct Remembered {
  NearEntry entry;
  Record record;  // Without scope and id; its attributes only where the entry is whole.
};

/// What is to be remembered.
struct ToRemember {
  std::string_view id;
  NearEntry entry;
  Attributes attributes;
};

/// The local store of the near tier, in a directory that processes of a host may share: NearEntries by scope and id. It
/// may forget anything at any time, and it answers as if it did so while it cannot be read or written: its own trouble
/// is never its callers'. A full disk leaves it out for kPause at a time; anything else, damage above all, until the
/// shared store is opened again.
///
/// Costs: look() a look-up in the local store; keep() a mark there. Thread-safe.
class NearStore {
 public:
  static constexpr std::chrono::seconds kPause{1};

  /// Opens the store or makes it. A directory that holds anything else stays as it is, and is left out.
  NearStore(std::filesystem::path directory, std::chrono::microseconds retention, NearHook hook, const Host& host);
  ~NearStore();

  const Host& host() const { return host_; }

  /// False while it is left out.
  bool in_use() const {
    // Relaxed: a thread that misses a change meets the trouble itself.
    const std::int64_t paused_until_us = paused_until_us_.load(std::memory_order_relaxed);
    return paused_until_us == kNotPaused || (paused_until_us != kForGood && host_.boot_us() >= paused_until_us);
  }

  /// Its key of a scope; nothing while it is left out. The first use of a name ever is a commit.
  std::optional<ScopeKey> scope(std::string_view name);

  /// out[i] for ids[i]: nothing where nothing is known.
  void look(ScopeKey scope, std::span<const std::string_view> ids, std::span<std::optional<Remembered>> out);
  /// Replaces what was remembered of these ids.
  void keep(const ScopeRef& scope, std::span<const ToRemember> entries);
  void remove(ScopeKey scope, std::string_view id);

 private:
  enum class Use : std::uint8_t { read, write };
  static constexpr std::int64_t kNotPaused = 0;
  static constexpr std::int64_t kForGood = -1;

  template <typename Work>
  void use(Use how, Work work);
  void open(std::chrono::microseconds retention);
  void take_directory();
  void look_at_all(ScopeKey scope, std::span<const std::string_view> ids, std::span<std::optional<Remembered>> out);
  void keep_all(const ScopeRef& scope, std::span<const ToRemember> entries);
  void replace(const ScopeRef& scope, const ToRemember& wanted, const Attributes& packed);
  void leave_out(const Error& error);
  void take_back_into_use();
  void report(bool in_use, std::string sentence) const;

  const std::filesystem::path directory_;
  const NearHook hook_;
  const Host& host_;
  std::shared_ptr<LocalEngine> engine_;
  /// Boot clock: from then on it is tried again, and in use again with the first write that succeeds.
  std::atomic<std::int64_t> paused_until_us_{kNotPaused};
};

}  // namespace remote
}  // namespace oncelog::internal
