#include <memory>
#include <utility>

#include <oncelog/topic.h>

#include "base/error.h"
#include "bindings/c/handles.h"
#include "bindings/c/options.h"

using namespace oncelog::internal::c;

namespace {

/// Has the visitor called for a record; whether it wants more.
bool visit(oncelog_record_visitor visitor, void* user, const oncelog::Record& record) {
  const oncelog_record shown = view(record);
  return visitor(&shown, user) == 0;
}

oncelog::ScanRange range_of(const oncelog_scan_range* given) {
  oncelog::ScanRange range;
  if (given == nullptr) return range;
  const oncelog_scan_range known = known_part(given, "oncelog_scan_range");
  const std::string_view scope = text(known.scope, "oncelog_scan_range.scope");
  if (!scope.empty()) range.scope = scope;
  if (known.since_us != 0) range.since = time_of(known.since_us);
  if (known.until_us != 0) range.until = time_of(known.until_us);
  return range;
}

oncelog_claim_info info_of(const oncelog::ClaimInfo& claim) {
  oncelog_claim_info info = {};
  info.size = sizeof info;
  info.scope = view(claim.scope);
  info.id = view(claim.id);
  info.deadline_us = us_of(claim.owner.deadline);
  info.token = claim.token;
  info.process = claim.owner.process;
  info.owner_alive = claim.owner_alive ? 1 : 0;
  info.orphans = static_cast<oncelog_orphan_policy>(claim.orphans);
  return info;
}

oncelog_problem problem_of(const oncelog::Problem& problem) {
  return {.size = sizeof(oncelog_problem),
          .kind = to_string(problem.kind).data(),
          .where = problem.where.c_str(),
          .sentence = problem.sentence.c_str(),
          .meaning = problem.meaning.c_str(),
          .remedy = problem.remedy.c_str()};
}

oncelog::ScopeOptions scope_options(const oncelog_scope_options* given) {
  if (given == nullptr) return {};
  const oncelog_scope_options known = known_part(given, "oncelog_scope_options");
  check_reserved(known.reserved, sizeof known.reserved, "oncelog_scope_options");
  if (known.orphans > ONCELOG_KEEP) oncelog::internal::refuse("oncelog_scope_options.orphans is no orphan policy");
  return {.orphans = static_cast<oncelog::OrphanPolicy>(known.orphans)};
}

/// An array of structs, each of the first one's size.
std::vector<oncelog::Record> records_of(const oncelog_record* first, std::size_t count) {
  std::vector<oncelog::Record> records;
  if (count == 0) return records;
  need(first, "records");
  check_struct_size(first->size, "oncelog_record");  // Before it is what is walked by.
  records.reserve(count);
  const auto* at = reinterpret_cast<const char*>(first);
  for (std::size_t i = 0; i < count; ++i, at += first->size) {
    const auto* const one = reinterpret_cast<const oncelog_record*>(at);
    if (one->size != first->size) oncelog::internal::refuse("the records are of different sizes");
    records.push_back(record_of(one));
  }
  return records;
}

}  // namespace

namespace oncelog::internal::c {

void visit_problems(const std::vector<Problem>& problems, oncelog_problem_visitor visitor, void* user) {
  if (visitor == nullptr) return;
  for (const Problem& problem : problems) {
    const oncelog_problem shown = problem_of(problem);
    if (visitor(&shown, user) != 0) return;
  }
}

}  // namespace oncelog::internal::c

const char* oncelog_event_kind_name(oncelog_event_kind kind) {
  if (kind > ONCELOG_NEAR_IN_USE) return "unknown";
  return to_string(static_cast<oncelog::StoreEventKind>(kind)).data();
}

oncelog_code oncelog_open(const char* directory_or_address, const oncelog_options* options, oncelog_store** store,
                          oncelog_error** error) {
  return call(error, [&] {
    need(store, "store");
    *store = open(directory_or_address, options);
  });
}

void oncelog_store_free(oncelog_store* store) {
  delete store;
}

oncelog_code oncelog_store_scope(const oncelog_store* store, const void* name, size_t name_bytes,
                                 const oncelog_scope_options* options, oncelog_scope** scope, oncelog_error** error) {
  return call(error, [&] {
    need(store, "store");
    need(scope, "scope");
    *scope = new oncelog_scope{store->store.scope(text(name, name_bytes, "name"), scope_options(options)), store->ack};
  });
}

oncelog_code oncelog_store_scopes(const oncelog_store* store, const oncelog_text** names, size_t* count,
                                  oncelog_error** error) {
  return call(error, [&] {
    need(store, "store");
    need(names, "names");
    need(count, "count");
    const std::vector<std::string> found = store->store.scopes();
    *names = block_of(found);
    *count = found.size();
  });
}

oncelog_code oncelog_durable(const oncelog_store* store, uint64_t* lsn, oncelog_error** error) {
  return call(error, [&] {
    need(store, "store");
    need(lsn, "lsn");
    *lsn = store->store.durable().value;
  });
}

