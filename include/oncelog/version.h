#pragma once

/// The library's version (semantic versioning) and the export mark of its public symbols.

#define ONCELOG_VERSION_MAJOR 0
#define ONCELOG_VERSION_MINOR 1
#define ONCELOG_VERSION_PATCH 0
#define ONCELOG_VERSION "0.1.0"

#define ONCELOG_API __attribute__((visibility("default")))
