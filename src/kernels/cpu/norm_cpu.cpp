#include "kernels/cpu/norm_cpu.hpp"

#include <algorithm>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/norm_cpu.cpp"
#include "base/rounding.hpp"
#include "hwy/foreach_target.h"
// foreach_target.h must come before highway.h and everything that includes it.
#include "hwy/highway.h"
#include "kernels/cpu/partial_vector-inl.hpp"
#include "kernels/cpu/rms_norm-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Lanes = hn::ScalableTag<float>;

template <bool kBias>
void layer_norm_token(const float* HWY_RESTRICT x, const TokenNormArgs& args,
                      float* HWY_RESTRICT out) {
  const Lanes d;
  const float count = static_cast<float>(args.size);
  auto sums = hn::Zero(d);
  for_vectors(
      args.size, [&](auto i) { sums = hn::Add(sums, hn::LoadU(d, x + i)); },
      [&](auto i, auto left) { sums = hn::Add(sums, load_first(d, x + i, left)); });
  const float mean = hn::GetLane(hn::SumOfLanes(d, sums)) / count;

  // Of the differences and not of the squares, which may be nearly all mean.
  const auto means = hn::Set(d, mean);
  auto squares = hn::Zero(d);
  float rest = 0;
  for_vectors(
      args.size,
      [&](auto i) {
        const auto difference = hn::Sub(hn::LoadU(d, x + i), means);
        squares = hn::MulAdd(difference, difference, squares);
      },
      [&](auto i, auto left) {
        for (auto k = i; k < i + left; ++k) {
          rest += (x[k] - mean) * (x[k] - mean);
        }
      });
  const float variance = (hn::GetLane(hn::SumOfLanes(d, squares)) + rest) / count;
  const auto factors = hn::Set(d, 1.0F / std::sqrt(variance + args.epsilon));

  const auto normed = [&](auto element, auto weight, auto bias) {
    const auto unit = hn::Mul(hn::Sub(element, means), factors);
    return kBias ? hn::MulAdd(unit, weight, bias) : hn::Mul(unit, weight);
  };
  const float* const biases = kBias ? args.bias : args.weight;  // without one, nobody uses it
  for_vectors(
      args.size,
      [&](auto i) {
        hn::StoreU(
            normed(hn::LoadU(d, x + i), hn::LoadU(d, args.weight + i), hn::LoadU(d, biases + i)), d,
            out + i);
      },
      [&](auto i, auto left) {
        store_first(normed(load_first(d, x + i, left), load_first(d, args.weight + i, left),
                           load_first(d, biases + i, left)),
                    d, out + i, left);
      });
}

void norm_token(const float* x, const TokenNormArgs& args, float* out) {
  if (args.kind == NormKind::rms) {
    rms_norm(x, args.weight, args.size, args.epsilon, out);
  } else if (args.bias != nullptr) {
    layer_norm_token<true>(x, args, out);
  } else {
    layer_norm_token<false>(x, args, out);
  }
}

void add_to_token(const float* HWY_RESTRICT residual, std::int64_t size, float* HWY_RESTRICT out) {
  const Lanes d;
  for_vectors(
      size,
      [&](auto i) {
        hn::StoreU(hn::Add(hn::LoadU(d, residual + i), hn::LoadU(d, out + i)), d, out + i);
      },
      [&](auto i, auto left) {
        store_first(hn::Add(load_first(d, residual + i, left), load_first(d, out + i, left)), d,
                    out + i, left);
      });
}

void norm(const TokenNormArgs& args, const ParallelFor& parallel_for) {
  constexpr std::int64_t kTokensAtATime = 8;
  parallel_for(divide_up(args.tokens, kTokensAtATime), [&](std::int64_t part) {
    const std::int64_t end = std::min((part + 1) * kTokensAtATime, args.tokens);
    for (std::int64_t token = part * kTokensAtATime; token < end; ++token) {
      float* const out = args.out + token * args.size;
      norm_token(args.x + args.row(token) * args.size, args, out);
      if (args.residual != nullptr) {
        add_to_token(args.residual + token * args.size, args.size, out);
      }
    }
  });
}

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcache::kernels {

HWY_EXPORT(norm);

void norm_cpu(const TokenNormArgs& args, const ParallelFor& parallel) {
  HWY_DYNAMIC_DISPATCH(norm)(args, parallel);
}

}  // namespace kvcache::kernels
#endif
