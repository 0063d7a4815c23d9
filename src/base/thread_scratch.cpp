#include "base/thread_scratch.hpp"

#include <hwy/aligned_allocator.h>

#include <algorithm>
#include <array>
#include <new>

namespace kvcache {

float* thread_scratch(std::int64_t floats, ScratchUse use) {
  struct Scratch {
    hwy::AlignedFreeUniquePtr<float[]> memory;
    std::int64_t capacity = 0;
  };
  thread_local std::array<Scratch, static_cast<std::size_t>(ScratchUse::turned) + 1> scratches;
  auto& [memory, capacity] = scratches.at(static_cast<std::size_t>(use));
  if (capacity < floats) {
    const std::int64_t grown = std::max(floats, 2 * capacity);  // a text grows token by token
    capacity = 0;
    memory = hwy::AllocateAligned<float>(static_cast<std::size_t>(grown));
    if (!memory) {
      throw std::bad_alloc();
    }
    capacity = grown;
  }
  return memory.get();
}

}  // namespace kvcache
