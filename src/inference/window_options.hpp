// What a window's options mean for a model.
#pragma once

#include <cstddef>

#include "kvcache/types.hpp"
#include "kvcache/windowed_sequence.hpp"

namespace kvcache::inference {

/// `options` with nothing left to default.
/// @throws Error invalid_argument
WindowOptions resolve(const WindowOptions& options, const ModelInfo& model, std::size_t block_len);

}  // namespace kvcache::inference
