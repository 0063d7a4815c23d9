// Which tokens spell one of several texts.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "decoding/prefix_ranges.hpp"
#include "decoding/token_bytes.hpp"
#include "kvcache/constraint.hpp"

namespace kvcache::decoding {

/// Texts, and the tokens that they are spelled with. Immutable. A state is the range of texts that
/// begin with the tokens so far.
class Spelling {
 public:
  /// @throws Error invalid_argument where one of the texts, which are not empty, cannot be spelled
  Spelling(std::vector<std::string> texts, std::shared_ptr<const TokenBytes::Table> tokens);

  [[nodiscard]] std::size_t vocab_size() const noexcept { return tokens_->of_token.size(); }
  [[nodiscard]] PrefixRange begin() const noexcept { return texts_.all(); }

  /// Adds the tokens that may follow in a state.
  void allow_next(const PrefixRange& state, TokenMask& mask) const;

  /// The state after a token; nothing where it is not allowed.
  [[nodiscard]] std::optional<PrefixRange> after(const PrefixRange& state, TokenId token) const;

  /// Whether a text ends here.
  [[nodiscard]] bool ends(const PrefixRange& state) const noexcept { return texts_.ends(state); }

 private:
  template <typename Take>
  void for_each_spelling(const PrefixRange& state, const Take& take) const;
  void find_dead_ends();
  void check_reached(const std::unordered_set<std::uint64_t>& reached) const;
  [[nodiscard]] bool leads_on(const PrefixRange& state) const;

  PrefixRanges<std::string> texts_;
  std::shared_ptr<const TokenBytes::Table> tokens_;
  /// By their keys, the states from which a text can be completed; empty where all can.
  std::unordered_set<std::uint64_t> alive_;
};

}  // namespace kvcache::decoding
