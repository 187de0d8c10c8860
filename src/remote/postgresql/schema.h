#pragma once

#include <string_view>

namespace oncelog::internal::remote {

/// schema.sql, for a schema named "oncelog".
extern const std::string_view kSchemaSql;

}  // namespace oncelog::internal::remote
