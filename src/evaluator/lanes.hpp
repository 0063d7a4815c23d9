// Order per sequence: who may run beside whom.
#pragma once

#include <cstddef>
#include <list>
#include <unordered_map>

#include "evaluator/task.hpp"

namespace kvcache::evaluator {

/// The unfinished tasks of each sequence, in order of submission. A task that writes may run when
/// it is the first, one that reads when none that writes is before it.
class Lanes {
 public:
  /// Whether the task may run now.
  /// @throws std::bad_alloc; nothing has changed then
  bool push(Task& task);

  /// Takes a task out wherever it stands; those that may run because of that, and could not before,
  /// enter `woken` (by their by_age place).
  void remove(Task& task, std::list<Task*>& woken) noexcept;

  [[nodiscard]] bool empty() const noexcept { return lanes_.empty(); }

 private:
  struct Lane {
    std::list<Task*> tasks;
    std::size_t writers = 0;
  };

  std::unordered_map<const Sequence*, Lane> lanes_;
};

}  // namespace kvcache::evaluator
