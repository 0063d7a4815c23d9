#include "device/answers_on_host.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <numeric>

#include "kernels/cpu/argmax_cpu.hpp"
#include "kernels/cpu/exp_sums_cpu.hpp"
#include "kernels/cpu/top_k_cpu.hpp"

namespace kvcache::device {
namespace {

/// The k largest of some tokens.
std::vector<TokenScore> top_k_of(std::span<const float> logits, std::span<const TokenId> tokens,
                                 std::size_t k) {
  std::vector<TokenScore> scores;
  scores.reserve(tokens.size());
  for (const TokenId token : tokens) {
    scores.push_back({token, logits[static_cast<std::size_t>(token)]});
  }
  const auto end = scores.begin() + static_cast<std::ptrdiff_t>(k);
  std::partial_sort(scores.begin(), end, scores.end(),
                    [](const TokenScore& a, const TokenScore& b) {
                      return kernels::comes_before(a.logit, static_cast<std::int32_t>(a.token),
                                                   b.logit, static_cast<std::int32_t>(b.token));
                    });
  scores.erase(end, scores.end());
  return scores;
}

/// Over some tokens, one at least.
double log_sum_exp_of(std::span<const float> logits, std::span<const TokenId> tokens,
                      double temperature) {
  const auto logit = [&](TokenId token) {
    return static_cast<double>(logits[static_cast<std::size_t>(token)]);
  };
  const double largest = logit(*std::ranges::max_element(tokens, {}, logit));
  if (!std::isfinite(largest)) {
    return largest;
  }
  double sum = 0;
  for (const TokenId token : tokens) {
    sum += std::exp((logit(token) - largest) / temperature);
  }
  return largest / temperature + std::log(sum);
}

}  // namespace

std::vector<TokenScore> top_k_on_host(std::span<const float> logits, std::size_t k,
                                      const TokenMask* allowed) {
  if (k == 0) {
    return {};
  }
  if (allowed != nullptr) {
    return top_k_of(logits, allowed->tokens(allowed->count()), k);
  }
  std::vector<std::int32_t> order;  // with what equals the last
  kernels::top_k_cpu(logits.data(), static_cast<std::int64_t>(logits.size()),
                     static_cast<std::int64_t>(k), order);
  std::vector<TokenScore> best;
  best.reserve(k);
  std::transform(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(k),
                 std::back_inserter(best), [&](std::int32_t token) {
                   return TokenScore{token, logits[static_cast<std::size_t>(token)]};
                 });
  return best;
}

double log_sum_exp_on_host(std::span<const float> logits, double temperature,
                           const TokenMask* allowed) {
  if (allowed != nullptr) {
    return log_sum_exp_of(logits, allowed->tokens(allowed->count()), temperature);
  }
  const auto count = static_cast<std::int64_t>(logits.size());
  const float largest = logits[static_cast<std::size_t>(kernels::argmax_cpu(logits.data(), count))];
  if (!std::isfinite(largest)) {
    return static_cast<double>(largest);
  }
  std::vector<double> sums((logits.size() + kernels::kExpSumBlock - 1) / kernels::kExpSumBlock);
  kernels::exp_sums_cpu(logits.data(), count, largest, temperature, sums.data());
  return static_cast<double>(largest) / temperature +
         std::log(std::accumulate(sums.begin(), sums.end(), 0.0));
}

}  // namespace kvcache::device
