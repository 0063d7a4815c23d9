// Which tokens may follow: what a text has to be.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kvcache/export.hpp"
#include "kvcache/tree.hpp"
#include "kvcache/types.hpp"

namespace kvcache {

/// A set of a vocabulary's tokens, a bit for each.
class KVCACHE_EXPORT TokenMask {
 public:
  static constexpr std::size_t kBits = 32;  // of a word

  /// The empty set.
  explicit TokenMask(std::size_t vocab_size = 0);

  [[nodiscard]] std::size_t vocab_size() const noexcept { return vocab_size_; }
  /// Whether a token is in it; false for what is no token of the vocabulary.
  [[nodiscard]] bool allows(TokenId token) const noexcept;
  [[nodiscard]] std::size_t count() const noexcept;
  /// Its tokens in the order of ids, the first so many of them.
  [[nodiscard]] std::vector<TokenId> tokens(std::size_t most) const;

  /// @throws Error token_out_of_range
  void allow(TokenId token);
  void forbid(TokenId token) noexcept;
  void forbid_all() noexcept;

  /// Token i is bit i % 32 of word i / 32; bits behind the last token mean nothing.
  [[nodiscard]] std::span<std::uint32_t> words() noexcept { return words_; }
  [[nodiscard]] std::span<const std::uint32_t> words() const noexcept { return words_; }

 private:
  std::vector<std::uint32_t> words_;
  std::size_t vocab_size_;
};

/// What a text has to be, and how far it has come: which tokens may follow those that were
/// accepted, and whether it may end here. Yours, or one of choices.hpp and grammar.hpp.
///
/// The library forks what it is given for every text, so that the one in the options stays as it
/// is. An object is used by one thread at a time; forks of one by any.
class KVCACHE_EXPORT Constraint {
 public:
  Constraint() = default;
  virtual ~Constraint();

  /// Of the masks: the model's.
  [[nodiscard]] virtual std::size_t vocab_size() const noexcept = 0;

  /// Adds the tokens that may follow to `mask`, which is of vocab_size() and empty. Each must lead
  /// somewhere: to an end, or to a state that allows another token. Stop tokens of the options are
  /// not among them unless the constraint itself means them; they are added where it may end.
  virtual void allow_next(TokenMask& mask) const = 0;

  /// Whether the text may end here.
  [[nodiscard]] virtual bool may_end() const = 0;

  /// Takes the token that follows; false, and nothing changes, where it is not allowed.
  [[nodiscard]] virtual bool accept(TokenId token) = 0;

  /// Takes back the last so many accepted tokens.
  /// @throws Error invalid_argument where fewer were accepted; nothing changes then
  virtual void rollback(std::size_t tokens) = 0;

  /// Another one in the same state, which then goes its own way.
  [[nodiscard]] virtual std::unique_ptr<Constraint> fork() const = 0;

 protected:
  Constraint(const Constraint&) = default;
  Constraint& operator=(const Constraint&) = default;
};

/// For each node of a tree that continues what `constraint` has accepted: the tokens that may
/// follow it. The set is empty where the text must end, and where the node or one before it is not
/// allowed itself.
/// @throws Error invalid_argument where the parents are none, token_out_of_range; as the constraint
KVCACHE_EXPORT std::vector<TokenMask> tree_masks(const Constraint& constraint,
                                                 const TokenTree& tree);

/// The nodes of a tree that `constraint` allows, in their order: a forbidden one goes with all that
/// follows it.
/// @throws Error as tree_masks()
KVCACHE_EXPORT TokenTree allowed_part(const Constraint& constraint, const TokenTree& tree);

}  // namespace kvcache
