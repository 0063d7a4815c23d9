#include "evaluator/in_flight.hpp"

#include <xxhash.h>

#include <algorithm>
#include <new>
#include <optional>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include "inference/sequence_state.hpp"

namespace kvcache::evaluator {
namespace {

template <typename T>
std::uint64_t hash_of(std::span<const T> values, std::uint64_t seed) {
  return XXH3_64bits_withSeed(values.data(), values.size_bytes(), seed);
}

template <typename T>
std::uint64_t hash_of(const std::vector<T>& values, std::uint64_t seed) {
  return hash_of(std::span<const T>(values), seed + values.size());
}

std::span<const TokenId> prefix_of(const Task& task) { return task.sequence()->tokens(); }

/// Equal tokens, computed with equal ones before them.
bool same_prefix(const Task& a, const Task& b) {
  const inference::SequenceState& of_a = *inference::StateOf::of(*a.sequence());
  const inference::SequenceState& of_b = *inference::StateOf::of(*b.sequence());
  return of_a.left == of_b.left &&
         (of_a.tokens.shares_all(of_b.tokens) || std::ranges::equal(prefix_of(a), prefix_of(b)));
}

std::uint64_t hash_of_question(const Task& task) {
  std::uint64_t hash = task.version * 4 + static_cast<std::uint64_t>(task.kind());
  if (task.uses_cache()) {
    return hash_of(std::span<const std::uint64_t>(&*task.options.cache_key, 1), hash);
  }
  hash = hash_of(prefix_of(task), hash + prefix_of(task).size());
  if (task.kind() == Kind::evaluate) {
    const EvaluateRequest& request = as_evaluate(task);
    return hash_of(request.nodes,
                   hash_of(request.tree.parents, hash_of(request.tree.tokens, hash)));
  }
  for (const std::vector<TokenId>& continuation : as_score(task).request.continuations) {
    hash = hash_of(continuation, hash);
  }
  return hash;
}

bool same_question(const Task& a, const Task& b) {
  if (a.kind() != b.kind() || a.version != b.version || a.uses_cache() != b.uses_cache()) {
    return false;
  }
  if (a.uses_cache()) {
    return a.options.cache_key == b.options.cache_key;
  }
  if (!same_prefix(a, b)) {
    return false;
  }
  if (a.kind() == Kind::evaluate) {
    const auto parts = [](const EvaluateRequest& request) {
      return std::tie(request.tree.tokens, request.tree.parents, request.nodes);
    };
    return parts(as_evaluate(a)) == parts(as_evaluate(b));
  }
  const auto parts = [](const ScoreRequest& request) {
    return std::tie(request.continuations, request.outputs);
  };
  return parts(as_score(a).request) == parts(as_score(b).request);
}

}  // namespace

Task* InFlight::find_or_insert(Task& task) noexcept {
  const std::uint64_t hash = hash_of_question(task);
  const auto [begin, end] = tasks_.equal_range(hash);
  for (auto at = begin; at != end; ++at) {
    if (same_question(*at->second, task)) {
      return at->second;
    }
  }
  try {
    tasks_.emplace(hash, &task);
    task.in_flight = hash;
  } catch (const std::bad_alloc&) {
    task.in_flight.reset();
  }
  return nullptr;
}

InFlight::Entry InFlight::entry_of(const Task& task) noexcept {
  const auto [begin, end] = tasks_.equal_range(*task.in_flight);
  return std::find_if(begin, end, [&](const auto& entry) { return entry.second == &task; });
}

void InFlight::erase(Task& task) noexcept {
  if (task.in_flight) {
    tasks_.erase(entry_of(task));
    task.in_flight.reset();
  }
}

void InFlight::replace(Task& task, Task& next) noexcept {
  if (task.in_flight) {
    entry_of(task)->second = &next;
    next.in_flight = std::exchange(task.in_flight, std::nullopt);
  }
}

void follow(Task& task, Task& leader) noexcept {
  task.stage = Stage::following;
  task.leader = &leader;
  task.in_client.enter(leader.followers);
}

void unfollow(Task& task) noexcept {
  task.leader = nullptr;
  task.in_client.leave();
}

Task& promote_first_follower(Task& leader) noexcept {
  Task& next = *leader.followers.front();
  unfollow(next);
  while (!leader.followers.empty()) {
    follow(*leader.followers.front(), next);
  }
  return next;
}

}  // namespace kvcache::evaluator
