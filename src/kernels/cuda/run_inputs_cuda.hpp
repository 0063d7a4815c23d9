// A run's inputs on their way to the device.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

namespace kvcache::kernels {

/// Copies `bytes` from page-locked memory of the host; both addresses are multiples of 16. What is
/// put in behind it does not begin before all of them are there, overlapping launches included: so
/// every kernel of a run may read its inputs at once. Within a recorded run this takes less than a
/// copy, between which and kernels the device changes engines.
cudaError_t bring_inputs(const std::byte* host, std::byte* device, std::size_t bytes,
                         cudaStream_t stream);

}  // namespace kvcache::kernels
