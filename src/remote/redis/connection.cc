#include "remote/redis/connection.h"

#include <fmt/format.h>

#include <new>

#include "base/error.h"
#include "remote/backend.h"
#include "remote/redis/scripts.h"

namespace oncelog::internal::remote {
namespace {

Socket socket_to(const Endpoint& endpoint, Deadline deadline) {
  try {
    return endpoint.host.name.empty() ? Socket::to(endpoint.socket, deadline) : Socket::to(endpoint.host, deadline);
  } catch (const ConnectionLost& lost) {
    throw ConnectionLost(fmt::format("{}: {}", endpoint.name(), lost.what()));
  }
}

}  // namespace

Connection::Connection(const Endpoint& endpoint, Deadline deadline)
    : name_(endpoint.name()), socket_(socket_to(endpoint, deadline)), reader_(redisReaderCreate()) {
  if (!reader_) throw std::bad_alloc();
  log_in(endpoint, deadline);
}

void Connection::log_in(const Endpoint& endpoint, Deadline deadline) {
  if (!endpoint.password.empty() && endpoint.user.empty()) ask({"AUTH", endpoint.password}, deadline);
  if (!endpoint.user.empty()) ask({"AUTH", endpoint.user, endpoint.password}, deadline);
  if (endpoint.database != 0) ask({"SELECT", std::to_string(endpoint.database)}, deadline);
}

void Connection::prepare(Deadline deadline) {
  const Reply info = ask({"INFO"}, deadline);
  info_ = text_of(*info);
  if (info_field(info_, "loading") == "1") throw ConnectionLost(name_ + ": the server is loading its data");
  run_ = info_field(info_, "run_id");
  if (run_.size() != kDigestBytes) {
    throw Error(ErrorCode::unsupported, fmt::format("{}: INFO says no run id, so it is not Redis or Valkey", name_));
  }
  load_scripts(deadline);
}

void Connection::load_scripts(Deadline deadline) {
  std::vector<Command> commands;
  for (const std::string& text : script_texts()) commands.push_back({"SCRIPT", "LOAD", text});
  std::vector<const Command*> all;
  for (const Command& command : commands) all.push_back(&command);
  send(all, deadline);
  std::vector<Reply> replies;
  for (std::size_t i = 0; i < all.size(); ++i) replies.push_back(receive(deadline));
  digests_.clear();
  for (const Reply& reply : replies) {
    if (is_error(*reply)) throw_error(name_, reply->str);
    digests_.emplace_back(text_of(*reply));
    if (digests_.back().size() != kDigestBytes) throw Error(ErrorCode::io, name_ + ": SCRIPT LOAD gave no digest");
  }
}

void Connection::send(std::span<const Command* const> commands, Deadline deadline) {
  std::string out;
  std::size_t size = 0;
  for (const Command* command : commands) size += command->size();
  out.reserve(size);
  for (const Command* command : commands) command->write(out, digests_, run_);
  try {
    socket_.send(out, received_, deadline);
  } catch (const ConnectionLost& lost) {
    throw ConnectionLost(fmt::format("{}: {}", name_, lost.what()));
  }
}

void Connection::feed() {
  if (!received_.empty() && redisReaderFeed(reader_.get(), received_.data(), received_.size()) != REDIS_OK) {
    throw ConnectionLost(fmt::format("{}: an answer that cannot be read: {}", name_, reader_->errstr));
  }
  received_.clear();
}

Reply Connection::receive(Deadline deadline) {
  while (true) {
    feed();
    void* reply = nullptr;
    if (redisReaderGetReply(reader_.get(), &reply) != REDIS_OK) {
      throw ConnectionLost(fmt::format("{}: an answer that cannot be read: {}", name_, reader_->errstr));
    }
    if (reply != nullptr) return Reply(static_cast<redisReply*>(reply));
    try {
      socket_.receive(received_, deadline);
    } catch (const ConnectionLost& lost) {
      throw ConnectionLost(fmt::format("{}: {}", name_, lost.what()));
    }
  }
}

Reply Connection::ask(const Command& command, Deadline deadline) {
  const Command* one = &command;
  send({&one, 1}, deadline);
  Reply reply = receive(deadline);
  if (is_error(*reply)) throw_error(name_, {reply->str, static_cast<std::size_t>(reply->len)});
  return reply;
}

std::string_view info_field(std::string_view info, std::string_view field) {
  while (!info.empty()) {
    const std::size_t end = std::min(info.find('\n'), info.size());
    std::string_view line = info.substr(0, end);
    info.remove_prefix(std::min(end + 1, info.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.starts_with(field) && line.substr(field.size(), 1) == ":") return line.substr(field.size() + 1);
  }
  return {};
}

}  // namespace oncelog::internal::remote
