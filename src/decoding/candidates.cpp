#include "decoding/candidates.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/cpu/argmax_cpu.hpp"
#include "kernels/cpu/exp_sums_cpu.hpp"
#include "kernels/cpu/top_k_cpu.hpp"

namespace kvcache::decoding {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// Scores are compared with limits that were computed otherwise; what is nearer waits for the exact
/// cut.
constexpr double kRounding = 1e-6;

/// Sums of the same weights in another order differ by less, relative to them.
constexpr double kSumRounding = 1e-9;

bool in_order(const Candidate& a, const Candidate& b) noexcept {
  return a.score > b.score || (a.score == b.score && a.token < b.token);
}

/// The score below which no token can stay, so that few are looked at. `total` is of all weights.
double least_score(const SamplingOptions& options, double total, std::size_t count) {
  if (options.top_p < 1) {
    // Tokens below make up less than 1 − top_p, all of them together.
    return std::log((1 - options.top_p) * total / static_cast<double>(count)) - kRounding;
  }
  return options.min_p > 0 ? std::log(options.min_p) - kRounding : -kInfinity;
}

}  // namespace

bool Candidates::cuts_by_size(const SamplingOptions& options, std::size_t vocab_size) noexcept {
  return options.top_k > 0 && options.top_k < vocab_size;
}

bool Candidates::cuts_by_likelihood(const SamplingOptions& options) noexcept {
  // typical_p goes by the entropy of all that the others leave, whose sum has an order.
  return (options.top_p < 1 || options.min_p > 0) && !(options.typical_p < 1);
}

bool Candidates::cuts(const SamplingOptions& options, std::size_t vocab_size) noexcept {
  return cuts_by_size(options, vocab_size) || options.top_p < 1 || options.min_p > 0 ||
         options.typical_p < 1;
}

void Candidates::choose(std::span<const float> logits, float largest,
                        const SamplingOptions& options) {
  begin(logits, largest, options);
  cut(options);
}

void Candidates::choose_of(std::span<const TokenScore> largest, const SamplingOptions& options) {
  offer_all(largest, options.temperature);
  sum();
  cut(options);
}

bool Candidates::choose_of(std::span<const TokenScore> largest, double total, bool all,
                           const SamplingOptions& options) {
  offer_all(largest, options.temperature);
  all = all || kept_.size() < largest.size();  // then the others have no weight either
  std::sort(kept_.begin(), kept_.end(), in_order);
  const Candidate last = kept_.back();
  if (options.top_p < 1) {
    const double limit = options.top_p * total;
    const std::size_t stay = count_until(limit * (1 - kSumRounding));
    if (stay != count_until(limit * (1 + kSumRounding)) ||
        (!all && kept_[stay - 1].score <= last.score)) {
      return false;
    }
    kept_.resize(stay);
  } else if (!all && last.weight >= options.min_p) {
    return false;
  }
  if (options.min_p > 0) {
    cut_min_p(options.min_p);
  }
  sum();
  return true;
}

/// How many of the sorted candidates stay where those before one have to have less than `limit`.
std::size_t Candidates::count_until(double limit) const noexcept {
  double mass = 0;
  std::size_t count = 0;
  do {
    mass += kept_[count++].weight;
  } while (mass < limit && count < kept_.size());
  return count;
}

/// Makes them the candidates, without those of no weight.
void Candidates::offer_all(std::span<const TokenScore> largest, double temperature) {
  kept_.clear();
  for (const auto& [token, logit] : largest) {
    offer(logit, static_cast<std::int32_t>(token), largest.front().logit, temperature, -kInfinity);
  }
}

/// By what follows top_k.
void Candidates::cut(const SamplingOptions& options) {
  if (options.top_p < 1) {
    cut_top_p(options.top_p);
  }
  if (options.min_p > 0) {
    cut_min_p(options.min_p);
  }
  if (options.typical_p < 1) {
    cut_typical_p(options.typical_p);
  }
  std::sort(kept_.begin(), kept_.end(), in_order);
  sum();
}

/// The tokens that top_k leaves, or those that the next cut may leave, and the sum of all weights
/// that it counts by.
void Candidates::begin(std::span<const float> logits, float largest,
                       const SamplingOptions& options) {
  double least = -kInfinity;
  kept_.clear();
  const auto offer_logit_of = [&](std::size_t index) {
    offer(logits[index], static_cast<std::int32_t>(index), largest, options.temperature, least);
  };
  const auto count = static_cast<std::int64_t>(logits.size());
  if (cuts_by_size(options, logits.size())) {
    kernels::top_k_cpu(logits.data(), count, static_cast<std::int64_t>(options.top_k), largest_);
    std::ranges::for_each(largest_, offer_logit_of);
    sum();
    return;
  }
  if (options.top_p < 1) {
    sums_.resize((logits.size() + kernels::kExpSumBlock - 1) / kernels::kExpSumBlock);
    kernels::exp_sums_cpu(logits.data(), count, largest, options.temperature, sums_.data());
    total_ = std::accumulate(sums_.begin(), sums_.end(), 0.0);
  }
  least = least_score(options, total_, logits.size());
  for (std::size_t index = 0; index < logits.size(); ++index) {
    offer_logit_of(index);
  }
}

/// Keeps a token whose score is not below `least`.
void Candidates::offer(float logit, std::int32_t token, float largest, double temperature,
                       double least) {
  const double score = (static_cast<double>(logit) - static_cast<double>(largest)) / temperature;
  if (score >= least) {
    const double weight = std::exp(score);
    if (weight > 0) {
      kept_.push_back({score, weight, token});
    }
  }
}

/// A token stays while those before it have less than top_p together; the first one always does.
void Candidates::cut_top_p(double top_p) {
  const auto later = [](const Candidate& a, const Candidate& b) { return in_order(b, a); };
  std::make_heap(kept_.begin(), kept_.end(), later);
  const double limit = top_p * total_;
  double mass = 0;
  auto end = kept_.end();
  do {
    std::pop_heap(kept_.begin(), end, later);
    --end;
    mass += end->weight;
  } while (mass < limit && end != kept_.begin());
  kept_.erase(kept_.begin(), end);
}

void Candidates::cut_min_p(double min_p) {
  std::erase_if(kept_, [&](const Candidate& candidate) { return candidate.weight < min_p; });
}

/// Those whose information is nearest to the entropy, until they make up typical_p, and what is as
/// near as the last of them.
void Candidates::cut_typical_p(double typical_p) {
  sum();
  const double log_total = std::log(total_);
  const auto information = [&](const Candidate& token) { return log_total - token.score; };
  double entropy = 0;
  for (const Candidate& token : kept_) {
    entropy += token.weight / total_ * information(token);
  }
  surprise_.resize(kept_.size());
  std::ranges::transform(kept_, surprise_.begin(), [&](const Candidate& token) {
    return std::abs(information(token) - entropy);
  });
  order_.resize(kept_.size());
  std::iota(order_.begin(), order_.end(), 0U);
  std::ranges::sort(order_, {}, [this](std::uint32_t place) { return surprise_[place]; });
  double mass = 0;
  double most = 0;
  for (const std::uint32_t place : order_) {
    mass += kept_[place].weight;
    most = surprise_[place];
    if (mass >= typical_p * total_) {
      break;
    }
  }
  std::size_t place = 0;
  std::erase_if(kept_, [&](const Candidate&) { return surprise_[place++] > most; });
}

void Candidates::sum() {
  total_ = 0;
  for (const Candidate& candidate : kept_) {
    total_ += candidate.weight;
  }
}

}  // namespace kvcache::decoding
