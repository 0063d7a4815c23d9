// What a constraint costs: its own time, in whatever text it is.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <utility>

#include "kvcache/constraint.hpp"

namespace kvcache::cli {

/// The time that a constraint and its forks took, which are all in one thread.
class ConstraintTime {
 public:
  [[nodiscard]] double seconds() const noexcept {
    return std::chrono::duration<double>(total_).count();
  }

  /// The result of `work`, whose time counts.
  template <typename Work>
  auto of(const Work& work) {
    const Stop stop{*this, Clock::now()};
    return work();
  }

 private:
  using Clock = std::chrono::steady_clock;
  struct Stop {
    ConstraintTime& time;
    Clock::time_point begin;
    ~Stop() { time.total_ += Clock::now() - begin; }
  };

  Clock::duration total_{};
};

/// A constraint that is measured. The time outlives it.
class TimedConstraint final : public Constraint {
 public:
  TimedConstraint(std::unique_ptr<Constraint> constraint, ConstraintTime& time)
      : constraint_(std::move(constraint)), time_(&time) {}

  [[nodiscard]] std::size_t vocab_size() const noexcept override {
    return constraint_->vocab_size();
  }
  void allow_next(TokenMask& mask) const override {
    time_->of([&] { constraint_->allow_next(mask); });
  }
  [[nodiscard]] bool may_end() const override {
    return time_->of([&] { return constraint_->may_end(); });
  }
  [[nodiscard]] bool accept(TokenId token) override {
    return time_->of([&] { return constraint_->accept(token); });
  }
  void rollback(std::size_t tokens) override {
    time_->of([&] { constraint_->rollback(tokens); });
  }
  [[nodiscard]] std::unique_ptr<Constraint> fork() const override {
    return std::make_unique<TimedConstraint>(time_->of([&] { return constraint_->fork(); }),
                                             *time_);
  }

 private:
  std::unique_ptr<Constraint> constraint_;
  ConstraintTime* time_;
};

}  // namespace kvcache::cli
