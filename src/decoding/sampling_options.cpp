#include "decoding/sampling_options.hpp"

#include <cmath>
#include <limits>
#include <string_view>

#include "base/throw_error.hpp"

namespace kvcache::decoding {
namespace {

// Penalties are applied in float32.
constexpr double kMost = std::numeric_limits<float>::max();
constexpr double kLeast = std::numeric_limits<float>::min();

void require(bool holds, std::string_view name, double value, std::string_view rule) {
  if (!holds) {
    throw_error(ErrorCode::invalid_argument, "the sampling option {} is {}, must be {}", name,
                value, rule);
  }
}

void check_share(std::string_view name, double value) {
  require(value >= 0 && value <= 1, name, value, "a share from 0 to 1");
}

void check_penalty(std::string_view name, double value) {
  require(std::abs(value) <= kMost, name, value, "a finite number; 0 penalises nothing");
}

void check_bias(const TokenBias& bias) {
  if (std::isnan(bias.bias) || bias.bias == std::numeric_limits<float>::infinity()) {
    throw_error(ErrorCode::invalid_argument,
                "the sampling option logit_bias of token {} is {}, must be a finite number, or "
                "-infinity for a token that never comes",
                bias.token, bias.bias);
  }
}

}  // namespace

void check_options(const SamplingOptions& options) {
  for (const TokenBias& bias : options.logit_bias) {
    check_bias(bias);
  }
  require(options.repetition_penalty >= kLeast && options.repetition_penalty <= kMost,
          "repetition_penalty", options.repetition_penalty,
          "a finite number above 0; 1 penalises nothing");
  check_penalty("frequency_penalty", options.frequency_penalty);
  check_penalty("presence_penalty", options.presence_penalty);
  require(options.temperature >= 0 && std::isfinite(options.temperature), "temperature",
          options.temperature,
          "a finite number, at least 0; 0 takes the token with the largest logit");
  check_share("top_p", options.top_p);
  check_share("min_p", options.min_p);
  require(options.typical_p > 0 && options.typical_p <= 1, "typical_p", options.typical_p,
          "a share above 0, at most 1");
}

}  // namespace kvcache::decoding
