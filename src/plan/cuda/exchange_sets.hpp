// The memory through which the blocks of a fused step talk (kernels/cuda/exchange.cuh).
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "plan/cuda/device_memory.hpp"

namespace kvcache::plan {

/// Two sets of words, of which a step uses one and makes the other ready for the next.
class ExchangeSets {
 public:
  /// @throws NotFused where there is no memory
  ExchangeSets(std::int64_t words_of_set, cudaStream_t stream)
      : words_(words_of_set), memory_(2 * static_cast<std::size_t>(words_) * sizeof(unsigned)) {
    // Every word: not there yet.
    require_success(
        cudaMemsetAsync(memory_.as<void>(), 0xFF,
                        2 * static_cast<std::size_t>(words_) * sizeof(unsigned), stream),
        "clearing the exchange");
  }

  /// The set of the step that comes now, and the one that it makes ready.
  [[nodiscard]] unsigned* current() const noexcept { return set(steps_ % 2); }
  [[nodiscard]] unsigned* other() const noexcept { return set(1 - steps_ % 2); }

  void count_step() noexcept { ++steps_; }

 private:
  [[nodiscard]] unsigned* set(std::int64_t number) const noexcept {
    return memory_.as<unsigned>() + number * words_;
  }

  std::int64_t words_;  // of a set
  DeviceMemory memory_;
  std::int64_t steps_ = 0;
};

}  // namespace kvcache::plan
