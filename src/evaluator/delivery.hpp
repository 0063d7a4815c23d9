// The thread in which callbacks are called.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>

#include "evaluator/task.hpp"

namespace kvcache::evaluator {

/// Calls them one after the other, in the order in which their tasks ended, holding no lock.
class Delivery {
 public:
  /// `failed` is called for each callback that an exception left.
  explicit Delivery(std::function<void()> failed) : failed_(std::move(failed)) {}
  ~Delivery() { stop(); }
  Delivery(const Delivery&) = delete;
  Delivery& operator=(const Delivery&) = delete;

  /// Begins the thread unless it is there.
  /// @throws std::system_error
  void start();

  /// Takes the first of these tasks, which is done and has a callback. After stop(), the callback
  /// is called here and now.
  void push(Finished& tasks) noexcept;

  /// Returns when all callbacks have been called.
  void stop() noexcept;

 private:
  void loop() noexcept;
  void call_all(Finished tasks) noexcept;

  std::function<void()> failed_;
  std::mutex mutex_;
  std::condition_variable changed_;
  Finished tasks_;
  bool stopping_ = false;
  bool stopped_ = false;
  std::thread thread_;
};

}  // namespace kvcache::evaluator
