// Equal requests that are under way are computed once.
#pragma once

#include <cstdint>
#include <unordered_map>

#include "evaluator/task.hpp"

namespace kvcache::evaluator {

/// The tasks that wait or run and that others may follow. Two ask the same if they are of one kind
/// and one version and have the same cache_key; without keys, if prefix and question are equal
/// token by token.
class InFlight {
 public:
  /// One that asks the same. Null where there is none; then others may follow this one, unless
  /// there is no memory for it.
  Task* find_or_insert(Task& task) noexcept;
  void erase(Task& task) noexcept;

  /// `next` takes the place of `task`.
  void replace(Task& task, Task& next) noexcept;

 private:
  using Tasks = std::unordered_multimap<std::uint64_t, Task*>;
  using Entry = Tasks::iterator;
  [[nodiscard]] Entry entry_of(const Task& task) noexcept;

  Tasks tasks_;  // by a hash of what they ask
};

/// Makes `task` follow `leader`, which asks the same.
void follow(Task& task, Task& leader) noexcept;

/// Ends that, without an outcome.
void unfollow(Task& task) noexcept;

/// Makes the first follower the leader of the others, and returns it.
Task& promote_first_follower(Task& leader) noexcept;

}  // namespace kvcache::evaluator
