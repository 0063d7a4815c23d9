// Which of the tasks that may run go into the next run: priorities, fairness, and no starving.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <vector>

#include "evaluator/task.hpp"

namespace kvcache::evaluator {

struct RunLimits {
  std::size_t rows;
  std::size_t tokens;
  std::uint64_t passed_by;  // runs that may leave a task out before it goes first
};

/// First come those that were passed by too often, oldest first. Then by priority; among equal ones
/// the client's turn is next that was served the fewest tokens, counted from when it last had
/// nothing to do, and its oldest task goes.
class ReadyQueue {
 public:
  /// A task whose engine, tokens and priority are known.
  void insert(Task& task) noexcept;

  /// The same for one that was taken and put off: it keeps its age.
  void insert_again(Task& task) noexcept;

  void erase(Task& task) noexcept;

  /// Takes `task` out and puts `next` in, at the same age.
  void replace(Task& task, Task& next) noexcept;

  /// Gives one that waits a higher priority; it keeps its age.
  void raise(Task& task, Priority priority) noexcept;

  /// Takes out the tasks of the next run, all of one engine; the first one whatever its size.
  /// @throws std::bad_alloc; nothing has changed then
  std::vector<Task*> take(const RunLimits& limits);

  [[nodiscard]] bool empty() const noexcept { return by_age_.empty(); }
  [[nodiscard]] std::size_t rows() const noexcept { return by_age_.size(); }
  [[nodiscard]] std::size_t tokens() const noexcept { return tokens_; }
  [[nodiscard]] Task& oldest() const noexcept { return *by_age_.front(); }

 private:
  struct Taken;
  void enter(Task& task, std::list<Task*>::iterator before) noexcept;
  static void enter_client(Task& task) noexcept;
  void take_one(Task& task, Taken& taken) noexcept;
  void take_all(Taken& taken) noexcept;
  void take_starved(Taken& taken) noexcept;
  void take_by_turns(std::size_t priority, Taken& taken) noexcept;

  std::list<Task*> by_age_;  // those ready longest first
  std::list<ClientState*> active_;
  std::size_t tokens_ = 0;
  std::uint64_t runs_ = 0;
  std::uint64_t served_ = 0;  // of the client whose turn was last
};

}  // namespace kvcache::evaluator
