#include "kvcache/sampler.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "base/throw_error.hpp"
#include "decoding/candidates.hpp"
#include "decoding/penalties.hpp"
#include "decoding/philox.hpp"
#include "decoding/sampling_options.hpp"
#include "kernels/cpu/argmax_cpu.hpp"
#include "kernels/cpu/exp_sums_cpu.hpp"
#include "ort/error_boundary.hpp"

namespace kvcache {
namespace {

constexpr Meaning kSample{"no token was drawn", ErrorCode::run_failed, ErrorCode::run_failed};

TokenId argmax(std::span<const float> logits) {
  if (logits.empty()) {
    throw_error(ErrorCode::invalid_argument, "no logits were given to draw a token from");
  }
  return kernels::argmax_cpu(logits.data(), static_cast<std::int64_t>(logits.size()));
}

constexpr std::size_t kShownAllowed = 8;
constexpr std::size_t kLikeliest[] = {128, 2048};  // looked at before all, for top_p and min_p
constexpr std::size_t kMayEqual = 32;  // tokens beyond top_k, which may be as likely as its last

/// Of the tokens that a constraint allows, none can be drawn.
[[noreturn]] void throw_none_allowed(const TokenMask& allowed) {
  const std::size_t count = allowed.count();
  if (count == 0) {
    throw_error(ErrorCode::no_token_allowed,
                "no token can follow: the constraint allows none and the text cannot end here");
  }
  throw_error(ErrorCode::no_token_allowed,
              "no token can follow: the constraint allows {} ({}{}), and the logits of these, with "
              "their biases, are -infinity; leave at least one",
              count, fmt::join(allowed.tokens(kShownAllowed), ", "),
              count > kShownAllowed ? ", ..." : "");
}

/// The token with the largest of logits that a token can be drawn from.
TokenId checked_argmax(std::span<const float> logits, const TokenMask* allowed) {
  const TokenId best = argmax(logits);
  const float largest = logits[static_cast<std::size_t>(best)];
  if (std::isnan(largest) || (std::isinf(largest) && largest > 0)) {
    throw_error(ErrorCode::logits_invalid,
                "the logit of token {} is {}, must be a number below infinity; no token can be "
                "drawn",
                best, largest);
  }
  if (std::isinf(largest) && allowed != nullptr) {
    throw_none_allowed(*allowed);
  }
  if (std::isinf(largest)) {
    throw_error(ErrorCode::invalid_argument,
                "no token can follow: all {} logits, with their biases, are -infinity; leave at "
                "least one",
                logits.size());
  }
  return best;
}

/// The last token of a block before which the weights reach `rest`, which rounding may deny.
TokenId draw_within(std::span<const float> logits, std::size_t first, double largest,
                    double temperature, double rest) {
  const std::size_t end =
      std::min(logits.size(), first + static_cast<std::size_t>(kernels::kExpSumBlock));
  std::size_t token = first;
  for (std::size_t i = first; i < end; ++i) {
    const double weight = std::exp((static_cast<double>(logits[i]) - largest) / temperature);
    if (weight > 0) {
      token = i;
    }
    rest -= weight;
    if (rest < 0) {
      break;
    }
  }
  return static_cast<TokenId>(token);
}

/// A row of logits where they are, less the tokens that a constraint forbids.
class AllowedLogits {
 public:
  /// `allowed`: null, or of the vocabulary of the logits; of another one, none is.
  AllowedLogits(const Logits& logits, std::size_t row, const TokenMask* allowed)
      : logits_(logits),
        row_(row),
        allowed_(allowed),
        count_(allowed == nullptr                             ? logits.vocab_size()
               : allowed->vocab_size() == logits.vocab_size() ? allowed->count()
                                                              : 0) {}

  [[nodiscard]] std::size_t count() const noexcept { return count_; }
  [[nodiscard]] std::vector<TokenScore> top_k(std::size_t k) const {
    return allowed_ == nullptr ? logits_.top_k(k, row_) : logits_.top_k(k, row_, *allowed_);
  }
  [[nodiscard]] double log_sum_exp(double temperature) const {
    return allowed_ == nullptr ? logits_.log_sum_exp(row_, temperature)
                               : logits_.log_sum_exp(row_, temperature, *allowed_);
  }

 private:
  const Logits& logits_;
  std::size_t row_;
  const TokenMask* allowed_;
  std::size_t count_;
};

}  // namespace

struct Sampler::State {
  explicit State(SamplingOptions sampling) : options(std::move(sampling)) {}

  std::span<const float> changed(std::span<const float> logits, const SamplingContext& context) {
    return changes(context) ? penalties.apply(logits, options, context) : logits;
  }

  /// Whether a token is drawn from other logits than the model's.
  [[nodiscard]] bool changes(const SamplingContext& context) const noexcept {
    return context.allowed != nullptr || decoding::Penalties::needed(options);
  }

  [[nodiscard]] double random(const SamplingContext& context) const noexcept {
    return decoding::uniform(options.seed, context.sample, context.position);
  }

  TokenId draw(std::span<const float> logits, TokenId best, double random) {
    const float largest = logits[static_cast<std::size_t>(best)];
    if (!decoding::Candidates::cuts(options, logits.size())) {
      return draw_of_all(logits, largest, random);
    }
    candidates.choose(logits, largest, options);
    return draw_of_candidates(random);
  }

