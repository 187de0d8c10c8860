#include "remote/postgresql/statements.h"

#include <unistd.h>

#include <algorithm>
#include <bit>

#include "base/error.h"
#include "remote/postgresql/wire.h"
#include "shared/argument_checks.h"

namespace oncelog::internal::remote {
namespace {

template <typename Value, typename Get>
std::vector<std::optional<Value>> column_of(std::span<const Attributes* const> given, Get get) {
  std::vector<std::optional<Value>> column;
  column.reserve(given.size());
  for (const Attributes* const one : given) column.push_back(one == nullptr ? std::nullopt : get(*one));
  return column;
}

std::optional<std::string_view> unless_empty(std::string_view text) {
  return text.empty() ? std::nullopt : std::optional(text);
}

std::string text_of(const Rows& rows, int row, int column) {
  return rows.null(row, column) ? std::string() : std::string(rows.bytes(row, column));
}

std::uint64_t number_of(const Rows& rows, int row, int column) {
  return rows.null(row, column) ? 0 : std::bit_cast<std::uint64_t>(rows.integer(row, column));
}

[[noreturn]] void refuse_answer() {
  throw Error(ErrorCode::corrupt, "the server's answer is not one to what was asked");
}

Verdict verdict_of(std::int64_t value) {
  if (value < 0 || value > static_cast<int>(Verdict::too_old)) refuse_answer();
  return static_cast<Verdict>(value);
}

// Columns of oncelog.answer.
enum Column {
  kOrd,
  kVerdict,
  kLsn,
  kToken,
  kRedelivered,
  kAt,
  kDeadline,
  kOwner,
  kFingerprint,
  kPartition,
  kOffset,
  kCorrelation,
  kSource,
  kResult
};

Answer read_answer(const Rows& rows, int row, bool claims) {
  Answer answer;
  answer.marked.verdict = verdict_of(rows.integer(row, kVerdict));
  answer.marked.lsn = Lsn{number_of(rows, row, kLsn)};
  answer.marked.redelivered = rows.flag(row, kRedelivered);
  if (answer.marked == Verdict::fresh && !claims) answer.processed_at = rows.time(row, kAt);
  if (answer.marked == Verdict::fresh && claims) {
    answer.token = number_of(rows, row, kToken);
    if (answer.token == 0) refuse_answer();
  }
  // A conflict may be with a record, or with what another one is processing.
  const bool claimed = answer.marked == Verdict::conflict && answer.marked.lsn.value == 0;
  if (answer.marked == Verdict::in_progress || claimed) {
    answer.owner = ClaimOwner{static_cast<std::int32_t>(number_of(rows, row, kOwner)), rows.time(row, kDeadline)};
  }
  if (answer.marked == Verdict::duplicate || (answer.marked == Verdict::conflict && !claimed)) {
    Record record;
    record.processed_at = rows.time(row, kAt);
    record.lsn = answer.marked.lsn;
    record.fingerprint = number_of(rows, row, kFingerprint);
    record.correlation = text_of(rows, row, kCorrelation);
    record.result = text_of(rows, row, kResult);
    record.source = {text_of(rows, row, kSource), static_cast<std::uint32_t>(number_of(rows, row, kPartition)),
                     number_of(rows, row, kOffset)};
    answer.record = std::move(record);
  }
  return answer;
}

}  // namespace

std::string in_schema(std::string_view text, std::string_view schema) {
  constexpr std::string_view kName = "oncelog";
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t next = text.find(kName, at);
    out += text.substr(at, next - at);
    if (next == std::string_view::npos) break;
    out += schema;
    at = next + kName.size();
  }
  return out;
}

std::string_view commit_mode(Ack ack) {
  return ack == Ack::host ? "with mode as materialized (select set_config('synchronous_commit', 'off', true)) "
                          : "with mode as materialized (select case when current_setting('synchronous_commit') = 'off' "
                            "then set_config('synchronous_commit', 'on', true) end) ";
}

std::vector<std::optional<std::string_view>> texts_of(std::span<const std::string_view> ids) {
  return {ids.begin(), ids.end()};
}

void add_attributes(Parameters& parameters, std::span<const Attributes* const> given) {
  const bool any = std::ranges::any_of(given, [](const Attributes* one) { return one != nullptr; });
  if (!any) {
    for (const std::uint32_t type : {Parameters::kBigArray, Parameters::kBytesArray, Parameters::kBytesArray,
                                     Parameters::kBytesArray, Parameters::kBigArray, Parameters::kBigArray}) {
      parameters.null(type);
    }
    return;
  }
  using Text = std::optional<std::string_view>;
  using Number = std::optional<std::int64_t>;
  parameters.bigs(column_of<std::int64_t>(given, [](const Attributes& one) {
    return one.fingerprint == 0 ? Number() : Number(std::bit_cast<std::int64_t>(one.fingerprint));
  }));
  parameters.bytes(
      column_of<std::string_view>(given, [](const Attributes& one) { return unless_empty(one.correlation); }));
  parameters.bytes(column_of<std::string_view>(given, [](const Attributes& one) { return unless_empty(one.result); }));
  parameters.bytes(
      column_of<std::string_view>(given, [](const Attributes& one) -> Text { return unless_empty(one.source.name); }));
  parameters.bigs(column_of<std::int64_t>(
      given, [](const Attributes& one) { return one.source.name.empty() ? Number() : Number(one.source.partition); }));
  parameters.bigs(column_of<std::int64_t>(given, [](const Attributes& one) {
    return one.source.name.empty() ? Number() : Number(std::bit_cast<std::int64_t>(one.source.offset));
  }));
}

