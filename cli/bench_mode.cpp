#include "bench_mode.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "program/exit_status.hpp"
#include "report/statistics.hpp"

namespace kvcache::cli {

std::vector<TokenId> prompt_of(std::size_t length, const Model& model, std::uint32_t seed) {
  std::minstd_rand random(seed);
  std::vector<TokenId> tokens(length);
  std::ranges::generate(tokens,
                        [&] { return static_cast<TokenId>(random() % model.info().vocab_size); });
  return tokens;
}

report::Agreement new_agreement(const Model& model) {
  report::Agreement agreement;
  agreement.tolerance = report::logit_tolerance(model.info());
  return agreement;
}

void compare_with_uncached(const Model& model, std::span<const TokenId> text,
                           std::span<const float> logits, report::Agreement& agreement) {
  throw_if_interrupted();
  const Logits reference = model.forward_without_cache(text);
  const auto best = std::ranges::max_element(logits) - logits.begin();
  agreement.compare_token(static_cast<TokenId>(best), reference.last());
  agreement.compare_logits(logits, reference.last());
}

void check_positions(const std::string& what, std::size_t count, const Model& model) {
  if (count > model.info().max_seq_len) {
    throw UsageError(
        fmt::format("{} do not fit: the model has {} positions", what, model.info().max_seq_len));
  }
}

std::vector<double> ratios(const std::vector<double>& what, const std::vector<double>& by) {
  std::vector<double> result(what.size());
  std::ranges::transform(what, by, result.begin(), std::divides<>());
  return result;
}

std::string format_ratio(const std::vector<double>& samples) {
  const report::Summary summary = report::summarize(samples);
  return fmt::format("{:.2f}x ({:.2f} … {:.2f})", summary.median, summary.min, summary.max);
}

report::Json ratio_to_json(const std::vector<double>& samples) {
  const report::Summary summary = report::summarize(samples);
  return {
      {"median", summary.median}, {"min", summary.min}, {"max", summary.max}, {"samples", samples}};
}

}  // namespace kvcache::cli
