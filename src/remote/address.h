#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace oncelog::internal::remote {

/// Where a store on Redis or Valkey is, and how to be let in: the parts of an address as remote::open takes it. A
/// value.
///
///     redis://user:password@host:port/database?prefix=oncelog
///     redis+unix://user:password@/run/redis.sock?prefix=oncelog&database=0
///     redis+cluster://user:password@host:port,host:port?prefix=oncelog
///
/// User, password, socket and query are percent-decoded. Everything but the host or the socket may be left out.
struct Address {
  enum class Kind : std::uint8_t { server, socket, cluster };
  struct Host {
    std::string name;  // An IPv6 address is without its brackets.
    std::uint16_t port = 0;

    friend bool operator==(const Host&, const Host&) = default;
  };

  Kind kind = Kind::server;
  std::vector<Host> hosts;  // Of a server one, of a cluster one at least.
  std::string socket;       // Its path.
  std::string user;         // Empty: the server's default one.
  std::string password;     // Empty: none.
  unsigned database = 0;
  std::string prefix = "oncelog";

  /// For sentences: without user and password.
  std::string name() const;
};

inline constexpr std::uint16_t kRedisPort = 6379;
inline constexpr std::size_t kMaxPrefixBytes = 64;
inline constexpr unsigned kMaxDatabase = 65'535;

/// Whether a text is meant as such an address.
bool is_redis_address(std::string_view text) noexcept;

/// Takes an address apart. Throws Error::invalid_argument; no sentence holds the password.
Address parse_redis_address(std::string_view text);

/// "host:port", as an address names it.
std::string to_string(const Address::Host& host);

}  // namespace oncelog::internal::remote
