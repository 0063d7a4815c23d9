#include "kernels/cpu/bfloat16_cpu.hpp"

#include <algorithm>

#include "base/rounding.hpp"
#include "base/thread_scratch.hpp"
#include "kernels/cpu/panel_tasks.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/bfloat16_cpu.cpp"
#include "hwy/foreach_target.h"
// foreach_target.h must come before highway.h and everything that includes it.
#include "hwy/highway.h"
#include "kernels/cpu/bfloat16_amx-inl.hpp"
#include "kernels/cpu/bfloat16_tile-inl.hpp"
#include "kernels/cpu/epilogue-inl.hpp"
#include "kernels/cpu/from_float32-inl.hpp"
#include "kernels/cpu/matrix_tile-inl.hpp"
#include "kernels/cpu/prefetch-inl.hpp"
#include "kernels/cpu/to_float32-inl.hpp"
#include "kernels/panels.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {

constexpr std::int64_t kTokensAtATime = 8;  // of rounding

/// Calls round(token) for each, a few of them a task.
template <typename Round>
void for_tokens(std::int64_t tokens, const ParallelFor& parallel_for, const Round& round) {
  parallel_for.alone()(divide_up(tokens, kTokensAtATime), [&](std::int64_t part) {
    const std::int64_t end = std::min((part + 1) * kTokensAtATime, tokens);
    for (std::int64_t token = part * kTokensAtATime; token < end; ++token) {
      round(token);
    }
  });
}

/// x [tokens, inputs] rounded, in float32, in scratch memory of this thread that tasks leave alone.
const float* rounded_floats(const float* x, std::int64_t tokens, std::int64_t inputs,
                            const ParallelFor& parallel_for) {
  float* rounded = thread_scratch(tokens * inputs, ScratchUse::call);
  for_tokens(tokens, parallel_for, [&](std::int64_t token) {
    const hn::ScalableTag<float> d;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    const float* from = x + token * inputs;
    float* to = rounded + token * inputs;
    std::int64_t i = 0;
    for (; i + lanes <= inputs; i += lanes) {
      hn::StoreU(hn::BitCast(d, round_to_bfloat16(d, hn::LoadU(d, from + i))), d, to + i);
    }
    for (; i < inputs; ++i) {
      to[i] = static_cast<float>(BFloat16(from[i]));
    }
  });
  return rounded;
}

#if KVCACHE_BFLOAT16_DOT

#if KVCACHE_BFLOAT16_AMX
constexpr std::int64_t kWholeRows = AmxTiles::kRows;
constexpr std::int64_t kWholeDepth = kAmxDepth;
#else
constexpr std::int64_t kWholeRows = 1;
constexpr std::int64_t kWholeDepth = 1;
#endif

/// x [tokens, inputs] rounded, in scratch memory of this thread that tasks leave alone. Rows end
/// with zeros up to kWholeDepth; behind them is memory for whole tiles of rows.
LeftBFloat16 rounded_tokens(const LinearArgs<BFloat16>& args, const ParallelFor& parallel_for) {
  const std::int64_t stride = round_up(args.inputs, kWholeDepth);
  const std::int64_t count = round_up(args.tokens, kWholeRows) * stride;
  float* scratch = thread_scratch((count + 1) / 2, ScratchUse::call);
  auto* rounded = reinterpret_cast<BFloat16*>(scratch);
  for_tokens(args.tokens, parallel_for, [&](std::int64_t token) {
    BFloat16* row = rounded + token * stride;
    from_float32(args.x + token * args.inputs, args.inputs, row);
    std::fill(row + args.inputs, row + stride, BFloat16(0.0F));
  });
  return {rounded, stride};
}

// How much of a panel is used on all tokens before the next part: its pairs (16 KiB) stay in the
// first-level cache meanwhile, and the next one is fetched.
constexpr std::int64_t kPartInputs = 128;

