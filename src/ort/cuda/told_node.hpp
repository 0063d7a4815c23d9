// Nodes whose weights a fused step is made from.
#pragma once

#include <string>

#include "ort/cuda/node_access.hpp"

namespace kvcache::ort {

/// Keeps what a node of ours is known by, and tells its weights once.
class ToldNode {
 protected:
  ToldNode(const char* op, const OrtKernelInfo* info, const CudaNodeResources& resources)
      : name_(node_name(op, info)),
        node_(Ort::ConstKernelInfo(info).GetNodeName()),
        weights_(resources.weights) {}

  /// What a fused step is made from: of the types that it is for.
  template <typename T, template <typename> class Args>
  void tell(const Args<T>& args) {
    if constexpr (sizeof(T) == 2) {
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
