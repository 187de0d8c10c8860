#include "rabbitmq.h"

#include <amqp_tcp_socket.h>

#include <stdexcept>

namespace oncelog::example {
namespace {

constexpr amqp_channel_t kChannel = 1;
constexpr int kFrameBytes = 128 << 10;
constexpr int kHeartbeatSeconds = 30;
constexpr std::uint8_t kPersistent = 2;

/// librabbitmq's strings point into memory that its caller keeps; it changes none of it.
amqp_bytes_t bytes(std::string_view text) {
  return {text.size(), const_cast<char*>(text.data())};
}

std::string text(amqp_bytes_t bytes) {
  return {static_cast<const char*>(bytes.bytes), bytes.len};
}

[[noreturn]] void fail(const std::string& what, const std::string& why) {
  throw std::runtime_error("RabbitMQ: " + what + ": " + why);
}

void check(int status, const std::string& what) {
  if (status < 0) fail(what, amqp_error_string2(status));
}

void check(const amqp_rpc_reply_t& reply, const std::string& what) {
  if (reply.reply_type == AMQP_RESPONSE_NORMAL) return;
  if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION) fail(what, amqp_error_string2(reply.library_error));
  if (reply.reply.id == AMQP_CHANNEL_CLOSE_METHOD) {
    fail(what, text(static_cast<const amqp_channel_close_t*>(reply.reply.decoded)->reply_text));
  }
  if (reply.reply.id == AMQP_CONNECTION_CLOSE_METHOD) {
    fail(what, text(static_cast<const amqp_connection_close_t*>(reply.reply.decoded)->reply_text));
  }
  fail(what, "the broker has closed the connection");
}

}  // namespace

Rabbitmq::Rabbitmq(const std::string& host, int port) : connection_(amqp_new_connection()) {
  amqp_socket_t* const socket = connection_ ? amqp_tcp_socket_new(connection_.get()) : nullptr;
  if (socket == nullptr) throw std::bad_alloc();
  check(amqp_socket_open(socket, host.c_str(), port), "connecting to " + host + ":" + std::to_string(port));
  check(amqp_login(connection_.get(), "/", AMQP_DEFAULT_MAX_CHANNELS, kFrameBytes, kHeartbeatSeconds,
                   AMQP_SASL_METHOD_PLAIN, "guest", "guest"),
        "logging in");
  amqp_channel_open(connection_.get(), kChannel);
  check(amqp_get_rpc_reply(connection_.get()), "opening a channel");
}

void Rabbitmq::declare_topic_exchange(std::string_view exchange) {
  const bool passive = false, durable = true, auto_delete = false, internal = false;
  amqp_exchange_declare(connection_.get(), kChannel, bytes(exchange), bytes("topic"), passive, durable, auto_delete,
                        internal, amqp_empty_table);
  check(amqp_get_rpc_reply(connection_.get()), "declaring an exchange");
}

void Rabbitmq::declare_queue(std::string_view queue, std::string_view exchange, std::string_view pattern) {
  const bool passive = false, durable = true, exclusive = false, auto_delete = false;
  amqp_queue_declare(connection_.get(), kChannel, bytes(queue), passive, durable, exclusive, auto_delete,
                     amqp_empty_table);
  check(amqp_get_rpc_reply(connection_.get()), "declaring a queue");
  amqp_queue_bind(connection_.get(), kChannel, bytes(queue), bytes(exchange), bytes(pattern), amqp_empty_table);
  check(amqp_get_rpc_reply(connection_.get()), "binding a queue");
}

void Rabbitmq::publish(std::string_view exchange, std::string_view routing_key, std::string_view message_id,
                       std::string_view body) {
  if (!confirms_) {
    amqp_confirm_select(connection_.get(), kChannel);
    check(amqp_get_rpc_reply(connection_.get()), "asking for confirms");
    confirms_ = true;
  }
  amqp_basic_properties_t properties = {};
  properties._flags = AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_MESSAGE_ID_FLAG;
  properties.delivery_mode = kPersistent;
  properties.message_id = bytes(message_id);
  const bool mandatory = true, immediate = false;  // Mandatory: confirm() learns of a message that no queue takes.
  check(amqp_basic_publish(connection_.get(), kChannel, bytes(exchange), bytes(routing_key), mandatory, immediate,
                           &properties, bytes(body)),
        "publishing");
  unconfirmed_.insert(++published_);
}

