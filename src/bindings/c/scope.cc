#include <algorithm>
#include <memory>
#include <optional>
#include <vector>

#include "base/error.h"
#include "bindings/c/handles.h"
#include "bindings/c/ids.h"

using namespace oncelog::internal::c;
using std::chrono::milliseconds;

namespace oncelog::internal::c {

Ack ack_of(oncelog_ack given, Ack by_default) {
  switch (given) {
    case ONCELOG_ACK_DEFAULT:
      return by_default;
    case ONCELOG_ACK_HOST:
      return Ack::host;
    case ONCELOG_ACK_DISK:
      return Ack::disk;
    default:
      refuse("ack is none of the acknowledgements");
  }
}

Attributes attributes_of(const oncelog_attributes* given) {
  if (given == nullptr) return {};
  const oncelog_attributes known = known_part(given, "oncelog_attributes");
  check_reserved(&known.reserved, sizeof known.reserved, "oncelog_attributes");
  Attributes attributes;
  attributes.correlation = text(known.correlation, "oncelog_attributes.correlation");
  attributes.fingerprint = known.fingerprint;
  attributes.result = text(known.result, "oncelog_attributes.result");
  attributes.source = {text(known.source_name, "oncelog_attributes.source_name"), known.source_partition,
                       known.source_offset};
  if (known.sent_at_us != 0) attributes.sent_at = Time(std::chrono::microseconds{known.sent_at_us});
  return attributes;
}

oncelog_marked marked_of(const Marked& marked) {
  oncelog_marked shown = {};
  shown.lsn = marked.lsn.value;
  shown.verdict = static_cast<oncelog_verdict>(marked.verdict);
  shown.redelivered = marked.redelivered ? 1 : 0;
  return shown;
}

}  // namespace oncelog::internal::c

namespace {

/// An array of structs, each of the first one's size.
std::vector<oncelog::Attributes> attributes_of_each(const oncelog_attributes* first, std::size_t count) {
  std::vector<oncelog::Attributes> all;
  if (first == nullptr) return all;
  all.reserve(count);
  const auto* at = reinterpret_cast<const char*>(first);
  for (std::size_t i = 0; i < count; ++i, at += first->size) {
    const auto* const one = reinterpret_cast<const oncelog_attributes*>(at);
    if (one->size != first->size) oncelog::internal::refuse("the attributes of a batch are of different sizes");
    all.push_back(attributes_of(one));
  }
  return all;
}

}  // namespace

const char* oncelog_verdict_name(oncelog_verdict verdict) {
  if (verdict > ONCELOG_TOO_OLD) return "unknown";
  return to_string(static_cast<oncelog::Verdict>(verdict)).data();
}

uint64_t oncelog_fingerprint(const void* payload, size_t payload_bytes) {
  return oncelog::fingerprint({static_cast<const char*>(payload), payload_bytes});
}

const char* oncelog_scope_name(const oncelog_scope* scope, size_t* name_bytes) {
  give(name_bytes, scope->scope.name().size());
  return scope->scope.name().c_str();
}

void oncelog_scope_free(oncelog_scope* scope) {
  delete scope;
}

oncelog_code oncelog_contains(const oncelog_scope* scope, const void* id, size_t id_bytes, uint8_t* known,
                              oncelog_error** error) {
  return call(error, [&] {
    need(scope, "scope");
    need(known, "known");
    *known = scope->scope.contains(text(id, id_bytes, "id")) ? 1 : 0;
  });
}

oncelog_code oncelog_contains_correlated(const oncelog_scope* scope, const void* id, size_t id_bytes,
                                         const void* correlation, size_t correlation_bytes, uint8_t* known,
                                         oncelog_error** error) {
  return call(error, [&] {
    need(scope, "scope");
    need(known, "known");
    const std::string_view joined = text(correlation, correlation_bytes, "correlation");
    *known = scope->scope.contains(text(id, id_bytes, "id"), joined) ? 1 : 0;
  });
}

oncelog_code oncelog_find(const oncelog_scope* scope, const void* id, size_t id_bytes, const oncelog_record** record,
                          oncelog_error** error) {
  return call(error, [&] {
    need(scope, "scope");
    need(record, "record");
    const std::optional<oncelog::Record> found = scope->scope.find(text(id, id_bytes, "id"));
    *record = found ? block_of(*found) : nullptr;
  });
}

