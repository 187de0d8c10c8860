#include "remote/redis/reply.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "remote/backend.h"
#include "remote/redis/keys.h"

namespace oncelog::internal::remote {
namespace {

constexpr std::size_t kMaxQuoted = 200;

[[noreturn]] void refuse_type(const redisReply& reply, const char* wanted) {
  throw Error(ErrorCode::io, fmt::format("the server answered with type {} where {} was due", reply.type, wanted));
}

/// What a server says, fit for a sentence.
std::string quoted(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, kMaxQuoted)) out += c >= ' ' && c <= '~' ? c : '?';
  return out;
}

struct Meaning {
  std::string_view word;
  ErrorCode code;
  std::string_view advice;
};

/// What cannot be had now, or not here; nothing was done.
constexpr std::array<std::string_view, 9> kLater{"LOADING",  "BUSY",       "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN",
                                                 "READONLY", "NOREPLICAS", "NOSCRIPT",   "ASK"};

constexpr std::array<Meaning, 7> kMeanings{{
    {"OOM", ErrorCode::full, "the server's maxmemory is reached"},
    {"NOAUTH", ErrorCode::no_permission, "the server wants a password"},
    {"WRONGPASS", ErrorCode::no_permission, "the server takes neither this user nor this password"},
    {"NOPERM", ErrorCode::no_permission, "the user may not do that on the server"},
    {"WRONGTYPE", ErrorCode::corrupt, "a key of the store holds something else"},
    {"MOVED", ErrorCode::unsupported, "the server is part of a Redis Cluster: its address is redis+cluster://"},
    {"CROSSSLOT", ErrorCode::unsupported, "the store was made on a single server, and cannot be used in a cluster"},
}};

bool begins_with_word(std::string_view text, std::string_view word) {
  return text.starts_with(word) && (text.size() == word.size() || text[word.size()] == ' ');
}

}  // namespace

std::string_view text_of(const redisReply& reply) {
  if (reply.type != REDIS_REPLY_STRING && reply.type != REDIS_REPLY_STATUS) refuse_type(reply, "a text");
  return {reply.str, static_cast<std::size_t>(reply.len)};
}

std::int64_t integer_of(const redisReply& reply) {
  if (reply.type != REDIS_REPLY_INTEGER) refuse_type(reply, "an integer");
  return reply.integer;
}

std::span<redisReply* const> elements_of(const redisReply& reply) {
  if (reply.type != REDIS_REPLY_ARRAY) refuse_type(reply, "an array");
  return {reply.element, reply.elements};
}

std::span<redisReply* const> elements_of(const redisReply& reply, std::size_t count) {
  const auto all = elements_of(reply);
  if (all.size() != count) {
    throw Error(ErrorCode::io, fmt::format("the server answered with {} values where {} were due", all.size(), count));
  }
  return all;
}

bool is_error(const redisReply& reply, std::string_view word) {
  return is_error(reply) && begins_with_word({reply.str, static_cast<std::size_t>(reply.len)}, word);
}

bool is_text(const redisReply& reply, std::string_view text) {
  return reply.type == REDIS_REPLY_STRING && text_of(reply) == text;
}

void throw_error(const std::string& name, std::string_view text) {
  const std::string said = quoted(text);
  const bool later = std::ranges::any_of(kLater, [&](std::string_view word) { return begins_with_word(text, word); });
  // SCRIPT KILL ends only scripts that have written nothing yet.
  const bool killed = text.find("Script killed by user") != std::string_view::npos;
  if (later || killed) throw ConnectionLost(fmt::format("{}: {}", name, said));
  for (const Meaning& meaning : kMeanings) {
    if (begins_with_word(text, meaning.word)) {
      throw Error(meaning.code, fmt::format("{}: {} ({})", name, meaning.advice, said));
    }
  }
  if (begins_with_word(text, "MISCONF")) {
    const bool full = text.find("No space left") != std::string_view::npos;
    throw Error(
        full ? ErrorCode::full : ErrorCode::io,
        fmt::format("{}: the server cannot write to its disk, and accepts nothing until it can ({})", name, said));
  }
  throw Error(ErrorCode::io, fmt::format("{}: the server refused a command: {}", name, said));
}

Command::Command(std::size_t words) : bytes_(fmt::format("*{}\r\n", words)) {}

Command::Command(std::initializer_list<std::string_view> words) : Command(words.size()) {
  for (const std::string_view word : words) add(word);
}

Command& Command::add(std::string_view word) {
  bytes_ += fmt::format("${}\r\n", word.size());
  bytes_.append(word).append("\r\n");
  return *this;
}

Command& Command::add_digest(std::size_t script) {
  script_ = script;
  add(std::string(kDigestBytes, '0'));
  digest_at_ = bytes_.size() - kDigestBytes - 2;
  return *this;
}

Command& Command::add_run() {
  add(std::string(kDigestBytes, '0'));
  run_at_ = bytes_.size() - kDigestBytes - 2;
  return *this;
}

Command& Command::belongs_to(std::string_view key) {
  slot_ = slot_of(key);
  return *this;
}

void Command::write(std::string& out, const std::vector<std::string>& digests, std::string_view run) const {
  const std::size_t begin = out.size();
  out += bytes_;
  if (digest_at_ != 0) out.replace(begin + digest_at_, kDigestBytes, digests.at(script_));
  if (run_at_ != 0) out.replace(begin + run_at_, kDigestBytes, run);
}

}  // namespace oncelog::internal::remote
