// A request from its submission to its answer.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "evaluator/completion.hpp"
#include "evaluator/place.hpp"
#include "evaluator/score.hpp"
#include "kvcache/error.hpp"
#include "kvcache/evaluator_request.hpp"

namespace kvcache::inference {
class Engine;
}

namespace kvcache::evaluator {

using Clock = std::chrono::steady_clock;

class Task;
using Expiries = std::multimap<Clock::time_point, Task*>;
using Finished = std::list<std::shared_ptr<Task>>;  // to be published without a lock

/// One of those whose requests are served by turns: a registered client, or all others together.
/// The scheduler's, under its lock.
struct ClientState {
  static constexpr std::size_t kPriorities = 3;

  ClientState() : active(this) {}

  std::array<std::list<Task*>, kPriorities> ready;  // by priority, each in order of submission
  Place<ClientState*> active;                       // among those with ready tasks
  std::uint64_t served = 0;                         // tokens, on the common clock of all clients
  bool registered = false;
  std::size_t blocked = 0;  // threads that wait for one of its tasks
  bool idle = false;

  [[nodiscard]] bool waits() const noexcept { return blocked > 0 || idle; }
};

struct ScoreWork {
  ScoreRequest request;
  ScorePlan plan;
};

/// What a task is to do; the alternatives' order is that of Kind.
using Work = std::variant<ExtendRequest, EvaluateRequest, ScoreWork>;
enum class Kind { extend, evaluate, score };

/// What came of it: a result, or an error.
struct Outcome {
  std::variant<std::monostate, Logits, EvaluatedNodes, Scores> result;
  ErrorCode code = ErrorCode::run_failed;
  std::string message;
  std::uint64_t version = 0;

  [[nodiscard]] bool failed() const noexcept { return result.index() == 0; }
};

/// The outcome for the error that is being handled, filled into `outcome`.
void describe_current_error(Outcome& outcome) noexcept;

enum class Stage {
  queued,     // waits for earlier tasks of its sequence
  ready,      // may go into the next run
  following,  // another task's outcome will be its own
  running,
  done
};

class Task {
 public:
  Task(Work asked, const RequestOptions& request_options, std::shared_ptr<ClientState> of_client)
      : work(std::move(asked)), options(request_options), client(std::move(of_client)) {}

  // Constant once it is submitted.
  Work work;  // but what a run fills in
  const RequestOptions options;
  const std::shared_ptr<ClientState> client;
  std::function<void(const std::shared_ptr<Task>&)> callback;  // cleared when it was called
  Clock::time_point submitted{};
  std::uint64_t number = 0;  // in order of submission
  bool refused = false;      // its arguments break a rule: own_outcome says which

  [[nodiscard]] Kind kind() const noexcept { return static_cast<Kind>(work.index()); }
  [[nodiscard]] const Sequence* sequence() const noexcept;
  [[nodiscard]] bool writes() const noexcept { return kind() == Kind::extend; }
  [[nodiscard]] bool uses_cache() const noexcept {
    return options.cache_key && !options.skip_cache && !writes();
  }

  // The scheduler's, under its lock.
  Stage stage = Stage::queued;
  Place<Task*> in_lane{this};
  Place<Task*> in_client{this};  // or among its leader's followers
  Place<Task*> by_age{this};     // of ready tasks, or among those that became so just now
  Finished::iterator alive;      // in the list of all tasks
  std::optional<Expiries::iterator> expiry;
  Expiries::node_type no_expiry;  // while it runs: the place that it comes back to if put off
  std::optional<std::uint64_t> in_flight;  // the hash under which others find it
  Task* leader = nullptr;
  std::list<Task*> followers;
  std::size_t blocked = 0;  // threads that wait for it

  // From when it is ready.
  std::shared_ptr<inference::Engine> engine;
  std::uint64_t version = 0;
  std::size_t tokens = 0;
  Priority priority = Priority::normal;
  std::uint64_t ready_before_run = 0;
  Clock::time_point ready_since{};

  // From when it runs, the running thread's.
  Clock::time_point run_began{};
  std::optional<Sequence> fresh;        // takes the place of the sequence that is renewed
  std::vector<TokenId> text;            // its tokens
  std::shared_ptr<const Outcome> kept;  // what the result cache is to keep

  // Made with the task, so that it can end without memory.
  std::shared_ptr<Outcome> own_outcome = std::make_shared<Outcome>();

  // Constant once it is done.
  std::shared_ptr<const Outcome> outcome;
  AnsweredBy by = AnsweredBy::run;
  Clock::duration waited{};

  std::size_t awaited = 0;  // threads that wait for it and stop at nothing else

  // Others' ends that the thread which this one wakes is to tell.
  Finished to_tell;
  std::atomic_flag told;

  Completion completion;

  /// Lets go of the sequence and the model, and tells who waits. Without the scheduler's lock: a
  /// sequence or model may end here.
  void publish() noexcept;
};

/// A task's work as a request of its kind.
inline const ExtendRequest& as_extend(const Task& task) noexcept {
  return *std::get_if<ExtendRequest>(&task.work);
}
inline const EvaluateRequest& as_evaluate(const Task& task) noexcept {
  return *std::get_if<EvaluateRequest>(&task.work);
}
inline const ScoreWork& as_score(const Task& task) noexcept {
  return *std::get_if<ScoreWork>(&task.work);
}

}  // namespace kvcache::evaluator
