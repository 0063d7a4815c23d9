#include "decoding/log_probabilities.hpp"

#include <algorithm>
#include <cmath>
#include <span>

namespace kvcache::decoding {
namespace {

/// The logarithm of the sum of exp(logit) over some tokens; one at least has a logit above
/// −infinity.
double log_sum_of(std::span<const float> logits, std::span<const TokenId> tokens) {
  const auto logit = [&](TokenId token) {
    return static_cast<double>(logits[static_cast<std::size_t>(token)]);
  };
  const double largest = logit(*std::ranges::max_element(tokens, {}, logit));
  double sum = 0;
  for (const TokenId token : tokens) {
    sum += std::exp(logit(token) - largest);
  }
  return largest + std::log(sum);
}

}  // namespace

std::vector<TokenId> largest_of(const Logits& logits, std::size_t row, std::size_t most,
                                const TokenMask* allowed) {
  if (allowed == nullptr) {
    std::vector<TokenId> tokens;
    for (const TokenScore& best : logits.top_k(most, row)) {
      tokens.push_back(best.token);
    }
    return tokens;
  }
  const std::span<const float> values = logits.row(row);
  std::vector<TokenId> tokens = allowed->tokens(allowed->vocab_size());
  const std::size_t count = std::min(most, tokens.size());
  const auto before = [&](TokenId a, TokenId b) {
    const float of_a = values[static_cast<std::size_t>(a)];
    const float of_b = values[static_cast<std::size_t>(b)];
    return of_a > of_b || (of_a == of_b && a < b);
  };
  const auto end = tokens.begin() + static_cast<std::ptrdiff_t>(count);
  std::partial_sort(tokens.begin(), end, tokens.end(), before);
  tokens.erase(end, tokens.end());
  return tokens;
}

TokenLogProbabilities log_probabilities_of(const Logits& logits, std::size_t row, TokenId token,
                                           std::size_t most, const TokenMask* allowed) {
  std::vector<TokenId> tokens = largest_of(logits, row, most, allowed);
  tokens.push_back(token);
  std::vector<float> found;
  if (allowed == nullptr) {
    found = logits.log_probabilities(tokens, row);
  } else {
    const std::span<const float> values = logits.row(row);
    const double total = log_sum_of(values, allowed->tokens(allowed->vocab_size()));
    for (const TokenId one : tokens) {
      found.push_back(
          static_cast<float>(static_cast<double>(values[static_cast<std::size_t>(one)]) - total));
    }
  }
  TokenLogProbabilities noted;
  noted.chosen = found.back();
  for (std::size_t i = 0; i + 1 < tokens.size(); ++i) {
    noted.most_probable.push_back({tokens[i], found[i]});
  }
  return noted;
}

}  // namespace kvcache::decoding
