#include "remote/postgresql/connection.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/error.h"
#include "remote/call_limit.h"
#include "remote/postgresql/wire.h"

namespace oncelog::internal::remote {
namespace {

using Result = std::unique_ptr<PGresult, decltype(&PQclear)>;

/// libpq ends its sentences with a new line, and prints several.
std::string sentence_of(const char* message) {
  std::string text = message == nullptr ? "" : message;
  while (!text.empty() && text.back() == '\n') text.pop_back();
  std::ranges::replace(text, '\n', ' ');
  return text;
}

/// What may be asked again: the server goes down or comes up, has changed its role, or has rolled back for the sake of
/// another.
bool is_passing(std::string_view state) {
  return state.starts_with("08") || state.starts_with("57P0") || state == "25006" || state == "53300" ||
         state == "40001" || state == "40P01" || state == "55P03";
}

/// After these the same connection may be asked again.
bool keeps_connection(std::string_view state) {
  return state == "40001" || state == "40P01" || state == "55P03";
}

ErrorCode code_of(std::string_view state) {
  if (state == "53100" || state == "53200" || state == "54000") return ErrorCode::full;
  if (state == "42501" || state.starts_with("28")) return ErrorCode::no_permission;
  if (state == "3F000" || state == "42P01" || state == "42883" || state == "3D000") return ErrorCode::not_found;
  if (state == "P0001") return ErrorCode::unsupported;
  if (state.starts_with("XX")) return ErrorCode::corrupt;
  return ErrorCode::io;
}

[[noreturn]] void refuse_cell() {
  throw Error(ErrorCode::corrupt, "the server's answer has another form than oncelog's functions give");
}

}  // namespace

std::string_view Rows::bytes(int row, int column) const {
  if (row >= count() || column >= PQnfields(result_.get())) refuse_cell();
  return {PQgetvalue(result_.get(), row, column), static_cast<std::size_t>(PQgetlength(result_.get(), row, column))};
}

std::int64_t Rows::integer(int row, int column) const {
  const std::string_view cell = bytes(row, column);
  switch (cell.size()) {
    case 2:
      return int_of<std::int16_t>(cell);
    case 4:
      return int_of<std::int32_t>(cell);
    case 8:
      return int_of<std::int64_t>(cell);
    default:
      refuse_cell();
  }
}

bool Rows::flag(int row, int column) const {
  const std::string_view cell = bytes(row, column);
  if (cell.size() != 1) refuse_cell();
  return cell[0] != 0;
}

Time Rows::time(int row, int column) const {
  const std::string_view cell = bytes(row, column);
  if (cell.size() != 8) refuse_cell();
  return from_wire(int_of<std::int64_t>(cell));
}

PostgresqlConnection::PostgresqlConnection(const std::string& uri, std::string name, std::chrono::milliseconds timeout)
    : connection_(PQconnectStart(uri.c_str()), &PQfinish), name_(std::move(name)), timeout_(timeout) {
  if (!connection_) throw std::bad_alloc();
  connect(CallLimit::or_within(timeout_));
  PQsetNoticeProcessor(
      connection_.get(), [](void*, const char*) {}, nullptr);
  PQsetnonblocking(connection_.get(), 1);
}

void PostgresqlConnection::connect(Limit limit) {
  // An address that cannot be parsed is bad at once, one that cannot be reached as well.
  while (PQstatus(connection_.get()) != CONNECTION_BAD) {
    switch (PQconnectPoll(connection_.get())) {
      case PGRES_POLLING_OK:
        return;
      case PGRES_POLLING_READING:
        wait_for(POLLIN, limit);
        break;
      case PGRES_POLLING_WRITING:
        wait_for(POLLOUT, limit);
        break;
      default:
        break;
    }
  }
  const std::string why = sentence_of(PQerrorMessage(connection_.get()));
  usable_ = false;
  // libpq tells no SQLSTATE of a connection that was refused.
  for (const std::string_view refusal : {"authentication failed", "no password supplied", "no pg_hba.conf entry"}) {
    if (why.find(refusal) != std::string::npos) throw Error(ErrorCode::no_permission, name_ + ": " + why);
  }
  if (why.find("does not exist") != std::string::npos && why.find("database") != std::string::npos) {
    throw Error(ErrorCode::not_found, name_ + ": " + why);
  }
  throw ConnectionLost(why);
}

void PostgresqlConnection::lose(const std::string& why) {
  usable_ = false;
  throw ConnectionLost(why);
}

void PostgresqlConnection::wait_for(short events, Limit limit) {
  pollfd socket{PQsocket(connection_.get()), events, 0};
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(limit - std::chrono::steady_clock::now());
    if (left.count() <= 0) lose(fmt::format("the server has not answered within {} ms", timeout_.count()));
    const int ready = ::poll(&socket, 1, static_cast<int>(std::min<std::int64_t>(left.count(), 3'600'000)));
    if (ready > 0) return;
    if (ready < 0 && errno != EINTR) lose(fmt::format("poll: {}", std::generic_category().message(errno)));
  }
}

