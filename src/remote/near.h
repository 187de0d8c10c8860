#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "remote/forwarding.h"
#include "remote/lost_attempts.h"
#include "remote/near_pulse.h"
#include "remote/near_store.h"

namespace oncelog::internal::remote {

/// What a near tier is made with. See remote::Options.
struct NearSettings {
  std::filesystem::path directory;
  std::chrono::milliseconds staleness{60'000};
  std::chrono::milliseconds timeout{5000};  // How long a caller whose answer was lost may go on to ask again.
  NearHook on_event = {};
};

/// The near tier: remembers in a local store what the server has answered as a duplicate or conflict, and what was
/// marked or completed by way of it, and answers that itself from then on, with the server's record. Everything else is
/// the server's to decide. An entry answers only while all of this holds; otherwise the server is asked, and the entry
/// replaced:
///
/// - The server's retention of the record is not over by the latest that its clock can show. That clock is measured
///   with each Pulse, against the boot clock of this host. A server whose clock is set forward is believed with the
///   next one.
/// - Nothing of the scope was forgotten since the entry was learned: the generation of the last Pulse is the one that
///   was known before the server was asked. No Pulse is older than `staleness` when an entry answers, so that is how
///   long an id that another host has forgotten may be a duplicate here. After forget() on this object the next answer
///   waits for a new Pulse.
/// - It says all that is wanted: with Ack::disk, that the record is on the server's disk.
/// - The caller does not ask again after a lost answer: what the server has on the id may be the caller's own.
///
/// So no order of writes among threads and processes that share the directory matters, nor does what a crash leaves.
///
/// An import is the server's alone: it makes no entry wrong, and what it marks is learned when it is asked for.
///
/// Costs of an id that is answered here: a look-up in the local store. Of one that is not: that, and a mark there
/// afterwards. Once in `staleness`, while there are duplicates, one call waits for a Pulse.
///
/// Thread safety: all of it.
class Near final : public Forwarding {
 public:
  /// `host` outlives it. Trouble with the directory is reported to on_event, and the tier is left out then.
  Near(std::shared_ptr<Backend> next, const NearSettings& settings, const Host& host = Host::system());
  ~Near() override;

  void find(std::string_view scope, std::span<const std::string_view> ids, bool whole,
            std::span<std::optional<Record>> out) override;
  void mark(std::string_view scope, std::span<const Ask> asked, Ack ack, const Attempt& attempt,
            std::span<Answer> out) override;
  void claim(std::string_view scope, std::span<const Ask> asked, const Terms& terms, const Attempt& attempt,
             std::span<Answer> out) override;
  void complete(std::string_view scope, std::span<const Held> held, Ack ack, const Attempt& attempt,
                std::span<Stamp> out) override;
  bool forget(std::string_view scope, std::string_view id, Ack ack, const Attempt& attempt) override;

 private:
  static constexpr std::size_t kChains = 64;
  struct Place;
  class Judge;

  std::atomic<Place*>& chain_of(std::string_view scope) {
    return chains_[std::hash<std::string_view>{}(scope) % kChains];
  }
  static Place* find_place(std::string_view scope, const std::atomic<Place*>& chain);
  Place* place_of(std::string_view scope);
  Place* add_place(std::string_view scope, std::atomic<Place*>& chain);
  void drop(std::string_view scope, std::string_view id);

  Sighting look_at_server(Place& place, std::int64_t too_old_us);
  std::uint64_t generation_before_asking(Place& place);

  template <typename Send>
  void decide(std::string_view scope, std::span<const Ask> asked, std::uint64_t flags, const Attempt& attempt,
              std::span<Answer> out, Send send);
  template <typename Send>
  void decide_at(Place& place, std::span<const Ask> asked, bool again, std::uint64_t flags, std::span<Answer> out,
                 Send send);
  template <typename Send>
  void ask_for_rest(Place& place, std::span<const Ask> asked, std::span<const std::size_t> rest, std::uint64_t flags,
                    std::span<Answer> out, Send send);
  void keep(const Place& place, std::vector<ToRemember>& learned);
  bool asks_again(std::span<const Ask> asked, const Attempt& attempt) const;
  void note_lost(std::span<const Ask> asked, const Attempt& attempt);
  void note_answered(std::span<const Ask> asked, const Attempt& attempt);

  const std::chrono::microseconds retention_;
  const std::chrono::microseconds staleness_;
  NearStore store_;
  LostAttempts lost_;

  /// The scopes that were used, by their names' hashes. They stay until the end.
  std::array<std::atomic<Place*>, kChains> chains_{};
  std::mutex adding_;
  std::vector<std::unique_ptr<Place>> places_;  // Under `adding_`.
};

}  // namespace oncelog::internal::remote
