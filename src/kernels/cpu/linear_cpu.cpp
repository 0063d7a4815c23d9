#include "kernels/cpu/linear_cpu.hpp"

#include <algorithm>
#include <type_traits>

#include "base/rounding.hpp"
#include "base/thread_scratch.hpp"
#include "kernels/cpu/panel_tasks.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/linear_cpu.cpp"
#include "hwy/foreach_target.h"
// foreach_target.h must come before highway.h and everything that includes it.
#include "hwy/highway.h"
#include "kernels/cpu/epilogue-inl.hpp"
#include "kernels/cpu/matrix_tile-inl.hpp"
#include "kernels/cpu/ordered_dots-inl.hpp"
#include "kernels/cpu/ordered_tile-inl.hpp"
#include "kernels/cpu/to_float32-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {

static_assert(kTileColumns == kPanelColumns);

// How much of a panel is used on all tokens before the next part: a part (12 KiB) stays in the
// first-level cache meanwhile, and the next one is fetched.
constexpr std::int64_t kPartInputs = 48;

/// sums = x · panel for the `tokens` rows of x, of which each has `inputs` elements.
template <typename W>
void multiply_panel(const float* x, std::int64_t tokens, std::int64_t inputs, const W* panel,
                    float* sums) {
  const LeftMatrix left{x, inputs};
  if (tokens == 1) {  // every weight is used once: one stream of memory
    multiply(left, tokens, inputs, panel, false, sums);
    return;
  }
  for (std::int64_t input = 0; input < inputs; input += kPartInputs) {
    const std::int64_t depth = std::min(kPartInputs, inputs - input);
    const W* part = panel + input * kPanelColumns;
    const std::int64_t elements = depth * kPanelColumns;
    const auto next = NextPart::fetched_by(divide_up(tokens, std::int64_t{kMaxRows}) * depth,
                                           part + elements, elements * sizeof(W));
    const bool add = input != 0;
    if (std::is_same_v<W, float> || tokens <= kMaxRows) {
      multiply<true>(left.from_depth(input), tokens, depth, part, add, sums, next);
    } else {  // used by several tiles
      HWY_ALIGN float converted[kPartInputs * kPanelColumns];
      to_float32(part, elements, converted);
      multiply<true>(left.from_depth(input), tokens, depth, converted, add, sums, next);
    }
  }
}

template <typename W>
void linear(const LinearArgs<W>& args, const ParallelFor& parallel_for) {
  const std::int64_t panels = divide_up(args.outputs, kPanelColumns);
  for_panel_tasks(panels, args.tokens, parallel_for,
                  [&](std::int64_t panel, std::int64_t first, std::int64_t tokens) {
                    const std::int64_t matrices = args.matrices();
                    const std::int64_t size = tokens * kPanelColumns;
                    float* sums = thread_scratch(matrices * size);
                    for (std::int64_t i = 0; i < matrices; ++i) {
                      multiply_panel(
                          args.x + first * args.inputs, tokens, args.inputs,
                          args.weight + (panel * matrices + i) * args.inputs * kPanelColumns,
                          sums + i * size);
                    }
                    panel_epilogue(epilogue_of(args), panel, first, tokens, sums, sums + size);
                  });
}

constexpr std::int64_t kHeadTaskOutputs = 96;

// Below this many tokens, the lanes of a tile would stand empty, and rows along them are faster.
constexpr std::int64_t kFewTokens = 6;

/// kTokens tokens · the rows [first, end) of the weight.
template <int kTokens, typename W>
void multiply_rows_of_head(const HeadArgs<W>& args, const float* patterns, std::int64_t first,
                           std::int64_t end, float* out) {
  const Floats d;
  for (std::int64_t row = first; row < end; row += kLanes) {
    const std::int64_t count = std::min(kLanes, end - row);
    FloatVector products[kTokens];
    dot_vector_of_rows<kTokens>(patterns, args.inputs, args.weight + row * args.inputs, args.inputs,
                                count, products);
    for (int token = 0; token < kTokens; ++token) {
      float* const to = out + token * args.outputs + row;
      if (count == kLanes) {
        hn::StoreU(products[token], d, to);
      } else {
        store_first(products[token], d, to, count);
      }
    }
  }
}

/// The same of `tokens` tokens, up to kTokens at a time.
template <int kTokens, typename W>
void multiply_rows_of_head(const HeadArgs<W>& args, const float* patterns, std::int64_t tokens,
                           std::int64_t first, std::int64_t end, float* out) {
  for (; tokens >= kTokens; tokens -= kTokens) {
    multiply_rows_of_head<kTokens>(args, patterns, first, end, out);
    patterns += kTokens * pattern_floats(args.inputs);
    out += kTokens * args.outputs;
  }
  if constexpr (kTokens > 1) {
    multiply_rows_of_head<kTokens - 1>(args, patterns, tokens, first, end, out);
  }
}

template <typename W>
void head_of_few_tokens(const HeadArgs<W>& args, const ParallelFor& parallel_for) {
  const std::int64_t of_token = pattern_floats(args.inputs);
  float* const patterns = thread_scratch(args.tokens * of_token, ScratchUse::turned);
  for (std::int64_t token = 0; token < args.tokens; ++token) {
    make_patterns(args.x + token * args.inputs, args.inputs, patterns + token * of_token);
  }
  const std::int64_t tasks = divide_up(args.outputs, kHeadTaskOutputs);
  parallel_for(tasks, [&](std::int64_t task) {
    const std::int64_t first = task * kHeadTaskOutputs;
    const std::int64_t end = std::min(first + kHeadTaskOutputs, args.outputs);
    multiply_rows_of_head<4>(args, patterns, args.tokens, first, end, args.out);
  });
}

