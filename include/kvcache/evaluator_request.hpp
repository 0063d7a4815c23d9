// What an Evaluator is asked, and what it answers.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kvcache/export.hpp"
#include "kvcache/logits.hpp"
#include "kvcache/sequence.hpp"
#include "kvcache/tree.hpp"
#include "kvcache/types.hpp"

namespace kvcache {

namespace evaluator {
class Scheduler;
class Task;
}  // namespace evaluator

/// Which of the waiting requests are run first.
enum class Priority { low, normal, high };

/// What all requests have in common.
struct RequestOptions {
  Priority priority = Priority::normal;

  /// The request fails with deadline_exceeded when its run has not begun by then, or when the run
  /// of an equal request that it joined has not ended. One that runs is answered, late or not.
  std::optional<std::chrono::steady_clock::time_point> deadline = {};

  /// The caller's hash of all that decides the answer, such as a position's Zobrist hash. An answer
  /// that is kept under it is returned without a run, and requests under way with the same one are
  /// computed once. Each kind of request, and each version of the model, has keys of its own. Of no
  /// effect for extensions, which change their sequence.
  std::optional<std::uint64_t> cache_key = {};

  /// Neither looks the answer up under `cache_key` nor keeps it.
  bool skip_cache = false;

  /// Whether one computation may answer this request and others that ask the same.
  bool join = true;

  /// The length the sequence must have when the request's turn comes, else invalid_argument: for
  /// requests that rely on those submitted before them.
  std::optional<std::size_t> at_length = {};
};

/// Appends tokens to a sequence: Sequence::extend().
struct ExtendRequest {
  std::shared_ptr<Sequence> sequence;
  std::vector<TokenId> tokens = {};
  LogitsFor logits_for = LogitsFor::last;
  RequestOptions options = {};

  /// Where the sequence is of an older version of the model, or `tokens` is empty: encodes its
  /// tokens and these anew with the newest one, and puts that in its place. LogitsFor::all are then
  /// those of the whole text.
  bool renew = false;
};

/// Evaluates a tree of continuations: Sequence::evaluate().
struct EvaluateRequest {
  std::shared_ptr<const Sequence> prefix;
  TokenTree tree = {};
  std::vector<std::size_t> nodes = {};  // whose logits are wanted; empty: of all
  RequestOptions options = {};
};

/// Asks how probable continuations of a prefix are. What several begin with is computed once, and
/// the logits after the prefix itself are part of it.
struct ScoreRequest {
  std::shared_ptr<const Sequence> prefix;                // of one token at least
  std::vector<std::vector<TokenId>> continuations = {};  // each of one token at least
  std::vector<std::string> outputs = {};                 // ModelInfo::outputs wanted for the prefix
  RequestOptions options = {};
};

/// A sequence as requests take it, without a share in it: the caller keeps it until they are
/// answered.
inline std::shared_ptr<Sequence> borrow(Sequence& sequence) noexcept {
  return {std::shared_ptr<void>(), &sequence};
}
inline std::shared_ptr<const Sequence> borrow(const Sequence& sequence) noexcept {
  return {std::shared_ptr<void>(), &sequence};
}

/// The logits of a tree's nodes. Copies share them, in any thread.
class KVCACHE_EXPORT EvaluatedNodes {
 public:
  explicit EvaluatedNodes(std::shared_ptr<const TreeEvaluation> tree) : tree_(std::move(tree)) {}

  /// Rows of logits: the tree's nodes, or those that were chosen, in this order.
  [[nodiscard]] std::size_t rows() const noexcept;

  /// Of one row as float32, [vocab_size]; valid as long as this object or a copy of it.
  /// @throws Error invalid_argument when `row` is not below rows()
  [[nodiscard]] std::span<const float> row(std::size_t row) const;

  /// As Logits::output().
  [[nodiscard]] std::span<const float> output(std::string_view name, std::size_t row) const;

  /// Keys and values, for Sequence::commit(); null in an answer of the result cache, which keeps
  /// none. They take cache blocks as long as anybody holds them.
  [[nodiscard]] const std::shared_ptr<const TreeEvaluation>& tree() const noexcept { return tree_; }

