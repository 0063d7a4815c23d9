// Makes the kernels known to ONNX Runtime: operators of domain `kvcache`, version 2.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <memory>
#include <vector>

#include "base/thread_pool.hpp"
#include "kvcache/types.hpp"
#include "model/layer_groups.hpp"
#include "ort/graph_facts.hpp"
#include "ort/node_counters.hpp"
#include "plan/node_weights.hpp"
#include "weights/weight_store.hpp"

namespace kvcache::ort {

/// The operators of one model. Must outlive the sessions it was added to.
class NodeDomain {
 public:
  /// Kernels for models of `type` on `device`. On the CPU, all nodes are ours for float32, with
  /// `threads`; for other types (ONNX Runtime takes no body for an operator that is registered for
  /// another type) attention alone, with ONNX Runtime's threads, and `threads` is null. `counters`
  /// and `threads` must outlive the sessions too.
  /// `groups`: of layers that have rows of block tables of their own. `invariant_results`: of
  /// ModelOptions.
  NodeDomain(Device device, DataType type, NodeCounters& counters, const model::LayerGroups& groups,
             const ThreadPool* threads, bool invariant_results);
  ~NodeDomain();
  NodeDomain(const NodeDomain&) = delete;
  NodeDomain& operator=(const NodeDomain&) = delete;

  /// From here on, ONNX Runtime calls our kernels in sessions made with `options` instead of the
  /// function bodies in the model file. Functions that we have no kernel for keep their body.
  void add_to(Ort::SessionOptions& options) const;

  /// The kernels read weights of this file where it lies; to be called before a session is made.
  /// The file must outlive the sessions.
  void read_from(const weights::WeightFile& file) { weights_.read_from(file); }
  /// What the kernels of the sessions that were made read elsewhere: WeightFile::settle().
  [[nodiscard]] std::vector<MappedPlace> places_read(const weights::WeightFile& file) const {
    return weights_.places_read(file);
  }

  /// Both of the session that was made last.
  [[nodiscard]] const plan::NodeWeights& node_weights() const noexcept { return node_weights_; }
  [[nodiscard]] const GraphFacts& facts() const noexcept { return facts_; }

 private:
  void add_float32_nodes(NodeCounters& counters, const ThreadPool& threads, bool invariant_results);
  void add_16_bit_nodes(NodeCounters& counters);
  void add(std::shared_ptr<OrtCustomOp> op);

  model::LayerGroups groups_;
  weights::WeightStore weights_;
  GraphFacts facts_;
  plan::NodeWeights node_weights_;
  std::vector<std::shared_ptr<OrtCustomOp>> operators_;
  Ort::CustomOpDomain domain_;
};

}  // namespace kvcache::ort
