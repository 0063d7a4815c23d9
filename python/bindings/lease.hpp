// The use that a request makes of its sequence.
#pragma once

#include <functional>
#include <memory>
#include <mutex>

#include "bindings/use.hpp"

namespace kvcache::python {

/// From submission until the request is answered, whoever notices first: the one who asks, its
/// callback, or a direct call that would be refused.
class Lease {
 public:
  /// @throws Error invalid_argument when a direct call uses the sequence
  static std::shared_ptr<Lease> begin(const std::shared_ptr<Use>& use, bool changes);
  ~Lease() { end(); }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;

  void end() noexcept;

  /// Says how to ask whether the request is answered. It may hold the request, and with it this.
  void watch(std::function<bool()> answered);
  void end_if_answered();

 private:
  Lease(std::shared_ptr<Use> use, bool changes) noexcept
      : use_(std::move(use)), changes_(changes) {}

  std::shared_ptr<Use> use_;
  bool changes_;
  std::mutex mutex_;
  bool ended_ = false;
  std::function<bool()> answered_;
};

}  // namespace kvcache::python
