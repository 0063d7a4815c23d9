#include "bench_sequence.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <random>
#include <span>

#include "interrupt.hpp"
#include "report/environment.hpp"

namespace kvcache::cli {
namespace {

/// What a call takes, in milliseconds.
template <typename Call>
double time_of(const Call& call) {
  throw_if_interrupted();
  const auto begin = std::chrono::steady_clock::now();
  call();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
      .count();
}

/// Any tokens will do, but always the same ones: figures of different runs are compared.
std::vector<TokenId> prompt_of(std::size_t length, const Model& model) {
  std::minstd_rand random(1);
  std::vector<TokenId> tokens(length);
  std::ranges::generate(tokens,
                        [&] { return static_cast<TokenId>(random() % model.info().vocab_size); });
  return tokens;
}

double prefill(const Model& model, std::span<const TokenId> prompt) {
  Sequence sequence = model.new_sequence();
  return time_of([&] { static_cast<void>(sequence.extend(prompt).argmax()); });
}

/// A prompt and what was decoded after it.
struct Decoded {
  std::vector<TokenId> sequence;                     // prompt, then each choice
  std::vector<double> latencies_ms;                  // of each token fed after the prompt
  std::map<std::size_t, std::vector<float>> logits;  // after so many tokens, where kept
};

/// Feeds `tokens` tokens after a prompt of `depth`. Keeps the logits after the given lengths.
Decoded decode(const Model& model, std::size_t depth, std::size_t tokens,
               std::span<const std::size_t> kept_lengths = {}) {
  Decoded result{.sequence = prompt_of(depth, model), .latencies_ms = {}, .logits = {}};
  const auto keep = [&](const Logits& logits) {
    const std::size_t length = result.sequence.size();
    if (std::ranges::find(kept_lengths, length) != kept_lengths.end()) {
      result.logits[length].assign(logits.last().begin(), logits.last().end());
    }
  };
  Sequence sequence = model.new_sequence();
  Logits logits = sequence.extend(result.sequence);
  keep(logits);
  result.sequence.push_back(logits.argmax());
  for (std::size_t i = 0; i < tokens; ++i) {
    TokenId next = 0;
    result.latencies_ms.push_back(time_of([&] {
      logits = sequence.extend({&result.sequence.back(), 1});
      next = logits.argmax();
    }));
    keep(logits);
    result.sequence.push_back(next);
  }
  return result;
}

/// Decodes once and compares its beginning, middle and end with a model that knows no cache.
Decoded decode_and_compare(const Model& model, std::size_t depth, std::size_t tokens,
                           report::Agreement& agreement) {
  const std::vector<std::size_t> lengths{depth, depth + tokens / 2, depth + tokens};
  Decoded decoded = decode(model, depth, tokens, lengths);
  for (const auto& [length, logits] : decoded.logits) {
    throw_if_interrupted();
    const Logits reference = model.forward_without_cache(std::span(decoded.sequence).first(length));
    agreement.compare_token(decoded.sequence[length], reference.last());
    agreement.compare_logits(logits, reference.last());
  }
  return decoded;
}

/// Weights, and keys and values of as many tokens as are cached halfway through the samples.
double bytes_per_token(const ModelInfo& info, std::size_t depth, std::size_t tokens) {
  const double mean_depth = static_cast<double>(depth) + static_cast<double>(tokens - 1) / 2;
  return static_cast<double>(info.weight_bytes_per_token) +
         mean_depth * static_cast<double>(info.cache_bytes_per_token());
}

}  // namespace

SequenceBenchResult bench_sequence(const Model& model, const SequenceBenchOptions& options) {
  SequenceBenchResult result;
  result.agreement.tolerance = report::logit_tolerance(model.info().dtype);
  const std::vector<TokenId> prompt = prompt_of(options.prompt, model);

  options.progress("warming up, comparing with forward_without_cache");
  prefill(model, prompt);
  std::vector<std::vector<TokenId>> expected;
  for (const std::size_t depth : options.depths) {
    expected.push_back(decode_and_compare(model, depth, options.tokens, result.agreement).sequence);
    result.decode.push_back({depth, {}, bytes_per_token(model.info(), depth, options.tokens)});
  }
  result.peak_resident_bytes = report::peak_resident_bytes();
  result.cache_bytes = model.cache_stats().bytes_peak;

  report::ReadBandwidth bandwidth(model.num_threads(), options.bandwidth_bytes);
  bandwidth.sample();
  for (std::size_t round = 0; round < options.repeat; ++round) {
    options.progress(fmt::format("round {} of {}", round + 1, options.repeat));
    result.prefill_ms.push_back(prefill(model, prompt));
    for (std::size_t i = 0; i < options.depths.size(); ++i) {
      const Decoded decoded = decode(model, options.depths[i], options.tokens);
      result.repeatable = result.repeatable && decoded.sequence == expected[i];
      auto& samples = result.decode[i].samples_ms;
      samples.insert(samples.end(), decoded.latencies_ms.begin(), decoded.latencies_ms.end());
      bandwidth.sample();
    }
  }
  result.bandwidth = bandwidth.result();
  return result;
}

}  // namespace kvcache::cli
