// The tokens of a model by text and by id.
#pragma once

#include <xxhash.h>

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace kvcache::text {

/// A token's id within these files; the library's TokenId is wider.
using Id = std::int32_t;

inline constexpr std::size_t kMostTokens = std::size_t{1} << 22U;  // 16 times the largest known

struct HashOfText {
  std::size_t operator()(std::string_view text) const noexcept {
    return XXH3_64bits(text.data(), text.size());
  }
};

class Vocabulary {
 public:
  /// @throws Problem where the text or the id is taken, or the id is above kMostTokens
  void add(std::string_view text, Id id);

  [[nodiscard]] std::size_t size() const noexcept { return ids_.size(); }
  /// One above the largest id.
  [[nodiscard]] std::size_t end_id() const noexcept { return texts_.size(); }
  [[nodiscard]] std::optional<Id> find(std::string_view text) const noexcept;
  /// The text of a token; nothing where no token has this id.
  [[nodiscard]] std::optional<std::string_view> text_of(std::int64_t id) const noexcept;

 private:
  std::deque<std::string> kept_;  // what the others point into
  std::unordered_map<std::string_view, Id, HashOfText> ids_;
  std::vector<std::string_view> texts_;  // by id; no data where none has it
};

}  // namespace kvcache::text
