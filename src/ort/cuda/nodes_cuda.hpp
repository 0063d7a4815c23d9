// The nodes of domain `kvcache` on CUDA, as ONNX Runtime sees them. See docs/MODEL_FILE.md.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <memory>
#include <vector>

#include "model/layer_groups.hpp"
#include "ort/graph_facts.hpp"
#include "ort/node_counters.hpp"
#include "plan/node_weights.hpp"

namespace kvcache::ort {

/// Operators for all element types; they share what they need on the device. The arguments must
/// outlive the sessions.
std::vector<std::shared_ptr<OrtCustomOp>> cuda_nodes(NodeCounters& counters,
                                                     const model::LayerGroups& groups,
                                                     GraphFacts& facts, plan::NodeWeights& weights);

}  // namespace kvcache::ort
