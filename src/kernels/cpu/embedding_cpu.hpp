// Where a run begins: rows of the tables of tokens and positions.
#pragma once

#include <cstdint>

#include "kernels/cpu/product_cpu.hpp"

namespace kvcache::kernels {

/// out[i] = scale · row input_ids[i] of the tokens' table + row position_ids[i] of the positions'.
/// The tokens' table is [vocab_size, size] in the order of rows, or a quantised weight whose
/// outputs are the rows: the very copy that a tied head reads.
struct Embedding {
  WeightMatrix tokens;
  float scale = 1;
  const float* positions = nullptr;  // [max_seq_len, size], null for none
  std::int64_t size = 0;
  std::int64_t vocab_size = 0;
  std::int64_t max_seq_len = 0;  // rows of the positions' table
};

struct EmbeddingRun {
  const std::int64_t* input_ids = nullptr;     // [tokens], in [0, vocab_size): nobody checks here
  const std::int64_t* position_ids = nullptr;  // [tokens], in [0, max_seq_len)
  float* out = nullptr;                        // [tokens, size]
  std::int64_t tokens = 0;
};

void embedding_cpu(const Embedding& embedding, const EmbeddingRun& run,
                   const ParallelFor& parallel_for);

}  // namespace kvcache::kernels
