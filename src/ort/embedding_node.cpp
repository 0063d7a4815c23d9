#include "ort/embedding_node.hpp"

#include <algorithm>

namespace kvcache::ort {
namespace {

/// The ids of an input, each checked to be a row of a table.
const std::int64_t* checked_ids(const Ort::ConstValue& ids, std::int64_t count, std::int64_t rows,
                                const std::string& node, const char* rule) {
  const auto* const id = ids.GetTensorData<std::int64_t>();
  check(std::all_of(id, id + count, [&](auto row) { return row >= 0 && row < rows; }), node, rule);
  return id;
}

}  // namespace

EmbeddingKernel::EmbeddingKernel(const OrtKernelInfo* info, const NodeResources& resources,
                                 const NodeMatrix& tokens)
    : name_(node_name(kName, info)), threads_(resources.threads) {
  embedding_ = {.tokens = tokens.matrix,
                .scale = attribute_or<float>(info, "scale", 1),
                .size = tokens.inputs,
                .vocab_size = tokens.outputs};
  resources.facts.embedding = {embedding_.vocab_size, std::nullopt, embedding_.size,
                               embedding_.scale};
  if (has_input(info, kPositionWeight)) {
    const ConstantInput positions = constant_input(info, kPositionWeight, name_);
    check(positions.shape.size() == 2 && positions.shape[1] == tokens.inputs, name_,
          "position_weight must be [max_seq_len, size], with the size of the tokens' rows");
    resources.store.read_in_place(positions.value.GetTensorRawData(),
                                  positions.elements() * sizeof(float));
    embedding_.positions = static_cast<const float*>(positions.value.GetTensorRawData());
    embedding_.max_seq_len = positions.shape[0];
    resources.facts.embedding->max_seq_len = embedding_.max_seq_len;
  }
  resources.weights.embeddings.insert_or_assign(Ort::ConstKernelInfo(info).GetNodeName(),
                                                embedding_);
}

OrtStatusPtr EmbeddingKernel::ComputeV2(OrtKernelContext* raw_context) {
  return status_of([&] {
    const Ort::KernelContext context(raw_context);
    const auto input_ids = context.GetInput(kInputIds);
    const auto position_ids = context.GetInput(kPositionIds);
    const Shape shape = shape_of(input_ids);
    check(shape.size() == 2 && shape_of(position_ids) == shape, name_,
          "input_ids and position_ids must be [batch, seq_len]");
    kernels::EmbeddingRun run;
    run.tokens = shape[0] * shape[1];
    run.input_ids = checked_ids(input_ids, run.tokens, embedding_.vocab_size, name_,
                                "input_ids must lie in [0, rows of the weight)");
    if (embedding_.positions != nullptr) {
      run.position_ids = checked_ids(position_ids, run.tokens, embedding_.max_seq_len, name_,
                                     "position_ids must lie in [0, rows of position_weight)");
    }
    run.out = context.GetOutput(0, Shape{shape[0], shape[1], embedding_.size})
                  .GetTensorMutableData<float>();
    kernels::embedding_cpu(embedding_, run, threads_);
  });
}

}  // namespace kvcache::ort
