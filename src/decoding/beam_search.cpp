#include "kvcache/beam_search.hpp"

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>

#include "base/throw_error.hpp"
#include "decoding/after_prompt.hpp"
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

/// The search: what goes on, and what ended.
class Search {
 public:
  Search(const BeamOptions& options, const Sequence& prompt)
      : options_(options), prompt_(prompt.tokens().begin(), prompt.tokens().end()) {
    live_.push_back({prompt.fork(), {}, 0});
  }

  /// Lets the texts grow by a token of their logits; row i of `logits` follows live text i.
  void grow(std::span<const Logits> logits) {
    std::vector<Live> grown;
    const std::vector<Candidate> candidates = best_candidates(logits);
    for (std::size_t rank = 0; rank < candidates.size() && grown.size() < options_.beams; ++rank) {
      const Candidate& candidate = candidates[rank];
      const Live& parent = live_[candidate.parent];
      std::vector<TokenId> tokens = parent.tokens;
      tokens.push_back(candidate.token);
      if (std::ranges::find(options_.stop_tokens, candidate.token) == options_.stop_tokens.end()) {
        grown.push_back({parent.sequence.fork(), std::move(tokens), candidate.log_probability});
      } else if (rank < options_.beams) {
        end(std::move(tokens), candidate.log_probability, FinishReason::stop_token);
      }
    }
    live_ = std::move(grown);
    ++length_;
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
  [[nodiscard]] std::vector<Extension> next_tokens() {
    std::vector<Extension> batch;
    batch.reserve(live_.size());
    for (Live& text : live_) {
      batch.push_back({&text.sequence, {&text.tokens.back(), 1}});
    }
    return batch;
  }

  /// The best texts, those that go on ended where they are.
  std::vector<Beam> results() {
    for (Live& text : live_) {
      end(std::move(text.tokens), text.log_probability, FinishReason::length);
    }
    live_.clear();
    return std::move(ended_);
  }

 private:
  [[nodiscard]] double score(double log_probability, std::size_t length) const {
    return log_probability / std::pow(static_cast<double>(length), options_.length_penalty);
  }

  /// Twice as many as go on, so that enough are left when some end.
  [[nodiscard]] std::vector<Candidate> best_candidates(std::span<const Logits> logits) const {
    std::vector<Candidate> all;
    const std::size_t wanted = 2 * options_.beams;
    std::vector<TokenId> tokens;
    for (std::size_t parent = 0; parent < logits.size(); ++parent) {
      const std::size_t row = logits[parent].rows() - 1;
      tokens.clear();
      for (const TokenScore& best : logits[parent].top_k(wanted, row)) {
        tokens.push_back(best.token);
      }
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
  void end(std::vector<TokenId> tokens, double log_probability, FinishReason reason) {
    Beam beam{
        .tokens = std::move(tokens), .finish_reason = reason, .log_probability = log_probability};
    beam.score = score(log_probability, beam.tokens.size());
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
    std::vector<Logits> logits{decoding::logits_after(sequence, prompt)};
    decoding::check_stop_tokens(options.stop_tokens, logits.front().vocab_size());
    Search search(options, sequence);
    search.grow(logits);
    while (search.can_improve() && (!go_on || go_on())) {
      logits = extend(search.next_tokens());
      search.grow(logits);
    }
    return search.results();
  } catch (...) {
    decoding::take_back(sequence, length);
    rethrow_as_error(kRun);
  }
}

}  // namespace kvcache
