#include "kvcache/speculation.hpp"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>
#include <vector>

#include "base/throw_error.hpp"
#include "decoding/after_prompt.hpp"
#include "decoding/continuation.hpp"
#include "decoding/draft_length.hpp"
#include "ort/error_boundary.hpp"

namespace kvcache {
namespace {

using decoding::Continuation;
using decoding::DraftLength;

double milliseconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
      .count();
}

/// A drafter may be anybody's.
void check_drafts(const TokenTree& drafts, std::size_t most) {
  const std::size_t nodes = drafts.tokens.size();
  if (nodes > most || drafts.parents.size() != nodes) {
    throw_error(
        ErrorCode::invalid_argument,
        "a drafter gave a tree of {} tokens and {} parents, must be as many of both, and {} "
        "at most",
        nodes, drafts.parents.size(), most);
  }
  for (std::size_t i = 0; i < nodes; ++i) {
    if (drafts.parents[i] < -1 || drafts.parents[i] >= static_cast<std::int32_t>(i)) {
      throw_error(ErrorCode::invalid_argument,
                  "a drafter gave node {} of a tree the parent {}, must be an earlier node, or -1",
                  i, drafts.parents[i]);
    }
  }
}

/// The last token, which the sequence has not yet, and the guesses that follow it.
TokenTree with_root(TokenId root, const TokenTree& drafts) try {
  TokenTree tree;
  tree.tokens.reserve(drafts.tokens.size() + 1);
  tree.parents.reserve(drafts.tokens.size() + 1);
  tree.tokens.push_back(root);
  tree.parents.push_back(-1);
  for (std::size_t i = 0; i < drafts.tokens.size(); ++i) {
    tree.tokens.push_back(drafts.tokens[i]);
    tree.parents.push_back(drafts.parents[i] + 1);
  }
  return tree;
} catch (...) {
  rethrow_as_error(kRun);
}

/// The guess at what follows a node that is this token.
std::optional<std::size_t> child_of(const TokenTree& tree, std::size_t node, TokenId token) {
  for (std::size_t i = node + 1; i < tree.tokens.size(); ++i) {
    if (tree.parents[i] == static_cast<std::int32_t>(node) && tree.tokens[i] == token) {
      return i;
    }
  }
  return std::nullopt;
}

bool has_child(const TokenTree& tree, std::size_t node) {
  return std::ranges::find(tree.parents, static_cast<std::int32_t>(node)) != tree.parents.end();
}

class Speculation {
 public:
  Speculation(Sequence& sequence, Continuation text, std::vector<TokenId> tokens, Drafter& drafter,
              const GenerateOptions& options, const SpeculationOptions& speculation,
              const NewTokenCallback& on_token)
      : sequence_(sequence),
        text_(std::move(text)),
        tokens_(std::move(tokens)),
        drafter_(drafter),
        wanted_(options.max_new_tokens),
        on_token_(on_token),
        length_(speculation.max_drafts) {}

  Generated run(const Logits& after_prompt) {
    draw(after_prompt, 0);
    while (!text_.finished()) {
      step();
    }
    return text_.take();
  }

  [[nodiscard]] const SpeculationStats& stats() const noexcept { return stats_; }

 private:
  /// Draws the token that follows, and tells of it.
  void draw(const Logits& logits, std::size_t row) {
    const std::string_view grown = text_.draw(logits, row);
    if (on_token_ && !on_token_({text_.sample(), text_.last_token(), grown})) {
      text_.cancel();
    }
    append(text_.last_token());
  }

  void append(TokenId token) try {
    tokens_.push_back(token);
    ++drawn_;
  } catch (...) {
    rethrow_as_error(kRun);
  }

  /// One run: the last token, and what is guessed to follow it.
  void step() {
    const auto begin = std::chrono::steady_clock::now();
    const std::size_t accepted_before = stats_.accepted;
    // Of a path as long as the tokens that are wanted, the last one would be guessed in vain.
    const std::size_t most = std::min(length_.next(), wanted_ - drawn_ - 1);
    TokenTree drafts = most > 0 ? drafter_.draft(tokens_, most) : TokenTree();
    check_drafts(drafts, most);
    if (const Constraint* const constraint = text_.constraint()) {
      drafts = allowed_part(*constraint, drafts);
    }
    drafts.tokens.resize(DraftLength::of(drafts.tokens.size()));  // parents come first
    drafts.parents.resize(drafts.tokens.size());
    ++stats_.runs;
    const std::size_t drafted = drafts.tokens.empty() || !verify(drafts) ? 0 : drafts.tokens.size();
    if (drafted == 0) {
      const TokenId token = text_.last_token();
      draw(sequence_.extend({&token, 1}), 0);
    }
    stats_.drafted += drafted;
    length_.note(drafted, stats_.accepted - accepted_before, missed_, milliseconds_since(begin));
    missed_ = false;
  }

  /// False where the cache has no room for guesses: generating without them needs less.
  bool verify(const TokenTree& drafts) {
    const TokenTree tree = with_root(text_.last_token(), drafts);
    std::optional<TreeEvaluation> evaluation = evaluated(tree);
    if (!evaluation) {
      return false;
    }
    std::size_t node = 0;
    while (true) {
      draw(evaluation->logits(), node);
      const std::optional<std::size_t> child =
          text_.finished() ? std::nullopt : child_of(tree, node, text_.last_token());
      if (!child) {
        missed_ = !text_.finished() && has_child(tree, node);
        keep(evaluation, node);
        return true;
      }
      node = *child;
      ++stats_.accepted;
    }
  }

  /// Appends the path to a node, whose tokens are all but the last one drawn.
  void keep(std::optional<TreeEvaluation>& evaluation, std::size_t node) {
    try {
      sequence_.commit(*evaluation, node);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::cache_full) {
        throw;
      }
      evaluation.reset();  // which holds what the path needs
      sequence_.extend(std::span(tokens_).first(tokens_.size() - 1).subspan(sequence_.length()));
    }
  }

  std::optional<TreeEvaluation> evaluated(const TokenTree& tree) {
    try {
      return sequence_.evaluate(tree);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::cache_full) {
        throw;
      }
      return std::nullopt;
    }
  }

  Sequence& sequence_;
  Continuation text_;
  std::vector<TokenId> tokens_;  // prompt and new ones: what the drafter looks at
  Drafter& drafter_;
  std::size_t wanted_;
  std::size_t drawn_ = 0;
  const NewTokenCallback& on_token_;
  DraftLength length_;
  bool missed_ = false;
  SpeculationStats stats_;
};

}  // namespace

Generated generate(Sequence& sequence, std::span<const TokenId> prompt,
                   const GenerateOptions& options, Drafter& drafter,
                   const SpeculationOptions& speculation, SpeculationStats* stats,
                   const NewTokenCallback& on_token) {
  if (options.max_new_tokens == 0) {
    return {};
  }
  return decoding::after_prompt(
      sequence, prompt, options, [&](const Logits& logits, std::span<const TokenId> text) {
        Speculation speculating(sequence, Continuation(options, text, text.size(), 0),
                                decoding::copy_of(text), drafter, options, speculation, on_token);
        Generated generated = speculating.run(logits);
        if (stats != nullptr) {
          *stats = speculating.stats();
        }
        return generated;
      });
}

}  // namespace kvcache
