#include "decoding/scores.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <numeric>
#include <optional>
#include <utility>

#include "base/throw_error.hpp"
#include "decoding/after_prompt.hpp"
#include "ort/error_boundary.hpp"

namespace kvcache::decoding {
namespace {

constexpr std::size_t kMostNodes = 512;  // of a tree: each has a row of logits
constexpr std::size_t kChunk = 128;      // tokens of a text whose logits are there at a time

/// Continuations whose common beginnings are one. The last token of each needs no node.
class Trie {
 public:
  void add(std::span<const TokenId> tokens) {
    std::int32_t node = -1;
    std::vector<std::int32_t>& path = paths_.emplace_back();
    for (const TokenId token : tokens.first(tokens.size() - 1)) {
      const auto [found, is_new] =
          children_.try_emplace({node, token}, static_cast<std::int32_t>(tree_.tokens.size()));
      if (is_new) {
        tree_.tokens.push_back(token);
        tree_.parents.push_back(node);
      }
      node = found->second;
      path.push_back(node);
    }
  }

  [[nodiscard]] const TokenTree& tree() const noexcept { return tree_; }
  [[nodiscard]] std::size_t continuations() const noexcept { return paths_.size(); }

  /// The nodes of all tokens of a continuation but the last: what the next ones are scored after.
  [[nodiscard]] const std::vector<std::int32_t>& path(std::size_t continuation) const {
    return paths_[continuation];
  }

 private:
  TokenTree tree_;
  std::map<std::pair<std::int32_t, TokenId>, std::int32_t> children_;
  std::vector<std::vector<std::int32_t>> paths_;
};

/// Tokens whose scores come from one run's logits, asked for all at once.
class Asked {
 public:
  void add(std::size_t row, TokenId token) { tokens_.push_back({row, token}); }

  /// What follows reads the tokens in the order in which they were added.
  void answer(const Logits& logits) {
    found_ = logits.log_probabilities(tokens_);
    logits_ = &logits;
    next_ = 0;
  }

  void add_next_to(TokenScores& scores) {
    const auto [row, token] = tokens_[next_];
    scores.log_probabilities.push_back(found_[next_++]);
    scores.greedy = scores.greedy && logits_->argmax(row) == token;
  }

 private:
  std::vector<RowToken> tokens_;
  std::vector<float> found_;
  const Logits* logits_ = nullptr;
  std::size_t next_ = 0;
};

/// As many of the continuations as make a tree that is not too large.
Trie next_trie(std::span<const std::vector<TokenId>> continuations) {
  Trie trie;
  for (const std::vector<TokenId>& tokens : continuations) {
    if (trie.continuations() > 0 && trie.tree().tokens.size() + tokens.size() > kMostNodes) {
      break;
    }
    trie.add(tokens);
  }
  return trie;
}

}  // namespace

double TokenScores::log_probability() const noexcept {
  return std::accumulate(log_probabilities.begin(), log_probabilities.end(), 0.0);
}

double TokenScores::perplexity() const noexcept {
  return std::exp(-log_probability() / static_cast<double>(log_probabilities.size()));
}

std::vector<TokenScores> score_continuations(Sequence& sequence, std::span<const TokenId> prefix,
                                             std::span<const std::vector<TokenId>> continuations,
                                             std::span<const std::size_t> first) {
  const std::size_t length = sequence.length();
  try {
    const Logits after_prefix = sequence.extend(prefix);
    std::vector<TokenScores> scores;
    while (scores.size() < continuations.size()) {
      const std::size_t done = scores.size();
      const Trie trie = next_trie(continuations.subspan(done));
      std::optional<TreeEvaluation> evaluation;
      if (!trie.tree().tokens.empty()) {
        evaluation = sequence.evaluate(trie.tree());
      }
      Asked of_prefix;  // first tokens
      Asked of_nodes;   // the others
      const auto for_each_token = [&](const auto& call) {
        for (std::size_t i = 0; i < trie.continuations(); ++i) {
          for (std::size_t t = first[done + i]; t < continuations[done + i].size(); ++t) {
            call(i, t);
          }
        }
      };
      for_each_token([&](std::size_t i, std::size_t t) {
        const TokenId token = continuations[done + i][t];
        if (t == 0) {
          of_prefix.add(after_prefix.rows() - 1, token);
        } else {
          of_nodes.add(static_cast<std::size_t>(trie.path(i)[t - 1]), token);
        }
      });
      of_prefix.answer(after_prefix);
      if (evaluation) {
        of_nodes.answer(evaluation->logits());
      }
      scores.resize(done + trie.continuations());
      for_each_token([&](std::size_t i, std::size_t t) {
        (t == 0 ? of_prefix : of_nodes).add_next_to(scores[done + i]);
      });
    }
    return scores;
  } catch (...) {
    take_back(sequence, length);
    rethrow_as_error(kRun);
  }
}

TokenScores score_text(Sequence& sequence, std::span<const TokenId> tokens) {
  if (tokens.size() < 2) {
    throw_error(ErrorCode::empty_input,
                "a text of {} tokens has none to score: each is scored after those before it; give "
                "at least two",
                tokens.size());
  }
  const std::span<const TokenId> before = tokens.first(tokens.size() - 1);
  if (!sequence.fits(before.size())) {
    throw_error(ErrorCode::context_full,
                "the text's {} tokens do not fit the model's positions; give a shorter one",
                tokens.size());
  }
  TokenScores scores;
  try {
    for (std::size_t done = 0; done < before.size(); done += kChunk) {
      const auto chunk = before.subspan(done, std::min(kChunk, before.size() - done));
      const Logits logits = sequence.extend(chunk, LogitsFor::all);
      Asked asked;
      for (std::size_t row = 0; row < chunk.size(); ++row) {
        asked.add(row, tokens[done + row + 1]);
      }
      asked.answer(logits);
      for (std::size_t row = 0; row < chunk.size(); ++row) {
        asked.add_next_to(scores);
      }
    }
  } catch (...) {
    sequence.reset();
    rethrow_as_error(kRun);
  }
  return scores;
}

}  // namespace kvcache::decoding
