#include "kernels/cpu/quantized_cpu.hpp"

#include <algorithm>

#include "base/rounding.hpp"
#include "base/thread_scratch.hpp"
#include "kernels/cpu/panel_tasks.hpp"

#ifndef HWY_WANT_AVX3_DL
#define HWY_WANT_AVX3_DL  // AVX-512 with the integer products of VNNI
#endif
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/quantized_cpu.cpp"
#include "hwy/foreach_target.h"
// foreach_target.h must come before highway.h and everything that includes it.
#include "hwy/highway.h"
#include "kernels/cpu/dequantize-inl.hpp"
#include "kernels/cpu/epilogue-inl.hpp"
#include "kernels/cpu/matrix_tile-inl.hpp"
#include "kernels/cpu/quantize_tokens-inl.hpp"
#include "kernels/cpu/quantized_amx-inl.hpp"
#include "kernels/cpu/quantized_tile-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {

constexpr std::int64_t kAmxTokens = 16;

/// Whether so many tokens are multiplied in tiles of kAmxTokens.
bool takes_amx([[maybe_unused]] std::int64_t tokens) {
#if KVCACHE_QUANTIZED_AMX
  return tokens > kTileTokens && has_amx();
#else
  return false;
#endif
}

/// Tokens that there must be memory for.
std::int64_t whole_tiles(std::int64_t tokens) { return round_up(tokens, kAmxTokens); }

/// Calls multiply(panel of the weight, first token, tokens, sums) for parts of the output, sums
/// [tokens, kPanelColumns], and finishes what it computes.
template <typename Multiply>
void for_panels(const QuantizedLinearArgs& args, const ParallelFor& parallel_for,
                const Multiply& multiply_part) {
  const std::int64_t matrices = args.weight.matrices;
  const Epilogue epilogue{args.bias,           args.residual,   args.out,
                          args.weight.outputs, args.activation, matrices == 2};
  const auto work = [&](std::int64_t panel, std::int64_t first, std::int64_t tokens) {
    const std::int64_t size = whole_tiles(tokens) * kPanelColumns;
    float* sums = thread_scratch(matrices * size);
    for (std::int64_t i = 0; i < matrices; ++i) {
      multiply_part(panel * matrices + i, first, tokens, sums + i * size);
    }
    panel_epilogue(epilogue, panel, first, tokens, sums, sums + size);
  };
  for_panel_tasks(panel_count(args.weight.outputs), args.tokens, parallel_for, work);
}

/// The tokens rounded to int8, in scratch memory of this thread that its tasks leave alone.
QuantizedTokens quantize_tokens(const QuantizedLinearArgs& args, const ParallelFor& parallel_for) {
  const std::int64_t rows = whole_tiles(args.tokens);
  const std::int64_t blocks = rows * args.weight.blocks();
  const std::int64_t value_floats =
      rows * args.weight.padded_inputs() / static_cast<std::int64_t>(sizeof(float));
  float* scratch = thread_scratch(value_floats + 2 * blocks, ScratchUse::call);
  const QuantizedTokens made{reinterpret_cast<std::int8_t*>(scratch), scratch + value_floats,
                             reinterpret_cast<std::int32_t*>(scratch + value_floats + blocks),
                             takes_amx(args.tokens) ? kAmxTokens : 1};
  constexpr std::int64_t kTokensAtATime = 8;
  const std::int64_t parts = divide_up(args.tokens, kTokensAtATime);
  parallel_for.alone()(parts, [&](std::int64_t part) {
    const std::int64_t end = std::min((part + 1) * kTokensAtATime, args.tokens);
    for (std::int64_t token = part * kTokensAtATime; token < end; ++token) {
      quantize_token(args.x + token * args.weight.inputs, args.weight,
                     made.from_token(token, args.weight));
    }
  });
  return made;
}

/// Calls work(kind) with the weight's kind.
template <typename Work>
void with_kind(const QuantizedWeight& weight, const Work& work) {
  if (weight.bits == 8) {
    work(QuantizedKind<8>());
  } else if (weight.minimums) {
    work(QuantizedKind<4, true>());
  } else {
    work(QuantizedKind<4>());
  }
}

