#include "ort/token_embedding.hpp"

#include <algorithm>

#include "plan/cpu/recorded_nodes.hpp"

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

template <typename Table>
void AnyTokenEmbedding::compute(Ort::KernelContext& context, const Table& table,
                                std::int64_t vocab_size) const {
  const auto input_ids = context.GetInput(0);
  const auto position_ids = context.GetInput(1);
  const auto position_weight = context.GetInput(kPositionsInput);
  const Shape shape = shape_of(input_ids);
  const Shape positions_shape = shape_of(position_weight);
  check(shape.size() == 2 && shape_of(position_ids) == shape, name_,
        "input_ids and position_ids must be [batch, seq_len]");
  check(positions_shape.size() == 2, name_, "position_weight must be [max_seq_len, size]");
  kernels::TokenEmbeddingArgs<Table> node;
  node.tokens = shape[0] * shape[1];
  node.size = positions_shape[1];
  node.input_ids = checked_ids(input_ids, node.tokens, vocab_size, name_,
                               "input_ids must lie in [0, rows of the weight)");
  node.position_ids = checked_ids(position_ids, node.tokens, positions_shape[0], name_,
                                  "position_ids must lie in [0, rows of position_weight)");
  node.table = table;
  node.position_weight = position_weight.template GetTensorData<float>();
  node.out = context.GetOutput(0, Shape{shape[0], shape[1], node.size})
                 .template GetTensorMutableData<float>();
  plan::CpuRecording::note(node);
  kernels::run_node(node, threads_);
}

void AnyTokenEmbedding::tell_sizes(const OrtKernelInfo* info, std::int64_t vocab_size,
                                   GraphFacts& facts) {
  const Shape positions = declared_shape(info, kPositionsInput);
  check(positions.size() == 2, node_name("TokenEmbedding", info),
        "position_weight must be [max_seq_len, size]");
  facts.embedding = {vocab_size, positions[0], positions[1]};
}

template <typename W>
void TokenEmbeddingKernel<W>::tell(const OrtKernelInfo* info, GraphFacts& facts) const {
  const Shape table = declared_shape(info, kWeightInput);
  check(table.size() == 2, name_, "weight must be [vocab_size, size]");
  tell_sizes(info, table[0], facts);
  facts.weights.emplace(weight_type_name<W>());
}

template <typename W>
OrtStatusPtr TokenEmbeddingKernel<W>::ComputeV2(OrtKernelContext* raw_context) {
  return status_of([&] {
    Ort::KernelContext context(raw_context);
    const auto weight = context.GetInput(kWeightInput);
    const Shape shape = shape_of(weight);
    check(shape.size() == 2 && shape[1] == shape_of(context.GetInput(kPositionsInput)).back(),
          name_, "weight must be [vocab_size, size], with the size of position_weight");
    const W* const table = weight_ != nullptr ? weight_ : raw_data<W>(weight);
    compute(context, table, shape[0]);
  });
}

template class TokenEmbeddingKernel<float>;
template class TokenEmbeddingKernel<Float16>;
template class TokenEmbeddingKernel<BFloat16>;

QuantizedTokenEmbeddingKernel::QuantizedTokenEmbeddingKernel(const OrtKernelInfo* info,
                                                             weights::WeightStore& weights,
                                                             const ThreadTeam& threads)
    : AnyTokenEmbedding(kName, info, threads),
      weight_(info, weights, name_, kWeightInput, kInputs - 1),
      inputs_(Ort::ConstKernelInfo(info).GetAttribute<std::int64_t>("inputs")),
      outputs_(Ort::ConstKernelInfo(info).GetAttribute<std::int64_t>("outputs")) {}

void QuantizedTokenEmbeddingKernel::tell(const OrtKernelInfo* info, GraphFacts& facts) const {
  tell_sizes(info, outputs_, facts);
  facts.weights.emplace(weight_.type_name());
}

OrtStatusPtr QuantizedTokenEmbeddingKernel::ComputeV2(OrtKernelContext* raw_context) {
  return status_of([&] {
    Ort::KernelContext context(raw_context);
    check(inputs_ == shape_of(context.GetInput(kPositionsInput)).back(), name_,
          "the weight must have the size of position_weight");
    compute(context, weight_.matrix(context, name_, inputs_, outputs_), outputs_);
  });
}

}  // namespace kvcache::ort
