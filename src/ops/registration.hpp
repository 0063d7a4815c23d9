// Makes the kernels known to ONNX Runtime: operators of domain `kvcache`, version 1.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <memory>
#include <vector>

#include "kvcache/types.hpp"
#include "ops/node_counters.hpp"
#include "ops/weight_store.hpp"

namespace kvcache::ops {

/// The operators of one model. Must outlive the sessions it was added to.
class NodeDomain {
 public:
  /// Kernels for models of `type` on `device`. On the CPU, the products with weights are ours for
  /// float32 only, and ONNX Runtime takes no body for an operator that is registered for another
  /// type. `counters` must outlive the sessions too.
  NodeDomain(Device device, DataType type, NodeCounters& counters);
  ~NodeDomain();
  NodeDomain(const NodeDomain&) = delete;
  NodeDomain& operator=(const NodeDomain&) = delete;

  /// From here on, ONNX Runtime calls our kernels in sessions made with `options` instead of the
  /// function bodies in the model file. Functions that we have no kernel for keep their body.
  void add_to(Ort::SessionOptions& options) const;

  /// The kernels read weights of this file where it lies; to be called before a session is made.
  /// The file must outlive the sessions.
  void read_from(const WeightFile& file) { weights_.read_from(file); }

 private:
  void add_cpu_nodes(DataType type, NodeCounters& counters);
  void add(std::shared_ptr<OrtCustomOp> op);

  WeightStore weights_;
  std::vector<std::shared_ptr<OrtCustomOp>> operators_;
  Ort::CustomOpDomain domain_;
};

}  // namespace kvcache::ops
