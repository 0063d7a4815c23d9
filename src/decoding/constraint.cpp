#include "kvcache/constraint.hpp"

#include <algorithm>
#include <bit>
#include <optional>
#include <utility>

#include "base/error_boundary.hpp"
#include "base/throw_error.hpp"

namespace kvcache {
namespace {

constexpr Meaning kConstrain{"the allowed tokens were not found", ErrorCode::run_failed,
                             ErrorCode::run_failed};

/// The bits of a word that tokens have.
std::uint32_t bits_below(std::size_t count) noexcept {
  return count >= TokenMask::kBits ? ~std::uint32_t{0} : (std::uint32_t{1} << count) - 1;
}

void check_node(const Constraint& constraint, const TokenTree& tree, std::size_t node) {
  if (tree.parents[node] < -1 || tree.parents[node] >= static_cast<std::int32_t>(node)) {
    throw_error(ErrorCode::invalid_argument,
                "node {} of a tree has the parent {}, must be an earlier node, or -1", node,
                tree.parents[node]);
  }
  const TokenId token = tree.tokens[node];
  if (token < 0 || std::cmp_greater_equal(token, constraint.vocab_size())) {
    throw_error(ErrorCode::token_out_of_range,
                "node {} of a tree is token {}, must be in [0, {}), the constraint's vocabulary",
                node, token, constraint.vocab_size());
  }
}

/// Calls at_node(node, state) for each node that is allowed, with the constraint's state after it.
/// Paths are followed depth first, so that one state is enough.
template <typename AtNode>
void follow_tree(const Constraint& constraint, const TokenTree& tree, const AtNode& at_node) {
  const std::size_t nodes = tree.tokens.size();
  if (tree.parents.size() != nodes) {
    throw_error(ErrorCode::invalid_argument,
                "a tree has {} tokens and {} parents, must have as many of both", nodes,
                tree.parents.size());
  }
  std::vector<std::vector<std::size_t>> children(nodes + 1);  // of each node, and of the prefix
  for (std::size_t node = 0; node < nodes; ++node) {
    check_node(constraint, tree, node);
    const bool of_prefix = tree.parents[node] < 0;
    children[of_prefix ? nodes : static_cast<std::size_t>(tree.parents[node])].push_back(node);
  }
  const std::unique_ptr<Constraint> state = constraint.fork();
  std::vector<std::size_t> path{nodes};
  while (!path.empty()) {
    std::vector<std::size_t>& next = children[path.back()];
    if (next.empty()) {
      path.pop_back();
      if (!path.empty()) {
        state->rollback(1);
      }
      continue;
    }
    const std::size_t node = next.back();
    next.pop_back();
    if (state->accept(tree.tokens[node])) {
      at_node(node, *state);
      path.push_back(node);
    }
  }
}

}  // namespace

TokenMask::TokenMask(std::size_t vocab_size)
    : words_((vocab_size + kBits - 1) / kBits), vocab_size_(vocab_size) {}

bool TokenMask::allows(TokenId token) const noexcept {
  if (token < 0 || std::cmp_greater_equal(token, vocab_size_)) {
    return false;
  }
  const auto index = static_cast<std::size_t>(token);
  return (words_[index / kBits] >> (index % kBits) & 1U) != 0;
}

std::size_t TokenMask::count() const noexcept {
  std::size_t found = 0;
  for (std::size_t word = 0; word < words_.size(); ++word) {
    found += static_cast<std::size_t>(
        std::popcount(words_[word] & bits_below(vocab_size_ - word * kBits)));
  }
  return found;
}

std::vector<TokenId> TokenMask::tokens(std::size_t most) const {
  std::vector<TokenId> found;
  for (std::size_t word = 0; word < words_.size(); ++word) {
    std::uint32_t rest = words_[word] & bits_below(vocab_size_ - word * kBits);
    for (; rest != 0 && found.size() < most; rest &= rest - 1) {
      found.push_back(static_cast<TokenId>(word * kBits) + std::countr_zero(rest));
    }
  }
  return found;
}

void TokenMask::allow(TokenId token) {
  if (token < 0 || std::cmp_greater_equal(token, vocab_size_)) {
    throw_error(ErrorCode::token_out_of_range,
                "token {} was to be allowed, must be in [0, {}), the vocabulary", token,
                vocab_size_);
  }
  const auto index = static_cast<std::size_t>(token);
  words_[index / kBits] |= std::uint32_t{1} << (index % kBits);
}

void TokenMask::forbid(TokenId token) noexcept {
  if (allows(token)) {
    const auto index = static_cast<std::size_t>(token);
    words_[index / kBits] &= ~(std::uint32_t{1} << (index % kBits));
  }
}

void TokenMask::forbid_all() noexcept { std::ranges::fill(words_, 0U); }

Constraint::~Constraint() = default;

std::vector<TokenMask> tree_masks(const Constraint& constraint, const TokenTree& tree) try {
  std::vector<TokenMask> masks(tree.tokens.size(), TokenMask(constraint.vocab_size()));
  follow_tree(constraint, tree,
              [&](std::size_t node, const Constraint& state) { state.allow_next(masks[node]); });
  return masks;
} catch (...) {
  rethrow_system_as_error(kConstrain);
}

TokenTree allowed_part(const Constraint& constraint, const TokenTree& tree) try {
  std::vector<bool> allowed(tree.tokens.size());
  follow_tree(constraint, tree,
              [&](std::size_t node, const Constraint& /*state*/) { allowed[node] = true; });
  TokenTree part;
  std::vector<std::int32_t> place(tree.tokens.size());  // of a node in the part
  for (std::size_t node = 0; node < allowed.size(); ++node) {
    if (allowed[node]) {
      place[node] = static_cast<std::int32_t>(part.tokens.size());
      const std::int32_t parent = tree.parents[node];
      part.tokens.push_back(tree.tokens[node]);
      part.parents.push_back(parent < 0 ? parent : place[static_cast<std::size_t>(parent)]);
    }
  }
  return part;
} catch (...) {
  rethrow_system_as_error(kConstrain);
}

}  // namespace kvcache