Parameters decide_parameters(std::string_view scope, std::span<const Ask> asked, const Terms* terms,
                             const Attempt& attempt, bool whole) {
  std::vector<std::optional<std::string_view>> ids;
  std::vector<const Attributes*> given;
  std::vector<Attempt> attempts;
  for (const Ask& ask : asked) {
    ids.emplace_back(ask.id);
    given.push_back(ask.given);
    attempts.push_back(attempt_of(ask, attempt));
  }
  Parameters parameters;
  parameters.text(scope).bytes(ids);
  add_attributes(parameters, given);
  if (std::ranges::any_of(given, [](const Attributes* one) { return one != nullptr && one->sent_at; })) {
    parameters.times(column_of<Time>(given, [](const Attributes& one) { return one.sent_at; }));
  } else {
    parameters.null(Parameters::kTimeArray);
  }
  if (terms != nullptr) {
    parameters.interval(terms->lease).small(static_cast<std::int16_t>(terms->orphans));
  } else {
    parameters.null(Parameters::kInterval).small(0);
  }
  parameters.integer(::getpid()).uuids(attempts).flag(whole);
  return parameters;
}

void read_answers(const Rows& rows, bool claims, std::span<Answer> out) {
  if (static_cast<std::size_t>(rows.count()) != out.size()) refuse_answer();
  std::vector<bool> seen(out.size());
  for (int row = 0; row < rows.count(); ++row) {
    const auto place = static_cast<std::uint64_t>(rows.integer(row, kOrd)) - 1;
    if (place >= out.size() || seen[place]) refuse_answer();
    seen[place] = true;
    out[place] = read_answer(rows, row, claims);
  }
}

Parameters held_parameters(std::string_view scope, std::span<const Held> held) {
  std::vector<std::optional<std::string_view>> ids;
  std::vector<std::optional<std::int64_t>> tokens;
  for (const Held& one : held) {
    ids.emplace_back(one.id);
    tokens.emplace_back(std::bit_cast<std::int64_t>(one.token));
  }
  Parameters parameters;
  parameters.text(scope).bytes(ids).bigs(tokens);
  return parameters;
}

Parameters complete_parameters(std::string_view scope, std::span<const Held> held, const Attempt* attempt) {
  std::vector<const Attributes*> given;
  for (const Held& one : held) given.push_back(one.given);
  Parameters parameters = held_parameters(scope, held);
  add_attributes(parameters, given);
  if (attempt != nullptr) {
    parameters.uuid(*attempt);
  } else {
    parameters.null(Parameters::kUuid);
  }
  return parameters;
}

Parameters import_parameters(std::string_view scope, std::span<const Record> records) {
  std::vector<std::optional<std::string_view>> ids;
  std::vector<std::optional<Time>> times;
  std::vector<Attributes> attributes;
  std::vector<const Attributes*> given;
  attributes.reserve(records.size());
  for (const Record& record : records) {
    ids.emplace_back(record.id);
    times.emplace_back(record.processed_at);
    given.push_back(&attributes.emplace_back(attributes_of(record)));
  }
  Parameters parameters;
  parameters.text(scope).bytes(ids).times(times);
  add_attributes(parameters, given);
  return parameters;
}

void read_outcomes(const Rows& rows, std::span<ImportOutcome> out) {
  if (static_cast<std::size_t>(rows.count()) != out.size()) refuse_answer();
  std::vector<bool> seen(out.size());
  for (int row = 0; row < rows.count(); ++row) {
    const auto place = static_cast<std::uint64_t>(rows.integer(row, 0)) - 1;
    const std::int64_t outcome = rows.integer(row, 1);
    if (place >= out.size() || seen[place]) refuse_answer();
    if (outcome < 0 || outcome > static_cast<int>(ImportOutcome::expired)) refuse_answer();
    seen[place] = true;
    out[place] = static_cast<ImportOutcome>(outcome);
  }
}

void read_stamps(const Rows& rows, std::span<Stamp> out) {
  if (static_cast<std::size_t>(rows.count()) != out.size()) refuse_answer();
  for (int row = 0; row < rows.count(); ++row) {
    const Lsn lsn{number_of(rows, row, 0)};
    out[static_cast<std::size_t>(row)] = lsn.value == 0 ? Stamp{} : Stamp{lsn, rows.time(row, 1)};
  }
}

Record read_record(const Rows& rows, int row, int column) {
  Record record;
  record.processed_at = rows.time(row, column);
  record.lsn = Lsn{number_of(rows, row, column + 1)};
  record.fingerprint = number_of(rows, row, column + 2);
  record.correlation = text_of(rows, row, column + 5);
  record.source = {text_of(rows, row, column + 6), static_cast<std::uint32_t>(number_of(rows, row, column + 3)),
                   number_of(rows, row, column + 4)};
  record.result = text_of(rows, row, column + 7);
  return record;
}

const std::string_view kSelectRecords =
    "select distinct on (e.lsn) s.name, e.id, e.at, e.lsn, e.fingerprint, e.source_partition, e.source_offset, "
    "e.correlation, e.source, e.result from oncelog.entries as e join oncelog.scopes as s on s.number = e.scope "
    "where e.token is null and e.at > (select oncelog.clock() - retention from oncelog.settings)";
const std::string_view kRecordOrder = " order by e.lsn";

Record read_named_record(const Rows& rows, int row) {
  Record record = read_record(rows, row, 2);
  record.scope = rows.bytes(row, 0);
  record.id = rows.bytes(row, 1);
  return record;
}

}  // namespace oncelog::internal::remote