oncelog_code oncelog_wait(const oncelog_store* store, uint64_t lsn, oncelog_error** error) {
  return call(error, [&] {
    need(store, "store");
    store->store.wait({lsn});
  });
}

oncelog_code oncelog_sync(const oncelog_store* store, oncelog_error** error) {
  return call(error, [&] {
    need(store, "store");
    store->store.sync();
  });
}

oncelog_code oncelog_known_since(const oncelog_store* store, int64_t* time_us, oncelog_error** error) {
  return call(error, [&] {
    need(store, "store");
    need(time_us, "time_us");
    *time_us = us_of(store->store.known_since());
  });
}

oncelog_code oncelog_claims(const oncelog_store* store, oncelog_claim_visitor visitor, void* user,
                            oncelog_error** error) {
  return call(error, [&] {
    need(store, "store");
    need(reinterpret_cast<const void*>(visitor), "visitor");
    for (const oncelog::ClaimInfo& claim : store->store.claims()) {
      const oncelog_claim_info info = info_of(claim);
      if (visitor(&info, user) != 0) return;
    }
  });
}

oncelog_code oncelog_expire(const oncelog_store* store, uint64_t* buckets, uint64_t* blocks, oncelog_error** error) {
  return call(error, [&] {
    need(store, "store");
    const oncelog::Expired expired = store->store.expire();
    give(buckets, expired.buckets);
    give(blocks, expired.blocks);
  });
}

oncelog_code oncelog_scan(const oncelog_store* store, const oncelog_scan_range* range, oncelog_record_visitor visitor,
                          void* user, oncelog_error** error) {
  return call(error, [&] {
    need(store, "store");
    need(reinterpret_cast<const void*>(visitor), "visitor");
    store->store.scan(range_of(range), [&](const oncelog::Record& record) { return visit(visitor, user, record); });
  });
}

oncelog_code oncelog_correlated(const oncelog_store* store, const void* correlation, size_t correlation_bytes,
                                oncelog_record_visitor visitor, void* user, oncelog_error** error) {
  return call(error, [&] {
    need(store, "store");
    need(reinterpret_cast<const void*>(visitor), "visitor");
    for (const oncelog::Record& record : store->store.correlated(text(correlation, correlation_bytes, "correlation"))) {
      if (!visit(visitor, user, record)) return;
    }
  });
}

oncelog_code oncelog_metrics(const oncelog_store* store, int32_t of, const char** text_out, size_t* text_bytes,
                             oncelog_error** error) {
  return call(error, [&] {
    need(store, "store");
    need(text_out, "text");
    if (of != ONCELOG_HOST_AND_PROCESS && of != ONCELOG_HOST) oncelog::internal::refuse("of is no choice of figures");
    const std::string figures = store->store.metrics().prometheus(static_cast<oncelog::MetricsOf>(of));
    *text_out = block_of(figures);
    give(text_bytes, figures.size());
  });
}

oncelog_code oncelog_verify(const oncelog_store* store, int deep, oncelog_problem_visitor visitor, void* user,
                            uint64_t* problems, oncelog_error** error) {
  return call(error, [&] {
    need(store, "store");
    need(problems, "problems");
    const oncelog::VerifyReport report = store->store.verify({.deep = deep != 0});
    *problems = report.problem_count;
    visit_problems(report.problems, visitor, user);
  });
}

oncelog_code oncelog_import(const oncelog_store* store, const oncelog_record* records, size_t count,
                            oncelog_imported* imported, oncelog_error** error) {
  return call(error, [&] {
    need(store, "store");
    std::optional<Output<oncelog_imported>> out;
    if (imported != nullptr) out.emplace(imported, "oncelog_imported");
    const oncelog::Imported done = store->store.import(records_of(records, count));
    if (!out) return;
    out->fill({.size = sizeof(oncelog_imported),
               .imported = done.imported,
               .known = done.known,
               .claimed = done.claimed,
               .expired = done.expired,
               .redated = done.redated});
  });
}

oncelog_code oncelog_backup(const oncelog_store* store, const char* directory, uint64_t* below, uint64_t* bytes,
                            oncelog_error** error) {
  return call(error, [&] {
    need(store, "store");
    need(directory, "directory");
    const oncelog::BackupReport report = store->store.backup(directory);
    give(below, report.below.value);
    give(bytes, report.bytes);
  });
}

oncelog_code oncelog_restore(const char* backup, const char* directory, int allow_foreign_owner, uint64_t* below,
                             uint64_t* bytes, oncelog_error** error) {
  return call(error, [&] {
    need(backup, "backup");
    need(directory, "directory");
    const oncelog::RestoreReport report =
        oncelog::restore(backup, directory, {.allow_foreign_owner = allow_foreign_owner != 0});
    give(below, report.below.value);
    give(bytes, report.bytes);
  });
}
