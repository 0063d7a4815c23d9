// What the nodes of a model on the CPU are made with, and tell when they are made.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <string>
#include <type_traits>

#include "base/float16.hpp"
#include "base/thread_pool.hpp"
#include "kernels/cpu/product_cpu.hpp"
#include "ort/graph_facts.hpp"
#include "ort/node_info.hpp"
#include "plan/node_weights.hpp"
#include "weights/weight_store.hpp"

namespace kvcache::ort {

struct NodeResources {
  weights::WeightStore& store;
  const ThreadPool& threads;
  plan::NodeWeights& weights;  // filled by the nodes
  GraphFacts& facts;           // the same
  bool invariant_results;      // ModelOptions::invariant_results
};

/// The attributes and inputs of a node's weight.
struct WeightInputs {
  std::size_t weight;
  std::size_t scales;
  kernels::WeightOrder order;
  std::int64_t matrices = 1;  // 2: gate and up, in panels
};

/// A node's weight where it lies, and its size.
struct NodeMatrix {
  kernels::WeightMatrix matrix;
  std::int64_t inputs;
  std::int64_t outputs;
};

/// Reads the weight, an initializer whose elements are W's (std::uint8_t: quantised, in panels
/// whatever the order), where the library has it, and tells its type.
/// @throws Ort::Exception where its shape or an attribute is wrong
template <typename W>
NodeMatrix node_matrix(const OrtKernelInfo* info, const std::string& node,
                       const WeightInputs& inputs, const NodeResources& resources);

/// The norm that a node begins with, of tokens [size]: its parameters and, as `kind`, which one it
/// is. Without one, the weight is null.
/// @throws Ort::Exception where there is no kernel for it or a parameter is missing
kernels::TokenNormArgs node_norm(const OrtKernelInfo* info, const std::string& node,
                                 std::size_t weight_input, std::size_t bias_input,
                                 std::int64_t size, const NodeResources& resources);

/// A float32 vector [size] of the model, null where the node has none.
const float* node_vector(const OrtKernelInfo* info, const std::string& node, std::size_t input,
                         std::int64_t size, const NodeResources& resources);

}  // namespace kvcache::ort
