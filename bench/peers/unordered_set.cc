/// std::unordered_set<std::string> behind a std::shared_mutex: the least that any process can do, and nothing is left
/// after a restart. Room is reserved for all ids, as the page on std::unordered_set::reserve advises where their number
/// is known, so that it never hashes all of them again while it is measured.
///
/// cppreference.com: container/unordered_set/reserve, thread/shared_mutex

#include <mutex>
#include <shared_mutex>
#include <string>
#include <unordered_set>

#include "peer.h"

namespace oncelog::bench {
namespace {

struct Shared {
  std::shared_mutex mutex;
  std::unordered_set<std::string> ids;
};

class SetSession final : public Session {
 public:
  explicit SetSession(Shared& shared) : shared_(shared) {}

  bool check(std::string_view id) override {
    const std::shared_lock lock(shared_.mutex);
    return shared_.ids.contains(std::string(id));
  }
  std::size_t check(std::span<const std::string_view> ids) override {
    const std::shared_lock lock(shared_.mutex);
    std::size_t known = 0;
    for (const std::string_view id : ids) known += shared_.ids.contains(std::string(id));
    return known;
  }
  bool mark(std::string_view id) override {
    const std::unique_lock lock(shared_.mutex);
    return shared_.ids.emplace(id).second;
  }
  std::size_t mark(std::span<const std::string_view> ids) override {
    const std::unique_lock lock(shared_.mutex);
    std::size_t fresh = 0;
    for (const std::string_view id : ids) fresh += shared_.ids.emplace(id).second;
    return fresh;
  }
  void remove(std::span<const std::string_view> ids) override {
    const std::unique_lock lock(shared_.mutex);
    for (const std::string_view id : ids) shared_.ids.erase(std::string(id));
  }

 private:
  Shared& shared_;
};

class UnorderedSet final : public Peer {
 public:
  std::string version() const override { return "of this compiler's library"; }
  bool can_sync_each() const override { return false; }
  bool shared() const override { return false; }
  bool lasting() const override { return false; }

  void open(const std::filesystem::path&, std::size_t ids) override {
    shared_ = std::make_unique<Shared>();
    shared_->ids.reserve(ids);
  }
  std::unique_ptr<Session> session(Sync) override { return std::make_unique<SetSession>(*shared_); }
  void close() override { shared_.reset(); }

 private:
  std::unique_ptr<Shared> shared_;
};

}  // namespace

std::unique_ptr<Peer> make_unordered_set() {
  return std::make_unique<UnorderedSet>();
}

}  // namespace oncelog::bench