oncelog_code oncelog_mark(const oncelog_scope* scope, const void* id, size_t id_bytes,
                          const oncelog_attributes* attributes, oncelog_ack ack, oncelog_marked* marked,
                          oncelog_error** error) {
  return call(error, [&] {
    need(scope, "scope");
    need(marked, "marked");
    const Output out(marked, "oncelog_marked");
    const std::string_view bytes = text(id, id_bytes, "id");
    out.fill(marked_of(scope->scope.mark(bytes, attributes_of(attributes), ack_of(ack, scope->ack))));
  });
}

oncelog_code oncelog_begin(const oncelog_scope* scope, const void* id, size_t id_bytes, int64_t lease_ms,
                           const oncelog_attributes* attributes, int64_t patience_ms, oncelog_claim** claim,
                           oncelog_error** error) {
  return call(error, [&] {
    need(scope, "scope");
    need(claim, "claim");
    *claim = new oncelog_claim(scope->scope.begin(text(id, id_bytes, "id"), milliseconds{lease_ms},
                                                  attributes_of(attributes), milliseconds{patience_ms}),
                               scope->ack);
  });
}

oncelog_code oncelog_wait_until_free(const oncelog_scope* scope, const void* id, size_t id_bytes, int64_t patience_ms,
                                     uint8_t* unclaimed, oncelog_error** error) {
  return call(error, [&] {
    need(scope, "scope");
    need(unclaimed, "unclaimed");
    *unclaimed = scope->scope.wait_until_free(text(id, id_bytes, "id"), milliseconds{patience_ms}) ? 1 : 0;
  });
}

oncelog_code oncelog_forget(const oncelog_scope* scope, const void* id, size_t id_bytes, oncelog_ack ack,
                            uint8_t* known, oncelog_error** error) {
  return call(error, [&] {
    need(scope, "scope");
    const auto wait = ack_of(ack, oncelog::Ack::disk);
    give(known, scope->scope.forget(text(id, id_bytes, "id"), wait) ? 1 : 0);
  });
}

oncelog_code oncelog_release(const oncelog_scope* scope, const void* id, size_t id_bytes, uint8_t* claimed,
                             oncelog_error** error) {
  return call(error, [&] {
    need(scope, "scope");
    give(claimed, scope->scope.release(text(id, id_bytes, "id")) ? 1 : 0);
  });
}

oncelog_code oncelog_contains_batch(const oncelog_scope* scope, const oncelog_ids* ids, uint8_t* known,
                                    oncelog_error** error) {
  return call(error, [&] {
    need(scope, "scope");
    const std::vector<std::string_view> all = ids_of(ids);
    if (all.empty()) return;
    need(known, "known");
    const auto found = std::make_unique<bool[]>(all.size());
    scope->scope.contains(all, std::span(found.get(), all.size()));
    std::copy_n(found.get(), all.size(), known);
  });
}

oncelog_code oncelog_find_batch(const oncelog_scope* scope, const oncelog_ids* ids,
                                const oncelog_record* const** records, oncelog_error** error) {
  return call(error, [&] {
    need(scope, "scope");
    need(records, "records");
    const std::vector<std::string_view> all = ids_of(ids);
    std::vector<std::optional<oncelog::Record>> found(all.size());
    scope->scope.find(all, found);
    *records = block_of(found);
  });
}

oncelog_code oncelog_mark_batch(const oncelog_scope* scope, const oncelog_ids* ids,
                                const oncelog_attributes* attributes, oncelog_ack ack, oncelog_verdict* verdicts,
                                uint64_t* lsns, uint8_t* redelivered, oncelog_error** error) {
  return call(error, [&] {
    need(scope, "scope");
    const std::vector<std::string_view> all = ids_of(ids);
    const std::vector<oncelog::Attributes> known = attributes_of_each(attributes, all.size());
    std::vector<oncelog::Marked> marked(all.size());
    scope->scope.mark(all, known, marked, ack_of(ack, scope->ack));
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (verdicts != nullptr) verdicts[i] = static_cast<oncelog_verdict>(marked[i].verdict);
      if (lsns != nullptr) lsns[i] = marked[i].lsn.value;
      if (redelivered != nullptr) redelivered[i] = marked[i].redelivered ? 1 : 0;
    }
  });
}

oncelog_code oncelog_begin_batch(const oncelog_scope* scope, const oncelog_ids* ids, int64_t lease_ms,
                                 oncelog_claim_batch** batch, oncelog_error** error) {
  return call(error, [&] {
    need(scope, "scope");
    need(batch, "batch");
    *batch = new oncelog_claim_batch{scope->scope.begin(ids_of(ids), milliseconds{lease_ms})};
  });
}
