// Several tokens of a text in one run: guessed first, then verified.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "kvcache/export.hpp"
#include "kvcache/generate.hpp"
#include "kvcache/model.hpp"
#include "kvcache/sequence.hpp"
#include "kvcache/tree.hpp"
#include "kvcache/types.hpp"

namespace kvcache {

/// Guesses how a text goes on. Whatever it guesses, the text stays the same: it only comes sooner.
class KVCACHE_EXPORT Drafter {
 public:
  Drafter() = default;
  Drafter(const Drafter&) = delete;
  Drafter& operator=(const Drafter&) = delete;
  virtual ~Drafter();

  /// Continuations of a text as a tree of at most `most` nodes, likelier ones deeper: parents of −1
  /// follow the text's last token. None where there is nothing to guess from.
  [[nodiscard]] virtual TokenTree draft(std::span<const TokenId> text, std::size_t most) = 0;
};

/// Guesses that a text repeats itself (prompt lookup decoding, Saxena 2023): what followed the last
/// tokens where they stood before. Costs a look at the text's tokens. Where the two latest such
/// places went on differently, the tree holds both.
class KVCACHE_EXPORT PromptLookup final : public Drafter {
 public:
  /// Looks for the `longest` last tokens, then for fewer, `shortest` at least.
  /// @throws Error invalid_argument where they are not 1 <= shortest <= longest
  explicit PromptLookup(std::size_t longest = 4, std::size_t shortest = 2);

  [[nodiscard]] TokenTree draft(std::span<const TokenId> text, std::size_t most) override;

 private:
  std::size_t longest_;
  std::size_t shortest_;
};

/// Guesses what a smaller model of the same vocabulary finds likeliest (Leviathan, Kalman, Matias
/// 2023). Keeps the text in that model's cache, so that a guess costs its new tokens only.
class KVCACHE_EXPORT DraftModel final : public Drafter {
 public:
  explicit DraftModel(const Model& model);

  /// None where the text outgrows the model's positions.
  /// @throws Error as Sequence::extend
  [[nodiscard]] TokenTree draft(std::span<const TokenId> text, std::size_t most) override;

 private:
  Sequence sequence_;
};

struct SpeculationOptions {
  /// The most nodes of a tree. How many are asked for, up to this, follows from how many were right
  /// lately and from what runs of so many took.
  std::size_t max_drafts = 15;
};

/// What guessing was worth: without it there is a run for each token.
struct SpeculationStats {
  std::uint64_t runs = 0;      // of the model, the prompt's not counted
  std::uint64_t drafted = 0;   // nodes that were verified
  std::uint64_t accepted = 0;  // nodes that became tokens of the text
};

/// The text that generate() gives, drawn from the same random numbers: tokens are drawn one after
/// the other from the logits of a tree's nodes, as long as what is drawn was guessed, and the path
/// is kept. The same to the last bit where Model::invariant_results(); elsewhere rounding may
/// differ between a run of one token and of many, as between any two runs. Guesses that a
/// constraint forbids are left out before they are evaluated.
///
/// @throws Error as generate() and Drafter::draft; invalid_argument where a drafter's tree is none
/// or
///         has more nodes than were asked for. The sequence is then as it was.
KVCACHE_EXPORT Generated generate(Sequence& sequence, std::span<const TokenId> prompt,
                                  const GenerateOptions& options, Drafter& drafter,
                                  const SpeculationOptions& speculation = {},
                                  SpeculationStats* stats = nullptr,
                                  const NewTokenCallback& on_token = {});

}  // namespace kvcache
