#include "report/agreement.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace kvcache::report {
namespace {

float largest_magnitude(std::span<const float> values) {
  float largest = 0;
  for (const float value : values) {
    largest = std::max(largest, std::abs(value));
  }
  return largest;
}

/// Where keys and values are narrower than the arithmetic: where the last places' difference
/// crosses a rounding boundary, one of them moves by a step.
double narrow_cache_tolerance(DataType cache_dtype) noexcept {
  switch (cache_dtype) {
    case DataType::float16:
      return 0x1p-10;
    case DataType::bfloat16:
      return 0x1p-7;
    case DataType::int8:
      return 0x1p-6;
    case DataType::float32:
      break;  // nothing is wider
  }
  return 0;
}

}  // namespace

double logit_tolerance(const ModelInfo& model) noexcept {
  if (model.activations == "int8") {
    return 5e-2;
  }
  if (model.activations == "bfloat16" && model.dtype == DataType::float32) {
    return 0x1p-6;  // in every product, so more than a cache of bfloat16; none is wider
  }
  if (model.cache_dtype != model.dtype) {
    return narrow_cache_tolerance(model.cache_dtype);
  }
  switch (model.dtype) {
    case DataType::float32:
      return 1e-4;
    case DataType::float16:
      return 1e-2;
    case DataType::bfloat16:
      return 5e-2;
    case DataType::int8:
      break;  // of keys and values only
  }
  return 0;
}

void Agreement::compare_token(TokenId token, std::span<const float> reference) {
  const bool comparable =
      token >= 0 && token < static_cast<TokenId>(reference.size()) &&
      std::ranges::none_of(reference, [](float logit) { return std::isnan(logit); });
  if (!comparable) {
    ++different;
    return;
  }
  const auto largest = std::max_element(reference.begin(), reference.end());
  if (largest - reference.begin() == token) {
    ++equal;
    return;
  }
  const double behind = *largest - reference[static_cast<std::size_t>(token)];
  if (behind <= tolerance * largest_magnitude(reference)) {
    ++ties;
  } else {
    ++different;
  }
}

void Agreement::compare_logits(std::span<const float> logits, std::span<const float> reference) {
  ++logits_compared;
  double largest = 0;
  for (std::size_t i = 0; i < reference.size(); ++i) {
    const double difference = std::abs(double{logits[i]} - double{reference[i]});
    if (!(difference <= largest)) {  // also when it is NaN
      largest = std::isnan(difference) ? std::numeric_limits<double>::infinity() : difference;
    }
  }
  if (largest > 0) {
    largest_logit_difference =
        std::max(largest_logit_difference, largest / largest_magnitude(reference));
  }
}

bool Agreement::holds() const noexcept {
  return different == 0 && tokens_compared() > 0 && largest_logit_difference <= tolerance;
}

std::string Agreement::describe() const {
  std::string text = fmt::format("{} of {} tokens equal", equal, tokens_compared());
  if (ties > 0) {
    text += fmt::format(", {} tie{} by rounding", ties, ties == 1 ? "" : "s");
  }
  if (different > 0) {
    text += fmt::format(", {} DIFFERENT", different);
  }
  if (logits_compared > 0) {
    text += fmt::format("; largest logit difference {:.1e} of the largest logit (limit {:.0e})",
                        largest_logit_difference, tolerance);
  }
  return text;
}

}  // namespace kvcache::report
