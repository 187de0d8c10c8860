#include "legacy.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#ifdef ONCELOG_WITH_POSTGRESQL
#include <libpq-fe.h>
#endif
#ifdef ONCELOG_WITH_REDIS
#include <hiredis.h>
#endif

#include <oncelog/error.h>

namespace oncelog::tool {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

#if !defined(ONCELOG_WITH_POSTGRESQL) || !defined(ONCELOG_WITH_REDIS)
[[noreturn]] void refuse(std::string_view library) {
  throw Error(ErrorCode::unsupported, fmt::format("this oncelog was built without {}", library));
}
#endif

#ifdef ONCELOG_WITH_POSTGRESQL
using Result = std::unique_ptr<PGresult, decltype(&PQclear)>;

Result ask(PGconn* connection, const std::string& sql) {
  Result result(PQexec(connection, sql.c_str()), &PQclear);
  const ExecStatusType status = PQresultStatus(result.get());
  if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) return result;
  std::string_view why = PQerrorMessage(connection);
  throw Error(ErrorCode::io, fmt::format("PostgreSQL: {}", why.substr(0, why.find('\n'))));
}

std::string_view cell(const Result& rows, int row, int column) {
  return {PQgetvalue(rows.get(), row, column), static_cast<std::size_t>(PQgetlength(rows.get(), row, column))};
}
#endif

#ifdef ONCELOG_WITH_REDIS
using Answer = std::unique_ptr<redisReply, decltype(&freeReplyObject)>;

struct Place {
  std::string socket, host, user, password, database;
  int port = 6379;
};

std::string unescaped(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size()) {
      out += static_cast<char>(std::strtol(std::string(text.substr(i + 1, 2)).c_str(), nullptr, 16));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

Place place_of(std::string_view address) {
  Place place;
  address = address.substr(0, address.find('?'));
  const auto take = [&](std::string_view scheme) {
    if (!address.starts_with(scheme)) return false;
    address.remove_prefix(scheme.size());
    return true;
  };
  if (take("redis+unix://")) {
    place.socket = address;
    return place;
  }
  if (!take("redis://")) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("'{}': keys are read from redis://HOST:PORT/DATABASE or redis+unix:///SOCKET", address));
  }
  if (const std::size_t at = address.rfind('@'); at != std::string_view::npos) {
    const std::string_view who = address.substr(0, at);
    const std::size_t colon = who.find(':');
    place.user = unescaped(who.substr(0, colon));
    if (colon != std::string_view::npos) place.password = unescaped(who.substr(colon + 1));
    address.remove_prefix(at + 1);
  }
  if (const std::size_t slash = address.find('/'); slash != std::string_view::npos) {
    place.database = address.substr(slash + 1);
    address = address.substr(0, slash);
  }
  const std::size_t colon = address.rfind(':');
  place.host = address.substr(0, colon);
  if (colon != std::string_view::npos) place.port = std::atoi(std::string(address.substr(colon + 1)).c_str());
  return place;
}

/// One connection; its answers are checked for their type.
class Redis {
 public:
  explicit Redis(const Place& place)
      : context_(place.socket.empty() ? redisConnect(place.host.c_str(), place.port)
                                      : redisConnectUnix(place.socket.c_str()),
                 &redisFree) {
    if (!context_) throw std::bad_alloc();
    if (context_->err != 0) fail();
    if (!place.password.empty()) {
      append(place.user.empty() ? std::vector<std::string>{"AUTH", place.password}
                                : std::vector<std::string>{"AUTH", place.user, place.password});
      next(REDIS_REPLY_STATUS);
    }
    if (!place.database.empty()) {
      append({"SELECT", place.database});
      next(REDIS_REPLY_STATUS);
    }
  }

  void append(const std::vector<std::string>& words) {
    std::vector<const char*> texts;
    std::vector<std::size_t> sizes;
    for (const std::string& word : words) {
      texts.push_back(word.data());
      sizes.push_back(word.size());
    }
    if (redisAppendCommandArgv(context_.get(), static_cast<int>(words.size()), texts.data(), sizes.data()) != REDIS_OK)
      fail();
  }

  Answer next(int type) {
    void* reply = nullptr;
    if (redisGetReply(context_.get(), &reply) != REDIS_OK) fail();
    Answer answer(static_cast<redisReply*>(reply), &freeReplyObject);
    if (answer->type == REDIS_REPLY_ERROR) throw Error(ErrorCode::io, fmt::format("Redis: {}", answer->str));
    if (answer->type != type) throw Error(ErrorCode::io, "Redis: the answer is not one to what was asked");
    return answer;
  }

 private:
  [[noreturn]] void fail() const { throw Error(ErrorCode::io, fmt::format("Redis: {}", context_->errstr)); }

