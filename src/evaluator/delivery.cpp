#include "evaluator/delivery.hpp"

#include <utility>

namespace kvcache::evaluator {

void Delivery::start() {
  const std::scoped_lock lock(mutex_);
  if (!thread_.joinable() && !stopping_) {
    thread_ = std::thread([this] { loop(); });
  }
}

void Delivery::push(Finished& tasks) noexcept {
  Finished one;
  one.splice(one.end(), tasks, tasks.begin());
  {
    const std::scoped_lock lock(mutex_);
    if (!stopped_) {
      tasks_.splice(tasks_.end(), one);
    }
  }
  changed_.notify_one();
  call_all(std::move(one));
}

void Delivery::stop() noexcept {
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  if (thread_.joinable()) {
    thread_.join();
  }
  Finished late;
  {
    const std::scoped_lock lock(mutex_);
    stopped_ = true;
    late.swap(tasks_);
  }
  call_all(std::move(late));
}

void Delivery::call_all(Finished tasks) noexcept {
  for (const std::shared_ptr<Task>& task : tasks) {
    const auto callback = std::exchange(task->callback, nullptr);
    try {
      callback(task);
    } catch (...) {
      failed_();
    }
  }
}

void Delivery::loop() noexcept {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stopping_ || !tasks_.empty(); });
    if (tasks_.empty()) {
      return;
    }
    Finished waiting;
    waiting.swap(tasks_);
    lock.unlock();
    call_all(std::move(waiting));
    lock.lock();
  }
}

}  // namespace kvcache::evaluator
