#pragma once

#include <chrono>
#include <memory>

#include <oncelog/store.h>

namespace oncelog::testing {

/// An engine whose store a test opens and whose time it moves, of any kind: a case that every kind passes is compiled
/// once, and not for each.
class AnyEngine {
 public:
  virtual ~AnyEngine() = default;
  virtual Store open(const Options& options) = 0;
  virtual void advance(std::chrono::microseconds by) = 0;
  virtual Time now() const = 0;
};

template <typename Kind>
class EngineOf : public AnyEngine {
 public:
  Store open(const Options& options) override { return kind_.open(options); }
  void advance(std::chrono::microseconds by) override { kind_.advance(by); }
  Time now() const override { return kind_.now(); }

 private:
  Kind kind_;
};

using MakeEngine = std::unique_ptr<AnyEngine> (*)();

template <typename Kind>
std::unique_ptr<AnyEngine> make_engine() {
  return std::make_unique<EngineOf<Kind>>();
}

}  // namespace oncelog::testing

/// A case for each of the kinds of engines that are named after its name. Its body calls make() for an engine.
#define ENGINE_TEST_CASE(name, ...) ENGINE_TEST_CASE_OF(DOCTEST_ANONYMOUS(engine_test_), name, __VA_ARGS__)
#define ENGINE_TEST_CASE_OF(body, name, ...)           \
  static void body(oncelog::testing::MakeEngine make); \
  TEST_CASE_TEMPLATE(name, Kind, __VA_ARGS__) {        \
    body(&oncelog::testing::make_engine<Kind>);        \
  }                                                    \
  static void body(const oncelog::testing::MakeEngine make)
