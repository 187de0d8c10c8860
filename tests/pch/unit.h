/// What most unit tests include, parsed once for all of them, as src/base/precompiled.h is for the library. Every test
/// names what it uses all the same.

#include <doctest/doctest.h>

#include <oncelog/oncelog.h>

#include "base/precompiled.h"
#include "support.h"
