// The nodes that a recorded step on the CPU is made from.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <variant>

#include "kernels/cached_attention_args.hpp"
#include "kernels/cpu/node_args.hpp"
#include "plan/node_recording.hpp"

namespace kvcache::ops {

/// Nothing: a node that this cannot describe.
using CpuNode =
    std::variant<std::monostate, TokenEmbeddingArgs<const float*>,
                 TokenEmbeddingArgs<const Ort::Float16_t*>,
                 TokenEmbeddingArgs<const Ort::BFloat16_t*>, TokenEmbeddingArgs<QuantizedWeight>,
                 NormedProduct<LinearArgs<float>>, NormedProduct<LinearArgs<Ort::Float16_t>>,
                 NormedProduct<LinearArgs<Ort::BFloat16_t>>, NormedProduct<QuantizedLinearArgs>,
                 CachedAttentionArgs<float>, CachedAttentionArgs<float, Ort::Float16_t>,
                 CachedAttentionArgs<float, Ort::BFloat16_t>,
                 CachedAttentionArgs<float, std::int8_t>, NormedProduct<HeadArgs<float>>,
                 NormedProduct<HeadArgs<Ort::Float16_t>>, NormedProduct<HeadArgs<Ort::BFloat16_t>>>;

using CpuRecording = Recording<CpuNode>;

}  // namespace kvcache::ops
