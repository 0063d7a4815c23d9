// An evaluator that begins no run until it is told to, so that tests know what waits together.
#pragma once

#include <algorithm>
#include <chrono>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "kvcache/evaluator.hpp"
#include "support/models.hpp"

namespace kvcache::test {

/// Runs begin neither in time nor before `held` says so, and one after the other on every device.
inline EvaluatorOptions held_options() {
  EvaluatorOptions options;
  options.max_delay = std::chrono::hours(1);
  options.max_runs = 1;
  return options;
}

/// Nothing runs until release(), as a client is registered that does not wait; from then on, runs
/// begin at once.
class HeldEvaluator {
 public:
  explicit HeldEvaluator(const Model& model, const EvaluatorOptions& options = held_options())
      : evaluator_(model, options) {}

  Evaluator* operator->() noexcept { return &evaluator_; }
  Evaluator& operator*() noexcept { return evaluator_; }

  void release() { client_.idle(); }

 private:
  Evaluator evaluator_;
  EvaluatorClient client_ = evaluator_.register_client();
};

inline std::shared_ptr<Sequence> share(Sequence sequence) {
  return std::make_shared<Sequence>(std::move(sequence));
}

/// A sequence of these tokens.
inline std::shared_ptr<Sequence> share_text(const Model& model,
                                            const std::vector<TokenId>& tokens) {
  auto sequence = share(model.new_sequence());
  if (!tokens.empty()) {
    sequence->extend(tokens);
  }
  return sequence;
}

/// Expects what the direct call computed, to the last bit where the model promises it.
inline void expect_same(const Model& model, std::span<const float> found,
                        std::span<const float> expected) {
  if (!model.invariant_results()) {
    expect_close(found, expected);
    return;
  }
  ASSERT_EQ(found.size(), expected.size());
  const auto [at, other] = std::ranges::mismatch(found, expected);
  EXPECT_EQ(at, found.end()) << "value " << at - found.begin() << " is " << *at << ", alone "
                             << *other;
}

/// The error that a request ended with; fails where there is none.
template <typename Result>
ErrorCode error_of(const Request<Result>& request) {
  try {
    (void)request.get();
  } catch (const Error& error) {
    return error.code();
  }
  ADD_FAILURE() << "no error";
  return ErrorCode::run_failed;
}

}  // namespace kvcache::test