/// sums = x · panel for the `tokens` rows of x, of which each has `inputs` elements. Of sums there
/// is memory for whole tiles of rows.
void multiply_panel_of_pairs(LeftBFloat16 x, std::int64_t tokens, std::int64_t inputs,
                             const BFloat16* panel, float* sums) {
  HWY_ALIGN std::uint32_t pairs[kPartInputs / 2 * kPanelColumns];
  const auto for_parts = [&](const auto& multiply_part) {
    for (std::int64_t input = 0; input < inputs; input += kPartInputs) {
      const std::int64_t depth = std::min(kPartInputs, inputs - input);
      pair_rows(panel + input * kPanelColumns, depth, pairs);
      multiply_part(LeftBFloat16{x.data + input, x.row_stride}, depth, input != 0,
                    panel + (input + depth) * kPanelColumns);
    }
  };
#if KVCACHE_BFLOAT16_AMX
  if (has_amx()) {
    const AmxTiles tiles(AmxTiles::kRowBytes);
    const std::int64_t rows = round_up(tokens, AmxTiles::kRows);
    const std::int64_t fetches = (rows + 31) / 32 * (kPanelColumns / AmxTiles::kRows);
    for_parts([&](LeftBFloat16 left, std::int64_t depth, bool carry, const BFloat16* next) {
      const std::int64_t whole = round_up(depth, kAmxDepth);
      std::fill(pairs + (depth + 1) / 2 * kPanelColumns, pairs + whole / 2 * kPanelColumns, 0);
      multiply_pairs_amx(left, rows, whole, pairs, carry, sums, kPanelColumns,
                         Ahead{next, (depth * kPanelColumns + fetches - 1) / fetches});
    });
    return;
  }
#endif
  const std::int64_t tiles = divide_up(tokens, kMaxRows);
  for_parts([&](LeftBFloat16 left, std::int64_t depth, bool carry, const BFloat16* next) {
    multiply_pairs(left, tokens, depth, pairs, carry, sums, kPanelColumns,
                   Ahead{next, (2 * kPanelColumns + tiles - 1) / tiles});
  });
}

void linear_of_pairs(const LinearArgs<BFloat16>& args, const ParallelFor& parallel_for) {
  const LeftBFloat16 x = rounded_tokens(args, parallel_for);
  const std::int64_t panels = panel_count(args.outputs);
  for_panel_tasks(panels, args.tokens, parallel_for,
                  [&](std::int64_t panel, std::int64_t first, std::int64_t tokens) {
                    const std::int64_t matrices = args.matrices();
                    const std::int64_t size = round_up(tokens, kWholeRows) * kPanelColumns;
                    float* sums = thread_scratch(matrices * size);
                    for (std::int64_t i = 0; i < matrices; ++i) {
                      multiply_panel_of_pairs(
                          {x.data + first * x.row_stride, x.row_stride}, tokens, args.inputs,
                          args.weight + (panel * matrices + i) * args.inputs * kPanelColumns,
                          sums + i * size);
                    }
                    panel_epilogue(epilogue_of(args), panel, first, tokens, sums, sums + size);
                  });
}

constexpr std::int64_t kHeadTaskOutputs = 96;

/// sums [rows, kTileColumns] = weight · pairs for `tokens` columns.
void multiply_rows_of_head(LeftBFloat16 weight, std::int64_t rows, const std::uint32_t* pairs,
                           std::int64_t tokens, float* sums) {
  const std::int64_t inputs = weight.row_stride;
  std::int64_t first = 0;
#if KVCACHE_BFLOAT16_AMX
  if (inputs % kAmxDepth == 0 && has_amx()) {
    const AmxTiles tiles(AmxTiles::kRowBytes);
    first = rows / AmxTiles::kRows * AmxTiles::kRows;
    const std::int64_t columns = round_up(tokens, AmxTiles::kRows);
    const std::int64_t fetched = 32 * inputs / (columns / AmxTiles::kRows);
    multiply_pairs_amx(weight, first, inputs, pairs, false, sums, columns,
                       Ahead{weight.data + rows * inputs, fetched});
  }
#endif
  multiply_pairs({weight.data + first * inputs, inputs}, rows - first, inputs, pairs, false,
                 sums + first * kTileColumns, whole_vectors(tokens),
                 Ahead{weight.data + (first + kMaxRows) * inputs, 2 * kMaxRows});
}

