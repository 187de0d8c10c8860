#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "remote/address.h"
#include "remote/redis/reply.h"
#include "remote/redis/socket.h"

namespace oncelog::internal::remote {

/// Where one server is, and how to be let in.
struct Endpoint {
  Address::Host host;  // Without a name: the socket.
  std::string socket;
  std::string user;
  std::string password;
  unsigned database = 0;

  std::string name() const { return host.name.empty() ? socket : to_string(host); }
};

/// A connection to one server, let in, with the database selected. One thread. After ConnectionLost it is of no use;
/// any other Error leaves it as it was.
class Connection {
 public:
  /// Throws ConnectionLost, and Error::no_permission when it is not let in.
  Connection(const Endpoint& endpoint, Deadline deadline);

  /// Loads the scripts, which commands name by their place, and takes what INFO says.
  void prepare(Deadline deadline);

  /// Sends all, without waiting for answers. receive() takes as many.
  void send(std::span<const Command* const> commands, Deadline deadline);
  /// The next answer, an error from the server included.
  Reply receive(Deadline deadline);
  /// send() and receive() of one, whose error is thrown.
  Reply ask(const Command& command, Deadline deadline);

  /// Loads the scripts once more, after SCRIPT FLUSH.
  void load_scripts(Deadline deadline);

  bool is_stale() const { return socket_.is_stale(); }
  const std::string& name() const { return name_; }
  /// Changes with each start of a server. Empty before prepare().
  const std::string& run() const { return run_; }
  /// What INFO said in prepare().
  const std::string& info() const { return info_; }

 private:
  struct FreeReader {
    void operator()(redisReader* reader) const { redisReaderFree(reader); }
  };

  void log_in(const Endpoint& endpoint, Deadline deadline);
  void feed();

  std::string name_;
  Socket socket_;
  std::unique_ptr<redisReader, FreeReader> reader_;
  std::string received_;
  std::string run_;
  std::string info_;
  std::vector<std::string> digests_;
};

/// The value of a field of INFO's answer; empty when there is none.
std::string_view info_field(std::string_view info, std::string_view field);

}  // namespace oncelog::internal::remote
