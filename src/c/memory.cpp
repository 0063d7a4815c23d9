// What kvcache.h gives back.
#include <cstdlib>

#include "kvcache.h"

void kvcache_free(void* memory) noexcept { std::free(memory); }
