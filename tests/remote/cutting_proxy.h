#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace oncelog::testing {

/// Stands between clients and a server, both on Unix sockets, and passes on what they send. When told to, it cuts all
/// connections once so many more bytes have passed in one direction: none of what comes after that byte arrives, on
/// either side. New connections are passed on again, so a client may ask once more. It may also lead to another server
/// from some moment on, as an address does after a failover, be slow, or pass on nothing for a while. A thread of its
/// own; any thread.
class CuttingProxy {
 public:
  enum class Direction { to_server, to_client };

  /// Listens at `listen`, which must not exist, and connects to `target` for each client.
  CuttingProxy(const std::filesystem::path& listen, std::filesystem::path target);
  CuttingProxy(const CuttingProxy&) = delete;
  CuttingProxy& operator=(const CuttingProxy&) = delete;
  ~CuttingProxy();

  /// From now on, once. Takes the place of what was ordered before.
  void cut_after(Direction direction, std::uint64_t bytes);
  /// Cuts no more, and returns whether it has since cut_after().
  bool take_cut();
  /// Leads new connections to another server. Those that there are stay.
  void lead_to(std::filesystem::path target);
  /// While it holds, connections are made, and nothing passes.
  void hold(bool holds);
  /// Whatever passes is kept for so long before.
  void delay(std::chrono::milliseconds by);

 private:
  struct Pair {
    int client;
    int server;
  };

  void run();
  void take_client();
  /// Passes on what one side has sent. Returns false when the pair has ended.
  bool pass(const Pair& pair, Direction direction);
  void end_all();

  int listener_ = -1;
  int wake_ = -1;            // An eventfd.
  std::vector<Pair> pairs_;  // Of the thread.

  std::mutex mutex_;
  std::filesystem::path target_;
  bool ending_ = false;
  bool cuts_ = false;
  bool cut_ = false;
  bool holds_ = false;
  std::chrono::milliseconds delay_{0};
  Direction direction_ = Direction::to_server;
  std::uint64_t left_ = 0;

  std::thread thread_;  // Last: it uses all of the above.
};

}  // namespace oncelog::testing
