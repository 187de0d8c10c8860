#include "remote/address.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/error.h"

namespace oncelog::internal::remote {
namespace {

constexpr std::string_view kServer = "redis://";
constexpr std::string_view kSocket = "redis+unix://";
constexpr std::string_view kCluster = "redis+cluster://";

/// What stands before a mark, which is taken off together with it; nothing where there is no such mark.
std::optional<std::string_view> take_until(std::string_view& text, std::size_t mark) {
  if (mark == std::string_view::npos) return std::nullopt;
  const std::string_view before = text.substr(0, mark);
  text.remove_prefix(mark + 1);
  return before;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/// `what` is for the sentence, which leaves out the text: it may be a password.
std::string decoded(std::string_view text, std::string_view what) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    const int high = i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
    if (high < 0 || low < 0) refuse(fmt::format("in the address, {} has a % without two hexadecimal digits", what));
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  if (out.find('\0') != std::string::npos) refuse(fmt::format("in the address, {} has a NUL byte", what));
  return out;
}

unsigned number(std::string_view text, std::string_view what, unsigned least, unsigned most) {
  unsigned value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || stop != end || text.empty() || value < least || value > most) {
    refuse(fmt::format("in the address, {} is not a number from {} to {}", what, least, most));
  }
  return value;
}

Address::Host host_of(std::string_view text) {
  Address::Host host{{}, kRedisPort};
  std::string_view port;
  bool has_port = false;
  if (text.starts_with('[')) {
    const std::size_t end = text.find(']');
    if (end == std::string_view::npos) refuse("in the address, an IPv6 host has no closing bracket");
    host.name = text.substr(1, end - 1);
    port = text.substr(end + 1);
    has_port = !port.empty();
    if (has_port && port.front() != ':') refuse("in the address, a host's bracket is followed by something else");
    if (has_port) port.remove_prefix(1);
  } else {
    const std::size_t colon = text.find(':');
    has_port = colon != std::string_view::npos;
    host.name = text.substr(0, colon);
    if (has_port) port = text.substr(colon + 1);
  }
  if (host.name.empty()) refuse("the address names no host; one is redis://host:6379");
  if (has_port) host.port = static_cast<std::uint16_t>(number(port, "a port", 1, 65'535));
  return host;
}

void take_query(std::string_view query, Address& address) {
  while (!query.empty()) {
    const std::size_t end = std::min(query.find('&'), query.size());
    std::string_view value = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    const std::string_view name = take_until(value, value.find('=')).value_or(std::string_view{});
    if (name == "prefix") {
      address.prefix = decoded(value, "the prefix");
    } else if (name == "database") {
      address.database = number(value, "the database", 0, kMaxDatabase);
    } else {
      refuse("the address has a parameter that is neither prefix=NAME nor database=NUMBER");
    }
  }
}

/// A prefix is part of every key, and of the patterns by which keys are searched.
void check_prefix(std::string_view prefix) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
           c == '.' || c == ':';
  };
  if (prefix.empty() || prefix.size() > kMaxPrefixBytes || !std::ranges::all_of(prefix, plain)) {
    refuse(fmt::format("in the address, the prefix is not 1 to {} of the characters A-Z a-z 0-9 _ - . :",
                       kMaxPrefixBytes));
  }
}

/// The rest of an address after its scheme, user and query.
void take_place(std::string_view text, Address& address) {
  if (address.kind == Address::Kind::socket) {
    address.socket = decoded(text, "the socket");
    if (!address.socket.starts_with('/')) refuse("the address names no socket; one is redis+unix:///run/redis.sock");
    return;
  }
  if (const std::size_t slash = text.find('/'); slash != std::string_view::npos) {
    const std::string_view database = text.substr(slash + 1);
    if (!database.empty()) address.database = number(database, "the database", 0, kMaxDatabase);
    text = text.substr(0, slash);
  }
  if (address.kind == Address::Kind::server) {
    address.hosts.push_back(host_of(text));
    return;
  }
  if (address.database != 0) refuse("a Redis Cluster has no database but 0");
  while (const auto one = take_until(text, text.find(','))) address.hosts.push_back(host_of(*one));
  address.hosts.push_back(host_of(text));
}

}  // namespace

bool is_redis_address(std::string_view text) noexcept {
  return text.starts_with(kServer) || text.starts_with(kSocket) || text.starts_with(kCluster);
}

Address parse_redis_address(std::string_view text) {
  Address address;
  if (text.starts_with(kServer)) {
    text.remove_prefix(kServer.size());
  } else if (text.starts_with(kSocket)) {
    address.kind = Address::Kind::socket;
    text.remove_prefix(kSocket.size());
  } else if (text.starts_with(kCluster)) {
    address.kind = Address::Kind::cluster;
    text.remove_prefix(kCluster.size());
  } else if (text.starts_with("rediss:") || text.starts_with("rediss+")) {
    refuse("TLS is not supported; a tunnel such as stunnel on this host may carry redis://localhost");
  } else {
    refuse("an address of Redis begins with redis://, redis+unix:// or redis+cluster://");
  }
  // The password may hold any character but those that end it: the last @ before the query.
  const std::size_t question = text.find('?');
  std::string_view place = text.substr(0, question);
  const std::size_t login_end = place.starts_with('/') ? std::string_view::npos : place.rfind('@');
  if (const auto login = take_until(place, login_end)) {
    const std::size_t colon = login->find(':');
    address.user = decoded(login->substr(0, colon), "the user");
    if (colon != std::string_view::npos) address.password = decoded(login->substr(colon + 1), "the password");
    if (!address.user.empty() && address.password.empty()) refuse("the address has a user without a password");
  }
  take_place(place, address);
  if (question != std::string_view::npos) take_query(text.substr(question + 1), address);
  if (address.kind == Address::Kind::cluster && address.database != 0) refuse("a Redis Cluster has no database but 0");
  check_prefix(address.prefix);
  return address;
}

std::string to_string(const Address::Host& host) {
  const bool six = host.name.find(':') != std::string::npos;
  return fmt::format("{}{}{}:{}", six ? "[" : "", host.name, six ? "]" : "", host.port);
}

std::string Address::name() const {
  if (kind == Kind::socket) {
    return fmt::format("{}{}?prefix={}{}", kSocket, socket, prefix,
                       database == 0 ? std::string() : fmt::format("&database={}", database));
  }
  std::string places;
  for (const Host& host : hosts) {
    if (!places.empty()) places += ',';
    places += to_string(host);
  }
  const bool one = kind == Kind::server;
  return fmt::format("{}{}{}?prefix={}", one ? kServer : kCluster, places, one ? fmt::format("/{}", database) : "",
                     prefix);
}

}  // namespace oncelog::internal::remote
