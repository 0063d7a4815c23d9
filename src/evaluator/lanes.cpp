#include "evaluator/lanes.hpp"

namespace kvcache::evaluator {
namespace {

void wake(Task& task, std::list<Task*>& woken) noexcept {
  if (task.stage == Stage::queued && !task.by_age.in_any()) {
    task.by_age.enter(woken);
  }
}

}  // namespace

bool Lanes::push(Task& task) {
  Lane& lane = lanes_[task.sequence()];
  const bool free = task.writes() ? lane.tasks.empty() : lane.writers == 0;
  task.in_lane.enter(lane.tasks);
  lane.writers += task.writes() ? 1 : 0;
  return free;
}

void Lanes::remove(Task& task, std::list<Task*>& woken) noexcept {
  const auto found = lanes_.find(task.sequence());
  Lane& lane = found->second;
  task.in_lane.leave();
  lane.writers -= task.writes() ? 1 : 0;
  if (lane.tasks.empty()) {
    lanes_.erase(found);
  } else if (lane.tasks.front()->writes()) {
    wake(*lane.tasks.front(), woken);
  } else if (task.writes()) {  // it may have kept those that read behind it
    for (Task* next : lane.tasks) {
      if (next->writes()) {
        break;
      }
      wake(*next, woken);
    }
  }
}

}  // namespace kvcache::evaluator