  /// Without bringing the row, where these options let the likeliest tokens decide.
  std::optional<TokenId> draw_where_they_are(const Logits& logits, std::size_t row,
                                             const SamplingContext& context) {
    const AllowedLogits allowed(logits, row, context.allowed);
    if (decoding::Penalties::needed(options) || allowed.count() == 0) {
      return std::nullopt;
    }
    if (options.temperature == 0) {
      const TokenScore best = allowed.top_k(1).front();
      return std::isinf(best.logit) ? std::nullopt : std::optional(best.token);
    }
    if (decoding::Candidates::cuts_by_size(options, logits.vocab_size())) {
      return draw_of_top_k(allowed, random(context));
    }
    if (decoding::Candidates::cuts_by_likelihood(options)) {
      return draw_of_likeliest(allowed, random(context));
    }
    return std::nullopt;
  }

  /// Of what top_k leaves, found where the logits are; nothing where that is for the host to say.
  std::optional<TokenId> draw_of_top_k(const AllowedLogits& allowed, double random) {
    const std::vector<TokenScore> best = allowed.top_k(options.top_k + kMayEqual);
    const float last = best[std::min(options.top_k, best.size()) - 1].logit;
    const auto end =
        std::ranges::find_if(best, [last](TokenScore one) { return one.logit < last; });
    const bool may_be_more = end == best.end() && best.size() < allowed.count();
    if (may_be_more || std::isinf(best.front().logit)) {
      return std::nullopt;  // that equal the last; or there is an error
    }
    candidates.choose_of({best.begin(), end}, options);
    return draw_of_candidates(random);
  }

  /// Of what top_p or min_p leaves, as far as the likeliest tokens show what that is.
  std::optional<TokenId> draw_of_likeliest(const AllowedLogits& allowed, double random) {
    const double log_total = allowed.log_sum_exp(options.temperature);
    for (const std::size_t count : kLikeliest) {
      const std::vector<TokenScore> best = allowed.top_k(count);
      const auto largest = static_cast<double>(best.front().logit);
      const double total = std::exp(log_total - largest / options.temperature);
      if (!std::isfinite(total)) {
        return std::nullopt;  // an error, or a temperature next to 0
      }
      if (candidates.choose_of(best, total, best.size() == allowed.count(), options)) {
        return draw_of_candidates(random);
      }
    }
    return std::nullopt;
  }

  TokenId draw_of_candidates(double random) {
    double rest = random * candidates.total();
    for (const decoding::Candidate& candidate : candidates.kept()) {
      rest -= candidate.weight;
      if (rest < 0) {
        return candidate.token;
      }
    }
    return candidates.kept().back().token;  // rounding
  }

  TokenId draw_of_all(std::span<const float> logits, float largest, double random) {
    constexpr auto kBlock = static_cast<std::size_t>(kernels::kExpSumBlock);
    sums.resize((logits.size() + kBlock - 1) / kBlock);
    kernels::exp_sums_cpu(logits.data(), static_cast<std::int64_t>(logits.size()), largest,
                          options.temperature, sums.data());
    double total = 0;
    for (const double sum : sums) {
      total += sum;
    }
    double rest = random * total;
    std::size_t block = 0;
    for (std::size_t i = 0; i < sums.size(); ++i) {
      if (sums[i] > 0) {
        block = i;  // where rounding leaves a rest behind all
      }
      if (rest < sums[i]) {
        break;
      }
      rest -= sums[i];
    }
    return draw_within(logits, block * kBlock, largest, options.temperature, rest);
  }

  SamplingOptions options;
  decoding::Penalties penalties;
  decoding::Candidates candidates;
  std::vector<double> sums;
};

Sampler::Sampler(SamplingOptions options) try {
  decoding::check_options(options);
  state_ = std::make_unique<State>(std::move(options));
} catch (...) {
  rethrow_as_error(kSample);
}

Sampler::Sampler(Sampler&&) noexcept = default;
Sampler& Sampler::operator=(Sampler&&) noexcept = default;
Sampler::~Sampler() = default;

const SamplingOptions& Sampler::options() const noexcept { return state_->options; }

TokenId Sampler::sample(const Logits& logits, std::size_t row, const SamplingContext& context) try {
  if (options().temperature == 0 && !state_->changes(context)) {
    return logits.argmax(row);  // on the device
  }
  if (!logits.on_host()) {
    if (const auto token = state_->draw_where_they_are(logits, row, context)) {
      return *token;
    }
  }
  return sample(logits.row(row), context);
} catch (...) {
  rethrow_as_error(kSample);
}

TokenId Sampler::sample(std::span<const float> logits, const SamplingContext& context) try {
  const std::span<const float> changed = state_->changed(logits, context);
  const TokenId best = checked_argmax(changed, context.allowed);
  if (options().temperature == 0) {
    return best;
  }
  return state_->draw(changed, best, state_->random(context));
} catch (...) {
  rethrow_as_error(kSample);
}

std::vector<TokenProbability> Sampler::distribution(std::span<const float> logits,
                                                    const SamplingContext& context) try {
  const std::span<const float> changed = state_->changed(logits, context);
  const TokenId best = checked_argmax(changed, context.allowed);
  if (options().temperature == 0) {
    return {{best, 1.0}};
  }
  decoding::Candidates& candidates = state_->candidates;
  candidates.choose(changed, changed[static_cast<std::size_t>(best)], options());
  std::vector<TokenProbability> tokens;
  tokens.reserve(candidates.kept().size());
  for (const decoding::Candidate& candidate : candidates.kept()) {
    tokens.push_back({candidate.token, candidate.weight / candidates.total()});
  }
  return tokens;
} catch (...) {
  rethrow_as_error(kSample);
}

}  // namespace kvcache