void PostgresqlConnection::flush_out(Limit limit) {
  for (int left = 1; left != 0;) {
    left = PQflush(connection_.get());
    if (left < 0) lose(sentence_of(PQerrorMessage(connection_.get())));
    if (left == 0) return;
    wait_for(POLLIN | POLLOUT, limit);  // The server may want to be read first.
    if (PQconsumeInput(connection_.get()) == 0) lose(sentence_of(PQerrorMessage(connection_.get())));
  }
}

/// The last of the results of what was sent; the first that failed, if one did.
std::unique_ptr<PGresult, decltype(&PQclear)> PostgresqlConnection::last_result(Limit limit) {
  flush_out(limit);
  Result last(nullptr, &PQclear);
  for (;;) {
    while (PQisBusy(connection_.get()) != 0) {
      wait_for(POLLIN, limit);
      if (PQconsumeInput(connection_.get()) == 0) lose(sentence_of(PQerrorMessage(connection_.get())));
    }
    Result next(PQgetResult(connection_.get()), &PQclear);
    if (!next) return last;
    const bool failed = last && PQresultStatus(last.get()) == PGRES_FATAL_ERROR;
    if (!failed) last = std::move(next);
  }
}

void PostgresqlConnection::fail(const PGresult* result) {
  const char* const field = result == nullptr ? nullptr : PQresultErrorField(result, PG_DIAG_SQLSTATE);
  const std::string_view state = field == nullptr ? "" : field;
  const std::string why =
      sentence_of(result == nullptr ? PQerrorMessage(connection_.get()) : PQresultErrorMessage(result));
  if (PQstatus(connection_.get()) == CONNECTION_BAD || state.empty()) lose(why);
  if (is_passing(state)) {
    usable_ = keeps_connection(state);
    throw ConnectionLost(why);
  }
  throw Error(code_of(state), name_ + ": " + why);
}

Rows PostgresqlConnection::ask(const std::string& sql, const Parameters& parameters) {
  const Limit limit = CallLimit::or_within(timeout_);
  if (PQsendQueryParams(connection_.get(), sql.c_str(), parameters.count(), parameters.types(), parameters.values(),
                        parameters.lengths(), parameters.formats(), 1) == 0) {
    lose(sentence_of(PQerrorMessage(connection_.get())));
  }
  Result result = last_result(limit);
  const ExecStatusType status = result ? PQresultStatus(result.get()) : PGRES_FATAL_ERROR;
  if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) fail(result.get());
  return Rows(result.release());
}

void PostgresqlConnection::run(const std::string& sql) {
  const Limit limit = CallLimit::or_within(timeout_);
  if (PQsendQuery(connection_.get(), sql.c_str()) == 0) lose(sentence_of(PQerrorMessage(connection_.get())));
  const Result result = last_result(limit);
  const ExecStatusType status = result ? PQresultStatus(result.get()) : PGRES_FATAL_ERROR;
  if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) fail(result.get());
}

}  // namespace oncelog::internal::remote
