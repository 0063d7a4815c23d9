// The nodes `kvcache::TokenEmbedding` and `QuantizedTokenEmbedding`: where a run begins. See
// docs/MODEL_FILE.md.
//
// They read the very copy of the weight that a tied head uses, so that it is in memory once.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <string>

#include "ort/quantized_weight.hpp"
#include "ort/weight_op.hpp"

namespace kvcache::ort {

/// What the two have in common: input_ids [batch, seq_len], position_ids of the same shape, the
/// tokens' table and position_weight [max_seq_len, size] to [batch, seq_len, size].
class AnyTokenEmbedding {
 public:
  static constexpr std::size_t kWeightInput = 2;
  static constexpr std::size_t kPositionsInput = 3;
  static constexpr bool takes_ids(std::size_t input) { return input < kWeightInput; }

 protected:
  AnyTokenEmbedding(const char* op, const OrtKernelInfo* info, const ThreadTeam& threads)
      : name_(node_name(op, info)), threads_(threads) {}
  /// Looks up rows of a table of `vocab_size`.
  template <typename Table>
  void compute(Ort::KernelContext& context, const Table& table, std::int64_t vocab_size) const;
  static void tell_sizes(const OrtKernelInfo* info, std::int64_t vocab_size, GraphFacts& facts);

  std::string name_;

 private:
  const ThreadTeam& threads_;
};

template <typename W>
class TokenEmbeddingKernel : public AnyTokenEmbedding {
 public:
  using Weight = W;
  static constexpr const char* kName = "TokenEmbedding";
  static constexpr std::size_t kInputs = 4;

  TokenEmbeddingKernel(const OrtKernelInfo* info, weights::WeightStore& weights,
                       const ThreadTeam& threads)
      : AnyTokenEmbedding(kName, info, threads),
        weight_(kept_weight<W>(info, weights, kWeightInput)) {}
  OrtStatusPtr ComputeV2(OrtKernelContext* context);
  void tell(const OrtKernelInfo* info, GraphFacts& facts) const;

 private:
  const W* weight_;
};

/// The table is a quantised weight, whose outputs are the rows.
class QuantizedTokenEmbeddingKernel : public AnyTokenEmbedding {
 public:
  using Weight = std::uint8_t;
  static constexpr const char* kName = "QuantizedTokenEmbedding";
  static constexpr std::size_t kInputs = 5;  // weight_scales

  QuantizedTokenEmbeddingKernel(const OrtKernelInfo* info, weights::WeightStore& weights,
                                const ThreadTeam& threads);
  OrtStatusPtr ComputeV2(OrtKernelContext* context);
  void tell(const OrtKernelInfo* info, GraphFacts& facts) const;

 private:
  KeptQuantizedWeight weight_;
  std::int64_t inputs_;
  std::int64_t outputs_;
};

}  // namespace kvcache::ort
