#include "kvcache/beam_search.hpp"

#include <algorithm>
#include <cmath>
#include <optional>
#include <tuple>
#include <utility>

#include "base/throw_error.hpp"
#include "decoding/after_prompt.hpp"
#include "decoding/constrained_text.hpp"
#include "decoding/log_probabilities.hpp"
#include "kvcache/batch.hpp"
#include "ort/error_boundary.hpp"

namespace kvcache {
namespace {

constexpr std::size_t kMostBeams = 1024;

/// A text that goes on.
struct Live {
  Sequence sequence;  // without the last token
  std::vector<TokenId> tokens;
  double log_probability;
  std::optional<decoding::ConstrainedText> constrained = {};  // where there is a constraint

  /// The tokens that may follow; null: all.
  [[nodiscard]] const TokenMask* allowed() const noexcept {
    return constrained ? &constrained->allowed() : nullptr;
  }
};

/// A text of the next length: a live one and a token.
struct Candidate {
  std::size_t parent;
  TokenId token;
  double log_probability;
};

void check(const BeamOptions& options) {
  if (options.beams == 0 || options.beams > kMostBeams) {
    throw_error(ErrorCode::invalid_argument, "{} beams were asked for, must be from 1 to {}",
                options.beams, kMostBeams);
  }
  if (!std::isfinite(options.length_penalty)) {
    throw_error(ErrorCode::invalid_argument,
                "the length penalty is {}, must be a finite number; 1 compares averages, 0 sums",
                options.length_penalty);
  }
}

/// The search: what goes on, and what ended. Each function lets only Errors out, so that whoever
/// calls them need not tell their exceptions from those of the caller's own functions.
class Search {
 public:
  Search(const BeamOptions& options, const Sequence& prompt) try
      : options_(options), prompt_(prompt.tokens().begin(), prompt.tokens().end()) {
    live_.push_back({prompt.fork(), {}, 0});
    if (options.constraint != nullptr) {
      live_.back().constrained.emplace(*options.constraint, options.stop_tokens);
    }
  } catch (...) {
    rethrow_as_error(kRun);
  }

  /// Lets the texts grow by a token of their logits; row i of `logits` follows live text i.
  void grow(std::span<const Logits> logits) try {
    std::vector<Live> grown;
    const std::vector<Candidate> candidates = best_candidates(logits);
    for (std::size_t rank = 0; rank < candidates.size() && grown.size() < options_.beams; ++rank) {
      const Candidate& candidate = candidates[rank];
      Live text = grown_by(live_[candidate.parent], candidate);
      const std::optional<FinishReason> reason = end_of(text);
      if (!reason) {
        grown.push_back(std::move(text));
      } else if (rank < options_.beams) {
        end(std::move(text), *reason);
      }
    }
    live_ = std::move(grown);
    ++length_;
    if (live_.empty() && ended_.empty()) {
      throw_error(
          ErrorCode::no_token_allowed,
          "after {} new tokens, the constraint allows no token to any of the beams, and none "
          "of their texts is complete; search with more beams, or let the constraint allow "
          "only what leads to an end",
          length_ - 1);
    }
  } catch (...) {
    rethrow_as_error(kRun);
  }

  /// Whether a text that goes on may yet be among the best.
  [[nodiscard]] bool can_improve() const {
    if (length_ == options_.max_new_tokens || live_.empty()) {
      return false;
    }
    return ended_.size() < options_.beams ||
           score(live_.front().log_probability, length_) > ended_.back().score;
  }

  /// The last token of each text, for the next run.
  [[nodiscard]] std::vector<Extension> next_tokens() try {
    std::vector<Extension> batch;
    batch.reserve(live_.size());
    for (Live& text : live_) {
      batch.push_back({&text.sequence, {&text.tokens.back(), 1}});
    }
    return batch;
  } catch (...) {
    rethrow_as_error(kRun);
  }

  /// The best texts, those that go on ended where they are.
  std::vector<Beam> results() try {
    for (Live& text : live_) {
      end(std::move(text), FinishReason::length);
    }
    live_.clear();
    return std::move(ended_);
  } catch (...) {
    rethrow_as_error(kRun);
  }

 private:
  [[nodiscard]] double score(double log_probability, std::size_t length) const {
    return log_probability / std::pow(static_cast<double>(length), options_.length_penalty);
  }

