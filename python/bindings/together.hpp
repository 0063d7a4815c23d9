// Requests of any kinds that one thread asks together.
#pragma once

#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "bindings/answers.hpp"
#include "bindings/lease.hpp"
#include "bindings/request_options.hpp"
#include "kvcache/evaluator.hpp"

namespace kvcache::python {

template <typename Cpp>
struct ResultOf;
template <>
struct ResultOf<ExtendRequest> {
  using Type = Logits;
};
template <>
struct ResultOf<EvaluateRequest> {
  using Type = EvaluatedNodes;
};
template <>
struct ResultOf<ScoreRequest> {
  using Type = Scores;
};

/// One of them. Its sequence is in use until it is answered.
class AskedTogether {
 public:
  AskedTogether() = default;
  virtual ~AskedTogether() = default;
  AskedTogether(const AskedTogether&) = delete;
  AskedTogether& operator=(const AskedTogether&) = delete;

  /// Without the interpreter's lock. wait() throws nothing: answer() does.
  virtual void submit(Submitter& submitter) = 0;
  virtual void wait() noexcept = 0;

  /// With the interpreter's lock.
  /// @throws Error as Request::get
  virtual AnswerObject answer() = 0;
};

template <typename Asked>
class AskedTogetherOf final : public AskedTogether {
 public:
  /// @throws Error invalid_argument when a direct call uses the sequence
  explicit AskedTogetherOf(const Asked& asked)
      : asked_(asked), lease_(Lease::begin(asked.use, Asked::kChanges)) {}

  void submit(Submitter& submitter) override { request_ = submitter.submit(asked_.begin()); }

  void wait() noexcept override {
    try {
      answer_ = request_->get();
    } catch (...) {
      failed_ = std::current_exception();
    }
    lease_->end();
  }

  AnswerObject answer() override {
    if (failed_) {
      std::rethrow_exception(failed_);
    }
    return to_answer(std::move(*answer_));
  }

 private:
  using Result =
      typename ResultOf<std::remove_cvref_t<decltype(std::declval<Asked>().request)>>::Type;

  Asked asked_;
  std::shared_ptr<Lease> lease_;
  std::optional<Request<Result>> request_;
  std::optional<Answer<Result>> answer_;
  std::exception_ptr failed_;
};

/// Has all answered: submitted first, then waited for.
/// @throws Error out_of_memory, once those that were submitted are answered
inline void answer_together(Submitter& submitter,
                            const std::vector<std::unique_ptr<AskedTogether>>& all) {
  std::size_t submitted = 0;
  std::exception_ptr refused;
  try {
    for (; submitted < all.size(); ++submitted) {
      all[submitted]->submit(submitter);
    }
  } catch (...) {
    refused = std::current_exception();
  }
  for (std::size_t i = 0; i < submitted; ++i) {
    all[i]->wait();
  }
  if (refused) {
    std::rethrow_exception(refused);
  }
}

}  // namespace kvcache::python