void Rabbitmq::confirm() {
  while (!unconfirmed_.empty()) {
    amqp_maybe_release_buffers(connection_.get());
    amqp_frame_t frame;
    check(amqp_simple_wait_frame(connection_.get(), &frame), "waiting for confirms");
    if (frame.frame_type != AMQP_FRAME_METHOD || frame.payload.method.id != AMQP_BASIC_ACK_METHOD) {
      fail("waiting for confirms", "a message was refused or fits no queue");
    }
    const auto& ack = *static_cast<const amqp_basic_ack_t*>(frame.payload.method.decoded);
    const auto end = unconfirmed_.upper_bound(ack.delivery_tag);
    unconfirmed_.erase(ack.multiple != 0 ? unconfirmed_.begin() : unconfirmed_.lower_bound(ack.delivery_tag), end);
  }
}

void Rabbitmq::consume(std::string_view queue, std::uint16_t prefetch) {
  const bool for_the_channel = false;
  amqp_basic_qos(connection_.get(), kChannel, 0, prefetch, for_the_channel);
  check(amqp_get_rpc_reply(connection_.get()), "setting the prefetch count");
  const bool no_local = false, no_ack = false, exclusive = false;
  // The queue's name is the consumer's tag too, so that a delivery says where it comes from.
  amqp_basic_consume(connection_.get(), kChannel, bytes(queue), bytes(queue), no_local, no_ack, exclusive,
                     amqp_empty_table);
  check(amqp_get_rpc_reply(connection_.get()), "consuming");
}

std::optional<Delivery> Rabbitmq::next(std::chrono::milliseconds timeout) {
  const timeval wait{.tv_sec = timeout.count() / 1000, .tv_usec = timeout.count() % 1000 * 1000};
  amqp_maybe_release_buffers(connection_.get());
  amqp_envelope_t envelope;
  const amqp_rpc_reply_t reply = amqp_consume_message(connection_.get(), &envelope, &wait, 0);
  if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION && reply.library_error == AMQP_STATUS_TIMEOUT) return {};
  check(reply, "waiting for a delivery");
  const std::unique_ptr<amqp_envelope_t, void (*)(amqp_envelope_t*)> owner(&envelope, amqp_destroy_envelope);
  const amqp_basic_properties_t& properties = envelope.message.properties;
  return Delivery{
      .tag = envelope.delivery_tag,
      .queue = text(envelope.consumer_tag),
      .message_id = (properties._flags & AMQP_BASIC_MESSAGE_ID_FLAG) != 0 ? text(properties.message_id) : "",
      .body = text(envelope.message.body),
      .redelivered = envelope.redelivered != 0};
}

bool Rabbitmq::has_next() {
  return amqp_frames_enqueued(connection_.get()) != 0 || amqp_data_in_buffer(connection_.get()) != 0;
}

void Rabbitmq::acknowledge_up_to(std::uint64_t tag) {
  const bool multiple = true;
  check(amqp_basic_ack(connection_.get(), kChannel, tag, multiple), "acknowledging");
}

QueueState Rabbitmq::state(std::string_view queue) {
  const bool passive = true;
  const amqp_queue_declare_ok_t* const found =
      amqp_queue_declare(connection_.get(), kChannel, bytes(queue), passive, false, false, false, amqp_empty_table);
  check(amqp_get_rpc_reply(connection_.get()), "asking for a queue's state");
  return {found->message_count, found->consumer_count};
}

void Rabbitmq::close() {
  check(amqp_channel_close(connection_.get(), kChannel, AMQP_REPLY_SUCCESS), "closing the channel");
  check(amqp_connection_close(connection_.get(), AMQP_REPLY_SUCCESS), "closing the connection");
}

}  // namespace oncelog::example
