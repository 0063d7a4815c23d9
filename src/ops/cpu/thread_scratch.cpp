#include "ops/cpu/thread_scratch.hpp"

#include <hwy/aligned_allocator.h>

#include <new>

namespace kvcache::ops {

float* thread_scratch(std::int64_t floats) {
  thread_local hwy::AlignedFreeUniquePtr<float[]> memory;
  thread_local std::int64_t capacity = 0;
  if (capacity < floats) {
    capacity = 0;
    memory = hwy::AllocateAligned<float>(static_cast<std::size_t>(floats));
    if (!memory) {
      throw std::bad_alloc();
    }
    capacity = floats;
  }
  return memory.get();
}

}  // namespace kvcache::ops
