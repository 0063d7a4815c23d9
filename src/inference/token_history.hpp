// The tokens of a sequence, and how it came to them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kvcache/types.hpp"

namespace kvcache::inference {

/// Tokens that are appended at the end and forgotten from there. Each is appended under a stamp, a
/// number that no other history has. One stamp is used as long as tokens are appended behind each
/// other; the first one after a rewind, a fork or an erasure gets a new one, so that no place is
/// written twice under one stamp. The stamp of the last token and the length then tell all tokens
/// before: who has both in common has the tokens in common, and nothing needs to be compared.
///
/// The tokens lie in one piece of memory, which whoever remembers the beginning of the history
/// shares with it. What they remember is never written to.
class TokenHistory {
  struct Cells;

 public:
  /// All tokens of a history at some time, as they stay whatever becomes of it. Copies none of
  /// them. Move-only.
  class Prefix {
   public:
    Prefix(Prefix&& other) noexcept;
    Prefix& operator=(Prefix&& other) noexcept;
    ~Prefix();

    [[nodiscard]] std::size_t size() const noexcept { return length_; }
    [[nodiscard]] std::span<const TokenId> tokens() const noexcept;

   private:
    friend class TokenHistory;
    Prefix(std::shared_ptr<Cells> cells, std::size_t length, std::uint64_t stamp) noexcept;

    std::shared_ptr<Cells> cells_;
    std::size_t length_;
    std::uint64_t stamp_;  // of the last token
  };

  /// Room for `capacity` tokens, of which there are never more.
  /// @throws std::bad_alloc
  explicit TokenHistory(std::size_t capacity);
  TokenHistory(TokenHistory&&) noexcept = default;
  TokenHistory& operator=(TokenHistory&&) noexcept = default;
  ~TokenHistory() = default;

  /// The same tokens under the same stamps, in memory of their own.
  /// @throws std::bad_alloc
  [[nodiscard]] TokenHistory fork() const;

  [[nodiscard]] Prefix prefix() const noexcept;

  [[nodiscard]] std::size_t size() const noexcept { return length_; }
  [[nodiscard]] bool empty() const noexcept { return length_ == 0; }
  [[nodiscard]] std::span<const TokenId> tokens() const noexcept;

  /// Whether the history has begun with `prefix` ever since that was remembered, or since it was
  /// forked from one that has. Looks at no token.
  [[nodiscard]] bool shares(const Prefix& prefix) const noexcept;
  /// Whether all tokens of both are shared in this sense.
  [[nodiscard]] bool shares_all(const TokenHistory& other) const noexcept;

  /// Makes ready for append(), which then takes no memory: where others remember what was forgotten
  /// here since, the tokens move. Nothing else changes, and tokens() from before can be read until
  /// append() returns.
  /// @throws std::bad_alloc
  void prepare_append();

  /// After prepare_append(), as often as there is room. The tokens may be the history's own.
  void append(std::span<const TokenId> tokens) noexcept;

  /// Forgets the tokens from `length` on.
  void shrink_to(std::size_t length) noexcept;

  /// Forgets `count` tokens behind the first `first`; those behind move up. What is left is another
  /// history from its beginning. After prepare_erase().
  void erase(std::size_t first, std::size_t count) noexcept;
  /// @throws std::bad_alloc
  void prepare_erase();

 private:
  /// Tokens from here on were appended under this stamp.
  struct Stamped {
    std::size_t first;
    std::uint64_t stamp;
  };

  [[nodiscard]] std::uint64_t stamp_before(std::size_t length) const noexcept;
  void own_cells_from(std::size_t length);

  std::size_t capacity_;
  std::size_t length_ = 0;
  bool goes_on_ = false;         // the next token comes under the last one's stamp
  std::vector<Stamped> stamps_;  // in order of the tokens
  std::shared_ptr<Cells> cells_;
  std::shared_ptr<Cells> previous_;  // where the tokens were before they moved
};

}  // namespace kvcache::inference
