#include "decoding/log_probabilities.hpp"

#include <algorithm>
#include <cmath>
#include <span>

namespace kvcache::decoding {
std::vector<TokenId> largest_of(const Logits& logits, std::size_t row, std::size_t most,
                                const TokenMask* allowed) {
  std::vector<TokenId> tokens;
  for (const TokenScore& best :
       allowed == nullptr ? logits.top_k(most, row) : logits.top_k(most, row, *allowed)) {
    tokens.push_back(best.token);
  }
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
    const double total = logits.log_sum_exp(row, 1, *allowed);
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