  /// The same rows in memory of their own, without the tree.
  [[nodiscard]] EvaluatedNodes copy_rows(const ModelInfo& info) const;

  /// Bytes of what copy_rows() made; 0 where the rows are those of a run.
  [[nodiscard]] std::size_t copied_bytes() const noexcept;

 private:
  struct Copy;
  std::shared_ptr<const TreeEvaluation> tree_;
  std::shared_ptr<const Copy> copy_;
};

/// How probable each continuation is.
class KVCACHE_EXPORT Scores {
 public:
  /// Natural logarithms of probabilities, one after the other; continuation i's are those from
  /// begins[i] to begins[i + 1]. `outputs[j]` is the vector of the j-th output asked for.
  Scores(std::vector<float> log_probabilities, std::vector<std::size_t> begins,
         std::vector<std::vector<float>> outputs) noexcept
      : log_probabilities_(std::move(log_probabilities)),
        begins_(std::move(begins)),
        outputs_(std::move(outputs)) {}

  [[nodiscard]] std::size_t size() const noexcept { return begins_.size() - 1; }

  /// log p of each of the continuation's tokens, given all before it.
  /// @throws Error invalid_argument when there is no such continuation
  [[nodiscard]] std::span<const float> tokens(std::size_t continuation) const;

  /// log p of the continuation: their sum.
  [[nodiscard]] float total(std::size_t continuation) const;

  /// The vector of the i-th output asked for, for the last token of the prefix.
  /// @throws Error invalid_argument when no such output was asked for
  [[nodiscard]] std::span<const float> output(std::size_t i) const;

  [[nodiscard]] std::size_t bytes() const noexcept;

 private:
  std::vector<float> log_probabilities_;
  std::vector<std::size_t> begins_;  // [size + 1]
  std::vector<std::vector<float>> outputs_;
};

/// Where an answer is from.
enum class AnsweredBy {
  run,           ///< computed for this request
  joined,        ///< computed for an equal one that was under way
  result_cache,  ///< kept under the request's cache_key
};

template <typename Result>
struct Answer {
  Result result;
  std::uint64_t version;  // of the model that computed it: 1 of the evaluator's first, and so on
  AnsweredBy by;
  std::chrono::nanoseconds waited;  // from submit() until its run began, or it was known
};

/// A request that was submitted. Copies are of the same request; any thread may use them.
///
/// Letting go of it cancels nothing.
template <typename Result>
class KVCACHE_EXPORT Request {
 public:
  Request(std::shared_ptr<evaluator::Scheduler> scheduler, std::shared_ptr<evaluator::Task> task);
  Request(const Request&);
  Request(Request&&) noexcept;
  Request& operator=(const Request&);
  Request& operator=(Request&&) noexcept;
  ~Request();

  /// Waits for the answer.
  /// @throws Error as the direct call does; cancelled, deadline_exceeded, queue_full
  [[nodiscard]] Answer<Result> get() const;

  /// Waits until there is an answer or an error.
  void wait() const;
  /// Whether there is one, after at most this long.
  [[nodiscard]] bool wait_for(std::chrono::nanoseconds timeout) const;
  [[nodiscard]] bool ready() const noexcept;

  /// Ends the request with `cancelled` unless its run has begun or it is answered; whether it did.
  /// The sequence is then as if it had never been submitted.
  bool cancel() const noexcept;  // NOLINT(modernize-use-nodiscard)

 private:
  std::shared_ptr<evaluator::Scheduler> scheduler_;
  std::shared_ptr<evaluator::Task> task_;
};

extern template class KVCACHE_EXPORT Request<Logits>;
extern template class KVCACHE_EXPORT Request<EvaluatedNodes>;
extern template class KVCACHE_EXPORT Request<Scores>;

/// Is given a request when it is answered or has failed: get() returns or throws at once.
template <typename Result>
using Callback = std::function<void(const Request<Result>&)>;

}  // namespace kvcache
