// Many threads, one model: what they ask is gathered into runs.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "kvcache/evaluator_metrics.hpp"
#include "kvcache/evaluator_request.hpp"
#include "kvcache/export.hpp"
#include "kvcache/model.hpp"

namespace kvcache {

namespace evaluator {
struct ClientState;
}

struct EvaluatorOptions {
  /// The most rows of one run: sequences that are extended, and trees.
  std::size_t max_rows = 64;

  /// The most tokens of one run. A request of more runs alone.
  std::size_t max_tokens = 2048;

  /// How long a request waits for company, unless one of the limits is reached or every registered
  /// client waits. 0: not at all; what comes while a run is under way still goes together.
  std::chrono::microseconds max_delay{200};

  /// Runs that may pass a waiting request by. From then on it goes before all that came later,
  /// whatever their priority, so that none starves.
  std::uint64_t max_passed_by = 16;

  /// Runs that may be under way at a time. 0: three on a GPU, which may compute one or two while
  /// the host prepares another and clients use the answers of what was before, otherwise one.
  std::size_t max_runs = 0;

  /// Unanswered requests there may be; more fail with queue_full. 0: any number.
  std::size_t max_waiting = 0;

  /// What answers kept under a cache_key may take; the least recently used go first. 0: none are
  /// kept.
  std::size_t result_cache_bytes = std::size_t{64} << 20;
};

/// What requests are given to: an Evaluator, or a client registered with one. Thread-safe.
///
/// A request's errors are all thrown by Request::get(), those of its arguments too. submit() itself
/// throws nothing but out_of_memory, and system_refused for the first with a callback, for which a
/// thread begins. Callbacks are called one after the other in that thread, each exactly once, also
/// for requests that were cancelled. They hold up no run, may submit, wait and cancel, and should
/// let no exception out: it is dropped and counted. They must not destroy the Evaluator.
class KVCACHE_EXPORT Submitter {
 public:
  Submitter(const Submitter&) = delete;
  Submitter& operator=(const Submitter&) = delete;

  Request<Logits> submit(ExtendRequest request, Callback<Logits> callback = {});
  Request<EvaluatedNodes> submit(EvaluateRequest request, Callback<EvaluatedNodes> callback = {});
  Request<Scores> submit(ScoreRequest request, Callback<Scores> callback = {});

  /// submit(request).get(), but cheaper: where the run can begin at once, no other thread is woken.
  Answer<Logits> answer(ExtendRequest request);
  Answer<EvaluatedNodes> answer(EvaluateRequest request);
  Answer<Scores> answer(ScoreRequest request);

 protected:
  Submitter(std::shared_ptr<evaluator::Scheduler> scheduler,
            std::shared_ptr<evaluator::ClientState> client) noexcept;
  Submitter(Submitter&&) noexcept;
  Submitter& operator=(Submitter&&) noexcept;
  ~Submitter();

  std::shared_ptr<evaluator::Scheduler> scheduler_;
  std::shared_ptr<evaluator::ClientState> client_;
};

/// One of those that a run waits for: usually a thread. A client waits while a thread is in get()
/// or wait() of one of its requests, and after idle(). Where all clients wait, a run begins at
/// once. Of requests of the same priority, clients get equal shares of the runs' tokens; all that
/// is submitted to the Evaluator itself counts as one client. Move-only.
class KVCACHE_EXPORT EvaluatorClient : public Submitter {
 public:
  EvaluatorClient(EvaluatorClient&&) noexcept;
  EvaluatorClient& operator=(EvaluatorClient&&) noexcept;
  /// Its requests are still answered.
  ~EvaluatorClient();

  /// Says that nothing comes from this client until one of its requests is answered or it submits
  /// another: for those that use callbacks, or do something else.
  void idle() noexcept;

 private:
  friend class Evaluator;
  EvaluatorClient(std::shared_ptr<evaluator::Scheduler> scheduler,
                  std::shared_ptr<evaluator::ClientState> client) noexcept;
  void leave() noexcept;
};

/// Gathers the requests of any number of threads into runs of one model.
///
/// Requests of one sequence are run in the order in which they were submitted, reads between two
/// extensions in any: each as the direct call at this point would be. Until a request is answered,
/// its sequence must live (std::shared_ptr) and not be changed by others. What is wrong with a
/// request fails that request alone. docs/EVALUATOR.md has the rest.
class KVCACHE_EXPORT Evaluator : public Submitter {
 public:
  /// @throws Error invalid_argument where max_rows or max_tokens is 0; system_refused,
  ///         out_of_memory
  explicit Evaluator(const Model& model, const EvaluatorOptions& options = {});
  Evaluator(Evaluator&&) = delete;
  Evaluator& operator=(Evaluator&&) = delete;

  /// Requests that wait end with `cancelled`, a run under way with its answers; returns when all
  /// callbacks have been called. Requests may be held on to.
  ~Evaluator();

  [[nodiscard]] EvaluatorClient register_client();

  /// An empty sequence of the newest model.
  [[nodiscard]] Sequence new_sequence() const;
  [[nodiscard]] Model model() const;

  /// From now on this is the newest model; returns its version. Nothing waits: sequences of older
  /// versions are still served by these, each answer is of one version, and an older model goes
  /// with its last sequence. ExtendRequest::renew takes a sequence along. Kept results of older
  /// versions are forgotten.
  /// @throws Error invalid_argument when the model has another vocabulary or other outputs
  std::uint64_t swap_model(const Model& model);

  /// How often the answer under a key of the newest version was returned again; nothing where none
  /// is kept.
  [[nodiscard]] std::optional<std::uint64_t> hits_of(std::uint64_t cache_key) const;

  [[nodiscard]] EvaluatorMetrics metrics() const;
};

}  // namespace kvcache
