#include "remote/redis/keys.h"

#include <fmt/format.h>

#include <array>

namespace oncelog::internal::remote {
namespace {

/// CRC-16/XMODEM, which Redis Cluster's specification prescribes.
constexpr std::array<std::uint16_t, 256> make_crc_table() {
  std::array<std::uint16_t, 256> table{};
  for (unsigned i = 0; i < table.size(); ++i) {
    unsigned crc = i << 8;
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 0x8000u) != 0 ? (crc << 1) ^ 0x1021u : crc << 1;
    table[i] = static_cast<std::uint16_t>(crc & 0xffffu);
  }
  return table;
}
constexpr std::array<std::uint16_t, 256> kCrcTable = make_crc_table();

std::uint16_t crc16(std::string_view bytes) {
  unsigned crc = 0;
  for (const char c : bytes) {
    crc = ((crc << 8) & 0xffffu) ^ kCrcTable[((crc >> 8) ^ static_cast<unsigned char>(c)) & 0xffu];
  }
  return static_cast<std::uint16_t>(crc);
}

bool is_special(char c) {
  return c == '{' || c == '}' || c == '%' || c == ':';
}

std::string encoded(std::string_view scope) {
  std::string out;
  for (const char c : scope) {
    if (is_special(c)) {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  return out;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/// Nothing when encoded() makes no such text.
std::optional<std::string> decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    if (i + 2 >= text.size() || hex_digit(text[i + 1]) < 0 || hex_digit(text[i + 2]) < 0) return std::nullopt;
    out += static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
    i += 2;
  }
  return out;
}

}  // namespace

std::uint16_t slot_of(std::string_view key) {
  const std::size_t open = key.find('{');
  if (open != std::string_view::npos) {
    const std::size_t close = key.find('}', open + 1);
    if (close != std::string_view::npos && close > open + 1) key = key.substr(open + 1, close - open - 1);
  }
  return crc16(key) % kSlots;
}

unsigned Keys::shard_of(std::string_view id) const {
  return shards_ == 1 ? 0 : crc16(id) % shards_;
}

ShardKeys Keys::shard(std::string_view scope, unsigned shard) const {
  std::string base = fmt::format("{}:{{{}:{}}}", prefix_, encoded(scope), shard);
  std::string state = shards_ == 1 ? prefix_ + ":{store}state" : base;
  return {std::move(base), std::move(state)};
}

std::optional<Keys::Named> Keys::named(std::string_view key) const {
  const std::size_t open = prefix_.size() + 1;
  if (!key.starts_with(prefix_) || key.substr(prefix_.size(), 2) != ":{") return std::nullopt;
  const std::size_t close = key.find('}', open);
  if (close == std::string_view::npos || key.substr(close + 1, 1) != ":") return std::nullopt;
  const std::string_view tag = key.substr(open + 1, close - open - 1);
  const std::size_t colon = tag.find(':');
  if (colon == std::string_view::npos) return std::nullopt;
  auto scope = decoded(tag.substr(0, colon));
  if (!scope) return std::nullopt;
  return Named{std::move(*scope), key.substr(close + 2)};
}

}  // namespace oncelog::internal::remote
