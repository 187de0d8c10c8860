#pragma once

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include <oncelog/oncelog.h>

#include "api/store_access.h"
#include "base/host.h"
#include "fuzz.h"

namespace oncelog::fuzzing {

/// A machine in one boot, whose clocks stand still: the retention of nothing ends.
class StillHost final : public internal::Host {
 public:
  internal::Uuid boot_id() const override {
    internal::Uuid id{};
    id.fill(7);
    return id;
  }
  std::int64_t wall_us() const override { return 1'800'000'000'000'000; }
  std::int64_t boot_us() const override { return 1'000'000'000; }
};

/// A small store that nobody has open, in a folder of its own, and what is in its files; a target damages them, looks
/// at the store, and puts them back.
class SampleStore {
 public:
  using Files = std::map<std::string, std::vector<std::byte>>;

  static constexpr unsigned kIds = 40;

  SampleStore() {
    std::string pattern = (std::filesystem::temp_directory_path() / "oncelog-fuzz-XXXXXX").string();
    require(::mkdtemp(pattern.data()) != nullptr, "a folder can be made");
    parent_ = pattern;
    dir_ = parent_ / "store";
    {
      const Store store = open();
      const Scope orders = store.scope("orders");
      const Scope mails = store.scope("mails");
      const std::string result(5'000, 'r');
      for (unsigned i = 0; i < kIds; ++i) {
        orders.mark(id(i));
        if (i % 8 == 0) {
          mails.mark(id(i), {.correlation = "chain", .result = result, .source = {"queue", 1, i}});
          store.sync();
        }
      }
      orders.forget("of nobody");
      store.transact([&](Transaction& tx) {
        tx.mark(orders, "in a transaction");
        tx.put("effects", "small", "value");
        tx.put("effects", "large", std::string(20'000, 'e'));
      });
      store.sync();
    }
    for (const auto& entry : std::filesystem::directory_iterator(dir_)) {
      std::ifstream file(entry.path(), std::ios::binary);
      const std::string text{std::istreambuf_iterator<char>(file), {}};
      const auto bytes = std::as_bytes(std::span(text));
      files_[entry.path().filename().string()].assign(bytes.begin(), bytes.end());
    }
  }
  SampleStore(const SampleStore&) = delete;
  SampleStore& operator=(const SampleStore&) = delete;
  ~SampleStore() {
    std::error_code failed;
    std::filesystem::remove_all(parent_, failed);
  }

  static std::string id(unsigned number) { return "message-" + std::to_string(number); }
  static bool is_known(std::string_view name) {
    if (name == "in a transaction" || name == "of nobody") return true;
    for (unsigned i = 0; i < kIds; ++i) {
      if (name == id(i)) return true;
    }
    return false;
  }

  static Options options() {
    return {.retention = std::chrono::hours{1},
            .buckets = 2,
            .expected_ids = 1,
            .flush_interval = std::chrono::hours{1},
            .ring_bytes = std::uint64_t{64} << 10,
            .max_claims = 16,
            .map_bytes = std::uint64_t{64} << 20,
            .max_readers = 16};
  }

  const std::filesystem::path& dir() const { return dir_; }
  const std::filesystem::path& parent() const { return parent_; }
  const Files& files() const { return files_; }
  Store open() const { return StoreAccess::open(dir_, options(), host_); }

  /// Puts these files into the folder, each into the file of that name where there is one: the store's shared memory
  /// belongs to this very data.mdb. Others are deleted.
  void put(const Files& files) const {
    std::vector<std::filesystem::path> others;
    for (const auto& entry : std::filesystem::directory_iterator(dir_)) {
      if (!files.contains(entry.path().filename().string())) others.push_back(entry.path());
    }
    for (const auto& path : others) std::filesystem::remove(path);
    for (const auto& [name, bytes] : files) {
      std::ofstream file(dir_ / name, std::ios::binary | std::ios::trunc);
      file.write(reinterpret_cast<const char*>(bytes.data()), std::ssize(bytes));
      require(static_cast<bool>(file.flush()), "a file can be written");
    }
  }

 private:
  std::filesystem::path parent_;
  std::filesystem::path dir_;
  StillHost host_;
  Files files_;
};

/// Runs a call that may be refused: with an Error that says why, and nothing else. Returns whether it was not.
template <typename Call>
bool allowed(const Call& call) {
  try {
    call();
    return true;
  } catch (const Error& error) {
    require(!std::string_view(error.what()).empty(), "an error has a sentence");
    return false;
  }
}

/// Asks a store whose files were damaged everything. It may refuse; what it says must not come from the damage.
inline void ask_everything(const Store& store) {
  allowed([&] {
    const Scope orders = store.scope("orders");
    for (unsigned i = 0; i < SampleStore::kIds; ++i) {
      allowed([&] {
        const auto record = orders.find(SampleStore::id(i));
        require(!record || record->id == SampleStore::id(i), "a found record is the one that was asked for");
      });
    }
    allowed([&] { require(!orders.contains("marked by nobody"), "an id that nobody marked is not known"); });
    allowed([&] { store.scope("mails").mark(SampleStore::id(0)); });
    allowed([&] {
      const Marked first = orders.mark("marked now");
      if (first == Verdict::fresh) {
        require(orders.mark("marked now") == Verdict::duplicate, "what was marked now is a duplicate");
        require(orders.contains("marked now"), "what was marked now is known");
      }
    });
    allowed([&] { orders.begin("claimed now", std::chrono::hours{1}).complete(); });
    allowed([&] { orders.forget(SampleStore::id(1), Ack::host); });
  });
  allowed([&] {
    store.scan({}, [&](const Record& record) {
      require(SampleStore::is_known(record.id) || record.id == "marked now" || record.id == "claimed now",
              "a scan shows what was marked");
      return true;
    });
  });
  allowed([&] { store.correlated("chain"); });
  allowed([&] { store.get("effects", "large"); });
  allowed([&] { store.scan_table("effects", "", [](std::string_view, std::string_view) { return true; }); });
  allowed([&] {
    store.transact([&](Transaction& tx) {
      tx.mark(store.scope("orders"), "marked in a transaction now");
      throw Error(ErrorCode::invalid_argument, "no");
    });
  });
  allowed([&] { store.claims(); });
  allowed([&] { store.scopes(); });
  allowed([&] { store.known_since(); });
  allowed([&] { store.metrics(); });
  allowed([&] { store.sync(); });
  allowed([&] { store.expire(); });
}

}  // namespace oncelog::fuzzing
