#include "plan/cuda/fused_inputs.hpp"

#include <algorithm>
#include <cstdint>

#include "plan/cuda/rows_of_run.hpp"

namespace kvcache::plan {
namespace {

/// Where a token's key and value go.
template <typename Token>
void place(Token& token, const RowTokens& row, std::int64_t number) {
  token.append_at = row.append_at + static_cast<std::int32_t>(number - row.begin);
  token.table_at = row.table_at;
}

/// Which of its row's tokens a token sees, itself included: a bit each.
std::uint64_t seen_of_row(const StepBinding& inputs, const RowTokens& row, std::int64_t token) {
  std::uint64_t sees = 0;
  for (std::int64_t seen = token - row.begin; seen >= 0;
       seen = inputs.tree_parents != nullptr ? inputs.tree_parents[row.begin + seen] : seen - 1) {
    sees |= std::uint64_t{1} << static_cast<unsigned>(seen);
  }
  return sees;
}

}  // namespace

bool is_of_one_token(const StepBinding& binding) {
  return binding.tokens == 1 && binding.rows == 1 && binding.num_logits == 1 &&
         binding.tree_parents == nullptr && binding.append_positions == nullptr &&
         binding.row_offsets == nullptr;
}

kernels::FusedStepInputs step_inputs(const StepBinding& inputs) {
  kernels::FusedStepInputs of_step;
  of_step.input_id = *inputs.input_ids;
  of_step.position_id = *inputs.position_ids;
  of_step.past_length = *inputs.past_lengths;
  std::copy_n(inputs.block_table, inputs.blocks_per_row, of_step.block_table);
  return of_step;
}

namespace {

/// Of a kernel's form: `count`, `tokens` and `block_table`.
template <typename Inputs>
void set_tokens(const StepBinding& inputs, Inputs& of_step) {
  of_step.count = tokens_of_rows(inputs);
  for_rows(inputs, [&](const RowTokens& row) {
    for (std::int64_t number = row.begin; number < row.end; ++number) {
      kernels::FusedToken& token = of_step.tokens[number];
      token = {};
      token.id = inputs.input_ids[number];
      token.position = inputs.position_ids[number];
      token.past_length = inputs.past_lengths[row.row];
      place(token, row, number);
      token.sees = static_cast<std::uint32_t>(seen_of_row(inputs, row, number)
                                              << static_cast<unsigned>(row.begin));
    }
  });
  for (std::int64_t row = 0; row < inputs.num_logits; ++row) {
    if (const std::int64_t token = token_of_logits(inputs, row); token < of_step.count) {
      of_step.tokens[token].logits_rows |= 1U << static_cast<unsigned>(row);
    }
  }
  std::copy_n(inputs.block_table, inputs.rows * inputs.blocks_per_row, of_step.block_table);
}

}  // namespace

kernels::FusedTokensInputs tokens_inputs(const StepBinding& inputs) {
  kernels::FusedTokensInputs of_step;
  set_tokens(inputs, of_step);
  return of_step;
}

void set_decoder_inputs(const StepBinding& inputs, kernels::DecoderInputs& of_step) {
  set_tokens(inputs, of_step);
}

}  // namespace kvcache::plan
