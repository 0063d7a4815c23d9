#include "evaluator/ready_queue.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace kvcache::evaluator {

struct ReadyQueue::Taken {
  RunLimits limits;
  std::vector<Task*> tasks;
  std::vector<ClientState*> turns;  // a heap: whose turn is next is at its front
  std::size_t tokens = 0;

  [[nodiscard]] bool full() const noexcept { return tasks.size() >= limits.rows; }

  [[nodiscard]] bool fits(const Task& task) const noexcept {
    return tasks.empty() || (!full() && task.engine == tasks.front()->engine &&
                             tokens + task.tokens <= limits.tokens);
  }
};

namespace {

std::list<Task*>& list_of(Task& task) {
  return task.client->ready[static_cast<std::size_t>(task.priority)];
}

bool has_none(const ClientState& client) {
  return std::ranges::all_of(client.ready, [](const auto& tasks) { return tasks.empty(); });
}

/// Whose turn comes later: who was served more, or among equals, whose oldest task is younger.
auto later_turn(std::size_t priority) {
  return [priority](const ClientState* a, const ClientState* b) {
    const auto turn = [priority](const ClientState* client) {
      return std::pair(client->served, client->ready[priority].front()->number);
    };
    return turn(a) > turn(b);
  };
}

}  // namespace

void ReadyQueue::enter_client(Task& task) noexcept {
  std::list<Task*>& tasks = list_of(task);
  auto behind = tasks.end();
  while (behind != tasks.begin() && (*std::prev(behind))->number > task.number) {
    --behind;
  }
  task.in_client.enter(tasks, behind);
}

void ReadyQueue::enter(Task& task, std::list<Task*>::iterator before) noexcept {
  ClientState& client = *task.client;
  if (!client.active.in_any()) {
    client.served = std::max(client.served, served_);  // nobody saves up turns by having no work
    client.active.enter(active_);
  }
  enter_client(task);
  task.by_age.enter(by_age_, before);
  tokens_ += task.tokens;
  task.stage = Stage::ready;
}

void ReadyQueue::insert(Task& task) noexcept {
  task.ready_before_run = runs_;
  enter(task, by_age_.end());
}

void ReadyQueue::insert_again(Task& task) noexcept { enter(task, by_age_.begin()); }

void ReadyQueue::replace(Task& task, Task& next) noexcept {
  next.ready_before_run = task.ready_before_run;
  next.ready_since = task.ready_since;
  enter(next, task.by_age.position());
  erase(task);
}

void ReadyQueue::erase(Task& task) noexcept {
  task.in_client.leave();
  task.by_age.leave();
  tokens_ -= task.tokens;
  if (has_none(*task.client)) {
    task.client->active.leave();
  }
}

void ReadyQueue::raise(Task& task, Priority priority) noexcept {
  task.priority = priority;
  enter_client(task);
}

std::vector<Task*> ReadyQueue::take(const RunLimits& limits) {
  Taken taken{.limits = limits, .tasks = {}, .turns = {}};
  taken.tasks.reserve(std::min(limits.rows, by_age_.size()));
  taken.turns.reserve(active_.size());
  take_all(taken);
  take_starved(taken);
  for (std::size_t priority = ClientState::kPriorities; priority-- > 0 && !taken.full();) {
    take_by_turns(priority, taken);
  }
  ++runs_;
  return std::move(taken.tasks);
}

void ReadyQueue::take_one(Task& task, Taken& taken) noexcept {
  taken.tasks.push_back(&task);
  taken.tokens += task.tokens;
  served_ = std::max(served_, task.client->served);
  task.client->served += task.tokens;
  erase(task);
  task.stage = Stage::running;
}

/// Where all that waits goes into the run, and none before others, it needs no turns.
void ReadyQueue::take_all(Taken& taken) noexcept {
  const auto is_like_oldest = [this](const Task* task) {
    return task->engine == oldest().engine && task->priority == oldest().priority;
  };
  if (by_age_.empty() || by_age_.size() > taken.limits.rows || tokens_ > taken.limits.tokens ||
      !std::ranges::all_of(by_age_, is_like_oldest)) {
    return;
  }
  while (!by_age_.empty()) {
    take_one(oldest(), taken);
  }
}

void ReadyQueue::take_starved(Taken& taken) noexcept {
  while (!by_age_.empty() && runs_ - oldest().ready_before_run >= taken.limits.passed_by &&
         taken.fits(oldest())) {
    take_one(oldest(), taken);
  }
}

void ReadyQueue::take_by_turns(std::size_t priority, Taken& taken) noexcept {
  const auto later = later_turn(priority);
  taken.turns.clear();
  std::ranges::copy_if(active_, std::back_inserter(taken.turns),
                       [&](const ClientState* client) { return !client->ready[priority].empty(); });
  std::ranges::make_heap(taken.turns, later);
  while (!taken.turns.empty() && !taken.full()) {
    std::ranges::pop_heap(taken.turns, later);
    ClientState* client = taken.turns.back();
    std::list<Task*>& tasks = client->ready[priority];
    if (!taken.fits(*tasks.front())) {
      taken.turns.pop_back();  // its next ones wait too: they would overtake
      continue;
    }
    take_one(*tasks.front(), taken);
    if (tasks.empty()) {
      taken.turns.pop_back();
    } else {
      std::ranges::push_heap(taken.turns, later);
    }
  }
}

}  // namespace kvcache::evaluator
