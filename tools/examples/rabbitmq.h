#pragma once

#include <amqp.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>

namespace oncelog::example {

/// A message as one of the queues has delivered it. The broker keeps it until its tag is acknowledged, and delivers it
/// again, `redelivered`, when the connection ends before that.
struct Delivery {
  std::uint64_t tag;  ///< Counts the deliveries of this connection, from 1.
  std::string queue;
  std::string message_id;  ///< The property of that name; empty when the publisher set none.
  std::string body;
  bool redelivered;
};

/// What a queue holds at this moment.
struct QueueState {
  std::uint32_t ready;      ///< Messages that no consumer has been given.
  std::uint32_t consumers;  ///< Those of a killed process count until the broker has put their messages back.
};

/// One connection to RabbitMQ, with one channel: what this example needs of librabbitmq, with exceptions
/// (std::runtime_error) for its many ways to report an error. One thread.
class Rabbitmq {
 public:
  Rabbitmq(const std::string& host, int port);

  /// Both are durable, and may be there already.
  void declare_topic_exchange(std::string_view exchange);
  void declare_queue(std::string_view queue, std::string_view exchange, std::string_view pattern);

  /// Sends a persistent message. It is safe with the broker, and in a queue, only after confirm().
  void publish(std::string_view exchange, std::string_view routing_key, std::string_view message_id,
               std::string_view body);
  void confirm();

  /// Starts deliveries from the queue, at most `prefetch` of them unacknowledged at a time.
  void consume(std::string_view queue, std::uint16_t prefetch);
  /// The next delivery, or none if there is none within the timeout.
  std::optional<Delivery> next(std::chrono::milliseconds timeout);
  /// Whether a delivery has been received that next() has not returned.
  bool has_next();

  /// Acknowledges the delivery and all before it.
  void acknowledge_up_to(std::uint64_t tag);

  QueueState state(std::string_view queue);

  /// Returns when the broker has taken note of all that was sent; nothing may be called after it.
  void close();

 private:
  struct Closer {
    void operator()(amqp_connection_state_t connection) const { amqp_destroy_connection(connection); }
  };

  std::unique_ptr<amqp_connection_state_t_, Closer> connection_;
  bool confirms_ = false;
  std::uint64_t published_ = 0;
  std::set<std::uint64_t> unconfirmed_;  // By their numbers in the order of publishing.
};

}  // namespace oncelog::example
