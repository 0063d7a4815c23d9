// Makes the kernels known to ONNX Runtime: operators of domain `kvcache`, version 1.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <memory>

#include "ops/node_counters.hpp"

namespace kvcache::ops {

/// The operator domain of one model. Must outlive the sessions it was added to.
class NodeDomain {
 public:
  /// `counters` must outlive the sessions too.
  explicit NodeDomain(NodeCounters& counters);
  ~NodeDomain();
  NodeDomain(const NodeDomain&) = delete;
  NodeDomain& operator=(const NodeDomain&) = delete;

  /// From here on, ONNX Runtime calls our kernels in sessions made with `options` instead of the
  /// function bodies in the model file.
  void add_to(Ort::SessionOptions& options) const;

 private:
  struct Operators;
  std::unique_ptr<Operators> operators_;
  Ort::CustomOpDomain domain_;
};

}  // namespace kvcache::ops