  std::unique_ptr<redisContext, decltype(&redisFree)> context_;
};

/// A prefix as a pattern of SCAN that means its very characters.
std::string pattern_of(std::string_view prefix) {
  std::string pattern;
  for (const char c : prefix) {
    if (std::string_view("*?[]\\^-").find(c) != std::string_view::npos) pattern += '\\';
    pattern += c;
  }
  return pattern + '*';
}

std::int64_t now_us(Redis& redis) {
  redis.append({"TIME"});
  const Answer time = redis.next(REDIS_REPLY_ARRAY);
  if (time->elements != 2) throw Error(ErrorCode::io, "Redis: the answer is not one to what was asked");
  return std::atoll(time->element[0]->str) * 1'000'000 + std::atoll(time->element[1]->str);
}
#endif

}  // namespace

#ifdef ONCELOG_WITH_POSTGRESQL
LegacyCounts visit_table(const LegacyTable& table, const std::function<void(const Record&)>& visitor) {
  const std::unique_ptr<PGconn, decltype(&PQfinish)> connection(PQconnectdb(table.address.c_str()), &PQfinish);
  if (PQstatus(connection.get()) != CONNECTION_OK) {
    throw Error(ErrorCode::io, fmt::format("PostgreSQL: {}", PQerrorMessage(connection.get())));
  }
  const auto column = [&](const std::string& name) {
    const std::unique_ptr<char, decltype(&PQfreemem)> quoted(
        PQescapeIdentifier(connection.get(), name.data(), name.size()), &PQfreemem);
    return std::string(quoted ? quoted.get() : "");
  };
  ask(connection.get(), "begin isolation level repeatable read read only");
  // A time without a zone is taken for UTC.
  ask(connection.get(), "set local time zone 'UTC'");
  ask(connection.get(),
      fmt::format("declare rows no scroll cursor for select {0}::text, (extract(epoch from {1}::timestamptz) * "
                  "1000000)::bigint, {2}::text from {3} order by {1}",
                  column(table.id), column(table.time), column(table.scope), table.table));
  LegacyCounts counts;
  for (;;) {
    const Result rows = ask(connection.get(), "fetch 1000 from rows");
    const int count = PQntuples(rows.get());
    if (count == 0) break;
    for (int row = 0; row < count; ++row) {
      const std::string_view time = cell(rows, row, 1);
      if (cell(rows, row, 0).empty() || time.empty() || cell(rows, row, 2).empty()) {
        ++counts.without_time;
        continue;
      }
      Record record;
      record.id = cell(rows, row, 0);
      record.scope = cell(rows, row, 2);
      record.processed_at = Time{microseconds{std::atoll(std::string(time).c_str())}};
      visitor(record);
    }
  }
  ask(connection.get(), "commit");
  return counts;
}
#else
LegacyCounts visit_table(const LegacyTable&, const std::function<void(const Record&)>&) {
  refuse("libpq");
}
#endif

#ifdef ONCELOG_WITH_REDIS
LegacyCounts visit_keys(const LegacyKeys& keys, const std::function<void(const Record&)>& visitor) {
  Redis redis(place_of(keys.address));
  const std::string pattern = pattern_of(keys.prefix);
  const std::int64_t retention_us = microseconds{keys.retention}.count();
  LegacyCounts counts;
  std::string cursor = "0";
  do {
    redis.append({"SCAN", cursor, "MATCH", pattern, "COUNT", "1000"});
    const Answer page = redis.next(REDIS_REPLY_ARRAY);
    if (page->elements != 2) throw Error(ErrorCode::io, "Redis: the answer is not one to what was asked");
    cursor.assign(page->element[0]->str, page->element[0]->len);
    const redisReply& found = *page->element[1];
    const std::int64_t now = now_us(redis);
    for (std::size_t i = 0; i < found.elements; ++i) {
      redis.append({"PTTL", std::string(found.element[i]->str, found.element[i]->len)});
    }
    for (std::size_t i = 0; i < found.elements; ++i) {
      const Answer left = redis.next(REDIS_REPLY_INTEGER);
      const std::string_view key(found.element[i]->str, found.element[i]->len);
      if (left->integer == -2) continue;  // Expired meanwhile.
      if (left->integer == -1 || key.size() == keys.prefix.size()) {
        ++counts.without_time;
        continue;
      }
      Record record;
      record.scope = keys.scope;
      record.id = key.substr(keys.prefix.size());
      record.processed_at = Time{microseconds{now + left->integer * 1000 - retention_us}};
      visitor(record);
    }
  } while (cursor != "0");
  return counts;
}
#else
LegacyCounts visit_keys(const LegacyKeys&, const std::function<void(const Record&)>&) {
  refuse("hiredis");
}
#endif

}  // namespace oncelog::tool
