#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace oncelog::bench {

/// When a mark may return.
enum class Sync {
  background,  // When it survives the death of this process; the disk has it a little later.
  each,        // When it survives a power failure.
};

/// One caller's connection to a peer: used by one thread at a time, and destroyed before the peer is closed. Whatever
/// fails is an exception. A batch holds each id once.
class Session {
 public:
  virtual ~Session() = default;

  /// Whether the id is marked.
  virtual bool check(std::string_view id) = 0;
  /// How many of the ids are marked.
  virtual std::size_t check(std::span<const std::string_view> ids) = 0;

  /// Marks the id unless it is marked, atomically over all sessions. Returns whether it was fresh.
  virtual bool mark(std::string_view id) = 0;
  /// mark() for many; returns how many were fresh.
  virtual std::size_t mark(std::span<const std::string_view> ids) = 0;

  /// Makes marked ids fresh again.
  virtual void remove(std::span<const std::string_view> ids) = 0;
};

/// A store of processed ids to compare with. Everything it keeps is in the directory that it is opened in. How one is
/// configured, and which page of its own documentation advises so, is said at the beginning of its file.
class Peer {
 public:
  virtual ~Peer() = default;

  virtual std::string version() const = 0;
  /// What a batch has of it at most.
  virtual std::size_t batch() const { return 256; }

  virtual bool can_sync_each() const { return true; }
  /// Whether several processes may have it open.
  virtual bool shared() const { return true; }
  /// Whether anything is left after close().
  virtual bool lasting() const { return true; }
  /// Whether its work is done by a process of its own, so that killing a caller does not harm it.
  virtual bool served() const { return false; }

  /// Whether a mark that has returned survives kill -9, of the server's processes as well.
  virtual bool survives_kill() const { return true; }

  /// Opens what the directory holds, or makes it, with room for about `ids`. Starts the server, where there is one.
  virtual void open(const std::filesystem::path& directory, std::size_t ids) = 0;
  /// Opens what another process has open. A server is left as it is.
  virtual void attach(const std::filesystem::path& directory, std::size_t ids) { open(directory, ids); }
  virtual std::unique_ptr<Session> session(Sync sync) = 0;
  /// Closes it, and ends the server in the ordinary way.
  virtual void close() = 0;
  /// Kills the server. For what has none, nothing.
  virtual void kill() {}
  /// Has the next open() believe that the machine was started again. To be called when closed.
  virtual void reboot() {}

  /// Lets a share of the retention pass, for a store that goes by time.
  virtual void pass_time(double share) { static_cast<void>(share); }
  /// Gives the space of the oldest ids back, which are `oldest` and about a tenth of all: by time, where the store
  /// keeps that; otherwise by name, as if a list of them was at hand.
  virtual void expire(std::span<const std::string_view> oldest);

  /// Memory that it holds now, without what the kernel may drop: of this process, of its server, shared.
  virtual std::uint64_t memory_bytes() const;
};

/// A peer that this program was built with.
struct PeerKind {
  std::string name;
  bool by_default;
  std::function<std::unique_ptr<Peer>()> make;
};

/// All of them, oncelog first; and what was left out because a library or a server is missing, in sentences.
const std::vector<PeerKind>& peer_kinds();
const std::vector<std::string>& missing_peers();

/// One factory for each file.
std::unique_ptr<Peer> make_oncelog(bool planned);
std::unique_ptr<Peer> make_unordered_set();
std::unique_ptr<Peer> make_lmdb();
std::unique_ptr<Peer> make_rocksdb();
std::unique_ptr<Peer> make_leveldb();
std::unique_ptr<Peer> make_sqlite();
std::unique_ptr<Peer> make_redis(Sync sync);
std::unique_ptr<Peer> make_postgresql();

/// Whether the server's program is on this machine.
bool have_redis_server();
bool have_postgresql_server();

}  // namespace oncelog::bench