/// sums = x · panel for the tokens of x.
template <class Kind>
void multiply_panel(const QuantizedTokens& x, std::int64_t tokens, const QuantizedWeight& weight,
                    std::int64_t panel, float* sums) {
#if KVCACHE_QUANTIZED_AMX
  if (x.tile == kAmxTokens) {
    multiply_quantized_amx<Kind>(x, tokens, weight, panel, sums);
    return;
  }
#endif
  multiply_quantized<Kind>(x, tokens, weight, panel, sums);
}

void linear_in_int8(const QuantizedLinearArgs& args, const ParallelFor& parallel_for) {
  const QuantizedWeight& weight = args.weight;
  const QuantizedTokens x = quantize_tokens(args, parallel_for);
  for_panels(args, parallel_for,
             [&](std::int64_t panel, std::int64_t first, std::int64_t tokens, float* sums) {
               const QuantizedTokens part = x.from_token(first, weight);
               with_kind(weight, [&]<class Kind>(Kind) {
                 multiply_panel<Kind>(part, tokens, weight, panel, sums);
               });
             });
}

void linear_in_float32(const QuantizedLinearArgs& args, const ParallelFor& parallel_for) {
  constexpr std::int64_t kPartInputs = 64;  // dequantised at a time, into the first-level cache
  const QuantizedWeight& weight = args.weight;
  for_panels(args, parallel_for,
             [&](std::int64_t panel, std::int64_t first, std::int64_t tokens, float* sums) {
               const LeftMatrix x{args.x + first * weight.inputs, weight.inputs};
               HWY_ALIGN float part[kPartInputs * kPanelColumns];
               for (std::int64_t input = 0; input < weight.inputs; input += kPartInputs) {
                 const std::int64_t depth = std::min(kPartInputs, weight.inputs - input);
                 with_kind(weight, [&]<class Kind>(Kind) {
                   dequantize_panel<Kind>(weight, panel, input, depth, part);
                 });
                 multiply(x.from_depth(input), tokens, depth, part, input != 0, sums);
               }
             });
}

void quantized_linear(const QuantizedLinearArgs& args, const ParallelFor& parallel_for) {
  if (args.accuracy == AccuracyLevel::int8) {
    linear_in_int8(args, parallel_for);
  } else {
    linear_in_float32(args, parallel_for);
  }
}

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcache::kernels {

HWY_EXPORT(quantized_linear);

void quantized_linear_cpu(const QuantizedLinearArgs& args, const ParallelFor& parallel) {
  HWY_DYNAMIC_DISPATCH(quantized_linear)(args, parallel);
}

void quantized_row_cpu(const QuantizedWeight& weight, std::int64_t output, float* out) {
  constexpr std::int64_t kGroup = QuantizedWeight::kGroupInputs;
  const std::int64_t panel = output / kPanelColumns;
  const std::int64_t column = output % kPanelColumns;
  const std::uint8_t* values = weight.values + panel * weight.panel_bytes() + column * kGroup;
  const Float16* scales = weight.scales + panel * weight.panel_scales() + column;
  const std::int64_t per_byte = 8 / weight.bits;
  const unsigned mask = (1U << weight.bits) - 1;
  for (std::int64_t block = 0; block < weight.blocks(); ++block) {
    const Float16* of_block = scales + block * weight.scale_rows() * kPanelColumns;
    const auto scale = static_cast<float>(of_block[0]);
    const float minimum = weight.minimums ? static_cast<float>(of_block[kPanelColumns]) : 0.0F;
    const std::int64_t end = std::min((block + 1) * weight.block_size, weight.inputs);
    for (std::int64_t input = block * weight.block_size; input < end; ++input) {
      const std::int64_t group = input / kGroup;
      const unsigned byte = values[group / per_byte * kPanelColumns * kGroup + input % kGroup];
      const unsigned value = byte >> (group % per_byte * weight.bits) & mask;
      out[input] =
          scale * static_cast<float>(static_cast<int>(value) - weight.zero_point()) + minimum;
    }
  }
}

}  // namespace kvcache::kernels
#endif
