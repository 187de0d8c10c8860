#pragma once

#include <string>
#include <string_view>

namespace oncelog::internal::remote {

/// Where a store on PostgreSQL is.
struct PostgresqlAddress {
  std::string uri;     // For libpq.
  std::string schema;  // "oncelog" where none is named.
  std::string name;    // For sentences: the address without its password.

  /// postgresql://... or postgres://..., with libpq's own parameters and `schema`. Throws Error::invalid_argument.
  static PostgresqlAddress parse(std::string_view address);
};

}  // namespace oncelog::internal::remote
