// Random histories of everything a program can do with cached sequences, against plain forwards.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "support/models.hpp"
#include "support/temporary_directory.hpp"

namespace kvcache::test {

/// One run of random steps over a growing and shrinking set of sequences.
class History {
 public:
  /// `alone`: no other thread uses the model. `rewindable_tokens`: as it was loaded with.
  /// `also_expect(logits, text)` is asked of all logits that are compared with a plain forward.
  using AlsoExpect = std::function<void(std::span<const float>, std::span<const TokenId>)>;
  History(Random& random, const Model& model, bool alone,
          std::optional<std::size_t> rewindable_tokens = {}, AlsoExpect also_expect = {});

  void step();
  void check();
  void clear();

  /// So many steps, each checked; then all sequences go, and no block may stay behind.
  void run(int steps);

 private:
  struct Text {
    Sequence sequence;
    std::vector<TokenId> tokens;
    std::size_t longest;  // that it ever was: what it may have given back goes by that
  };

  void expect_as_plain(std::span<const float> found, std::span<const TokenId> text) const;
  void add(Sequence sequence, std::vector<TokenId> tokens);
  Text& any();
  [[nodiscard]] std::int64_t room(const Text& text) const;
  [[nodiscard]] std::vector<TokenId> new_tokens(const Text& text) const;

  void extend();
  void fork();
  void rewind();
  /// What was saved takes the place of what it was saved from.
  void save_and_load();
  void drop();
  /// What is known of a text takes its place, and the rest is computed anew.
  void find_known();
  void evaluate_and_commit();
  void extend_batch();

  Random& random_;
  const Model& model_;
  bool alone_;
  std::optional<std::size_t> rewindable_tokens_;
  AlsoExpect also_expect_;
  TemporaryDirectory directory_;
  PrefixCache known_;
  std::vector<Text> texts_;
};

}  // namespace kvcache::test
