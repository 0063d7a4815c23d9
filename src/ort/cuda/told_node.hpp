// Nodes whose weights a fused step is made from.
#pragma once

#include <string>
#include <type_traits>

#include "ort/cuda/node_access.hpp"

namespace kvcache::ort {

/// Keeps what a node of ours is known by, and tells its weights once.
class ToldNode {
 protected:
  ToldNode(const char* op, const OrtKernelInfo* info, const CudaNodeResources& resources)
      : name_(node_name(op, info)),
        node_(Ort::ConstKernelInfo(info).GetNodeName()),
        weights_(resources.weights) {}

  /// What a fused step is made from, if it is of the types that it is for.
  template <typename Args>
  void tell(const Args& args) {
    if constexpr (std::is_constructible_v<plan::CudaNode, const Args&>) {
      if (!is_told_) {
        weights_.nodes.insert_or_assign(node_, args);
        is_told_ = true;
      }
    }
  }

  std::string name_;  // for messages

 private:
  std::string node_;
  plan::CudaWeights& weights_;
  bool is_told_ = false;
};

}  // namespace kvcache::ort
