// What the nodes of a run are told to do, written down while they do it: for whoever can do the
// same in another way.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "ops/cached_attention_args.hpp"
#include "ops/cuda/embedding_cuda.hpp"
#include "ops/cuda/linear_cuda.hpp"

namespace kvcache::ops {

/// Nothing: a node that this cannot describe.
using RecordedNode = std::variant<std::monostate, EmbeddingCudaArgs<__half>, LinearCudaArgs<__half>,
                                  CachedAttentionArgs<__half>, HeadCudaArgs<__half>,
                                  EmbeddingCudaArgs<__nv_bfloat16>, LinearCudaArgs<__nv_bfloat16>,
                                  CachedAttentionArgs<__nv_bfloat16>, HeadCudaArgs<__nv_bfloat16>>;

/// Of this thread's runs from its construction to its end, in their order. ONNX Runtime calls a
/// run's nodes in the thread that started it.
class NodeRecording {
 public:
  NodeRecording() : before_(std::exchange(current_, this)) {}
  NodeRecording(const NodeRecording&) = delete;
  NodeRecording& operator=(const NodeRecording&) = delete;
  ~NodeRecording() { current_ = before_; }

  /// Called by every node with its arguments.
  template <typename Args>
  static void note(const Args& args) {
    if (current_ == nullptr) {
      return;
    }
    if constexpr (std::is_constructible_v<RecordedNode, std::in_place_type_t<Args>, Args>) {
      current_->nodes_.emplace_back(std::in_place_type<Args>, args);
    } else {
      current_->nodes_.emplace_back();
    }
  }

  [[nodiscard]] const std::vector<RecordedNode>& nodes() const noexcept { return nodes_; }

 private:
  static inline thread_local NodeRecording* current_ = nullptr;

  NodeRecording* before_;
  std::vector<RecordedNode> nodes_;
};

}  // namespace kvcache::ops
