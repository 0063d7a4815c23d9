#include "kernels/cpu/layer_norm_cpu.hpp"

#include <algorithm>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/layer_norm_cpu.cpp"
#include "base/rounding.hpp"
#include "hwy/foreach_target.h"
// foreach_target.h must come before highway.h and everything that includes it.
#include "hwy/highway.h"
#include "kernels/cpu/partial_vector-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvcache::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Lanes = hn::ScalableTag<float>;

/// Calls whole(position) for whole vectors and rest(position, how many) for what is left.
template <typename Whole, typename Rest>
HWY_INLINE void for_vectors(std::int64_t size, const Whole& whole, const Rest& rest) {
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(Lanes()));
  std::int64_t i = 0;
  for (; i + lanes <= size; i += lanes) {
    whole(i);
  }
  if (i < size) {
    rest(i, size - i);
  }
}

void norm_token(const float* HWY_RESTRICT x, const LayerNormArgs& args, float* HWY_RESTRICT out) {
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
    return hn::MulAdd(hn::Mul(hn::Sub(element, means), factors), weight, bias);
  };
  for_vectors(
      args.size,
      [&](auto i) {
        hn::StoreU(
            normed(hn::LoadU(d, x + i), hn::LoadU(d, args.weight + i), hn::LoadU(d, args.bias + i)),
            d, out + i);
      },
      [&](auto i, auto left) {
        store_first(normed(load_first(d, x + i, left), load_first(d, args.weight + i, left),
                           load_first(d, args.bias + i, left)),
                    d, out + i, left);
      });
}

void layer_norm(const LayerNormArgs& args, const ParallelFor& parallel_for) {
  constexpr std::int64_t kTokensAtATime = 8;
  parallel_for(divide_up(args.tokens, kTokensAtATime), [&](std::int64_t part) {
    const std::int64_t end = std::min((part + 1) * kTokensAtATime, args.tokens);
    for (std::int64_t token = part * kTokensAtATime; token < end; ++token) {
      norm_token(args.x + args.row(token) * args.size, args, args.out + token * args.size);
    }
  });
}

}  // namespace kvcache::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcache::kernels {

HWY_EXPORT(layer_norm);

void layer_norm_cpu(const LayerNormArgs& args, const ParallelFor& parallel) {
  HWY_DYNAMIC_DISPATCH(layer_norm)(args, parallel);
}

}  // namespace kvcache::kernels
#endif
