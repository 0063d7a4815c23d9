// Which version of kvcache.h this library has.
#include <string_view>

#include "kvcache.h"

static_assert(std::string_view(KVCACHE_VERSION) == KVCACHE_VERSION_STRING,
              "kvcache.h must have the version of CMakeLists.txt");

const char* kvcache_version(void) noexcept { return KVCACHE_VERSION; }

uint32_t kvcache_abi_version(void) noexcept { return KVCACHE_ABI_VERSION; }
