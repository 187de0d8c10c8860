#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#ifndef ONCELOG_TEST_OF_SHARED_LIBRARY  // Which exports no internals.

#include "base/host.h"

namespace {

/// The stores of tests lie where the tests look for their files; see live_place_test.cc for the others.
[[maybe_unused]] const bool tmpfs_hidden = (oncelog::internal::Host::hide_boot_tmpfs(), true);

}  // namespace

#endif
