#include "remote/postgresql/address.h"

#include <fmt/format.h>
#include <libpq-fe.h>

#include <algorithm>
#include <map>
#include <memory>

#include "base/error.h"

namespace oncelog::internal::remote {
namespace {

constexpr std::string_view kSchemaParameter = "schema=";

/// Takes `schema=NAME` out of the address's parameters, which libpq would refuse.
std::string take_schema(std::string& uri) {
  std::string schema = "oncelog";
  const std::size_t query = uri.find('?');
  if (query == std::string::npos) return schema;
  std::string kept;
  for (std::size_t at = query + 1; at <= uri.size();) {
    const std::size_t end = std::min(uri.find('&', at), uri.size());
    const std::string parameter = uri.substr(at, end - at);
    if (parameter.starts_with(kSchemaParameter)) {
      schema = parameter.substr(kSchemaParameter.size());
    } else if (!parameter.empty()) {
      kept += (kept.empty() ? "?" : "&") + parameter;
    }
    at = end + 1;
  }
  uri = uri.substr(0, query) + kept;
  return schema;
}

std::string name_of(const std::string& uri, const std::string& schema) {
  char* complaint = nullptr;
  const std::unique_ptr<PQconninfoOption, decltype(&PQconninfoFree)> options(PQconninfoParse(uri.c_str(), &complaint),
                                                                             &PQconninfoFree);
  const std::unique_ptr<char, decltype(&PQfreemem)> owned(complaint, &PQfreemem);
  // libpq's complaint may quote the address, password and all.
  if (!options)
    refuse("an address of PostgreSQL is postgresql://USER@HOST:PORT/DATABASE?PARAMETER=VALUE; this one cannot be read");
  std::map<std::string, std::string> values;
  for (const PQconninfoOption* one = options.get(); one->keyword != nullptr; ++one) {
    if (one->val != nullptr) values[one->keyword] = one->val;
  }
  const std::string host = values.contains("host") ? values["host"] : values["hostaddr"];
  const std::string port = values.contains("port") ? ":" + values["port"] : "";
  return fmt::format("postgresql://{}{}/{}?schema={}", host, port, values["dbname"], schema);
}

}  // namespace

PostgresqlAddress PostgresqlAddress::parse(std::string_view address) {
  PostgresqlAddress parsed;
  parsed.uri = address;
  parsed.schema = take_schema(parsed.uri);
  parsed.name = name_of(parsed.uri, parsed.schema);
  return parsed;
}

}  // namespace oncelog::internal::remote
