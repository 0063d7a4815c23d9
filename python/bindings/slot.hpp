// A share in an object that one thread may let go of while others take it.
#pragma once

#include <memory>
#include <mutex>
#include <utility>

namespace kvcache::python {

/// Python's objects that can be closed hold one: where there is no interpreter's lock, close() may
/// come at any moment of another call.
template <typename Object>
class Slot {
 public:
  explicit Slot(std::shared_ptr<Object> held) noexcept : held_(std::move(held)) {}
  Slot(Slot&& other) noexcept : held_(other.take()) {}
  Slot& operator=(Slot&&) = delete;
  Slot(const Slot&) = delete;
  Slot& operator=(const Slot&) = delete;
  ~Slot() = default;

  /// Null when it was taken.
  [[nodiscard]] std::shared_ptr<Object> share() const {
    const std::lock_guard lock(mutex_);
    return held_;
  }

  /// Leaves nothing.
  std::shared_ptr<Object> take() noexcept {
    const std::lock_guard lock(mutex_);
    return std::exchange(held_, nullptr);
  }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<Object> held_;
};

}  // namespace kvcache::python
