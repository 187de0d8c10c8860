#pragma once

#include <memory>
#include <utility>

#include "remote/backend.h"

namespace oncelog::internal::remote {

/// A Backend before another one, to which it passes every call on: what stands before an engine derives from it, and
/// overrides what it answers itself.
class Forwarding : public Backend {
 public:
  explicit Forwarding(std::shared_ptr<Backend> next) : next_(std::move(next)) {}

  std::chrono::microseconds retention() const override { return next_->retention(); }
  std::string_view name() const override { return next_->name(); }

  void find(std::string_view scope, std::span<const std::string_view> ids, bool whole,
            std::span<std::optional<Record>> out) override {
    next_->find(scope, ids, whole, out);
  }
  void mark(std::string_view scope, std::span<const Ask> asked, Ack ack, const Attempt& attempt,
            std::span<Answer> out) override {
    next_->mark(scope, asked, ack, attempt, out);
  }
  void claim(std::string_view scope, std::span<const Ask> asked, const Terms& terms, const Attempt& attempt,
             std::span<Answer> out) override {
    next_->claim(scope, asked, terms, attempt, out);
  }
  void complete(std::string_view scope, std::span<const Held> held, Ack ack, const Attempt& attempt,
                std::span<Stamp> out) override {
    next_->complete(scope, held, ack, attempt, out);
  }
  bool renew(std::string_view scope, const Held& held, std::chrono::milliseconds lease) override {
    return next_->renew(scope, held, lease);
  }
  std::size_t abandon(std::string_view scope, std::span<const Held> held) override {
    return next_->abandon(scope, held);
  }
  void import(std::string_view scope, std::span<const Record> records, std::span<ImportOutcome> out) override {
    next_->import(scope, records, out);
  }
  bool forget(std::string_view scope, std::string_view id, Ack ack, const Attempt& attempt) override {
    return next_->forget(scope, id, ack, attempt);
  }
  bool release(std::string_view scope, std::string_view id, const Attempt& attempt) override {
    return next_->release(scope, id, attempt);
  }
  std::optional<ClaimOwner> holder(std::string_view scope, std::string_view id) override {
    return next_->holder(scope, id);
  }
  Pulse pulse(std::string_view scope) override { return next_->pulse(scope); }

  std::vector<std::string> scopes() override { return next_->scopes(); }
  std::vector<ClaimInfo> claims() override { return next_->claims(); }
  Time known_since() override { return next_->known_since(); }
  std::vector<Record> correlated(std::string_view correlation) override { return next_->correlated(correlation); }
  void scan(const ScanRange& range, const std::function<bool(const Record&)>& visitor) override {
    next_->scan(range, visitor);
  }
  std::uint64_t records() override { return next_->records(); }

  bool has_one_log() const override { return next_->has_one_log(); }
  void flush() override { next_->flush(); }
  Expired upkeep() override { return next_->upkeep(); }

  std::unique_ptr<Work> begin_work() override { return next_->begin_work(); }
  std::optional<std::string> get(std::string_view table, std::string_view key) override {
    return next_->get(table, key);
  }
  void scan_table(std::string_view table, std::string_view from, const EntryVisitor& visitor) override {
    next_->scan_table(table, from, visitor);
  }

 protected:
  Backend& next() const { return *next_; }

 private:
  const std::shared_ptr<Backend> next_;
};

}  // namespace oncelog::internal::remote