/// Up to kTileColumns tokens, along the lanes: rows of the weight hold pairs as they are.
/// pairs: [⌈inputs / 2⌉, kTileColumns].
void head_of_token_tile(const HeadArgs<BFloat16>& args, std::int64_t first, std::int64_t tokens,
                        std::uint32_t* pairs, const ParallelFor& parallel_for) {
  std::fill_n(pairs, (args.inputs + 1) / 2 * kTileColumns, 0);
  auto* elements = reinterpret_cast<BFloat16*>(pairs);
  for (std::int64_t token = 0; token < tokens; ++token) {
    const float* x = args.x + (first + token) * args.inputs;
    for (std::int64_t i = 0; i < args.inputs; ++i) {
      elements[2 * (i / 2 * kTileColumns + token) + i % 2] = BFloat16(x[i]);
    }
  }
  const std::int64_t tasks = divide_up(args.outputs, kHeadTaskOutputs);
  parallel_for(tasks, [&](std::int64_t task) {
    HWY_ALIGN float sums[kHeadTaskOutputs * kTileColumns];  // [outputs, tokens]
    const std::int64_t row = task * kHeadTaskOutputs;
    const std::int64_t rows = std::min(kHeadTaskOutputs, args.outputs - row);
    multiply_rows_of_head({args.weight + row * args.inputs, args.inputs}, rows, pairs, tokens,
                          sums);
    for (std::int64_t token = 0; token < tokens; ++token) {
      float* out = args.out + (first + token) * args.outputs + row;
      for (std::int64_t r = 0; r < rows; ++r) {
        out[r] = sums[r * kTileColumns + token];
      }
    }
  });
}

void head_of_pairs(const HeadArgs<BFloat16>& args, const ParallelFor& parallel_for) {
  auto* const pairs = reinterpret_cast<std::uint32_t*>(
      thread_scratch((args.inputs + 1) / 2 * kTileColumns, ScratchUse::turned));
  for (std::int64_t first = 0; first < args.tokens; first += kTileColumns) {
    head_of_token_tile(args, first, std::min(kTileColumns, args.tokens - first), pairs,
                       parallel_for);
  }
}

#endif

void linear_bfloat16(const LinearArgs<BFloat16>& args, const ParallelFor& parallel_for,
                     [[maybe_unused]] bool invariant) {
#if KVCACHE_BFLOAT16_DOT
  if ((invariant || args.tokens > kMaxRows) && has_bfloat16_dot()) {
    linear_of_pairs(args, parallel_for);
    return;
  }
#endif
  LinearArgs<BFloat16> rounded = args;
  rounded.x = rounded_floats(args.x, args.tokens, args.inputs, parallel_for);
  linear_cpu(rounded, parallel_for);
}

void head_bfloat16(const HeadArgs<BFloat16>& args, const ParallelFor& parallel_for,
                   [[maybe_unused]] bool invariant) {
#if KVCACHE_BFLOAT16_DOT
  if ((invariant || args.tokens >= kMaxRows) && has_bfloat16_dot()) {
    head_of_pairs(args, parallel_for);
    return;
  }
#endif
  HeadArgs<BFloat16> rounded = args;
  rounded.x = rounded_floats(args.x, args.tokens, args.inputs, parallel_for);
  head_cpu(rounded, parallel_for);
}

bool has_products() {
#if KVCACHE_BFLOAT16_DOT
  return has_bfloat16_dot();
#else
  return false;
#endif
}

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcache::kernels {

HWY_EXPORT(linear_bfloat16);
HWY_EXPORT(head_bfloat16);
HWY_EXPORT(has_products);

void bfloat16_linear_cpu(const LinearArgs<BFloat16>& args, const ParallelFor& parallel,
                         bool invariant) {
  HWY_DYNAMIC_DISPATCH(linear_bfloat16)(args, parallel, invariant);
}
void bfloat16_head_cpu(const HeadArgs<BFloat16>& args, const ParallelFor& parallel,
                       bool invariant) {
  HWY_DYNAMIC_DISPATCH(head_bfloat16)(args, parallel, invariant);
}

bool multiplies_bfloat16() { return HWY_DYNAMIC_DISPATCH(has_products)(); }

}  // namespace kvcache::kernels
#endif