  static Live grown_by(const Live& parent, const Candidate& candidate) {
    Live text{parent.sequence.fork(), parent.tokens, candidate.log_probability};
    text.tokens.push_back(candidate.token);
    if (parent.constrained) {
      text.constrained = parent.constrained->fork();
      text.constrained->take(candidate.token);
    }
    return text;
  }

  /// Why a text ends with its last token; nothing where it goes on.
  [[nodiscard]] std::optional<FinishReason> end_of(const Live& text) const {
    if (std::ranges::find(options_.stop_tokens, text.tokens.back()) != options_.stop_tokens.end()) {
      return FinishReason::stop_token;
    }
    return text.constrained && text.constrained->complete() ? std::optional(FinishReason::complete)
                                                            : std::nullopt;
  }

  /// Twice as many as go on, so that enough are left when some end.
  [[nodiscard]] std::vector<Candidate> best_candidates(std::span<const Logits> logits) const {
    std::vector<Candidate> all;
    const std::size_t wanted = 2 * options_.beams;
    for (std::size_t parent = 0; parent < logits.size(); ++parent) {
      const std::size_t row = logits[parent].rows() - 1;
      const std::vector<TokenId> tokens =
          decoding::largest_of(logits[parent], row, wanted, live_[parent].allowed());
      const std::vector<float> found = logits[parent].log_probabilities(tokens, row);
      for (std::size_t i = 0; i < tokens.size(); ++i) {
        all.push_back({parent, tokens[i], live_[parent].log_probability + found[i]});
      }
    }
    std::ranges::sort(all, {}, [](const Candidate& candidate) {
      return std::tuple(-candidate.log_probability, candidate.parent, candidate.token);
    });
    all.resize(std::min(all.size(), wanted));
    return all;
  }

  /// Keeps the best ones, the first that came of equal ones.
  void end(Live text, FinishReason reason) {
    Beam beam{.tokens = std::move(text.tokens),
              .finish_reason = reason,
              .meets_constraint = !text.constrained || text.constrained->may_end(),
              .log_probability = text.log_probability};
    beam.score = score(beam.log_probability, beam.tokens.size());
    const auto place = std::ranges::upper_bound(ended_, -beam.score, {},
                                                [](const Beam& other) { return -other.score; });
    if (ended_.size() == options_.beams && place == ended_.end()) {
      return;
    }
    beam.text = text_of(beam);
    ended_.insert(place, std::move(beam));
    ended_.resize(std::min(ended_.size(), options_.beams));
  }

  [[nodiscard]] std::string text_of(const Beam& beam) const {
    if (options_.tokenizer == nullptr) {
      return {};
    }
    TextStream stream = decoding::stream_after(*options_.tokenizer, prompt_);
    std::string text;
    const bool stopped = beam.finish_reason == FinishReason::stop_token;
    for (const TokenId token :
         std::span(beam.tokens).first(beam.tokens.size() - (stopped ? 1 : 0))) {
      text += stream.push(token);
    }
    return text + stream.finish();
  }

  const BeamOptions& options_;
  std::vector<TokenId> prompt_;
  std::vector<Live> live_;   // the most probable first
  std::vector<Beam> ended_;  // the best first, at most `beams`
  std::size_t length_ = 0;
};

/// A search with the first token of each text.
Search begin_search(Sequence& sequence, std::span<const TokenId> prompt,
                    const BeamOptions& options) {
  const Logits logits = decoding::logits_after(sequence, prompt);
  decoding::check_stop_tokens(options.stop_tokens, logits.vocab_size());
  decoding::check_vocabulary(options.constraint, logits.vocab_size());
  Search search(options, sequence);
  search.grow({&logits, 1});
  return search;
}

}  // namespace

std::vector<Beam> beam_search(Sequence& sequence, std::span<const TokenId> prompt,
                              const BeamOptions& options, const std::function<bool()>& go_on) {
  check(options);
  if (options.max_new_tokens == 0) {
    return {};
  }
  decoding::check_fits(sequence, prompt.size(), options.max_new_tokens);
  const std::size_t length = sequence.length();
  try {
    Search search = begin_search(sequence, prompt, options);
    while (search.can_improve() && (!go_on || go_on())) {
      search.grow(extend(search.next_tokens()));
    }
    return search.results();
  } catch (...) {
    decoding::take_back(sequence, length);
    throw;
  }
}

}  // namespace kvcache
