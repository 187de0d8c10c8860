#pragma once

// xxHash inlined into its caller, the one way in which this library includes it. Its reads are forced to be memcpy: by
// default g++ on ARM gets reads through a packed union, which break the aliasing rules when a struct is hashed, and the
// compiler may then hash it before its members are stored.
#ifdef XXH_FORCE_MEMORY_ACCESS
#undef XXH_FORCE_MEMORY_ACCESS
#endif
#define XXH_FORCE_MEMORY_ACCESS 0
#define XXH_INLINE_ALL
#include <xxhash.h>
