#pragma once

/// On what oncelog-remote uses of the core: the shared object exports it, for that library alone. It may change with
/// any version.
#define ONCELOG_INTERNAL __attribute__((visibility("default")))
