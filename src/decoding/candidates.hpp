// The tokens that may follow, once the unlikely ones are cut off.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kvcache/sampler.hpp"

namespace kvcache::decoding {

/// A token that may be drawn, relative to the one with the largest logit.
struct Candidate {
  double score;   // (logit − largest) / temperature, at most 0
  double weight;  // exp(score), above 0
  std::int32_t token;
};

/// Cuts by top_k, top_p, min_p and typical_p, in this order, each over the probabilities that the
/// ones before left. In double precision. Keeps its memory.
class Candidates {
 public:
  /// Whether top_k cuts anything of a vocabulary.
  [[nodiscard]] static bool cuts_by_size(const SamplingOptions& options,
                                         std::size_t vocab_size) noexcept;
  /// Whether what these options leave can be told from the likeliest tokens: by top_p or min_p.
  [[nodiscard]] static bool cuts_by_likelihood(const SamplingOptions& options) noexcept;
  /// Whether these options cut anything of a vocabulary.
  [[nodiscard]] static bool cuts(const SamplingOptions& options, std::size_t vocab_size) noexcept;

  /// Cuts, of finite logits or −infinity, with a temperature above 0. `largest` is finite and one
  /// of them.
  /// @throws std::bad_alloc
  void choose(std::span<const float> logits, float largest, const SamplingOptions& options);

  /// The same where the tokens that top_k leaves are known, largest first.
  /// @throws std::bad_alloc
  void choose_of(std::span<const TokenScore> largest, const SamplingOptions& options);

  /// The same without top_k, where the likeliest tokens are known, largest first, and the sum of
  /// all weights to within rounding.
  /// @param total of exp((logit − largest) / temperature), of the whole vocabulary
  /// @param all whether these are the whole vocabulary
  /// @return whether what stays is certain; where not, tokens beyond these have to be looked at
  /// @throws std::bad_alloc
  bool choose_of(std::span<const TokenScore> largest, double total, bool all,
                 const SamplingOptions& options);

  /// What stayed, the largest logit first and the smallest id of equal ones; never empty.
  [[nodiscard]] std::span<const Candidate> kept() const noexcept { return kept_; }

  /// The sum of the weights of what stayed.
  [[nodiscard]] double total() const noexcept { return total_; }

 private:
  void begin(std::span<const float> logits, float largest, const SamplingOptions& options);
  void offer_all(std::span<const TokenScore> largest, double temperature);
  void offer(float logit, std::int32_t token, float largest, double temperature, double least);
  void cut(const SamplingOptions& options);
  [[nodiscard]] std::size_t count_until(double limit) const noexcept;
  void cut_top_p(double top_p);
  void cut_min_p(double min_p);
  void cut_typical_p(double typical_p);
  void sum();

  std::vector<Candidate> kept_;
  std::vector<std::int32_t> largest_;  // of top_k
  std::vector<double> sums_;           // of all weights, in blocks
  std::vector<double> surprise_;       // by place among the candidates: how far from the average
  std::vector<std::uint32_t> order_;   // of these places
  double total_ = 0;
};

}  // namespace kvcache::decoding
