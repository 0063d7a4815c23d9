// What our nodes saw of the model when they were made: config.json must say the same.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace kvcache::ort {

/// Sizes and types that no input or output of the graph shows. Nodes are made one after the other,
/// in the thread that opens the session. Where ONNX Runtime's own nodes stand in the place of ours
/// (models of 16 bits on the CPU), nothing is known, and they check ids themselves at every run.
struct GraphFacts {
  struct Embedding {
    std::int64_t vocab_size;
    std::optional<std::int64_t> max_seq_len;  // of the table of positions, where there is one
    std::int64_t hidden_size;
    float scale = 1;
  };

  struct Product {
    std::int64_t outputs;
    float epsilon;  // of its norm; 0 where it has none
    std::string activation;
    std::string norm;  // its kind, as the attribute says
    bool gated = false;
    float soft_cap = 0;      // of a head's logits; 0 without
    float post_epsilon = 0;  // of the norm of its result; 0 without
  };
  struct Attention {
    std::int64_t num_heads;
    std::int64_t num_kv_heads;
    float scale;
    std::int64_t window = 0;
    float soft_cap = 0;
    std::int64_t rotary_dims = 0;       // 0 without rotary positions
    std::int64_t rotary_positions = 0;  // rows of the tables of angles
    float norm_epsilon = 0;             // of the norms of queries and keys; 0 without
  };

  std::optional<Embedding> embedding;
  std::map<std::string, Product> products;  // by the node's name
  std::map<std::string, Attention> attentions;
  std::map<std::string, float> norms;  // epsilon of the final one, in nodes beside the head
  std::set<std::string> weights;       // types of matrices, as config.json names them
  std::set<std::string> rounded_to;    // what products round activations to, where they do
};

/// The shape of a node's input as the graph declares it: a weight's is its own.
inline std::vector<std::int64_t> declared_shape(const OrtKernelInfo* info, std::size_t input) {
  return Ort::ConstKernelInfo(info).GetInputTypeInfo(input).GetTensorTypeAndShapeInfo().GetShape();
}

}  // namespace kvcache::ort