// Rows of 16 bits are converted so many at a time, whole tiles of dot_queries, and used while they
// are in the caches.
constexpr std::int64_t kConvertedRows = 12;

/// sums [rows, columns] = rows of the weight from `row` on · tokens, turned: [inputs, columns].
template <typename W>
void dot_rows_of_head(const HeadArgs<W>& args, std::int64_t row, std::int64_t rows,
                      const float* turned, std::int64_t columns, float* sums) {
  const W* from = args.weight + row * args.inputs;
  if constexpr (std::is_same_v<W, float>) {
    dot_queries(from, args.inputs, rows, args.inputs, turned, columns, sums, columns, columns);
  } else {
    float* converted = thread_scratch(kConvertedRows * args.inputs);
    for (std::int64_t r = 0; r < rows; r += kConvertedRows) {
      const std::int64_t some = std::min(kConvertedRows, rows - r);
      to_float32(from + r * args.inputs, some * args.inputs, converted);
      dot_queries(converted, args.inputs, some, args.inputs, turned, columns, sums + r * columns,
                  columns, columns);
    }
  }
}

/// Up to kTileColumns tokens, along the lanes: rows of the weight enter as broadcast scalars.
template <typename W>
void head_of_token_tile(const HeadArgs<W>& args, std::int64_t first, std::int64_t tokens,
                        float* HWY_RESTRICT turned, const ParallelFor& parallel_for) {
  const std::int64_t columns = round_up(tokens, kLanes);
  std::fill_n(turned, args.inputs * columns, 0.0F);
  for (std::int64_t token = 0; token < tokens; ++token) {
    const float* x = args.x + (first + token) * args.inputs;
    for (std::int64_t i = 0; i < args.inputs; ++i) {
      turned[i * columns + token] = x[i];
    }
  }
  const std::int64_t tasks = divide_up(args.outputs, kHeadTaskOutputs);
  parallel_for(tasks, [&](std::int64_t task) {
    HWY_ALIGN float sums[kHeadTaskOutputs * kTileColumns];  // [outputs, columns]
    const std::int64_t row = task * kHeadTaskOutputs;
    const std::int64_t rows = std::min(kHeadTaskOutputs, args.outputs - row);
    dot_rows_of_head(args, row, rows, turned, columns, sums);
    for (std::int64_t token = 0; token < tokens; ++token) {
      float* out = args.out + (first + token) * args.outputs + row;
      for (std::int64_t r = 0; r < rows; ++r) {
        out[r] = sums[r * columns + token];
      }
    }
  });
}

template <typename W>
void head(const HeadArgs<W>& args, const ParallelFor& parallel_for) {
  if (args.tokens < kFewTokens) {
    head_of_few_tokens(args, parallel_for);
    return;
  }
  float* const turned = thread_scratch(args.inputs * kTileColumns, ScratchUse::turned);
  for (std::int64_t first = 0; first < args.tokens; first += kTileColumns) {
    head_of_token_tile(args, first, std::min(kTileColumns, args.tokens - first), turned,
                       parallel_for);
  }
}

void linear_f32(const LinearArgs<float>& args, const ParallelFor& parallel) {
  linear(args, parallel);
}
void head_f32(const HeadArgs<float>& args, const ParallelFor& parallel) { head(args, parallel); }
void linear_f16(const LinearArgs<Float16>& args, const ParallelFor& parallel) {
  linear(args, parallel);
}
void head_f16(const HeadArgs<Float16>& args, const ParallelFor& parallel) { head(args, parallel); }
void linear_bf16(const LinearArgs<BFloat16>& args, const ParallelFor& parallel) {
  linear(args, parallel);
}
void head_bf16(const HeadArgs<BFloat16>& args, const ParallelFor& parallel) {
  head(args, parallel);
}

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcache::kernels {

HWY_EXPORT(linear_f32);
HWY_EXPORT(head_f32);
HWY_EXPORT(linear_f16);
HWY_EXPORT(head_f16);
HWY_EXPORT(linear_bf16);
HWY_EXPORT(head_bf16);

template <>
void linear_cpu(const LinearArgs<float>& args, const ParallelFor& parallel) {
  HWY_DYNAMIC_DISPATCH(linear_f32)(args, parallel);
}
template <>
void head_cpu(const HeadArgs<float>& args, const ParallelFor& parallel) {
  HWY_DYNAMIC_DISPATCH(head_f32)(args, parallel);
}
template <>
void linear_cpu(const LinearArgs<Float16>& args, const ParallelFor& parallel) {
  HWY_DYNAMIC_DISPATCH(linear_f16)(args, parallel);
}
template <>
void head_cpu(const HeadArgs<Float16>& args, const ParallelFor& parallel) {
  HWY_DYNAMIC_DISPATCH(head_f16)(args, parallel);
}
template <>
void linear_cpu(const LinearArgs<BFloat16>& args, const ParallelFor& parallel) {
  HWY_DYNAMIC_DISPATCH(linear_bf16)(args, parallel);
}
template <>
void head_cpu(const HeadArgs<BFloat16>& args, const ParallelFor& parallel) {
  HWY_DYNAMIC_DISPATCH(head_bf16)(args, parallel);
}

}  // namespace kvcache::kernels
#endif
