#pragma once

/// @file
/// The library's version (semantic versioning) and the export mark of its public symbols.

#define ONCELOG_VERSION_MAJOR 0  ///< Grows with an incompatible change.
#define ONCELOG_VERSION_MINOR 1  ///< Grows with a compatible addition.
#define ONCELOG_VERSION_PATCH 0  ///< Grows with a fix.
#define ONCELOG_VERSION "0.1.0"  ///< All three.

/// On every public symbol; no other is exported.
#define ONCELOG_API __attribute__((visibility("default")))
