#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include <oncelog/remote.h>

#include "remote/postgresql/connection.h"

namespace oncelog::internal::remote {

/// The version of schema.sql: 1 more whenever a store that exists has to be changed.
inline constexpr int kSchemaVersion = 1;

/// Checks the server and the schema of a store, making it where the options allow. Returns the retention. Errors: those
/// of oncelog::remote::open.
std::chrono::microseconds open_schema(PostgresqlConnection& connection, const std::string& name,
                                      const std::string& schema, const oncelog::remote::Options& options);

/// What makes a store in that schema, settings included. Throws Error::invalid_argument for a name that is none.
std::string schema_statements(std::string_view schema, std::chrono::microseconds retention);

}  // namespace oncelog::internal::remote
