#pragma once

#include <string>

#include <oncelog/remote.h>

#include "postgresql_server.h"
#include "support.h"

namespace oncelog::testing {

/// engine_test.cc on PostgreSQL: one server for all of it, and a schema for each case, behind a near tier or not.
template <bool kNear>
class Postgresql {
 public:
  Store open(const Options& options) {
    schema_ = std::string(kNear ? "near_" : "plain_") + std::to_string(++schemas_);
    retention_ = options.retention.value_or(kDefaultRetention);
    make_with_test_clock(server(), schema_, retention_);
    remote::Options asked;
    asked.retention = options.retention;
    asked.ack = options.ack;
    asked.on_decision = options.on_decision;
    asked.on_event = options.on_event;
    asked.timeout = std::chrono::minutes{1};  // No case is about it, and a laden machine takes its time.
    if (kNear) asked.near = directory_ / "near";
    asked.near_staleness = std::chrono::milliseconds{0};  // The server's clock jumps here.
    return remote::open(server().address(schema_), asked);
  }
  void advance(std::chrono::microseconds by) { advance_test_clock(server(), schema_, by); }
  Time now() const { return test_clock(server(), schema_); }

 private:
  static PostgresqlServer& server() {
    static PostgresqlServer server;
    return server;
  }

  inline static int schemas_ = 0;
  TempDir directory_;
  std::string schema_;
  std::chrono::milliseconds retention_{0};
};

}  // namespace oncelog::testing

#define ONCELOG_ENGINES oncelog::testing::Postgresql<false>, oncelog::testing::Postgresql<true>
