// What a node `CachedAttention` is, the same in every run: its attributes and constant inputs.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/cached_attention_args.hpp"
#include "model/layer_groups.hpp"
#include "ort/graph_facts.hpp"
#include "weights/weight_store.hpp"

namespace kvcache::ort {

/// Which rows of a block table are a node's: those of its layer's group, of so many.
struct GroupRows {
  std::int64_t group = 0;
  std::int64_t groups = 1;
};

struct AttentionSettings {
  std::int64_t num_heads = 0;
  std::int64_t num_kv_heads = 0;
  float scale = 1;
  GroupRows group;
  kernels::AttentionRules rules;
  std::int64_t norm_size = 0;    // elements of the norms' weights, 0 without them
  std::vector<float> converted;  // those weights, where the model has them in 16 bits
};

/// Reads what is not an address, and tells it: attributes, and the sizes of tables and norms.
/// @throws Ort::Exception where an attribute or a shape is not what the contract says
AttentionSettings attention_sizes(const OrtKernelInfo* info, const std::string& node,
                                  const model::LayerGroups& groups, GraphFacts& facts);

/// The same and the constants, of a node of the CPU whose elements are T's. `store` may be null:
/// whose weights ONNX Runtime keeps.
/// @throws Ort::Exception where an attribute or a shape is not what the contract says
template <typename T>
AttentionSettings attention_settings(const OrtKernelInfo* info, const std::string& node,
                                     weights::WeightStore* store, const model::LayerGroups& groups,
                                     GraphFacts& facts);

}  // namespace kvcache::ort
