#pragma once

#include <hiredis.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <oncelog/error.h>

namespace oncelog::internal::remote {

struct FreeReply {
  void operator()(redisReply* reply) const { freeReplyObject(reply); }
};
/// What a server has answered to one command. Its parts are read by the functions below, which throw Error::io when it
/// is of another type.
using Reply = std::unique_ptr<redisReply, FreeReply>;

std::string_view text_of(const redisReply& reply);
std::int64_t integer_of(const redisReply& reply);
std::span<redisReply* const> elements_of(const redisReply& reply);
/// As many elements as are expected, or Error::io.
std::span<redisReply* const> elements_of(const redisReply& reply, std::size_t count);

inline bool is_error(const redisReply& reply) {
  return reply.type == REDIS_REPLY_ERROR;
}
inline bool is_nil(const redisReply& reply) {
  return reply.type == REDIS_REPLY_NIL;
}
/// Whether it is an error that begins with this word.
bool is_error(const redisReply& reply, std::string_view word);
/// Whether it is that text.
bool is_text(const redisReply& reply, std::string_view text);

/// Throws what an error means: ConnectionLost when the server has done nothing and may do it later, and an Error with
/// a sentence that begins with the server's name otherwise.
[[noreturn]] void throw_error(const std::string& name, std::string_view text);

/// A command in the server's protocol, and where it belongs.
class Command {
 public:
  /// `words` are how many words follow; `key` is the one by which a cluster finds its server, empty for any.
  explicit Command(std::size_t words);
  Command(std::initializer_list<std::string_view> words);

  Command& add(std::string_view word);
  /// A word that is known where it is sent: the digest of a script, and the server's run id. Each has 40 bytes.
  Command& add_digest(std::size_t script);
  Command& add_run();
  Command& belongs_to(std::string_view key);

  /// The slot of its key; nothing when any server will do.
  int slot() const { return slot_; }
  std::size_t size() const { return bytes_.size(); }
  /// Appends it as it is sent.
  void write(std::string& out, const std::vector<std::string>& digests, std::string_view run) const;

 private:
  std::string bytes_;
  int slot_ = -1;
  std::size_t script_ = 0;
  std::size_t digest_at_ = 0;  // 0: none.
  std::size_t run_at_ = 0;     // 0: none.
};

inline constexpr std::size_t kDigestBytes = 40;

}  // namespace oncelog::internal::remote
