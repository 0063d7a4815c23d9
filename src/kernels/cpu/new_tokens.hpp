// What a tile of queries sees of its row: of the past, and of the new tokens.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

namespace kvcache::kernels {

/// The tile's queries among those of the new tokens of their row, `group` of each token, and which
/// positions they see.
struct NewTokens {
  std::int64_t begin;        // position in the table of the row's first new token
  std::int64_t past_length;  // position in the text of the first new token
  std::int64_t first_query;  // index among the row's queries of the tile's first one
  std::int64_t num_queries;
  std::int64_t group;
  std::int64_t window;               // 0: none
  const std::int32_t* tree_parents;  // [row's new tokens], or null: a chain
  // Before these, no query of the tile sees anything.
  std::int64_t past_begin = 0;
  std::int64_t first_token = 0;  // of the new ones

  /// The new token that query q of the tile is of.
  [[nodiscard]] std::int64_t token_of(std::int64_t q) const {
    return group == 1 ? first_query + q : (first_query + q) / group;
  }

  /// Any query of the tile may see new tokens from first_token up to here.
  [[nodiscard]] std::int64_t visible() const { return token_of(num_queries - 1) + 1; }

  /// How many positions of the past and new tokens there are to look at.
  [[nodiscard]] std::int64_t positions() const {
    return past_length - past_begin + visible() - first_token;
  }

  /// Position of a new token in its text.
  [[nodiscard]] std::int64_t text_position(std::int64_t token) const {
    if (tree_parents == nullptr) {
      return past_length + token;
    }
    std::int64_t position = past_length;
    for (std::int64_t node = tree_parents[token]; node >= 0; node = tree_parents[node]) {
      ++position;
    }
    return position;
  }

  /// The first position of its text that query q sees.
  [[nodiscard]] std::int64_t first_seen(std::int64_t q) const {
    return window == 0 ? 0 : std::max<std::int64_t>(text_position(token_of(q)) + 1 - window, 0);
  }

  /// Sets what the windows of all queries leave out.
  void leave_out_unseen() {
    std::int64_t first = first_seen(0);
    for (std::int64_t q = 1; q < num_queries && first > 0; ++q) {
      first = std::min(first, first_seen(q));
    }
    past_begin = std::min(first, past_length);
    first_token = tree_parents == nullptr ? first - past_begin : 0;
  }

  /// Sets the scores that a query does not see to −∞: of the past, [past_length − past_begin]
  /// [columns], and behind it of new tokens, [visible() − first_token][columns].
  void mask(float* past_scores, std::int64_t columns) const {
    float* const scores = past_scores + (past_length - past_begin - first_token) * columns;
    const std::int64_t end = visible();
    if (tree_parents == nullptr) {
      for (std::int64_t token = token_of(0) + 1; token < end; ++token) {
        std::fill_n(scores + token * columns, token * group - first_query, kUnseen);
      }
    } else {
      for (std::int64_t q = 0; q < num_queries; ++q) {
        std::int64_t seen = token_of(q);
        for (std::int64_t token = end - 1; token >= 0; --token) {
          if (token == seen) {
            seen = tree_parents[token];
          } else {
            scores[token * columns + q] = kUnseen;
          }
        }
      }
    }
    for (std::int64_t q = 0; window > 0 && q < num_queries; ++q) {
      const std::int64_t first = first_seen(q);
      for (std::int64_t i = past_begin; i < std::min(first, past_length); ++i) {
        past_scores[(i - past_begin) * columns + q] = kUnseen;
      }
      for (std::int64_t token = first_token; first > past_length && token < end; ++token) {
        if (text_position(token) < first) {
          scores[token * columns + q] = kUnseen;
        }
      }
    }
  }

 private:
  static constexpr float kUnseen = -std::numeric_limits<float>::infinity();
};

}  // namespace kvcache::kernels
