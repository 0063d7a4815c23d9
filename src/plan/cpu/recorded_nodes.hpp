// The nodes that a recorded step on the CPU is made from.
#pragma once

#include <variant>

#include "base/float16.hpp"
#include "kernels/cached_attention_args.hpp"
#include "kernels/cpu/node_args.hpp"
#include "plan/node_recording.hpp"

namespace kvcache::plan {

/// Nothing: a node that this cannot describe.
using CpuNode = std::variant<
    std::monostate, kernels::TokenEmbeddingArgs<const float*>,
    kernels::TokenEmbeddingArgs<const Float16*>, kernels::TokenEmbeddingArgs<const BFloat16*>,
    kernels::TokenEmbeddingArgs<kernels::QuantizedWeight>,
    kernels::NormedProduct<kernels::LinearArgs<float>>,
    kernels::NormedProduct<kernels::LinearArgs<Float16>>,
    kernels::NormedProduct<kernels::LinearArgs<BFloat16>>,
    kernels::NormedProduct<kernels::QuantizedLinearArgs>, kernels::CachedAttentionArgs<float>,
    kernels::CachedAttentionArgs<float, Float16>, kernels::CachedAttentionArgs<float, BFloat16>,
    kernels::CachedAttentionArgs<float, std::int8_t>,
    kernels::NormedProduct<kernels::HeadArgs<float>>,
    kernels::NormedProduct<kernels::HeadArgs<Float16>>,
    kernels::NormedProduct<kernels::HeadArgs<BFloat16>>>;

using CpuRecording = Recording<CpuNode>;

}  // namespace kvcache::plan
